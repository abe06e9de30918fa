package fleet

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// builderActions are what Azure Image Builder needs where it distributes to: Microsoft's
// list.
var builderActions = []string{
	"Microsoft.Compute/galleries/read",
	"Microsoft.Compute/galleries/images/read",
	"Microsoft.Compute/galleries/images/versions/read",
	"Microsoft.Compute/galleries/images/versions/write",
	"Microsoft.Compute/images/write",
	"Microsoft.Compute/images/read",
	"Microsoft.Compute/images/delete",
}

const (
	typeRoleDefinition = "Microsoft.Authorization/roleDefinitions"
	typeRoleAssignment = "Microsoft.Authorization/roleAssignments"

	// blobReader is Azure's role Storage Blob Data Reader, and blobRead what it allows.
	blobReader     = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
	blobReaderName = "Storage Blob Data Reader"
	blobRead       = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
)

// builderProviders are the resource providers that a bake needs.
var builderProviders = []string{
	"Microsoft.Compute", "Microsoft.ContainerInstance", "Microsoft.KeyVault", "Microsoft.ManagedIdentity",
	"Microsoft.Network", "Microsoft.Storage", "Microsoft.VirtualMachineImages",
}

// Foundation returns what has to be there before an image can be baked, in the order in
// which it is made. What was read completes it: the principal of the identity, and
// where the storage accounts are. With an empty Live it is what to read.
func Foundation(s *Spec, live *Live) []Desired {
	f := foundation{spec: s, live: live}
	f.groups()
	f.identity()
	f.gallery()
	if s.Bake != nil && s.Gallery != nil {
		f.builderRole()
		f.storageRoles()
	}
	return f.all
}

type foundation struct {
	spec *Spec
	live *Live
	all  []Desired
}

func (f *foundation) add(d Desired) { f.all = append(f.all, d) }

// tagged adds the tags of the file to a body.
func (f *foundation) tagged(body Document) Document {
	if len(f.spec.Tags) == 0 {
		return body
	}
	tags := Document{}
	for name, value := range f.spec.Tags {
		tags[name] = value
	}
	body["tags"] = tags
	return body
}

// observed says why nothing of the gallery is written, or "".
func (f *foundation) observed() string {
	if f.spec.Gallery.Manage == ManageObserve {
		return "gallery.manage is observe"
	}
	return ""
}

// owns says whether the file declares anything that is written.
func (s *Spec) owns() bool {
	if s.Gallery != nil && s.Gallery.Manage == ManageFull {
		return true
	}
	for name := range s.ScaleSets {
		if s.ScaleSets[name].Manage == ManageFull {
			return true
		}
	}
	return false
}

func (f *foundation) groups() {
	own := Desired{
		Kind: "resource group", ID: f.spec.group(""), Stays: []string{"location"},
		Body: f.tagged(Document{"location": f.spec.Location}),
	}
	if !f.spec.owns() {
		own.Observed = "the file manages nothing in it"
	}
	f.add(own)
	if f.spec.Gallery == nil {
		return
	}
	if id := f.spec.group(f.spec.Gallery.ResourceGroup); !id.Same(own.ID) {
		f.add(Desired{Kind: "resource group", ID: id, Observed: "it is not the file's resource group"})
	}
}

func (f *foundation) identity() {
	id := f.spec.IdentityID()
	if id == "" {
		return
	}
	d := Desired{
		Kind: "identity", ID: id, Observed: f.observed(), Stays: []string{"location"}, Needs: []ResourceID{f.spec.group("")},
		Body: f.tagged(Document{"location": f.spec.Location}),
	}
	if strings.HasPrefix(f.spec.Bake.Identity, "/") {
		d.Observed, d.Needs = "bake.identity names it by id", nil
	}
	f.add(d)
}

