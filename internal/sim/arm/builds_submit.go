package arm

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/sim/blob"
)

// A buildFault is why a template cannot be built, found out after it was taken.
type buildFault struct{ code, message string }

// buildProviders are the resource providers that a build needs.
var buildProviders = []string{"Microsoft.KeyVault", "Microsoft.Compute", "Microsoft.Storage", "Microsoft.Network", "Microsoft.ContainerInstance"}

const unregisteredText = "The subscription is not registered to use namespace '%s'. See https://aka.ms/rps-not-found for how to register subscriptions."

// needProvider refuses what a resource provider is needed for that is not registered.
func needProvider(tx *txn, namespace string) error {
	if tx.registered(namespace) == "Registered" {
		return nil
	}
	return conflict("MissingSubscriptionRegistration", unregisteredText, namespace)
}

// examine finds out what Image Builder finds out when it looks at what a template
// names. Nil: nothing is wrong.
func (tx *txn) examine(body object) *buildFault {
	for _, check := range []func(object) *buildFault{tx.providersFault, tx.identityFault, tx.stagingFault, tx.sourceFault, tx.networkFault, tx.filesFault, tx.distributionFault} {
		if f := check(body); f != nil {
			return f
		}
	}
	return nil
}

func (tx *txn) providersFault(object) *buildFault {
	for _, namespace := range buildProviders {
		if tx.registered(namespace) != "Registered" {
			return &buildFault{"Other", fmt.Sprintf(unregisteredText, namespace)}
		}
	}
	return nil
}

// principal is the object id of a template's identity, or "".
func (tx *txn) principal(body object) string {
	for _, id := range slices.Sorted(maps.Keys(sub(body, "identity.userAssignedIdentities"))) {
		if r := tx.get(id); r != nil {
			return str(r.Body, "properties.principalId")
		}
	}
	return ""
}

func (tx *txn) identityFault(body object) *buildFault {
	for _, id := range slices.Sorted(maps.Keys(sub(body, "identity.userAssignedIdentities"))) {
		if tx.get(id) == nil {
			return &buildFault{"Other", fmt.Sprintf("The assigned managed identity cannot be used: Resource '%s' was not found. "+
				"Please remove the existing one and re-assign a new identity. For more troubleshooting steps go to https://aka.ms/azvmimagebuilderts.", id)}
		}
	}
	list, _ := dig(body, "properties.vmProfile.userAssignedIdentities").([]any)
	for _, v := range list {
		id, _ := v.(string)
		if tx.get(id) == nil {
			return &buildFault{"Other", fmt.Sprintf("The identity '%s' of the build VM was not found.", id)}
		}
		if f := tx.lacks(body, "Other", id, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"); f != nil {
			return f
		}
	}
	return nil
}

// lacks says which of the actions a template's identity does not have at a scope, in
// effect and now.
func (tx *txn) lacks(body object, code, scope string, actions ...string) *buildFault {
	who := tx.principal(body)
	for _, action := range actions {
		if !tx.allowed(who, action, scope, false) {
			return &buildFault{code, fmt.Sprintf("Not authorized to access the resource: %s. Please check the user assigned identity has the correct permissions. "+
				"For more details, go to https://aka.ms/azvmimagebuilderts. Status=403 Code=\"AuthorizationFailed\" Message=\"%s\"", scope, notAuthorized(who, action, scope))}
		}
	}
	return nil
}

// stagingFault checks a staging resource group that the user gives: it is there, empty
// and in the template's region.
func (tx *txn) stagingFault(body object) *buildFault {
	id := str(body, "properties.stagingResourceGroup")
	if id == "" {
		return nil
	}
	group := tx.get(id)
	var why string
	switch {
	case group == nil:
		why = "does not exist"
	case location(str(group.Body, "location")) != location(str(body, "location")):
		why = "is not in the region of the image template"
	case len(tx.list("", id)) > 0:
		why = "is not empty"
	default:
		return nil
	}
	return &buildFault{"BadStagingResourceGroup", fmt.Sprintf("The staging resource group '%s' %s.", id, why)}
}

