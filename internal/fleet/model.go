package fleet

import "time"

// A ScaleSet is the model of a scale set: what its members are made from, and how
// they are upgraded (Microsoft.Compute/virtualMachineScaleSets).
type ScaleSet struct {
	ID              ResourceID
	Location        string // normalised: "eastus"
	Zones           []string
	ETag            string
	Provisioning    string // provisioningState
	Tags            map[string]string
	Flexible        bool // orchestrationMode
	FaultDomains    int  // platformFaultDomainCount; 0 when it was not given
	SinglePlacement *bool
	Capacity        int // sku.capacity: in a set with deallocated members more than run
	VMSize          string

	Image      ImageReference
	Extensions []Extension
	// HealthProbe is the id of a load balancer's probe, which is a second source of
	// health beside the extension.
	HealthProbe        string
	SystemIdentity     bool // identity.type names SystemAssigned
	Windows            bool
	PatchMode          string // of the OS that the set runs
	WindowsAutoUpdates *bool  // windowsConfiguration.enableAutomaticUpdates
	OSDiskDelete       string // storageProfile.osDisk.deleteOption
	SubnetID           string // of the first network interface

	Upgrade UpgradePolicy
	Repairs RepairsPolicy

	Spot            bool   // virtualMachineProfile.priority
	EvictionPolicy  string // Deallocate or Delete
	PriorityMix     *PriorityMix
	SpotRestore     *SpotRestore
	TerminateNotice *Notice // scheduledEventsProfile.terminateNotificationProfile
	OSImageNotice   *Notice // scheduledEventsProfile.osImageNotificationProfile

	// Properties is the answer as it was read, for what has no field here. It is nil
	// in a set that was declared.
	Properties map[string]any
}

// ImageReference says what a disk is made from: a gallery image, by id, or an image
// of the Marketplace.
type ImageReference struct {
	ID                             string // of a definition or a version; "" for the Marketplace
	Publisher, Offer, SKU, Version string
	ExactVersion                   string // read only: what Azure resolved
}

// UpgradeMode is upgradePolicy.mode.
type UpgradeMode string

// The upgrade modes.
const (
	Manual    UpgradeMode = "Manual"
	Automatic UpgradeMode = "Automatic"
	Rolling   UpgradeMode = "Rolling"
)

// An UpgradePolicy says how members get a changed model.
type UpgradePolicy struct {
	Mode            UpgradeMode
	AutoOS          bool  // automaticOSUpgradePolicy.enableAutomaticOSUpgrade
	DisableRollback *bool // automaticOSUpgradePolicy.disableAutomaticRollback
	// UseRolling is automaticOSUpgradePolicy.useRollingUpgradePolicy.
	UseRolling *bool
	Rolling    RollingPolicy
}

// RollingPolicy is upgradePolicy.rollingUpgradePolicy; a nil field was not given.
type RollingPolicy struct {
	MaxBatch             *int           // percent of the members in a batch, 5 to 100
	MaxUnhealthy         *int           // percent of all members, 5 to 100, looked at before each batch
	MaxUnhealthyUpgraded *int           // percent of the upgraded, 0 to 100, looked at after each batch
	Pause                *time.Duration // between batches
	PrioritizeUnhealthy  *bool
	MaxSurge             *bool
	CrossZone            *bool
	RollbackFailed       *bool // rollbackFailedInstancesOnPolicyBreach: Uniform only
}

// RepairsPolicy is automaticRepairsPolicy.
type RepairsPolicy struct {
	Enabled bool
	Grace   *time.Duration // 10 to 90 minutes
	Action  string         // Replace, Restart or Reimage
}

// A PriorityMix is priorityMixPolicy.
type PriorityMix struct {
	RegularBase      int
	RegularAboveBase int // percent
}

// SpotRestore is spotRestorePolicy.
type SpotRestore struct {
	Enabled bool
	Timeout time.Duration
}

// A Notice is a profile of scheduledEventsProfile.
type Notice struct {
	Enabled   bool
	NotBefore time.Duration // notBeforeTimeout
}

// An Extension is an extension of the model. Its protected settings cannot be read.
type Extension struct {
	Name, Publisher, Type, Version string
	AutoUpgrade                    *bool          // enableAutomaticUpgrade
	Settings                       map[string]any // nil when there are none
	HasProtectedSettings           bool           // known of a declared set only
}

// The Application Health extension, of Linux and of Windows.
const (
	HealthPublisher   = "Microsoft.ManagedServices"
	HealthTypeLinux   = "ApplicationHealthLinux"
	HealthTypeWindows = "ApplicationHealthWindows"
)

// Health returns the set's Application Health extensions: one, as it should be, or
// none or more.
func (s *ScaleSet) Health() []Extension {
	var found []Extension
	for _, e := range s.Extensions {
		if isHealthExtension(e.Publisher, e.Type) {
			found = append(found, e)
		}
	}
	return found
}
