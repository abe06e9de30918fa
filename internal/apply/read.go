package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Read reads what the plan of the foundation of bakes is about. What the caller may not
// look at is no error where a plan can be made without it.
func Read(ctx context.Context, client *azure.Client, spec *fleet.Spec) (*fleet.Live, error) {
	r := reader{client: client, spec: spec, live: &fleet.Live{
		Resources: make(map[string]fleet.Seen), Permissions: make(map[string][]fleet.Permission),
	}}
	for _, step := range []func(context.Context) error{r.resources, r.builderRole, r.providers, r.accounts, r.rights, r.grants} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return r.live, nil
}

type reader struct {
	client *azure.Client
	spec   *fleet.Spec
	live   *fleet.Live
}

// is says whether an error is of a kind.
func is(err error, kind azure.Kind) bool { return errors.Is(err, &azure.Error{Kind: kind}) }

// says says whether Azure's code for an error is one of those given.
func says(err error, codes ...string) bool {
	e, ok := errors.AsType[*azure.Error](err)
	if !ok {
		return false
	}
	for _, code := range codes {
		if e.Text == code || strings.HasPrefix(e.Text, code+":") {
			return true
		}
	}
	return false
}

// typeOf compares the type of a resource.
func typeOf(id fleet.ResourceID, resourceType string) bool {
	return strings.EqualFold(id.Type(), resourceType)
}

const (
	authorization  = "/providers/Microsoft.Authorization/"
	roleAssignment = "Microsoft.Authorization/roleAssignments"
)

// see reads one resource. One that is not there is empty.
func see(ctx context.Context, client *azure.Client, id fleet.ResourceID) (fleet.Seen, azure.Resource, error) {
	r, err := client.Resource(ctx, id, "")
	if is(err, azure.NotFound) {
		return fleet.Seen{}, r, nil
	}
	return fleet.Seen{Body: r.Body, ETag: r.ETag}, r, err
}

func (r *reader) resources(ctx context.Context) error {
	for _, d := range fleet.Foundation(r.spec, r.live) {
		if typeOf(d.ID, roleAssignment) {
			continue // found among the grants
		}
		seen, _, err := see(ctx, r.client, d.ID)
		if err != nil {
			return err
		}
		r.live.Resources[fleet.Key(d.ID)] = seen
	}
	return nil
}

// builderRole looks for the role of Image Builder by its name when it is not there by
// its id.
func (r *reader) builderRole(ctx context.Context) error {
	name, id := r.spec.BuilderRole()
	scope := scopeOf(id)
	if id == "" || !r.there(scope) || r.there(id) {
		return nil
	}
	list, err := r.client.Resources(ctx, scope+authorization+"roleDefinitions", "roleName eq '"+name+"'")
	if err != nil || len(list) == 0 {
		return err
	}
	guid, _ := list[0]["name"].(string)
	r.live.BuilderRole = scope + authorization + "roleDefinitions/" + fleet.ResourceID(guid)
	r.live.Resources[fleet.Key(r.live.BuilderRole)] = fleet.Seen{Body: list[0]}
	return nil
}

func (r *reader) providers(ctx context.Context) error {
	found, err := r.client.Providers(ctx, r.spec.Subscription)
	if is(err, azure.Denied) {
		return nil // then they count as registered, or Azure says so
	}
	r.live.Providers = found
	return err
}

// accounts finds the storage accounts that a bake reads from.
func (r *reader) accounts(ctx context.Context) error {
	if len(r.spec.BakeAccounts()) == 0 {
		return nil
	}
	list, err := r.client.Resources(ctx, fleet.ResourceID("/subscriptions/"+r.spec.Subscription+"/providers/Microsoft.Storage/storageAccounts"), "")
	if is(err, azure.Denied) {
		r.live.AccountsUnread = "the storage accounts of the subscription may not be read"
		return nil
	}
	for _, account := range list {
		id, _ := account["id"].(string)
		r.live.Accounts = append(r.live.Accounts, fleet.ResourceID(id))
	}
	return err
}

// scopes are where roles are given, each once.
func (r *reader) scopes() []fleet.ResourceID {
	var all []fleet.ResourceID
	known := make(map[string]bool)
	for _, d := range fleet.Foundation(r.spec, r.live) {
		if d.Scope != "" && !known[fleet.Key(d.Scope)] {
			known[fleet.Key(d.Scope)] = true
			all = append(all, d.Scope)
		}
	}
	return all
}