// mine says whether an id is one of this subscription, so that it is known whether
// there is such a thing.
func (tx *txn) mine(id string) bool { return covers("/subscriptions/"+tx.server.cfg.Subscription, id) }

func (tx *txn) sourceFault(body object) *buildFault {
	source := sub(body, "properties.source")
	switch str(source, "type") {
	case "ManagedImage":
		if id := str(source, "imageId"); tx.mine(id) && tx.get(id) == nil {
			return &buildFault{"BadManagedImageSource", fmt.Sprintf("Build (Managed Image) step failed: Error getting Managed Image '%s': StatusCode=404 Code=\"ResourceNotFound\"", id)}
		}
	case "SharedImageVersion":
		id := str(source, "imageVersionId")
		if !tx.mine(id) {
			return nil
		}
		if f := tx.lacks(body, "BadSharedImageVersionSource", id, "Microsoft.Compute/galleries/read", "Microsoft.Compute/galleries/images/read", "Microsoft.Compute/galleries/images/versions/read"); f != nil {
			return f
		}
		if _, err := tx.resolve(object{"id": id}, str(body, "location")); err != nil {
			return &buildFault{"BadSharedImageVersionSource", fmt.Sprintf("Build (Shared Image Version) step failed for Image Version '%s': Error getting Image Version '%s': StatusCode=404 Code=\"ResourceNotFound\"", id, id)}
		}
	}
	return nil
}

func (tx *txn) networkFault(body object) *buildFault {
	id := str(body, "properties.vmProfile.vnetConfig.subnetId")
	if id == "" || !tx.mine(id) {
		return nil
	}
	if tx.get(id) == nil {
		return &buildFault{"Other", fmt.Sprintf("The subnet '%s' was not found.", id)}
	}
	network, _, _ := cutFold(id, "/subnets/")
	if f := tx.lacks(body, "Other", network, "Microsoft.Network/virtualNetworks/read"); f != nil {
		return f
	}
	return tx.lacks(body, "Other", id, "Microsoft.Network/virtualNetworks/subnets/join/action")
}

// maxFile is how large a file of a File customizer may be.
const maxFile = 20 << 20

// readBlobs is what an identity needs to read a blob.
const readBlobs = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"

// filesFault checks what customizers and validators get from storage accounts of the
// simulation: Image Builder copies it when a template is submitted.
func (tx *txn) filesFault(body object) *buildFault {
	for path, code := range map[string]string{"properties.customize": "NoCustomizerScript", "properties.validate.inVMValidations": "NoValidatorScript"} {
		for _, c := range items(body, path) {
			address := str(c, "scriptUri") + str(c, "sourceUri")
			p, isBlob := blobAddress(address)
			account := tx.account(p.account)
			if !isBlob || account == nil {
				continue
			}
			scope := account.ID + "/blobServices/default/containers/" + p.container
			if who := tx.principal(body); !strings.Contains(address, "sig=") && !tx.allowed(who, readBlobs, scope, true) {
				return &buildFault{code, fmt.Sprintf("Downloading external file (%s) to local file (%s.fp) [attempt 1 of 10] failed: Error downloading '%s': "+
					"StatusCode=403, ErrorCode=AuthorizationPermissionMismatch, ErrorMessage=%s", address, str(c, "name"), address, notAuthorized(who, readBlobs, scope))}
			}
			data, _, err := tx.blobAt(address)
			if err != nil {
				return &buildFault{code, fmt.Sprintf("Downloading external file (%s) to local file (%s.fp) [attempt 10 of 10] failed: Error downloading '%s': "+
					"StatusCode=404, ErrorCode=BlobNotFound, ErrorMessage=The specified blob does not exist.", address, str(c, "name"), address)}
			}
			if str(c, "type") == "File" && len(data) > maxFile {
				return &buildFault{code, fmt.Sprintf("The file '%s' of the customizer '%s' has %d bytes; at most %d are supported.", address, str(c, "name"), len(data), maxFile)}
			}
		}
	}
	return nil
}