func (f *foundation) gallery() {
	g := f.spec.Gallery
	if g == nil {
		return
	}
	f.add(Desired{
		Kind: "gallery", ID: f.spec.GalleryID(), Observed: f.observed(), Stays: []string{"location"},
		Needs: []ResourceID{f.spec.group(g.ResourceGroup)},
		Body:  f.tagged(Document{"location": f.spec.Location}),
	})
	const newName = "another name (gallery.image.name), since a definition is never changed"
	f.add(Desired{
		Kind: "image definition", ID: f.spec.DefinitionID(), Observed: f.observed(), Stays: []string{"location"},
		Needs: []ResourceID{f.spec.GalleryID()},
		Fixed: map[string]string{"properties": newName},
		Usual: map[string]any{"properties.architecture": "x64", "properties.hyperVGeneration": "V1"},
		Body: f.tagged(Document{
			"location": f.spec.Location,
			// All of it is said: what Azure makes of nothing depends on the API version.
			"properties": Document{
				"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "architecture": "x64",
				"features":   []any{Document{"name": "SecurityType", "value": "TrustedLaunchSupported"}},
				"identifier": Document{"publisher": g.Image.Publisher, "offer": g.Image.Offer, "sku": g.Image.SKU},
			},
		}),
	})
}

// builderScope is where Image Builder needs its role.
func (s *Spec) builderScope() ResourceID { return s.group(s.Gallery.ResourceGroup) }

// BuilderRole returns the name of the custom role of Image Builder, which no other role
// of the tenant has, and the id that it is made with. Somebody else may have made it
// with another: see Live. The id is empty when the file bakes nothing.
func (s *Spec) BuilderRole() (name string, id ResourceID) {
	if s.Bake == nil || s.Gallery == nil {
		return "", ""
	}
	scope := s.builderScope()
	guid := guidOf("role", string(scope))
	return fmt.Sprintf("fleetctl image builder (%s %s)", scope.Name(), guid[:8]), scope + ResourceID("/providers/"+typeRoleDefinition+"/"+guid)
}

const builderDescription = "What Azure Image Builder needs to distribute an image."

// builderRole is the custom role of Image Builder in the gallery's resource group, and
// its assignment to the identity.
func (f *foundation) builderRole() {
	scope := f.spec.builderScope()
	name, id := f.spec.BuilderRole()
	if f.live.BuilderRole != "" {
		id = f.live.BuilderRole
	}
	met := f.covered(scope, id.Name(), builderActions, nil)
	verb := "create"
	if f.live.seen(id).Body != nil {
		verb = "update"
	}
	f.add(Desired{
		Kind: "role definition", Name: name, ID: id, Needs: []ResourceID{scope}, Whole: true, Scope: scope, Observed: f.observed(), Met: met,
		Body: Document{"properties": Document{
			"roleName": name, "type": "CustomRole", "description": builderDescription,
			"permissions": []any{Document{
				"actions": listOf(builderActions), "notActions": []any{}, "dataActions": []any{}, "notDataActions": []any{},
			}},
			"assignableScopes": []any{string(scope)},
		}},
		Commands: []string{"az role definition " + verb + " --role-definition " + shellQuote(roleJSON(name, scope))},
	})
	assignment := f.assignment(scope, id.Name(), name, met)
	assignment.Needs = append(assignment.Needs, id)
	f.add(assignment)
}

func listOf(texts []string) []any {
	all := make([]any, len(texts))
	for i, text := range texts {
		all[i] = text
	}
	return all
}

// roleJSON is the custom role as az reads it.
func roleJSON(name string, scope ResourceID) string {
	text, err := json.Marshal(struct {
		Name             string
		IsCustom         bool
		Description      string
		Actions          []string
		NotActions       []string
		AssignableScopes []string
	}{name, true, builderDescription, builderActions, []string{}, []string{string(scope)}})
	if err != nil {
		panic(err) // of texts alone: it cannot fail
	}
	return string(text)
}

