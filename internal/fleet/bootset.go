package fleet

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// maxBootSetName leaves room for what Azure appends to the names of members.
const maxBootSetName = 54

// BootSetName returns the name of the scale set that an image version is booted in. The
// same version has the same name, whoever asks.
func BootSetName(image, version string) string {
	end := "-" + strings.ReplaceAll(version, ".", "-")
	name := "boot-" + strings.ReplaceAll(image, ".", "-")
	return strings.TrimRight(name[:min(len(name), max(maxBootSetName-len(end), 0))], "-_") + end
}

// An Omission is a property of the set that a boot test is like, and that its own set
// does not have.
type Omission struct {
	Property string `json:"property"`
	Why      string `json:"why"`
}

// OmissionLines tells what was left out, one line a reason.
func OmissionLines(omitted []Omission) []string {
	var lines []string
	at := make(map[string]int)
	for _, o := range omitted {
		i, known := at[o.Why]
		if !known {
			at[o.Why] = len(lines)
			lines = append(lines, o.Property)
			continue
		}
		lines[i] += ", " + o.Property
	}
	for why, i := range at {
		lines[i] += ": " + why
	}
	return lines
}

// A BootSetOrder says what the set of a boot test is made for.
type BootSetOrder struct {
	Version ResourceID // the id of the image version
	Fleet   string     // Spec.Name
	Expires time.Time  // from when on the set may be swept
	// SSHKey makes a public key whose private half nobody has: for a set that has no
	// key of its own, which Azure asks for.
	SSHKey func() string
}

// Why a property is left out of the set of a boot test.
const (
	whyTraffic = "the instance gets no traffic of production"
	whyPublic  = "the instance is not reached from outside"
	whySpot    = "a Spot instance may be taken away during the test"
	whyRoom    = "room of production is not used"
	whyRepair  = "a broken instance stays as it is"
	whyNotice  = "the instance is removed without notice"
	whySecret  = "it cannot be read"
)

// The places in a scale set, for the table below. An element ends with [] when what
// follows is a property of every item.
const (
	inProfile   = "properties.virtualMachineProfile."
	inCard      = inProfile + "networkProfile.networkInterfaceConfigurations[].properties."
	inAddress   = inCard + "ipConfigurations[].properties."
	inExtension = inProfile + "extensionProfile.extensions[]."
)

// leftOut are the properties that the set of a boot test does not have: what would put
// it into production, and what cannot be copied. Those without a reason are what only
// Azure writes, of which nobody has to hear. What is not here is kept, what this program
// does not know included. So are network and application security groups, which let
// through and send nothing, the user-assigned identities, which secrets and certificates
// need, and the tags, which policies ask for.
var leftOut = []struct{ path, why string }{
	{inAddress + "loadBalancerBackendAddressPools", whyTraffic},
	{inAddress + "applicationGatewayBackendAddressPools", whyTraffic},
	{inAddress + "loadBalancerInboundNatPools", whyPublic},
	{inAddress + "publicIPAddressConfiguration", whyPublic},
	{inProfile + "networkProfile.healthProbe", "it goes with the load balancer"},

	{"properties.automaticRepairsPolicy", whyRepair},
	{"properties.resiliencyPolicy", whyRepair},
	{"properties.lifecycleHooksProfile", "nobody answers the hooks of the test"},
	{"properties.externalHealthPolicy", "health comes from the instance alone"},
	{inProfile + "scheduledEventsProfile.terminateNotificationProfile", whyNotice},
	{inProfile + "scheduledEventsProfile.osImageNotificationProfile", whyNotice},

	{inProfile + "priority", whySpot},
	{inProfile + "evictionPolicy", whySpot},
	{inProfile + "billingProfile", whySpot},
	{"properties.priorityMixPolicy", whySpot},
	{"properties.spotRestorePolicy", whySpot},

	{inProfile + "capacityReservation", whyRoom},
	{"properties.hostGroup", whyRoom},
	{"properties.proximityPlacementGroup", whyRoom},

	{inProfile + "osProfile.adminPassword", whySecret},

	{"id", ""},
	{"name", ""},
	{"type", ""},
	{"etag", ""},
	{"systemData", ""},
	{"apiVersion", ""},
	{"properties.provisioningState", ""},
	{"properties.uniqueId", ""},
	{"properties.timeCreated", ""},
	{inProfile + "timeCreated", ""},
	{"identity.principalId", ""},
	{"identity.tenantId", ""},
	{inExtension + "id", ""},
	{inExtension + "type", ""},
	{inExtension + "properties.provisioningState", ""},
}

