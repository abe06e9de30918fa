package fleet

import (
	"fmt"
	"net/http"
	"strings"
)

// A Protection is what a member is kept from: protectionPolicy.
type Protection struct {
	ScaleIn    bool // protectFromScaleIn
	SetActions bool // protectFromScaleSetActions, which Azure has only with the other
}

// The names of the protections.
const (
	FromScaleIn    = "scale-in"
	FromSetActions = "scale-set-actions"
)

func (m *Member) protection() Protection {
	return Protection{ScaleIn: m.ProtectScaleIn, SetActions: m.ProtectSetActions}
}

// Names returns what it keeps from, in words.
func (p Protection) Names() []string {
	var names []string
	if p.ScaleIn {
		names = append(names, FromScaleIn)
	}
	if p.SetActions {
		names = append(names, FromSetActions)
	}
	return names
}

// An Instance is a member as its scale set sees it.
type Instance struct {
	Protection
	Location    string
	LatestModel *bool // latestModelApplied
}

// InstanceOf reads an instance of a scale set.
func InstanceOf(body Document) Instance {
	m := ReadListedMember(body)
	return Instance{Protection: m.protection(), Location: textAt(body, "location"), LatestModel: m.LatestModel}
}

// A Protecting is a change of protections: those of From are to be as On says, and the
// other stays as it is.
type Protecting struct {
	From Protection
	On   bool
}

// Of returns what a member is protected from when the change is made. Azure does not have
// scale-set-actions without scale-in: the one brings the other, and cannot lose it alone.
func (p Protecting) Of(was Protection) (Protection, error) {
	is := was
	if p.From.ScaleIn {
		is.ScaleIn = p.On
	}
	if p.From.SetActions {
		is.SetActions = p.On
	}
	if is.SetActions && !is.ScaleIn {
		if !p.On {
			return was, &RefusedError{
				Reasons: []string{"it is protected from " + FromSetActions + ", and Azure does not have that without " + FromScaleIn},
				Hint:    "leave out --from, which ends both",
			}
		}
		is.ScaleIn = true
	}
	return is, nil
}

// Write returns the request that protects a member. Its body is the least that Azure
// takes: with more of the member in it, Azure makes the member one with a model of its
// own, to which that of the set is not applied any more.
func (p Protection) Write(id ResourceID, location, etag string) Write {
	return Write{Method: http.MethodPut, ID: id, IfMatch: etag, Body: Document{
		"location": location,
		"properties": Document{"protectionPolicy": Document{
			"protectFromScaleIn": p.ScaleIn, "protectFromScaleSetActions": p.SetActions,
		}},
	}}
}

// Unheeded says what a protection does not keep a member from, and what its model
// became by the write; empty: there is nothing to say.
func (p Protection) Unheeded(before, after Instance) []string {
	var warnings []string
	if p.ScaleIn && !p.SetActions {
		warnings = append(warnings, "upgrades and reimages of the scale set reach it: "+FromScaleIn+" alone does not stop them")
	}
	if drifted(before, after) {
		text := "the write made its model one of its own: latestModelApplied was true, and is false; bring it to the model of the scale set again"
		if p.SetActions {
			text += ", once it is not protected from " + FromSetActions
		}
		warnings = append(warnings, text)
	}
	return warnings
}

// drifted says whether a member was on the model of its set, and is no more.
func drifted(before, after Instance) bool {
	on := func(i Instance) bool { return i.LatestModel != nil && *i.LatestModel }
	return on(before) && after.LatestModel != nil && !on(after)
}

// Action refuses an action on a member of a scale set that the rollout holds.
func (h *Hold) Action(set ResourceID, why string) error {
	if !h.Holds(set) {
		return nil
	}
	return h.refuse(fmt.Sprintf("it holds scale set %s: %s", set.Name(), why))
}

// Protect is Action for the protection of a member from actions of its scale set. To
// unprotect one is the way on for a rollout that has ended and could not take it back.
func (h *Hold) Protect(set ResourceID, on bool) error {
	if h != nil && h.Left && !on {
		return nil
	}
	return h.Action(set, "it counts with the members that it can bring a version to, and take one back from")
}

