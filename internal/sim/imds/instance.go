package imds

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// An Instance is what the metadata of one machine says. Every field has a
// default that fits the others.
type Instance struct {
	// Name is the name of the machine, as scheduled events call it: web_0.
	Name string `json:"name,omitempty" yaml:"name"`
	// ComputerName is the host name, which is another one in a scale set.
	ComputerName string `json:"computer_name,omitempty" yaml:"computer_name"`
	// VMID is derived from Name by default, so that a machine keeps its
	// identity when the simulation is started again.
	VMID string `json:"vm_id,omitempty" yaml:"vm_id"`
	// ScaleSet is by default Name up to its last underscore.
	ScaleSet string `json:"scale_set,omitempty" yaml:"scale_set"`
	// Orchestration is Flexible (the default) or Uniform.
	Orchestration string `json:"orchestration,omitempty" yaml:"orchestration"`
	// PlacementGroup is whose events the machine sees. Empty, as it is in
	// Flexible scale sets, means the whole scale set's.
	PlacementGroup string `json:"placement_group,omitempty" yaml:"placement_group"`
	Location       string `json:"location,omitempty" yaml:"location"`
	Zone           string `json:"zone,omitempty" yaml:"zone"`
	// Priority is Regular (the default), Low or Spot.
	Priority       string            `json:"priority,omitempty" yaml:"priority"`
	ResourceGroup  string            `json:"resource_group,omitempty" yaml:"resource_group"`
	SubscriptionID string            `json:"subscription_id,omitempty" yaml:"subscription_id"`
	Size           string            `json:"size,omitempty" yaml:"size"`
	Image          string            `json:"image,omitempty" yaml:"image"` // resource id of a gallery image version
	Tags           map[string]string `json:"tags,omitempty" yaml:"tags"`
	UserData       string            `json:"user_data,omitempty" yaml:"user_data"` // plain; on the wire it is base64
	PrivateIP      string            `json:"private_ip,omitempty" yaml:"private_ip"`
}

// withDefaults fills in what is empty.
func (i Instance) withDefaults() Instance {
	i.Name = cmp.Or(i.Name, "web_0")
	sum := sha256.Sum256([]byte(strings.ToLower(i.Name)))
	scaleSet := i.Name
	if at := strings.LastIndexByte(i.Name, '_'); at > 0 {
		scaleSet = i.Name[:at]
	}
	i.ScaleSet = cmp.Or(i.ScaleSet, scaleSet)
	i.ComputerName = cmp.Or(i.ComputerName, fmt.Sprintf("%s%06x", strings.ToLower(i.ScaleSet), sum[:3]))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	i.VMID = cmp.Or(i.VMID, fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16]))
	i.Orchestration = cmp.Or(i.Orchestration, "Flexible")
	i.Location = cmp.Or(i.Location, "westeurope")
	i.Priority = cmp.Or(i.Priority, "Regular")
	i.ResourceGroup = cmp.Or(i.ResourceGroup, "example")
	i.SubscriptionID = cmp.Or(i.SubscriptionID, "00000000-0000-0000-0000-000000000000")
	i.Size = cmp.Or(i.Size, "Standard_D2s_v5")
	i.Image = cmp.Or(i.Image, i.resource("Microsoft.Compute/galleries/example/images/app/versions/1.0.0"))
	i.PrivateIP = cmp.Or(i.PrivateIP, fmt.Sprintf("10.0.0.%d", 4+sum[15]%250))
	return i
}

// group is what decides which machines see each other's events.
func (i Instance) group() string { return cmp.Or(i.PlacementGroup, i.ScaleSet) }

func (i Instance) resource(path string) string {
	return "/subscriptions/" + i.SubscriptionID + "/resourceGroups/" + i.ResourceGroup + "/providers/" + path
}

// A field is one value under compute, or a whole object, and the API version
// that introduced it.
type field struct {
	since string
	path  string // with dots for objects
	value func(Instance) any
}

func constant(v any) func(Instance) any { return func(Instance) any { return v } }

var none = constant("")