// there says whether a scope is there: a resource group that is not has no rights.
func (r *reader) there(scope fleet.ResourceID) bool {
	seen, asked := r.live.Resources[fleet.Key(scope)]
	return !asked || seen.Body != nil
}

// rights reads what the caller may do where roles are given: in a group that is not
// there yet what they may in the subscription.
func (r *reader) rights(ctx context.Context) error {
	for _, scope := range r.scopes() {
		at := scope
		if !r.there(scope) {
			at = fleet.ResourceID("/subscriptions/" + r.spec.Subscription)
		}
		list, err := r.client.Resources(ctx, at+authorization+"permissions", "")
		if is(err, azure.Denied) || is(err, azure.NotFound) {
			continue
		}
		if err != nil {
			return err
		}
		values := make([]any, len(list))
		for i := range list {
			values[i] = list[i]
		}
		r.live.Permissions[fleet.Key(scope)] = fleet.NewPermissions(values)
	}
	return nil
}

// grants reads the roles of the identity that count where it needs some.
func (r *reader) grants(ctx context.Context) error {
	identity := r.live.Resources[fleet.Key(r.spec.IdentityID())]
	properties, _ := identity.Body["properties"].(fleet.Document)
	principal, _ := properties["principalId"].(string)
	if principal == "" {
		return nil
	}
	known := make(map[string]bool)
	roles := make(map[string]fleet.Document)
	for _, scope := range r.scopes() {
		if !r.there(scope) {
			continue
		}
		list, err := r.client.Resources(ctx, scope+authorization+"roleAssignments", "principalId eq '"+principal+"'")
		if is(err, azure.Denied) {
			r.live.GrantsUnread = "role assignments may not be read on " + scope.Name()
			continue
		}
		if err != nil {
			return err
		}
		for _, assignment := range list {
			id, _ := assignment["id"].(string)
			if known[fleet.Key(fleet.ResourceID(id))] {
				continue
			}
			known[fleet.Key(fleet.ResourceID(id))] = true
			if err := r.grant(ctx, fleet.ResourceID(id), assignment, roles); err != nil {
				return err
			}
		}
	}
	return nil
}

// grant notes an assignment with what its role allows. A role that cannot be read
// allows nothing that is known.
func (r *reader) grant(ctx context.Context, id fleet.ResourceID, assignment fleet.Document, roles map[string]fleet.Document) error {
	r.live.Resources[fleet.Key(id)] = fleet.Seen{Body: assignment}
	properties, _ := assignment["properties"].(fleet.Document)
	text := func(name string) string {
		s, _ := properties[name].(string)
		return s
	}
	role := fleet.ResourceID(text("roleDefinitionId"))
	g := fleet.Grant{
		ID: id, Scope: scopeOf(id), Principal: text("principalId"), Role: role.Name(), RoleName: role.Name(),
		Conditional: text("condition") != "",
	}
	body, known := roles[g.Role]
	if !known {
		var err error
		if body, err = r.role(ctx, g.Scope, role); err != nil {
			return fmt.Errorf("read the role of %s: %w", r.spec.IdentityID().Name(), err)
		}
		roles[g.Role] = body
	}
	definition, _ := body["properties"].(fleet.Document)
	if name, _ := definition["roleName"].(string); name != "" {
		g.RoleName = name
	}
	permissions, _ := definition["permissions"].([]any)
	g.Permissions = fleet.NewPermissions(permissions)
	r.live.Grants = append(r.live.Grants, g)
	return nil
}

// role reads a role definition, at the scope of an assignment or by its own id.
func (r *reader) role(ctx context.Context, scope, id fleet.ResourceID) (fleet.Document, error) {
	for _, at := range []fleet.ResourceID{scope + authorization + "roleDefinitions/" + fleet.ResourceID(id.Name()), id} {
		found, err := r.client.Resource(ctx, at, "")
		switch {
		case is(err, azure.NotFound), is(err, azure.Denied), is(err, azure.Usage):
		case err != nil:
			return nil, err
		default:
			return found.Body, nil
		}
	}
	return nil, nil
}

// scopeOf is where an assignment holds.
func scopeOf(id fleet.ResourceID) fleet.ResourceID {
	i := strings.LastIndex(strings.ToLower(string(id)), strings.ToLower(authorization))
	return id[:max(i, 0)]
}
