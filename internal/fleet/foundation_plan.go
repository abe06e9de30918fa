package fleet

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// A FoundationPlan is what brings the foundation of bakes to what a file says.
type FoundationPlan struct {
	Changes []Change
	// Notes say what the plan does not know, in a sentence each.
	Notes []string
}

// PlanFoundation says what has to happen, in the order in which it can. With register
// it registers resource providers, too.
func PlanFoundation(s *Spec, live *Live, register bool) FoundationPlan {
	var plan FoundationPlan
	plan.Changes = providerChanges(s, live, register)
	for _, d := range Foundation(s, live) {
		c := Diff(&d, live.seen(d.ID))
		plan.hold(&c, &d, live)
		plan.Changes = append(plan.Changes, c)
	}
	plan.Notes = foundationNotes(s, live)
	return plan
}

// hold takes back a write that cannot be: the caller may not, or what it needs is not
// there and will not be.
func (p *FoundationPlan) hold(c *Change, d *Desired, live *Live) {
	if c.Action != ActionCreate && c.Action != ActionUpdate {
		return
	}
	why := ""
	if d.Scope != "" && !live.mayWrite(d.Scope, d.ID.Type()) {
		why, c.Commands = "you may not write it here; for whoever may, see below", d.Commands
	} else if need := p.missing(d); need != nil {
		why = fmt.Sprintf("needs %s %s, which is not there", need.Kind, need.Name)
		if need.Scope != "" { // a role that somebody else makes, who can go on with this
			c.Commands = d.Commands
		}
	}
	if why == "" {
		return
	}
	c.Action, c.Write = ActionUnknown, nil
	c.Note = strings.Trim(c.Note+"; "+why, "; ")
}

// missing returns what a resource needs that is not there and will not be made, or nil.
func (p *FoundationPlan) missing(d *Desired) *Change {
	provider, _, _ := strings.Cut(d.ID.Type(), "/")
	for i := range p.Changes {
		other := &p.Changes[i]
		needed := slices.ContainsFunc(d.Needs, other.ID.Same) || other.Kind == kindProvider && strings.EqualFold(other.Name, provider)
		if needed && other.Absent && other.Action == ActionUnknown {
			return other
		}
	}
	return nil
}

const kindProvider = "resource provider"

// providerChanges are the resource providers that are needed and not registered.
func providerChanges(s *Spec, live *Live, register bool) []Change {
	var needed []string
	switch {
	case s.Bake != nil:
		needed = builderProviders
	case s.Gallery != nil && s.Gallery.Manage == ManageFull:
		needed = []string{"Microsoft.Compute"}
	}
	var all []Change
	for _, name := range needed {
		state, known := live.Providers[strings.ToLower(name)]
		if !known || state == "registered" {
			continue
		}
		c := Change{
			Kind: kindProvider, Name: name, ID: ResourceID("/subscriptions/" + s.Subscription + "/providers/" + name),
			Absent: true, Properties: []PropertyChange{{Path: "registrationState", Is: state, Want: "registered"}},
			Action: ActionUnknown, Note: "not registered: apply does it with --register-providers; for whoever may, see below",
			Commands: []string{"az provider register --namespace " + name + " --subscription " + s.Subscription},
		}
		if state == "registering" {
			c.Note, c.Commands = "it is being registered, which takes some minutes", nil
		}
		if register {
			c.Action, c.Note, c.Commands = ActionUpdate, "", nil
			c.Write = &Write{Method: http.MethodPost, ID: c.ID, Action: "register"}
		}
		all = append(all, c)
	}
	return all
}

// foundationNotes say what could not be looked at.
func foundationNotes(s *Spec, live *Live) []string {
	var notes []string
	if s.Bake == nil {
		return nil
	}
	if live.GrantsUnread != "" {
		notes = append(notes, "Which roles "+s.IdentityID().Name()+" has is not known: "+live.GrantsUnread+".")
	}
	for _, name := range s.BakeAccounts() {
		switch {
		case slices.ContainsFunc(live.Accounts, func(id ResourceID) bool { return strings.EqualFold(id.Name(), name) }):
		case live.AccountsUnread != "":
			notes = append(notes, fmt.Sprintf("Whether %s has %s on storage account %s is not known: %s.", s.IdentityID().Name(), blobReaderName, name, live.AccountsUnread))
		default:
			notes = append(notes, fmt.Sprintf("Storage account %s is not in this subscription: %s needs %s there, from whoever owns it.", name, s.IdentityID().Name(), blobReaderName))
		}
	}
	return notes
}

// FoundationMissing says what a bake needs and what is not there, in a phrase each:
// "gallery galProd is not there". It is empty when a bake can begin.
func FoundationMissing(s *Spec, live *Live) []string {
	var all []string
	plan := PlanFoundation(s, live, false)
	for i := range plan.Changes {
		c := &plan.Changes[i]
		switch {
		case c.Kind == kindProvider:
			all = append(all, c.Kind+" "+c.Name+" is not registered")
		case c.Action == ActionRefused:
			all = append(all, c.Kind+" "+c.Name+" is not what the file says, and cannot be changed")
		case !c.Absent || c.Action == ActionNone:
		case c.ID.Type() == typeRoleAssignment && live.GrantsUnread != "": // perhaps it is
		case c.ID.Type() == typeRoleDefinition: // counts for its assignment
		default:
			all = append(all, c.Kind+" "+c.Name+" is not there")
		}
	}
	return all
}
