package arm

import (
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/blob"
	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// A buildSpec is an entry of the key builds of a scenario.
type buildSpec struct {
	Template   string        `yaml:"template" doc:"name of the templates that it is about, with * and ?; without it, all"`
	Count      int           `yaml:"count" doc:"how many submissions or runs fail; without it, all"`
	Fails      string        `yaml:"fails" enum:"submission,internal-error,policy,stuck-creating,quota,shared-key,customizer,validator,distribution,region,stuck-running,stuck-canceling" doc:"what goes wrong"`
	Customizer string        `yaml:"customizer" doc:"name of the customizer or the validator that fails, with * and ?; without it, the last"`
	ExitCode   int           `yaml:"exit_code" doc:"of what fails; 1 when it is not given"`
	Output     []string      `yaml:"output" doc:"lines that it prints"`
	Code       string        `yaml:"code" doc:"provisioningErrorCode of a submission"`
	Message    string        `yaml:"message" doc:"in place of the usual one"`
	Regions    []string      `yaml:"regions" doc:"which do not get the version"`
	State      string        `yaml:"state" enum:"Building,Customizing,Optimizing,Validating,Distributing" doc:"where a run is stuck; Building when it is not given"`
	For        age           `yaml:"for" doc:"how long it is stuck; without it, for ever"`
	Publishes  bool          `yaml:"publishes" doc:"what is stuck makes its version all the same"`
	Takes      buildTimeSpec `yaml:"takes" doc:"how long the parts of a build take"`
}

type buildTimeSpec struct {
	Creating   age `yaml:"creating" doc:"the template; 150s when it is not given"`
	Queued     age `yaml:"queued" doc:"20s when it is not given"`
	Building   age `yaml:"building" doc:"70s when it is not given"`
	Customizer age `yaml:"customizer" doc:"each customizer; 20s when it is not given"`
	Optimizing age `yaml:"optimizing" doc:"30s when it is not given"`
	Validating age `yaml:"validating" doc:"each validator; 30s when it is not given"`
	Canceling  age `yaml:"canceling" doc:"1m when it is not given"`
}

// rule is what the entry makes of builds.
func (b *buildSpec) rule() buildRule {
	t := b.Takes
	return buildRule{
		Template: b.Template, Count: b.Count, Fails: b.Fails, Customizer: b.Customizer, ExitCode: b.ExitCode, Output: b.Output, Code: b.Code,
		Message: b.Message, Regions: b.Regions, State: b.State, For: int64(b.For), Publishes: b.Publishes,
		Takes: buildTime{
			Creating: time.Duration(t.Creating), Queued: time.Duration(t.Queued), Building: time.Duration(t.Building), Customizer: time.Duration(t.Customizer),
			Optimizing: time.Duration(t.Optimizing), Validating: time.Duration(t.Validating), Canceling: time.Duration(t.Canceling),
		},
	}
}

type accountSpec struct {
	Name       string `yaml:"name" required:"true"`
	place      `yaml:",inline"`
	Containers []string `yaml:"containers" doc:"names of blob containers"`
}

type rolesSpec struct {
	EffectiveAfter age              `yaml:"effective_after" doc:"how long a new role assignment takes to take effect; without it, at once"`
	Definitions    []roleSpec       `yaml:"definitions" doc:"custom roles"`
	Assignments    []assignmentSpec `yaml:"assignments" doc:"role assignments, which are in effect"`
}

type roleSpec struct {
	Name    string   `yaml:"name" required:"true" doc:"roleName"`
	Actions []string `yaml:"actions" required:"true"`
}

type assignmentSpec struct {
	Identity string `yaml:"identity" required:"true" doc:"name of a user-assigned identity in the resource group; it is made when it is missing"`
	Role     string `yaml:"role" required:"true" doc:"name of a custom role of this file, or of one of Azure's"`
	Scope    string `yaml:"scope" doc:"resource id; without it, the resource group"`
}

type callerSpec struct {
	NotActions []string `yaml:"not_actions" doc:"what the caller may not do, with *"`
}

// access makes roles and assignments, and keeps what is said about the caller
// and the policies.
func (b *builder) access() error {
	settings := object{"effectiveAfter": time.Duration(b.file.Roles.EffectiveAfter).String()}
	var not []any
	for _, action := range b.file.Caller.NotActions {
		not = append(not, action)
	}
	var policies []any
	for i := range b.file.Policies {
		policies = append(policies, b.file.Policies[i].object())
	}
	settings["notActions"], settings["policies"] = not, policies
	b.tx.put(resource{ID: accessSettings, Type: registration, Hidden: settings})
	named := map[string]string{}
	for i := range builtInRoles {
		named[builtInRoles[i].name] = builtInRoles[i].id
	}
	for _, r := range b.file.Roles.Definitions {
		named[r.Name] = guid("role", r.Name)
		body := object{"properties": object{
			"roleName": r.Name, "type": "CustomRole", "description": "", "assignableScopes": []string{b.scope(place{})},
			"permissions": []any{object{"actions": r.Actions, "notActions": []any{}, "dataActions": []any{}, "notDataActions": []any{}}},
		}}
		if _, err := b.put(roleID(b.subscription, named[r.Name]), roleDefinitionType, body, nil, nil); err != nil {
			return err
		}
	}
	for _, a := range b.file.Roles.Assignments {
		if err := b.assignment(a, named[a.Role]); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) assignment(a assignmentSpec, role string) error {
	scope := a.Scope
	if scope == "" {
		scope = b.scope(place{})
	}
	b.identity(place{}, []string{a.Identity})
	id := b.scope(place{}) + "/providers/" + identityType + "/" + a.Identity
	body := object{"properties": object{
		"roleDefinitionId": roleID(b.subscription, role), "principalId": guid("principal", key(id)), "principalType": "ServicePrincipal", "scope": scope,
		"createdOn": stamp(b.tx.now), "updatedOn": stamp(b.tx.now),
	}}
	_, err := b.put(scope+"/providers/"+roleAssignmentType+"/"+guid("assignment", a.Identity, a.Role, scope), roleAssignmentType, body, nil, nil)
	return err
}

// storage makes a storage account with its containers.
func (b *builder) storage(a accountSpec) error {
	body := b.located(a.place, object{})
	body["kind"], body["sku"] = "StorageV2", object{"name": "Standard_LRS"}
	fillAccount(b.tx, body, a.Name, b.region(a.place))
	r, err := b.put(b.scope(a.place)+"/providers/"+storageType+"/"+a.Name, storageType, body, nil, object{"blobs": b.tx.newBlobs()})
	if err != nil {
		return err
	}
	for _, name := range a.Containers {
		b.tx.blobs(r).Create(name, b.tx.now)
	}
	return nil
}

// builds keeps the rules of builds.
func (b *builder) builds() error {
	var rules []buildRule
	for i := range b.file.Builds {
		rules = append(rules, b.file.Builds[i].rule())
	}
	return b.tx.setBuildRules(rules)
}

// checkBuilds collects what is wrong with builds, storage accounts and roles.
func checkBuilds(c *strict.Checker, f *scenarioFile) {
	for i, b := range f.Builds {
		for at, pattern := range map[string]string{"template": b.Template, "customizer": b.Customizer} {
			if _, err := path.Match(pattern, ""); err != nil {
				c.Fail(fmt.Sprintf("%q is no pattern", pattern), "builds", i, at)
			}
		}
		if b.Fails == "" && b.Takes == (buildTimeSpec{}) {
			c.Fail("a rule has fails, or takes, or both", "builds", i)
		}
		if b.Count < 0 || b.For < 0 {
			c.Fail("count and for are not negative", "builds", i)
		}
		if b.Fails == "region" && len(b.Regions) == 0 {
			c.Fail("regions is missing", "builds", i)
		}
	}
	unique(c, f.StorageAccounts, func(a accountSpec) string { return a.Name }, "storage_accounts")
	for i, a := range f.StorageAccounts {
		if !accountName.MatchString(a.Name) {
			c.Fail(fmt.Sprintf("%q is no name of a storage account: 3 to 24 of a-z and 0-9", a.Name), "storage_accounts", i, "name")
		}
		for j, name := range a.Containers {
			if !blob.ValidContainer(name) {
				c.Fail(fmt.Sprintf("%q is no name of a container", name), "storage_accounts", i, "containers", j)
			}
		}
	}
	unique(c, f.Roles.Definitions, func(r roleSpec) string { return r.Name }, "roles", "definitions")
	for i, a := range f.Roles.Assignments {
		known := slices.ContainsFunc(builtInRoles, func(r role) bool { return r.name == a.Role }) ||
			slices.ContainsFunc(f.Roles.Definitions, func(r roleSpec) bool { return r.Name == a.Role })
		if !known {
			c.Fail(fmt.Sprintf("there is no role %q in this file", a.Role), "roles", "assignments", i, "role")
		}
	}
}