// The errors of a set that no boot test can be like.
var (
	errNotFlexible = errors.New("it is not a Flexible scale set")
	errWindows     = errors.New("it runs Windows, whose administrator's password cannot be read")
	errNoHealth    = errors.New("it has no Application Health extension, so that nothing says whether an instance serves")
	errNoProfile   = errors.New("it has no virtual machine profile")
)

// BootSet returns the body of the PUT that makes the throw-away set of a boot test: one
// instance of an image version, with the profile of a set that serves, less what would
// put it into production or cannot be copied. What is left out is told. Like is the body
// of a live set as it was read, or what SetBody returns; it is not changed.
func BootSet(like Document, o BootSetOrder) (Document, []Omission, error) {
	live := dig(like, "properties", "provisioningState") != nil
	body, _ := cloneJSON(like).(Document)
	machine, _ := dig(body, "properties", "virtualMachineProfile").(Document)
	switch {
	case machine == nil:
		return nil, nil, errNoProfile
	case !strings.EqualFold(textAt(body, "properties", "orchestrationMode"), "Flexible"):
		return nil, nil, errNotFlexible
	case dig(machine, "osProfile", "windowsConfiguration") != nil || strings.EqualFold(textAt(machine, "storageProfile", "osDisk", "osType"), "Windows"):
		return nil, nil, errWindows
	}
	var omitted []Omission
	omit := func(property, why string) { omitted = append(omitted, Omission{property, why}) }
	for _, out := range leftOut {
		path := strings.Split(out.path, ".")
		if takeOut(body, path) && out.why != "" {
			omit(path[len(path)-1], out.why)
		}
	}
	if live {
		omit("customData", whySecret+": if the instances need any, this one does not get it")
	}
	bootIdentity(body, omit)
	bootZones(body, omit)
	if mode := textAt(body, "properties", "upgradePolicy", "mode"); mode != "" && mode != string(Manual) {
		omit("upgradePolicy", "nothing is upgraded: the mode is Manual and not "+mode)
	}
	if !bootExtensions(machine, omit) {
		return nil, nil, errNoHealth
	}
	bootLogin(machine, o.SSHKey, omit)
	bootDisks(machine, o.Version)

	put(body, "properties", "upgradePolicy", Document{"mode": string(Manual)})
	put(body, "", "sku", overlay(objectAt(body, "sku"), Document{"capacity": float64(1)}))
	put(body, "", "tags", overlay(objectAt(body, "tags"), Document{TagFleet: o.Fleet, TagExpires: o.Expires.UTC().Format(time.RFC3339)}))
	return body, omitted, nil
}

// bootIdentity keeps the user-assigned identities. What is read of each is their ids,
// which nobody writes.
func bootIdentity(body Document, omit func(property, why string)) {
	identity := objectAt(body, "identity")
	if identity == nil {
		return
	}
	if strings.Contains(textAt(identity, "type"), "SystemAssigned") {
		omit("system-assigned identity", "it would be another one, without the roles of the first")
	}
	users := Document{}
	for id := range objectAt(identity, "userAssignedIdentities") {
		users[id] = Document{}
	}
	if len(users) == 0 {
		delete(body, keyOf(body, "identity"))
		return
	}
	put(body, "", "identity", overlay(identity, Document{"type": "UserAssigned", "userAssignedIdentities": nil}))
	put(body, "identity", "userAssignedIdentities", users)
}

// bootZones keeps the first zone: the instance can be in one only.
func bootZones(body Document, omit func(property, why string)) {
	zones := listAt(body, "zones")
	if len(zones) < 2 {
		return
	}
	put(body, "", "zones", zones[:1])
	takeOut(body, []string{"properties", "zoneBalance"})
	omit("zones", fmt.Sprintf("the one instance is in zone %v", zones[0]))
}

// bootExtensions keeps the Application Health extension, which has no secrets, and says
// whether there is one. Of no other can be told whether it works without its protected
// settings, which Azure never shows.
func bootExtensions(machine Document, omit func(property, why string)) bool {
	var kept []any
	for _, e := range listAt(machine, "extensionProfile", "extensions") {
		publisher, typ := textAt(e, "properties", "publisher"), textAt(e, "properties", "type")
		if !isHealthExtension(publisher, typ) {
			omit("extension "+textAt(e, "name"), "its protected settings, if it has any, cannot be read")
			continue
		}
		takeOut(e, []string{"properties", "provisionAfterExtensions"})
		kept = append(kept, e)
	}
	put(machine, "extensionProfile", "extensions", kept)
	return len(kept) > 0
}

