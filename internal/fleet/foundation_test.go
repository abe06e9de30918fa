package fleet

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	foundationGroup = "/subscriptions/S/resourceGroups/rg-pay-prod"
	foundationUser  = foundationGroup + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib"
	principal       = "aaaaaaaa-0000-0000-0000-000000000001"
)

func foundationSpec(change ...func(*Spec)) *Spec {
	s := &Spec{
		Name: "pay", Subscription: "S", ResourceGroup: "rg-pay-prod", Location: "eastus", Tags: map[string]string{"owner": "payments"},
		Gallery: &GallerySpec{Name: "galProd", Manage: ManageFull, Image: DefinitionSpec{Name: "ubuntu-app", Publisher: "kloudvin", Offer: "ubuntu", SKU: "app-jammy"}},
		Bake:    &BakeSpec{Identity: "id-aib"},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

// thereIs is a Live in which all that a file asks for is there as it is asked for.
func thereIs(s *Spec) *Live {
	live := &Live{Resources: map[string]Seen{Key(foundationUser): {Body: Document{"properties": Document{"principalId": principal}}}}}
	for _, d := range Foundation(s, live) {
		body := Document{"id": string(d.ID)}
		maps.Copy(body, d.Body)
		if Key(d.ID) == Key(foundationUser) {
			body["properties"] = Document{"principalId": principal}
		}
		live.Resources[Key(d.ID)] = Seen{Body: body}
	}
	return live
}

// actions are the actions of a plan, one a line: "create gallery galProd".
func actions(p FoundationPlan) []string {
	var all []string
	for i := range p.Changes {
		c := &p.Changes[i]
		name, _, _ := strings.Cut(c.Name, " (rg-") // without the hash
		all = append(all, string(c.Action)+" "+c.Kind+" "+name)
	}
	return all
}

func TestPlanFoundation(t *testing.T) {
	nothing := func(*Spec) *Live { return &Live{} }
	storage := func(s *Spec) {
		s.Bake.Customize = []CustomizeSpec{
			{Script: "https://stbuild.blob.core.windows.net/scripts/cis.sh"},
			{Script: "https://stbuild.blob.core.windows.net/scripts/more.sh"},
			{Script: "https://signed.blob.core.windows.net/scripts/cis.sh?sig=x"},
			{Script: "https://raw.githubusercontent.com/a/b/c.sh"},
			{File: "local.deb"},
		}
		s.Bake.Validate = []ScriptSpec{{Script: "https://stelse.blob.core.windows.net/v.sh"}}
	}
	const account = "/subscriptions/S/resourceGroups/rg-build/providers/Microsoft.Storage/storageAccounts/stbuild"
	for name, tt := range map[string]struct {
		change func(*Spec)
		live   func(*Spec) *Live
		want   []string
		notes  int
	}{
		"nothing": {live: nothing, want: []string{
			"create resource group rg-pay-prod", "create identity id-aib", "create gallery galProd", "create image definition ubuntu-app",
			"create role definition fleetctl image builder", "create role assignment fleetctl image builder",
		}},
		"all": {live: thereIs, want: []string{
			"none resource group rg-pay-prod", "none identity id-aib", "none gallery galProd", "none image definition ubuntu-app",
			"none role definition fleetctl image builder", "none role assignment fleetctl image builder",
		}},
		"observed gallery": {change: func(s *Spec) { s.Gallery.Manage = ManageObserve }, live: nothing, want: []string{
			"unknown resource group rg-pay-prod", "unknown identity id-aib", "unknown gallery galProd", "unknown image definition ubuntu-app",
			"unknown role definition fleetctl image builder", "unknown role assignment fleetctl image builder",
		}},
		"nothing of ours": {change: func(s *Spec) { s.Gallery.Manage, s.Bake = ManageObserve, nil }, live: nothing, want: []string{
			"unknown resource group rg-pay-prod", "unknown gallery galProd", "unknown image definition ubuntu-app",
		}},
		"sets only": {change: func(s *Spec) {
			s.Gallery, s.Bake, s.ScaleSets = nil, nil, map[string]SetSpec{"a": {Manage: ManageFull}}
		}, live: nothing, want: []string{"create resource group rg-pay-prod"}},
		"gallery elsewhere": {change: func(s *Spec) { s.Gallery.ResourceGroup = "rg-images" }, live: nothing, want: []string{
			"create resource group rg-pay-prod", "unknown resource group rg-images", "create identity id-aib",
			"unknown gallery galProd", "unknown image definition ubuntu-app",
			"unknown role definition fleetctl image builder", "unknown role assignment fleetctl image builder",
		}},
		"identity elsewhere": {change: func(s *Spec) {
			s.Bake.Identity = "/subscriptions/S/resourceGroups/rg-ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-x"
		}, live: nothing, want: []string{
			"create resource group rg-pay-prod", "unknown identity id-x", "create gallery galProd", "create image definition ubuntu-app",
			"create role definition fleetctl image builder", "unknown role assignment fleetctl image builder",
		}},
		"a role that does it": {live: func(s *Spec) *Live {
			live := thereIs(s)
			for id := range live.Resources {
				if strings.Contains(id, "microsoft.authorization") {
					delete(live.Resources, id)
				}
			}
			live.Grants = []Grant{
				{Scope: "/subscriptions/S", Principal: strings.ToUpper(principal), Role: "r", RoleName: "Contributor", Permissions: []Permission{{Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/write"}}}},
			}
			return live
		}, want: []string{
			"none resource group rg-pay-prod", "none identity id-aib", "none gallery galProd", "none image definition ubuntu-app",
			"none role definition fleetctl image builder", "none role assignment fleetctl image builder",
		}},
		"may not write roles": {live: func(*Spec) *Live {
			return &Live{Permissions: map[string][]Permission{Key(foundationGroup): {{Actions: []string{"*"}, NotActions: []string{"Microsoft.Authorization/*/Write"}}}}}
		}, want: []string{
			"create resource group rg-pay-prod", "create identity id-aib", "create gallery galProd", "create image definition ubuntu-app",
			"unknown role definition fleetctl image builder", "unknown role assignment fleetctl image builder",
		}},
		"may assign, but not define": {live: func(*Spec) *Live {
			return &Live{Permissions: map[string][]Permission{Key(foundationGroup): {{Actions: []string{"Microsoft.Authorization/roleAssignments/*"}}}}}
		}, want: []string{
			"create resource group rg-pay-prod", "create identity id-aib", "create gallery galProd", "create image definition ubuntu-app",
			"unknown role definition fleetctl image builder", "unknown role assignment fleetctl image builder",
		}},
		"scripts in storage accounts": {change: storage, notes: 1, live: func(*Spec) *Live { return &Live{Accounts: []ResourceID{account}} }, want: []string{
			"create resource group rg-pay-prod", "create identity id-aib", "create gallery galProd", "create image definition ubuntu-app",
			"create role definition fleetctl image builder", "create role assignment fleetctl image builder",
			"create role assignment Storage Blob Data Reader for id-aib on stbuild",
		}},
		"storage accounts that may not be read": {change: storage, notes: 2, live: func(*Spec) *Live { return &Live{AccountsUnread: "no"} }, want: []string{
			"create resource group rg-pay-prod", "create identity id-aib", "create gallery galProd", "create image definition ubuntu-app",
			"create role definition fleetctl image builder", "create role assignment fleetctl image builder",
		}},
		"provider": {live: func(s *Spec) *Live {
			live := thereIs(s)
			delete(live.Resources, Key(s.GalleryID()))
			live.Providers = map[string]string{"microsoft.compute": "notregistered", "microsoft.storage": "registered", "microsoft.insights": "notregistered"}
			return live
		}, want: []string{
			"unknown resource provider Microsoft.Compute",
			"none resource group rg-pay-prod", "none identity id-aib", "unknown gallery galProd", "none image definition ubuntu-app",
			"none role definition fleetctl image builder", "none role assignment fleetctl image builder",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := foundationSpec()
			if tt.change != nil {
				tt.change(s)
			}
			live := tt.live(s)
			plan := PlanFoundation(s, live, false)
			require.Equal(t, tt.want, actions(plan))
			require.Len(t, plan.Notes, tt.notes)
			for i := range plan.Changes {
				c := &plan.Changes[i]
				require.Equal(t, c.Action == ActionCreate && c.Note == "" || c.Action == ActionUpdate, c.Write != nil, "%s %s", c.Kind, c.Name)
				role := strings.HasPrefix(c.Kind, "role ") && !strings.Contains(c.Note, "needs resource group") && !strings.Contains(c.Note, "needs identity")
				require.Equal(t, c.Action == ActionUnknown && (role || c.Kind == kindProvider), len(c.Commands) > 0, "%s %s", c.Kind, c.Name)
				for _, command := range c.Commands {
					require.NotContains(t, command, "\n")
				}
			}
		})
	}
}

// The GUIDs follow from what they are for: the same twice, another for another.
func TestFoundationGUIDs(t *testing.T) {
	require.Equal(t, "358cbdc9-2482-5649-95c1-c63bf125612e", guidOf("role", "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-pay-prod"))
	require.Equal(t, guidOf("role", "/A/B"), guidOf("role", "/a/b"))
	require.NotEqual(t, guidOf("role", "/a/b"), guidOf("role", "/a/c"))
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, guidOf("x"))

	s := foundationSpec()
	one, other := thereIs(s), thereIs(s)
	other.Resources[Key(foundationUser)] = Seen{Body: Document{"properties": Document{"principalId": "another"}}}
	last := func(l *Live) ResourceID {
		all := Foundation(s, l)
		return all[len(all)-1].ID
	}
	require.NotEqual(t, last(one), last(other), "an identity that was made anew has an assignment of its own")
}

// What a role allows is what counts, wherever above it is assigned.
func TestCovered(t *testing.T) {
	s := foundationSpec()
	reader := []Permission{{Actions: []string{"*/read"}}}
	writer := []Permission{{Actions: []string{"Microsoft.Compute/galleries/images/versions/WRITE", "microsoft.compute/images/*"}}}
	grant := func(scope ResourceID, p []Permission) Grant {
		return Grant{Scope: scope, Principal: principal, Role: "r", RoleName: "R", Permissions: p}
	}
	conditional := grant("/subscriptions/S", []Permission{{Actions: []string{"*"}}})
	conditional.Conditional = true
	foreign := grant("/subscriptions/S", []Permission{{Actions: []string{"*"}}})
	foreign.Principal = "somebody"
	all := []Permission{{Actions: []string{"*"}}}
	itself := func(scope ResourceID) Grant {
		g := grant(scope, all)
		g.Role = "X"
		return g
	}
	for name, tt := range map[string]struct {
		grants []Grant
		want   string
	}{
		"none":         {},
		"two together": {[]Grant{grant("/subscriptions/S", reader), grant(foundationGroup, writer)}, "not needed: id-aib has R on S, R on rg-pay-prod"},
		"above all":    {[]Grant{grant("", []Permission{{Actions: []string{"*"}}})}, "not needed: id-aib has R on /"},
		"management group": {
			[]Grant{grant("/providers/Microsoft.Management/managementGroups/mg-corp", []Permission{{Actions: []string{"*"}}})}, "not needed: id-aib has R on mg-corp",
		},
		"a part":       {[]Grant{grant("/subscriptions/S", reader)}, ""},
		"below":        {[]Grant{grant(foundationGroup+"/providers/Microsoft.Compute/galleries/galProd", []Permission{{Actions: []string{"*"}}})}, ""},
		"like-named":   {[]Grant{grant("/subscriptions/S/resourceGroups/rg-pay", []Permission{{Actions: []string{"*"}}})}, ""},
		"taken out":    {[]Grant{grant("/subscriptions/S", []Permission{{Actions: []string{"*"}, NotActions: []string{"Microsoft.Compute/*"}}})}, ""},
		"condition":    {[]Grant{conditional}, ""},
		"of another":   {[]Grant{foreign}, ""},
		"itself":       {[]Grant{itself(foundationGroup)}, ""},
		"itself above": {[]Grant{itself("/subscriptions/S")}, "not needed: id-aib has R on S"},
	} {
		live := thereIs(s)
		live.Grants = tt.grants
		f := foundation{spec: s, live: live}
		require.Equal(t, tt.want, f.covered(foundationGroup, "x", builderActions, nil), name)
	}
	live := thereIs(s)
	live.Grants = []Grant{grant("/subscriptions/S", []Permission{{Actions: []string{"*"}}})}
	f := foundation{spec: s, live: live}
	require.Empty(t, f.covered(foundationGroup, "x", nil, []string{blobRead}), "Owner may not read blobs")
}

func TestMatchesPattern(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "a/b", true},
		{"*/read", "a/b/read", true},
		{"*/read", "a/reads", false},
		{"a/*/read", "a/b/c/read", true},
		{"a/*/read", "a/read", false},
		{"a/b", "a/b", true},
		{"a/b", "a/b/c", false},
		{"a/*", "b/a/", false},
		{"", "", true},
		{"", "a", false},
		{"a*a", "a", false},
		{"**", "x", true},
	} {
		require.Equal(t, tt.want, matchesPattern(tt.pattern, tt.text), "%s %s", tt.pattern, tt.text)
	}
}

// The commands are words that a shell takes apart as they were meant.
func TestFoundationCommands(t *testing.T) {
	s := foundationSpec()
	all := Foundation(s, &Live{})
	role, assignment := all[len(all)-2], all[len(all)-1]
	text, ok := strings.CutPrefix(role.Commands[0], "az role definition create --role-definition ")
	require.True(t, ok)
	var body struct {
		Name                      string
		IsCustom                  bool
		Actions, AssignableScopes []string
	}
	require.NoError(t, json.Unmarshal([]byte(strings.Trim(text, "'")), &body))
	require.Equal(t, builderActions, body.Actions)
	require.Equal(t, []string{foundationGroup}, body.AssignableScopes)
	require.Equal(t, `az role assignment create --assignee-object-id "$(az identity show --ids `+shellQuote(foundationUser)+
		` --query principalId -o tsv)" --assignee-principal-type ServicePrincipal --role '`+body.Name+`' --scope `+shellQuote(foundationGroup), assignment.Commands[0])
	require.Equal(t, foundationGroup+"/providers/Microsoft.Authorization/roleAssignments", string(assignment.ID))
	require.Empty(t, assignment.Body)

	all = Foundation(s, thereIs(s))
	require.Contains(t, all[len(all)-1].Commands[0], "--assignee-object-id "+shellQuote(principal)+" ")
}

func TestFoundationMissing(t *testing.T) {
	s := foundationSpec()
	require.Empty(t, FoundationMissing(s, thereIs(s)))

	drifted := thereIs(s)
	drifted.Resources[Key(s.GalleryID())] = Seen{Body: Document{"tags": Document{"owner": "x"}}}
	require.Empty(t, FoundationMissing(s, drifted), "a tag keeps no bake from its work")

	live := thereIs(s)
	delete(live.Resources, Key(s.GalleryID()))
	live.Resources[Key(s.DefinitionID())] = Seen{Body: Document{"properties": Document{"osType": "Windows"}}}
	live.Providers = map[string]string{"microsoft.virtualmachineimages": "notregistered"}
	require.Equal(t, []string{
		"resource provider Microsoft.VirtualMachineImages is not registered",
		"gallery galProd is not there",
		"image definition ubuntu-app is not what the file says, and cannot be changed",
	}, FoundationMissing(s, live))

	all := FoundationMissing(s, &Live{})
	require.Len(t, all, 5)
	require.Contains(t, all[4], "role assignment fleetctl image builder (rg-pay-prod ")
	unread := &Live{GrantsUnread: "role assignments may not be read on rg-pay-prod"}
	require.Len(t, FoundationMissing(s, unread), 4, "what is not known is not missing")
}