// computeFields follow the published schema.
var computeFields = []field{
	{"2018-10-01", "azEnvironment", constant("AzurePublicCloud")},
	{"2021-11-01", "additionalCapabilities.hibernationEnabled", constant("false")},
	{"2019-02-01", "customData", none},
	{"2020-12-01", "evictionPolicy", func(i Instance) any {
		if i.Priority == "Regular" {
			return ""
		}
		return "Delete"
	}},
	{"2021-03-01", "extendedLocation.type", none},
	{"2021-03-01", "extendedLocation.name", none},
	{"2021-11-15", "host.id", none},
	{"2021-11-15", "hostGroup.id", none},
	{"2020-06-01", "isHostCompatibilityLayerVm", constant("false")},
	{"2020-09-01", "licenseType", none},
	{"2017-04-02", "location", func(i Instance) any { return i.Location }},
	{"2017-04-02", "name", func(i Instance) any { return i.Name }},
	{"2017-04-02", "offer", none},
	{"2020-07-15", "osProfile.adminUsername", constant("azureuser")},
	{"2020-07-15", "osProfile.computerName", func(i Instance) any { return i.ComputerName }},
	{"2020-10-01", "osProfile.disablePasswordAuthentication", constant("true")},
	{"2017-04-02", "osType", constant("Linux")},
	{"2023-11-15", "physicalZone", func(i Instance) any {
		if i.Zone == "" {
			return ""
		}
		return i.Location + "-az" + i.Zone
	}},
	{"2017-08-01", "placementGroupId", func(i Instance) any { return i.PlacementGroup }},
	{"2018-04-02", "plan.name", none},
	{"2018-04-02", "plan.product", none},
	{"2018-04-02", "plan.publisher", none},
	{"2017-04-02", "platformUpdateDomain", constant("0")},
	{"2017-04-02", "platformFaultDomain", constant("0")},
	{"2021-10-01", "platformSubFaultDomain", none},
	{"2020-12-01", "priority", func(i Instance) any { return i.Priority }},
	{"2018-10-01", "provider", constant("Microsoft.Compute")},
	{"2018-04-02", "publicKeys", constant([]any{})},
	{"2017-04-02", "publisher", none},
	{"2017-08-01", "resourceGroupName", func(i Instance) any { return i.ResourceGroup }},
	{"2019-03-11", "resourceId", resourceID},
	{"2020-06-01", "securityProfile.secureBootEnabled", constant("true")},
	{"2020-06-01", "securityProfile.virtualTpmEnabled", constant("true")},
	{"2021-11-01", "securityProfile.encryptionAtHost", constant("false")},
	{"2021-12-13", "securityProfile.securityType", constant("TrustedLaunch")},
	{"2017-04-02", "sku", none},
	{"2019-06-01", "storageProfile.imageReference.id", func(i Instance) any { return i.Image }},
	{"2019-06-01", "storageProfile.imageReference.offer", none},
	{"2019-06-01", "storageProfile.imageReference.publisher", none},
	{"2019-06-01", "storageProfile.imageReference.sku", none},
	{"2019-06-01", "storageProfile.imageReference.version", none},
	{"2023-07-01", "storageProfile.imageReference.communityGalleryImageId", none},
	{"2023-07-01", "storageProfile.imageReference.sharedGalleryImageId", none},
	{"2023-07-01", "storageProfile.imageReference.exactVersion", none},
	{"2019-06-01", "storageProfile.dataDisks", constant([]any{})},
	{"2019-06-01", "storageProfile.osDisk.name", func(i Instance) any { return i.Name + "_OsDisk_1" }},
	{"2019-06-01", "storageProfile.osDisk.osType", constant("Linux")},
	{"2019-06-01", "storageProfile.osDisk.diskSizeGB", constant("30")},
	{"2017-08-01", "subscriptionId", func(i Instance) any { return i.SubscriptionID }},
	{"2017-08-01", "tags", func(i Instance) any {
		var pairs []string
		for _, k := range slices.Sorted(maps.Keys(i.Tags)) {
			pairs = append(pairs, k+":"+i.Tags[k])
		}
		return strings.Join(pairs, ";")
	}},
	{"2019-06-04", "tagsList", func(i Instance) any {
		list := []any{}
		for _, k := range slices.Sorted(maps.Keys(i.Tags)) {
			list = append(list, map[string]any{"name": k, "value": i.Tags[k]})
		}
		return list
	}},
	{"2021-01-01", "userData", func(i Instance) any { return base64.StdEncoding.EncodeToString([]byte(i.UserData)) }},
	{"2017-04-02", "version", none},
	{"2021-03-01", "virtualMachineScaleSet.id", func(i Instance) any {
		if i.Orchestration != "Flexible" {
			return ""
		}
		return i.resource("Microsoft.Compute/virtualMachineScaleSets/" + i.ScaleSet)
	}},
	{"2017-04-02", "vmId", func(i Instance) any { return i.VMID }},
	{"2017-12-01", "vmScaleSetName", func(i Instance) any { return i.ScaleSet }},
	{"2017-04-02", "vmSize", func(i Instance) any { return i.Size }},
	{"2017-12-01", "zone", func(i Instance) any { return i.Zone }},
}