// A ProtectView is what a change of protections has done.
type ProtectView struct {
	Version int               `json:"version"`
	Action  string            `json:"action"` // protect or unprotect
	Members []ProtectedMember `json:"members"`
}

// A ProtectedMember is a member of a ProtectView.
type ProtectedMember struct {
	ScaleSet  string     `json:"scale_set"`
	Name      string     `json:"name"`
	ID        ResourceID `json:"id"` // of the scale set's instance
	Was       []string   `json:"was"`
	Protected []string   `json:"protected"`
	Written   bool       `json:"written"`
	Pending   bool       `json:"pending"`      // Azure has accepted it, and its end was not waited for
	Latest    *bool      `json:"latest_model"` // latestModelApplied, after it
	Drifted   bool       `json:"drifted"`      // it was true before
	Warnings  []string   `json:"warnings,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// Shows writes how a member is after the change.
func (m *ProtectedMember) Shows(want Protection, before, after Instance) {
	m.Protected, m.Latest = append([]string{}, after.Names()...), after.LatestModel
	m.Drifted = drifted(before, after)
	m.Warnings = want.Unheeded(before, after)
	if after.Protection != want && !m.Pending {
		m.Warnings = append(m.Warnings, "Azure took the change, and shows something else: protected from "+orNothing(after.Names()))
	}
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, " and ")
}

// A Spot is a virtual machine of a scale set as its eviction sees it.
type Spot struct {
	Set    ResourceID // empty: it is of none
	Spot   bool
	Delete bool // the eviction policy; else it is deallocated
	Power  PowerState
	Health HealthState
}

// SpotOf reads a virtual machine with its instance view.
func SpotOf(vm Document) Spot {
	m, p := ReadMachine(vm), dig(vm, "properties")
	return Spot{
		Set: ResourceID(textAt(p, "virtualMachineScaleSet", "id")), Spot: m.Spot, Delete: strings.EqualFold(textAt(p, "evictionPolicy"), "Delete"),
		Power: m.Power, Health: m.Health,
	}
}

// Evictable refuses what Azure does not evict: a regular virtual machine.
func (s Spot) Evictable(name string) error {
	if s.Spot {
		return nil
	}
	return &RefusedError{
		Reasons: []string{name + " is a regular virtual machine: Azure evicts Spot ones alone"},
		Hint:    "to see it drain, run fleet-agent drain on it; fleetctl status says which members are Spot",
	}
}

// Evicted says whether a machine has gone the way of its eviction policy.
func (s Spot) Evicted() bool { return s.Power == Deallocated }

// The ends of an eviction.
const (
	EvictionAsked       = "asked" // and not waited for
	EvictionAlready     = "already-deallocated"
	EvictionDeallocated = "deallocated"
	EvictionDeleted     = "deleted"
)

// An EvictView is what came of an eviction.
type EvictView struct {
	Version  int        `json:"version"`
	ScaleSet string     `json:"scale_set"`
	Name     string     `json:"name"`
	ID       ResourceID `json:"id"`
	Policy   string     `json:"eviction_policy"` // Deallocate or Delete
	Outcome  string     `json:"outcome"`         // asked, already-deallocated, deallocated or deleted
	// Seconds from the request to its end, by the clock of who asked.
	Seconds float64 `json:"seconds,omitempty"`
	// Agent is what the node's agent said meanwhile, the first first; AgentNote says why
	// it is not known.
	Agent     []string `json:"agent"`
	AgentNote string   `json:"agent_note,omitempty"`
}

// agentSays are the lines of fleet-agent status -o brief that tell of an eviction.
var agentSays = []string{"state: ", "drain: ", "step: ", "event: "}

// AgentSays leaves the lines of an agent's brief status that tell of an eviction.
func AgentSays(status string) []string {
	var said []string
	for line := range strings.Lines(status) {
		line = strings.TrimRight(line, "\r\n")
		for _, label := range agentSays {
			if strings.HasPrefix(line, label) {
				said = append(said, line)
			}
		}
	}
	return said
}