// The actions that Image Builder's identity needs, as Microsoft lists them.
var (
	galleryActions = []string{
		"Microsoft.Compute/galleries/read", "Microsoft.Compute/galleries/images/read",
		"Microsoft.Compute/galleries/images/versions/read", "Microsoft.Compute/galleries/images/versions/write",
	}
	imageActions = []string{"Microsoft.Compute/images/write", "Microsoft.Compute/images/read", "Microsoft.Compute/images/delete"}
)

func (tx *txn) distributionFault(body object) *buildFault {
	for _, d := range items(body, "properties.distribute") {
		var f *buildFault
		switch str(d, "type") {
		case "SharedImage":
			f = tx.galleryFault(body, d)
		case "ManagedImage":
			if id := str(d, "imageId"); tx.mine(id) {
				f = tx.lacks(body, "Other", id, imageActions...)
			}
		}
		if f != nil {
			return f
		}
	}
	return nil
}

// galleryFault checks a distributor to a gallery.
func (tx *txn) galleryFault(body, distributor object) *buildFault {
	const code = "BadSharedImageDistribute"
	id := str(distributor, "galleryImageId")
	definition, version, named := cutFold(id, "/versions/")
	if !tx.mine(id) {
		return &buildFault{code, fmt.Sprintf("Not authorized to access the resource: %s: it is in another subscription, which fleetsim does not know.", id)}
	}
	if f := tx.lacks(body, code, definition, galleryActions...); f != nil {
		return f
	}
	if f := tx.lacks(body, code, scopeOf(definition), imageActions...); f != nil {
		return f
	}
	r := tx.get(definition)
	switch {
	case r == nil:
		return &buildFault{code, fmt.Sprintf("Error getting the gallery image '%s': StatusCode=404 Code=\"ResourceNotFound\"", definition)}
	case named && !versionName.MatchString(version):
		return &buildFault{code, fmt.Sprintf("The version '%s' of the gallery image '%s' is invalid.", version, definition)}
	}
	return regionsFault(code, body, distributor)
}

// regionsFault checks the regions of a distributor.
func regionsFault(code string, body, distributor object) *buildFault {
	names := distributorRegions(body, distributor)
	for i, name := range names {
		if !slices.ContainsFunc(regions, func(r [2]string) bool { return r[0] == name }) {
			return &buildFault{code, fmt.Sprintf("The target region '%s' is not available for the subscription.", name)}
		}
		if slices.Contains(names[:i], name) {
			return &buildFault{code, "Duplicate regions are not allowed in target publishing regions."}
		}
	}
	return nil
}

// distributorRegions are the regions of a distributor, by id: the template's when it
// names none.
func distributorRegions(body, distributor object) []string {
	var names []string
	for _, r := range items(distributor, "targetRegions") {
		names = append(names, location(str(r, "name")))
	}
	list, _ := distributor["replicationRegions"].([]any)
	for _, v := range list {
		name, _ := v.(string)
		names = append(names, location(name))
	}
	if len(names) == 0 {
		return []string{location(str(body, "location"))}
	}
	return names
}

// checksumFault finds a customizer whose checksum is not that of the blob that it
// names, as a rule that makes it fail.
func (tx *txn) checksumFault(body object) *buildRule {
	for i, c := range items(body, "properties.customize") {
		want := str(c, "sha256Checksum")
		data, known, err := tx.blobAt(str(c, "scriptUri") + str(c, "sourceUri"))
		if want == "" || !known || err != nil {
			continue
		}
		if got := blob.Sum(data); !strings.EqualFold(got, want) {
			return &buildRule{Fails: "customizer", index: i + 1, Output: []string{
				fmt.Sprintf("The checksum of '%s' is %s and not %s.", str(c, "scriptUri")+str(c, "sourceUri"), got, want),
			}}
		}
	}
	return nil
}