func resourceID(i Instance) any {
	if i.Orchestration == "Flexible" {
		return i.resource("Microsoft.Compute/virtualMachines/" + i.Name)
	}
	id := i.Name[strings.LastIndexByte(i.Name, '_')+1:]
	return i.resource("Microsoft.Compute/virtualMachineScaleSets/" + i.ScaleSet + "/virtualMachines/" + id)
}

// partialFields are what a partial answer lacks unless the fault says more
// precisely: all that comes from one of the service's data providers.
var partialFields = []string{"name", "vmId", "vmScaleSetName", "resourceId", "tags", "tagsList", "zone"}

// metadata is the document of /metadata/instance in an API version, without
// the compute fields in omit. All its leaves are strings.
func (i Instance) metadata(version string, omit []string) map[string]any {
	compute := map[string]any{}
	for _, f := range computeFields {
		if version < f.since || slices.Contains(omit, f.path) {
			continue
		}
		at, keys := compute, strings.Split(f.path, ".")
		for _, key := range keys[:len(keys)-1] {
			next, ok := at[key].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[key] = next
			}
			at = next
		}
		at[keys[len(keys)-1]] = f.value(i)
	}
	return map[string]any{
		"compute": compute,
		"network": map[string]any{"interface": []any{map[string]any{
			"ipv4": map[string]any{
				"ipAddress": []any{map[string]any{"privateIpAddress": i.PrivateIP, "publicIpAddress": ""}},
				"subnet":    []any{map[string]any{"address": "10.0.0.0", "prefix": "24"}},
			},
			"ipv6":       map[string]any{"ipAddress": []any{}},
			"macAddress": "000D3A" + strings.ToUpper(strings.ReplaceAll(i.VMID, "-", "0")[:6]),
		}}},
	}
}

// lookup walks down a document by the segments of a path.
func lookup(node any, path []string) (any, bool) {
	for _, segment := range path {
		switch n := node.(type) {
		case map[string]any:
			next, ok := n[segment]
			if !ok {
				return nil, false
			}
			node = next
		case []any:
			at, err := strconv.Atoi(segment)
			if err != nil || at < 0 || at >= len(n) {
				return nil, false
			}
			node = n[at]
		default:
			return nil, false
		}
	}
	return node, true
}

// asText is the format=text of a node: a leaf's value, or the names below it,
// those of inner nodes with a slash.
func asText(node any) string {
	var lines []string
	name := func(key string, child any) {
		if _, leaf := child.(string); !leaf {
			key += "/"
		}
		lines = append(lines, key)
	}
	switch n := node.(type) {
	case string:
		return n
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(n)) {
			name(key, n[key])
		}
	case []any:
		for at, child := range n {
			name(strconv.Itoa(at), child)
		}
	}
	return strings.Join(lines, "\n")
}

// Instance returns what the metadata of a machine says. It panics when there
// is no machine that was configured with that name.
func (s *Server) Instance(vm string) Instance {
	m := s.mustFind(vm)
	s.mu.Lock()
	defer s.mu.Unlock()
	i := m.instance
	i.Tags = maps.Clone(i.Tags)
	return i
}

// SetInstance changes what the metadata of a machine says; what is empty gets
// its default. The machine keeps the name that [Server.VM] knows it by, even
// when it calls itself something else.
func (s *Server) SetInstance(vm string, i Instance) {
	m := s.mustFind(vm)
	s.mu.Lock()
	defer s.mu.Unlock()
	i.Tags = maps.Clone(i.Tags)
	m.instance = i.withDefaults()
	s.notify()
}