// assignment gives the identity a role. Met says which other role makes it needless.
func (f *foundation) assignment(scope ResourceID, role, roleName, met string) Desired {
	identity := f.spec.IdentityID()
	collection := scope + ResourceID("/providers/"+typeRoleAssignment)
	d := Desired{
		Kind: "role assignment", Name: fmt.Sprintf("%s for %s on %s", roleName, identity.Name(), scope.Name()), ID: collection,
		Needs: []ResourceID{scope, identity}, Met: met, Scope: scope, Observed: f.observed(),
		Fixed: map[string]string{"properties": "another assignment"}, Stays: []string{"properties.principalType"},
	}
	principal := principalOf(f.live.seen(identity))
	assignee := shellQuote(principal)
	if principal == "" {
		d.Pending = "the principal of " + identity.Name() + " is known once it is there"
		assignee = `"$(az identity show --ids ` + shellQuote(string(identity)) + ` --query principalId -o tsv)"`
	} else {
		d.ID += ResourceID("/" + guidOf("assignment", string(scope), principal, role))
		d.Body = Document{"properties": Document{
			"roleDefinitionId": "/subscriptions/" + f.spec.Subscription + "/providers/" + typeRoleDefinition + "/" + role,
			"principalId":      principal,
			"principalType":    "ServicePrincipal", // or Azure looks for it where it is not yet
		}}
		if f.live.seen(d.ID).Body == nil {
			if i := slices.IndexFunc(f.live.Grants, func(g Grant) bool {
				return g.Scope.Same(scope) && strings.EqualFold(g.Role, role) && strings.EqualFold(g.Principal, principal) && !g.Conditional
			}); i >= 0 {
				d.Met = "assigned already, as " + f.live.Grants[i].ID.Name()
			}
		}
	}
	d.Commands = []string{fmt.Sprintf("az role assignment create --assignee-object-id %s --assignee-principal-type ServicePrincipal --role %s --scope %s",
		assignee, shellQuote(roleName), shellQuote(string(scope)))}
	return d
}

func principalOf(identity Seen) string { return textAt(identity.Body, "properties", "principalId") }

// covered says which roles give the identity what it needs at a scope, or "" when they
// do not. The one that is to be assigned counts where it is assigned further up.
func (f *foundation) covered(scope ResourceID, role string, actions, data []string) string {
	principal := principalOf(f.live.seen(f.spec.IdentityID()))
	var names []string
	var permissions [][]Permission
	for _, g := range f.live.Grants {
		if principal == "" || !strings.EqualFold(g.Principal, principal) || g.Conditional || !g.Scope.covers(scope) || g.Scope.Same(scope) && strings.EqualFold(g.Role, role) {
			continue
		}
		names, permissions = append(names, g.RoleName+" on "+cmp.Or(g.Scope.Name(), "/")), append(permissions, g.Permissions)
	}
	used := make(map[string]bool)
	for _, need := range []struct {
		actions []string
		allows  func([]Permission, string) bool
	}{{actions, allows}, {data, allowsData}} {
		for _, action := range need.actions {
			i := slices.IndexFunc(permissions, func(p []Permission) bool { return need.allows(p, action) })
			if i < 0 {
				return ""
			}
			used[names[i]] = true
		}
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !used[n] })
	return "not needed: " + f.spec.IdentityID().Name() + " has " + strings.Join(slices.Compact(names), ", ")
}

// storageRoles lets the identity read what a bake takes from storage accounts.
func (f *foundation) storageRoles() {
	for _, name := range f.spec.BakeAccounts() {
		i := slices.IndexFunc(f.live.Accounts, func(id ResourceID) bool { return strings.EqualFold(id.Name(), name) })
		if i < 0 {
			continue // see foundationNotes
		}
		account := f.live.Accounts[i]
		f.add(f.assignment(account, blobReader, blobReaderName, f.covered(account, blobReader, nil, []string{blobRead})))
	}
}

// BakeAccounts returns the names of the storage accounts that a bake reads from, in the
// order of the file.
func (s *Spec) BakeAccounts() []string {
	if s.Bake == nil {
		return nil
	}
	addresses := []string{s.Bake.Artifacts}
	for _, c := range s.Bake.Customize {
		addresses = append(addresses, c.Script, c.File)
	}
	for _, v := range s.Bake.Validate {
		addresses = append(addresses, v.Script)
	}
	var names []string
	for _, address := range addresses {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "https" || u.RawQuery != "" { // one with a signature needs no role
			continue
		}
		name, domain, _ := strings.Cut(strings.ToLower(u.Hostname()), ".")
		if strings.HasPrefix(domain, "blob.") && name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// guidOf is a GUID that follows from the words: a UUIDv5 of Azure's address.
func guidOf(words ...string) string {
	namespace, _ := hex.DecodeString("6ba7b8119dad11d180b400c04fd430c8") // of URLs, by RFC 9562
	h := sha1.New()                                                      // which is what a UUIDv5 is made of, and no safeguard
	h.Write(namespace)
	h.Write([]byte("https://management.azure.com/fleetctl/" + strings.ToLower(strings.Join(words, " "))))
	b := h.Sum(nil)[:16]
	b[6], b[8] = b[6]&0x0f|0x50, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
