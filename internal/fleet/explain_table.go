package fleet

import "regexp"

// The paths of properties that several rows are about.
const (
	ofHealth   = "virtualMachineProfile.extensionProfile"
	ofAutoOS   = "automaticOSUpgradePolicy.enableAutomaticOSUpgrade"
	ofMode     = "upgradePolicy.mode"
	ofProbe    = "networkProfile.healthProbe.id"
	ofZones    = "zones"
	ofSize     = "sku.name"
	ofCapacity = "sku.capacity"
	ofKindOfID = "identity.type"
	ofSubnet   = "ipConfigurations.properties.subnet.id"
	ofAdmin    = "osProfile.adminUsername"
	ofKey      = "publicKeys.keyData"
)

// refusals are what Azure refuses of what fleetctl writes, and why. The first row that
// matches counts. What is not in it is not caused by the file: throttling, a write that
// goes on, a member that is gone.
var refusals = []refusal{
	// Scale sets: health, upgrades and repairs.
	{
		id: "rolling-without-health", of: []string{ofSet, ofExtension}, match: regexp.MustCompile(`Rolling Upgrade mode is not supported .* health probe or health extension was not provided`),
		properties: []string{ofMode}, keys: []string{"{set}.health"}, do: "give it health, or the driver batches",
	},
	{
		id: "two-health-sources", of: []string{ofSet, ofExtension}, match: regexp.MustCompile(`both a health probe and (?:a health|an application health) extension`),
		properties: []string{ofProbe}, do: "take the probe out: the health extension is the one source of health",
	},
	{
		id: "auto-os-not-latest", of: []string{ofSet}, match: regexp.MustCompile(`Automatic OS Upgrade is not supported .* version set to 'latest'`),
		keys: []string{"{set}.tracks", "{set}.upgrade.driver"}, do: "tracks: latest goes with driver: platform-auto-os, and pinned with the others",
	},
	{
		id: "auto-os-without-health", of: []string{ofSet, ofExtension}, match: regexp.MustCompile(`Automatic OS Upgrade is not supported .* health probe or health extension was not`),
		properties: []string{ofAutoOS}, keys: []string{"{set}.health"}, do: "give it health, or another driver",
	},
	{
		id: "auto-os-surge", of: []string{ofSet}, match: regexp.MustCompile(`Automatic OS Upgrade is not supported .* (maxSurge) is true`),
		do: "take max_surge away, or another driver",
	},
	{
		id: "auto-os-patches", of: []string{ofSet}, match: regexp.MustCompile(`Automatic OS Upgrade is not supported .* (patchMode|enableAutomaticUpdates) is `),
		do: "leave patches to the image, or take another driver",
	},
	{
		id: "auto-os-flexible", of: []string{ofSet}, match: regexp.MustCompile(`Automatic OS Upgrade is not supported .* orchestration mode is 'Flexible'`),
		properties: []string{ofAutoOS}, do: "this Azure has no automatic OS upgrade for Flexible scale sets: take the driver batches",
	},
	{
		id: "os-upgrade-not-latest", of: []string{ofSet}, match: regexp.MustCompile(`OS Rolling Upgrade API cannot be used`),
		keys: []string{"{set}.tracks"}, do: "it is for sets that track the latest: promote a version under another driver",
	},
	{
		id: "rollback-uniform-only", of: []string{ofSet}, match: regexp.MustCompile(`(?i)(rollbackFailedInstancesOnPolicyBreach)' is not supported`),
		do: "take it away: it is for the orchestration mode Uniform",
	},
	{
		id: "upgrade-unhealthy-before", of: []string{ofSet}, match: regexp.MustCompile(`^MaxUnhealthyInstancePercentExceeded(?:InRollingUpgrade|BeforeRollingUpgrade)\b`),
		keys: []string{"{set}.upgrade.max_unhealthy"}, do: "more members are unhealthy than that: make them healthy first (fleetctl status), one of few is a large share",
	},
	{
		id: "upgrade-unhealthy-after", of: []string{ofSet}, match: regexp.MustCompile(`^(?:MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade|RollingUpgradeInProgressWithFailedUpgradedVMs)\b`),
		keys: []string{"{set}.upgrade.max_unhealthy_upgraded"}, do: "members did not get healthy on what they were upgraded to: look at one of them",
	},
	{
		id: "upgrade-timeout", of: []string{ofSet}, match: regexp.MustCompile(`^RollingUpgradeTimeoutError\b`),
		keys: []string{"{set}.upgrade.pause", "{set}.upgrade.batch"}, do: "the platform gave up on an upgrade that takes too long: shorten the pause, or take larger batches",
	},
	{
		id: "repairs-without-health", of: []string{ofSet, ofExtension}, match: regexp.MustCompile(`Automatic repairs (?:are )?not supported .* health (?:probe or health )?extension`),
		properties: []string{"automaticRepairsPolicy.enabled"}, keys: []string{"{set}.health"}, do: "repairs need the health extension on every member: fleetctl apply brings it to all, and then turns them on",
	},
	{
		id: "repair-action", of: []string{ofSet}, match: regexp.MustCompile(`Changing property '(repairAction)' is not allowed`),
		do: "another action is for repairs that were turned off before: fleetctl apply does both",
	},
	// Scale sets: what never changes.
	{
		id: "image-type", of: []string{ofSet}, match: regexp.MustCompile(`Image type for a Virtual Machine Scale Set may not be changed`),
		keys: []string{"{set}.tracks", "gallery.image"}, do: "a set that was not made on an image of a gallery never gets one: it needs " + anotherSet,
	},
	{
		id: "set-immutable", of: []string{ofSet}, match: regexp.MustCompile(`^PropertyChangeNotAllowed: Changing property '([^']+)' is not allowed`),
		do: "it never changes: that needs " + anotherSet,
	},
	{
		id: "set-not-in-patch", of: []string{ofSet}, match: regexp.MustCompile(`Could not find member '([^']+)' on object of type 'VirtualMachineScaleSetUpdate`),
		do: "it is for a new set alone: that needs " + anotherSet,
	},
	// Scale sets: shape.
	{
		id: "zones-with-fault-domains", of: []string{ofSet}, match: regexp.MustCompile(`Availability Zones is not allowed when .* platformFaultDomainCount higher than 1`),
		properties: []string{"platformFaultDomainCount", ofZones}, do: "with zones it is 1",
	},
	{
		id: "fault-domains-range", of: []string{ofSet}, match: regexp.MustCompile(`specified (fault domain) count \d+ must fall in the range`),
		properties: []string{"platformFaultDomainCount"}, do: "without zones it is 1, 2 or 3",
	},
	{
		id: "system-identity", of: []string{ofSet}, match: regexp.MustCompile(`parameter 'identity' is not allowed`),
		properties: []string{ofKindOfID}, do: "a Flexible set has user-assigned identities alone",
	},
	{
		id: "mix-with-one-placement-group", of: []string{ofSet}, match: regexp.MustCompile(`'priorityMixPolicy' is not supported when '(singlePlacementGroup)' is true`),
		properties: []string{"priorityMixPolicy"}, do: "take one of the two away",
	},
	{
		id: "mix-without-spot", of: []string{ofSet}, match: regexp.MustCompile(`'(priorityMixPolicy)' can only be set when 'virtualMachineProfile.priority' is Spot`),
		do: "a mix needs spot",
	},
	{
		id: "eviction-without-spot", of: []string{ofSet}, match: regexp.MustCompile(`Eviction policy can be set only on Azure Spot`),
		properties: []string{"virtualMachineProfile.evictionPolicy"}, do: "it needs spot",
	},
	{
		id: "notice-on-spot", of: []string{ofSet}, match: regexp.MustCompile(`Terminate notifications cannot be enabled on Spot`),
		keys: []string{"{set}.terminate_notice", "{set}.spot"}, do: "terminate_notice: off; Spot members are told by Preempt",
	},
	{
		id: "spot-restore", of: []string{ofSet}, match: regexp.MustCompile(`^InvalidParameter: .*spotRestorePolicy`),
		properties: []string{"spotRestorePolicy.restoreTimeout"}, do: "it is not there in every region yet: take it away",
	},
	// Any body: a value that is out of its range or its words.
	{
		id:    "value-refused",
		match: regexp.MustCompile(`The value '[^']*' of parameter '?([\w.]+)'? (?:is out of range|is not allowed|is not one of)`),
		do:    "give it a value that Azure takes",
	},
	{
		id: "member-protection", of: []string{ofMember}, match: regexp.MustCompile(`protectFromScaleIn cannot be false when protectFromScaleSetActions is true`),
		do: "fleetctl protect without --from protects from both",
	},
	// Scale sets: what they are made of.
	{
		id: "reference-missing", of: []string{ofSet}, match: regexp.MustCompile(`^InvalidResourceReference: Resource '?(/\S+?)'? referenced by .* was not found`), scope: true,
		do: "there is no such thing: correct the id, or make it first, in the region of the scale set",
	},
	{
		id: "subnet-full", of: []string{ofSet, ofMember}, match: regexp.MustCompile(`^SubnetIsFull\b`),
		properties: []string{ofSubnet, ofCapacity}, do: "it has no addresses left for so many: take a larger subnet, or a smaller capacity",
	},
	{
		id: "size-not-there", of: []string{ofSet, ofMember}, match: regexp.MustCompile(`(?:requested VM size .* is not available in the current region|provided for the VM size is not valid)`),
		properties: []string{ofSize, "location"}, do: "that region does not have the size: az vm list-skus --location REGION lists what it has",
	},
	{
		id: "size-generation", of: []string{ofSet, ofMember}, match: regexp.MustCompile(`selected VM size .* cannot boot Hypervisor Generation`),
		properties: []string{ofSize}, do: "images of fleetctl are of generation 2: take a size that boots it",
	},
	{
		id: "admin-name", of: []string{ofSet}, match: regexp.MustCompile(`Admin Username specified is not allowed`),
		properties: []string{ofAdmin}, do: "Azure does not take names such as admin and root: take another",
	},
	{
		id: "ssh-key", of: []string{ofSet}, match: regexp.MustCompile(`parameter linuxConfiguration\.ssh\.publicKeys\.keyData is invalid`),
		properties: []string{ofKey}, do: "Azure takes a public key of RSA with 2048 bits and more, or of Ed25519",
	},
	// Capacity.
	{
		id: "quota", of: []string{ofSet, ofMember}, match: regexp.MustCompile(`(?i)exceeding (?:approved [\w .-]*quota|quota limit)`),
		properties: []string{ofSize, ofCapacity}, do: "ask for more quota in that region, or take a smaller size or capacity",
	},
	{
		id: "allocation", of: []string{ofSet, ofMember}, match: regexp.MustCompile(`^(?:AllocationFailed|ZonalAllocationFailed|OverconstrainedAllocationRequest|OverconstrainedZonalAllocationRequest|SkuNotAvailable)\b`),
		properties: []string{ofSize, ofZones}, do: "Azure has no room for that size there now: try again later, or take another size or other zones",
	},
	// Autoscale.
	{
		id: "autoscale-capacity", of: []string{ofAutoscale}, match: regexp.MustCompile(`^InvalidAutoscaleSetting: .*\b(capacity)\b`),
		do: "min is at most default, and default at most max",
	},
	{
		id: "autoscale-mode", of: []string{ofAutoscale}, match: regexp.MustCompile(`^InvalidAutoscaleSetting: .*\b(scaleMode)\b`),
		do: "off, forecast-only or enabled",
	},
	{
		id: "autoscale-look-ahead", of: []string{ofAutoscale}, match: regexp.MustCompile(`^InvalidAutoscaleSetting: .*\b(scaleLookAheadTime)\b`),
		do: "from 5m to 60m",
	},
	{
		id: "autoscale-metric", of: []string{ofAutoscale}, match: regexp.MustCompile(`^InvalidAutoscaleSetting: .*predictive.*\b(metricName)\b`),
		do: "predictive autoscale looks at the average of Percentage CPU alone",
	},
	// The gallery.
	{
		id: "version-immutable", of: []string{ofVersion}, match: regexp.MustCompile(`^PropertyChangeNotAllowed: Changing property '([^']+)' is not allowed`),
		do: "a version keeps it for its life: the next bake has what the file says",
	},
	{
		id: "definition-immutable", of: []string{ofDefinition}, match: regexp.MustCompile(`^PropertyChangeNotAllowed: Changing property '([^']+)' is not allowed`),
		do: "a definition is never changed: it needs another name (gallery.image.name)",
	},
	{
		id: "name-refused", match: regexp.MustCompile(`The entity (name) '[^']*' is invalid`),
		do: "letters, digits, dots and hyphens; it begins with a letter or a digit and ends with one",
	},
	{
		id: "location-immutable", match: regexp.MustCompile(`^(?:InvalidResourceLocation|InvalidResourceGroupLocation): .*already exists in (location)`),
		do: "it stays where it is: that needs another name",
	},
	{
		id: "location-unavailable", match: regexp.MustCompile(`^LocationNotAvailableForResourceType: .*provided (location)`),
		do: "name a region of Azure's",
	},
	{
		id: "region-twice", of: []string{ofVersion, ofTemplate}, match: regexp.MustCompile(`Duplicate regions are not allowed in target publishing regions`),
		keys: []string{"gallery.regions"}, do: "name each region once: East US and eastus are one",
	},
	{
		id: "deletion-blocked", of: []string{ofVersion}, match: regexp.MustCompile(`Deletion of the gallery image version .* end of life`),
		keys: []string{"gallery.end_of_life"}, do: "wait for that day, or let whoever set blockDeletionBeforeEndOfLife take it away",
	},
	{
		id: "image-not-there", of: []string{ofSet, ofMember, ofVersion}, match: regexp.MustCompile(`^(?:GalleryImageNotFound|ImageNotFound|GalleryImageVersionNotFound)\b`),
		keys: []string{"gallery.regions", "{set}.location"}, do: "the version is not in that region: fleetctl images shows how far it is",
	},
	// Image Builder.
	{
		id: "template-unknown-field", of: []string{ofTemplate}, match: regexp.MustCompile(`Could not find member '([^']+)' on object of type`),
		do: "this API of Image Builder has no such field: use a newer fleetctl",
	},
	{
		id: "template-exists", of: []string{ofTemplate}, match: regexp.MustCompile(`Update/Upgrade of image templates is currently not supported`),
		keys: []string{"bake.version"}, do: "a template is never changed: bake a new version, or delete the template of one that failed",
	},
	{
		id: "template-busy", of: []string{ofTemplate}, match: regexp.MustCompile(`image template .* cannot be deleted while|^HttpMethodNotSupported\b`),
		keys: []string{"bake.version"}, do: "it is at work: the next bake takes another version's name, and this one is deleted later",
	},
	{
		id: "staging-group", of: []string{ofTemplate}, match: regexp.MustCompile(`[Ss]taging resource group .* (?:is not empty|is not in the region|does not exist)`),
		keys: []string{"bake"}, do: "fleetctl names none, so that Image Builder makes its own: take stagingResourceGroup out of the template",
	},
	{
		id: "build-timeout", of: []string{ofTemplate}, match: regexp.MustCompile(`\b(buildTimeoutInMinutes)\b`),
		do: "from 6m to 16h",
	},
	{
		id: "provider-unregistered", match: regexp.MustCompile(`not registered to use namespace`),
		do: "fleetctl apply --register-providers registers it; without the right to, ask whoever has it",
	},
	{
		id: "container-quota", of: []string{ofTemplate}, match: regexp.MustCompile(`(?i)container ?group ?quota`),
		keys: []string{"location"}, do: "a build takes 4 cores of Azure Container Instances there: ask for more quota, or wait for other builds",
	},
	{
		id: "builder-role", of: []string{ofTemplate}, match: regexp.MustCompile(`check the user assigned identity has the correct permissions`),
		keys: []string{"bake.identity"}, do: "it lacks the role that fleetctl apply makes: run fleetctl plan",
	},
	{
		id: "builder-identity", of: []string{ofTemplate}, match: regexp.MustCompile(`assigned managed identity cannot be used`),
		keys: []string{"bake.identity"}, do: "there is no such identity: fleetctl apply makes it",
	},
	{
		id: "artifacts-unreadable", of: []string{ofTemplate}, match: regexp.MustCompile(`Downloading external file .* failed`),
		keys: []string{"bake.artifacts", "bake.identity"}, do: "the identity needs the role Storage Blob Data Reader there, and the file has to be there",
	},
	{
		id: "file-too-large", of: []string{ofTemplate}, match: regexp.MustCompile(`The file '[^']*' of the customizer .* bytes`),
		keys: []string{"bake.customize"}, do: "a file has at most 20 MB: fetch a larger one in a script",
	},
	{
		id: "file-destination", of: []string{ofTemplate}, match: regexp.MustCompile(`Field 'destination' has a bad value`),
		keys: []string{"bake.customize"}, do: "a file goes below /tmp; a script moves it on",
	},
	{
		id: "storage-keys", of: []string{ofTemplate}, match: regexp.MustCompile(`(?i)KeyBasedAuthenticationNotPermitted|prevent shared key access`),
		keys: []string{"bake"}, do: "a policy forbids what Image Builder needs of its storage account: exempt its resource groups (IT_…)",
	},
	// What somebody forbids.
	{
		id: "policy", match: regexp.MustCompile(`RequestDisallowedByPolicy`),
		do: "a policy of the subscription forbids it: write what it allows, or ask whoever assigned it for an exemption",
	},
	{
		id: "locked", match: regexp.MustCompile(`^ScopeLocked: .*\blocked: '?(/[^'\s]+?)'?\.?(?:\s|$)`), scope: true,
		do: "somebody has locked it against changes: whoever did can take the lock away",
	},
	{
		id: "denied-linked", match: regexp.MustCompile(`(?s)^LinkedAuthorizationFailed: .*on the linked scope\(s\) '([^']+)'`), scope: true,
		do: "whoever runs fleetctl needs that right there; one that was just given takes some minutes",
	},
	{
		id: "denied", match: regexp.MustCompile(`(?s)^AuthorizationFailed: .*over scope '([^']+)'`), scope: true,
		do: "whoever runs fleetctl needs that right there; one that was just given takes some minutes",
	},
}

// Refusals returns the names of what Explain knows.
func Refusals() []string {
	names := make([]string, len(refusals))
	for i := range refusals {
		names[i] = refusals[i].id
	}
	return names
}