// bootLogin lets nobody in who has no key: a password cannot be copied.
func bootLogin(machine Document, sshKey func() string, omit func(property, why string)) {
	linux := objectAt(machine, "osProfile", "linuxConfiguration")
	os := objectAt(machine, "osProfile")
	if os == nil {
		return
	}
	if disabled, _ := dig(linux, "disablePasswordAuthentication").(bool); !disabled {
		omit("password", whySecret+": the instance takes SSH keys only")
	}
	if len(listAt(linux, "ssh", "publicKeys")) == 0 {
		linux = overlay(linux, Document{"ssh": map[string]any{"publicKeys": []any{sshKeyBody(textAt(os, "adminUsername"), sshKey())}}})
	}
	put(os, "", "linuxConfiguration", overlay(linux, Document{"disablePasswordAuthentication": true}))
}

// bootDisks makes the disks of the version, and lets everything go with the instance.
func bootDisks(machine Document, version ResourceID) {
	put(machine, "storageProfile", "imageReference", Document{"id": string(version)})
	put(objectAt(machine, "storageProfile"), "osDisk", "deleteOption", "Delete")
	for _, disk := range listAt(machine, "storageProfile", "dataDisks") {
		put(disk, "", "deleteOption", "Delete")
	}
	for _, card := range listAt(machine, "networkProfile", "networkInterfaceConfigurations") {
		put(card, "properties", "deleteOption", "Delete")
	}
}

// isHealthExtension says whether an extension is the Application Health extension.
func isHealthExtension(publisher, typ string) bool {
	return strings.EqualFold(publisher, HealthPublisher) && (strings.EqualFold(typ, HealthTypeLinux) || strings.EqualFold(typ, HealthTypeWindows))
}

// BootSetOf says whether a scale set was made for a boot test of this fleet, by its name
// and its tags, and from when on it may be swept. No other is ever removed.
func BootSetOf(set Document, fleetName string) (expires time.Time, ours bool) {
	tags := objectAt(set, "tags")
	expires = timeAt(tags, TagExpires)
	return expires, strings.HasPrefix(ResourceID(textAt(set, "id")).Name(), "boot-") && textAt(tags, TagFleet) == fleetName && !expires.IsZero()
}

// BootSetServes says whether a set of a boot test that was found can be the one of this
// test: of the same version, whole, and so young that its instance is not late yet.
func BootSetServes(set Document, version ResourceID, within time.Duration, now time.Time) bool {
	image := textAt(set, "properties", "virtualMachineProfile", "storageProfile", "imageReference", "id")
	created := timeAt(set, "properties", "timeCreated")
	switch state := textAt(set, "properties", "provisioningState"); state {
	case Succeeded, "Creating", Updating:
	default:
		return false
	}
	return ResourceID(image).Same(version) && now.Before(created.Add(within)) && !now.Before(created)
}

// keyOf is how an object spells a key; Azure does not tell its letters apart.
func keyOf(object Document, key string) string {
	if _, ok := object[key]; ok {
		return key
	}
	for name := range object {
		if strings.EqualFold(name, key) {
			return name
		}
	}
	return key
}

// objectAt is what stands below the keys, if it is an object.
func objectAt(v any, keys ...string) Document {
	object, _ := dig(v, keys...).(Document)
	return object
}

// put sets a property of an object, or of the object below the key in, which is made
// when it is not there.
func put(v any, in, key string, value any) {
	object, ok := v.(Document)
	if !ok {
		return
	}
	if in != "" {
		below := objectAt(object, in)
		if below == nil {
			below = Document{}
			object[keyOf(object, in)] = below
		}
		object = below
	}
	object[keyOf(object, key)] = value
}

// takeOut takes a property out of decoded JSON, and says whether it said anything.
func takeOut(v any, path []string) bool {
	object, ok := v.(Document)
	if !ok {
		return false
	}
	name, each := strings.CutSuffix(path[0], "[]")
	name = keyOf(object, name)
	switch inner, found := object[name]; {
	case !found:
		return false
	case len(path) == 1:
		delete(object, name)
		return says(inner)
	case each:
		items, _ := inner.([]any)
		taken := false
		for _, item := range items {
			taken = takeOut(item, path[1:]) || taken
		}
		return taken
	default:
		return takeOut(inner, path[1:])
	}
}

// says says whether a property is more than what is so without it.
func says(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != "" && v != "Regular"
	case []any:
		return len(v) > 0
	case map[string]any:
		for _, name := range []string{"enabled", "enable"} {
			if on, ok := lookUp(v, name).(bool); ok && !on {
				return false
			}
		}
		return len(v) > 0
	}
	return true
}

// cloneJSON copies decoded JSON.
func cloneJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		object := make(map[string]any, len(v))
		for name, inner := range v {
			object[name] = cloneJSON(inner)
		}
		return object
	case []any:
		list := make([]any, len(v))
		for i, inner := range v {
			list[i] = cloneJSON(inner)
		}
		return list
	}
	return v
}
