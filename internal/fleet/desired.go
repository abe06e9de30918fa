package fleet

import (
	"strings"
)

// A Desired is a resource as a file wants it to be.
type Desired struct {
	Kind string     // in words: "image definition"
	Name string     // for people; empty: that of the id
	ID   ResourceID // without its name while that is Pending
	// Body is what the resource is created with. Of one that is there, what Body says is
	// compared and kept right, and nothing else.
	Body Document
	// Fixed are the properties that cannot be changed, by path, with what a change would
	// take. A path stands for all below it.
	Fixed map[string]string
	// Stays are the properties that count only when the resource is made: a difference
	// is told, and left.
	Stays []string
	// Usual is what Azure means where it shows nothing, by path.
	Usual map[string]any
	// Whole: the type has no PATCH, so that an update is a PUT of Body.
	Whole bool
	// Observed says why the resource is never written; empty: it is ours.
	Observed string
	// Met says what does the work of a resource that is not there; empty: it has to be.
	Met string
	// Pending says what of the resource is not known before others are made.
	Pending string
	// Needs are the resources that have to be there first.
	Needs []ResourceID
	// Scope is where the caller needs the right to write it; empty: nobody asks.
	Scope ResourceID
	// Commands make it, for whoever may.
	Commands []string
}

// label is what a Desired is called.
func (d *Desired) label() string {
	if d.Name != "" {
		return d.Name
	}
	return d.ID.Name()
}

// A Seen is a resource as it was read.
type Seen struct {
	Body Document // nil: there is none
	ETag string   // "" when Azure gave none
}

// state is how the last write of the resource went: "Succeeded", or "" when the type
// does not say.
func (s Seen) state() string { return textAt(s.Body, "properties", "provisioningState") }

// Busy says whether a write of the resource goes on, and which: "Creating".
func (s Seen) Busy() (string, bool) {
	state := s.state()
	if !AtWork(state) || state == "Migrating" {
		return "", false
	}
	return state, true
}

const stateFailed = "Failed"

// A Permission is what a role allows, in the words of Azure: patterns of actions in
// which * stands for any text.
type Permission struct {
	Actions, NotActions, DataActions, NotDataActions []string
}

// NewPermissions reads the permissions of a role definition, or of a caller.
func NewPermissions(values []any) []Permission {
	var all []Permission
	for _, v := range values {
		all = append(all, Permission{
			Actions: textsAt(v, "actions"), NotActions: textsAt(v, "notActions"),
			DataActions: textsAt(v, "dataActions"), NotDataActions: textsAt(v, "notDataActions"),
		})
	}
	return all
}

func textsAt(v any, keys ...string) []string {
	var all []string
	for _, one := range listAt(v, keys...) {
		if text, ok := one.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

// allows says whether one of the permissions has the action.
func allows(permissions []Permission, action string) bool {
	for _, p := range permissions {
		if matchesAny(p.Actions, action) && !matchesAny(p.NotActions, action) {
			return true
		}
	}
	return false
}

// allowsData is allows for an action on data.
func allowsData(permissions []Permission, action string) bool {
	for _, p := range permissions {
		if matchesAny(p.DataActions, action) && !matchesAny(p.NotDataActions, action) {
			return true
		}
	}
	return false
}

func matchesAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if matchesPattern(strings.ToLower(p), strings.ToLower(action)) {
			return true
		}
	}
	return false
}

// matchesPattern says whether a text is what a pattern says, in which * is any text.
func matchesPattern(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	text, ok := strings.CutPrefix(text, parts[0])
	if !ok || len(parts) == 1 {
		return ok && text == ""
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return strings.HasSuffix(text, parts[len(parts)-1])
}

// A Grant is a role that the identity of a bake was given.
type Grant struct {
	ID          ResourceID // of the assignment
	Scope       ResourceID // where it holds, and below
	Principal   string
	Role        string // name of the role definition, a GUID
	RoleName    string // for people
	Permissions []Permission
	// Conditional: it holds under a condition that is not understood here.
	Conditional bool
}

// A Live is what was read of the resources that a plan is about.
type Live struct {
	// Resources are those that are there, and those that are not with an empty Seen.
	Resources map[string]Seen // see Key
	// Grants are the roles of the bake's identity. They are not known when GrantsUnread
	// says why.
	Grants       []Grant
	GrantsUnread string
	// BuilderRole is the role of the name of Spec.BuilderRole, when it was made with
	// another id than ours: az gives it one of its own.
	BuilderRole ResourceID
	// Permissions are what the caller may do, by the Key of a scope. Nothing is known of
	// a scope that is not here.
	Permissions map[string][]Permission
	// Accounts are the storage accounts of the subscription. They are not known when
	// AccountsUnread says why.
	Accounts       []ResourceID
	AccountsUnread string
	// Providers is as in Fleet.
	Providers map[string]string
}

// Key is an id for the maps of a Live: Azure does not tell the letters of ids apart.
func Key(id ResourceID) string { return strings.ToLower(strings.TrimRight(string(id), "/")) }

// seen returns what was read of a resource.
func (l *Live) seen(id ResourceID) Seen { return l.Resources[Key(id)] }

// mayWrite says whether the caller may write resources of a type at a scope. What is
// not known is left to Azure to say.
func (l *Live) mayWrite(scope ResourceID, resourceType string) bool {
	permissions, known := l.Permissions[Key(scope)]
	return !known || allows(permissions, resourceType+"/write")
}

// covers says whether what is granted at a scope holds at another. A management group
// is above every subscription in which a list of assignments names it.
func (id ResourceID) covers(scope ResourceID) bool {
	return typeManagementGroup == strings.ToLower(id.Type()) || strings.HasPrefix(Key(scope)+"/", Key(id)+"/")
}

const typeManagementGroup = "microsoft.management/managementgroups"
