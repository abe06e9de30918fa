package fleet

import (
	"cmp"
	"strings"
	"time"
)

// A Spec is a fleet.yaml: one environment. The package fleetfile reads it; what is
// here is complete, with the section defaults merged under every scale set and all
// other defaults filled in.
type Spec struct {
	Version       int                `yaml:"version"`
	Name          string             `yaml:"name"`
	Subscription  string             `yaml:"subscription"`
	ResourceGroup string             `yaml:"resource_group"`
	Location      string             `yaml:"location"` // normalised, like every region here: "eastus"
	Tags          map[string]string  `yaml:"tags"`
	Gallery       *GallerySpec       `yaml:"gallery"`
	Bake          *BakeSpec          `yaml:"bake"`
	Defaults      SetSpec            `yaml:"defaults"` // as it was written: merged under every set already
	ScaleSets     map[string]SetSpec `yaml:"scale_sets"`
	Rollout       *RolloutSpec       `yaml:"rollout"`
}

// Manage says how much of a resource is ours.
type Manage string

// How much of a resource is ours: all of it, the image of a scale set that somebody
// else owns, or nothing.
const (
	ManageFull    Manage = "full"
	ManageImage   Manage = "image"
	ManageObserve Manage = "observe"
)

// GallerySpec is the gallery and its one image definition.
type GallerySpec struct {
	Name          string         `yaml:"name"`
	ResourceGroup string         `yaml:"resource_group"` // empty: that of the file
	Manage        Manage         `yaml:"manage"`         // full or observe
	Image         DefinitionSpec `yaml:"image"`
	Storage       string         `yaml:"storage"`  // storageAccountType
	Replicas      int            `yaml:"replicas"` // in every region that has no number of its own
	Regions       map[string]int `yaml:"regions"`  // replicas, by region
	Replicate     string         `yaml:"replicate"`
	EndOfLife     time.Duration  `yaml:"end_of_life"` // from the bake on; 0: none
}

// When a version is replicated (GallerySpec.Replicate).
const (
	ReplicateAtBake = "at-bake"
	ReplicateByWave = "by-wave"
)

// DefinitionSpec is an image definition.
type DefinitionSpec struct {
	Name      string `yaml:"name"`
	Publisher string `yaml:"publisher"`
	Offer     string `yaml:"offer"`
	SKU       string `yaml:"sku"`
}

// BakeSpec is how a golden image is made.
type BakeSpec struct {
	Identity string        `yaml:"identity"` // name or id of a user-assigned identity
	Source   SourceSpec    `yaml:"source"`
	VMSize   string        `yaml:"vm_size"`
	OSDiskGB int           `yaml:"os_disk_gb"`
	Timeout  time.Duration `yaml:"timeout"`
	Version  string        `yaml:"version"` // "1.8.{n}" or "1.8.3"
	// Artifacts is the https URL of a container of blobs, and a path in it if need be,
	// for local files that are too large for the template; empty: there is none.
	Artifacts    string            `yaml:"artifacts"`
	ArtifactTags map[string]string `yaml:"artifact_tags"`
	Customize    []CustomizeSpec   `yaml:"customize"`
	Validate     []ScriptSpec      `yaml:"validate"`
	BootTest     *BootTestSpec     `yaml:"boot_test"`
}

// SourceSpec is the image of the Marketplace that a bake begins with.
type SourceSpec struct {
	Publisher string `yaml:"publisher"`
	Offer     string `yaml:"offer"`
	SKU       string `yaml:"sku"`
	Version   string `yaml:"version"`
}

// CustomizeSpec is one customizer: a file to copy, or a script to run.
type CustomizeSpec struct {
	Name   string   `yaml:"name"`
	File   string   `yaml:"file"` // local, as it can be opened from here
	To     string   `yaml:"to"`   // below /tmp
	Script string   `yaml:"script"`
	SHA256 string   `yaml:"sha256"` // of a script at an https URL
	Args   []string `yaml:"args"`   // of a script; see ArgVersion
}

// ScriptSpec is a script to run: a local file, or an https URL with its hash.
type ScriptSpec struct {
	Name   string   `yaml:"name"`
	Script string   `yaml:"script"`
	SHA256 string   `yaml:"sha256"`
	Args   []string `yaml:"args"`
}

// What stands in the arguments of a script for the image version that is made, and
// for the name of the image definition.
const (
	ArgVersion = "{version}"
	ArgImage   = "{image}"
)

// BootTestSpec is the gate that an image passes before anybody may use it.
type BootTestSpec struct {
	Like       string        `yaml:"like"` // a set of the file, or the id of a live one
	BootWithin time.Duration `yaml:"boot_within"`
	Run        string        `yaml:"run"` // local script, by Run Command; empty: none
}

// SetSpec is one scale set. The pointers are nil for what is not there: a set
// without autoscale, without Spot, without repairs.
type SetSpec struct {
	Manage              Manage            `yaml:"manage"`
	Tracks              string            `yaml:"tracks"`
	ID                  ResourceID        `yaml:"id"`       // of a set that exists; empty: named by its key
	Location            string            `yaml:"location"` // never empty after loading
	Tags                map[string]string `yaml:"tags"`
	Create              *CreateSpec       `yaml:"create"`
	Health              *HealthSpec       `yaml:"health"`
	Upgrade             UpgradeSpec       `yaml:"upgrade"`
	Repairs             *RepairsSpec      `yaml:"repairs"`
	TerminateNotice     time.Duration     `yaml:"terminate_notice"` // 0: none
	OSImageNotification bool              `yaml:"os_image_notification"`
	Autoscale           *AutoscaleSpec    `yaml:"autoscale"`
	Spot                *SpotSpec         `yaml:"spot"`
}

// What the image of a scale set follows (SetSpec.Tracks).
const (
	TracksPinned = "pinned"
	TracksLatest = "latest"
)

// CreateSpec is what a scale set is made from, once, when it does not exist.
type CreateSpec struct {
	Capacity     int            `yaml:"capacity"`
	VMSize       string         `yaml:"vm_size"`
	Zones        []int          `yaml:"zones"`
	FaultDomains int            `yaml:"fault_domains"`
	Network      NetworkSpec    `yaml:"network"`
	Admin        string         `yaml:"admin"`
	SSHKey       string         `yaml:"ssh_key"` // local file of a public key, as it can be opened from here
	Extra        map[string]any `yaml:"extra"`   // raw ARM, merged last
}

// NetworkSpec is where the members are in the network.
type NetworkSpec struct {
	Subnet       ResourceID   `yaml:"subnet"`
	BackendPools []ResourceID `yaml:"backend_pools"`
}

// HealthSpec is the Application Health extension.
type HealthSpec struct {
	Extension string        `yaml:"extension"` // "1.0" or "2.0"
	Protocol  string        `yaml:"protocol"`  // http, https or tcp
	Port      int           `yaml:"port"`      // 0: left out
	Path      string        `yaml:"path"`
	Interval  time.Duration `yaml:"interval"`
	Probes    int           `yaml:"probes"`
	Grace     time.Duration `yaml:"grace"` // 0: left out
}

// A Driver is who upgrades the members of a scale set.
type Driver string

// The drivers.
const (
	DriverBatches         Driver = "batches"
	DriverPlatformRolling Driver = "platform-rolling"
	DriverPlatformAutoOS  Driver = "platform-auto-os"
)

// Platform says whether the platform picks the members.
func (d Driver) Platform() bool { return d == DriverPlatformRolling || d == DriverPlatformAutoOS }

// UpgradeSpec is how members get a new image. The pointers are for the platform's
// drivers only, and nil when they were not given.
type UpgradeSpec struct {
	Driver               Driver        `yaml:"driver"`
	Batch                Percent       `yaml:"batch"`
	MaxUnhealthy         Percent       `yaml:"max_unhealthy"`
	MaxUnhealthyUpgraded Percent       `yaml:"max_unhealthy_upgraded"`
	Pause                time.Duration `yaml:"pause"`
	Order                string        `yaml:"order"` // zone or name; empty: zone, or what the platform does
	PrioritizeUnhealthy  *bool         `yaml:"prioritize_unhealthy"`
	MaxSurge             *bool         `yaml:"max_surge"`
	CrossZone            *bool         `yaml:"cross_zone"`
	AutoOS               *bool         `yaml:"auto_os"`
	AutoOSRollback       *bool         `yaml:"auto_os_rollback"`
}

// Percent is a percentage in whole numbers, written "20%".
type Percent int

// Of returns the part of n, rounded down, with at least one of any.
func (p Percent) Of(n int) int { return min(n, max(1, n*int(p)/100)) }

// maxDrained bounds a batch whose members are drained: all of them have to be while the
// drain of the first still lasts, and a few are at a time.
const maxDrained = 40

// BatchSize is how many of n running members are upgraded at a time.
func BatchSize(batch Percent, n int, drained bool) int {
	if drained {
		return min(batch.Of(n), maxDrained)
	}
	return batch.Of(n)
}

// RepairsSpec is automatic repairs.
type RepairsSpec struct {
	After  time.Duration `yaml:"after"`
	Action string        `yaml:"action"` // replace, reimage or restart
}

// AutoscaleSpec is the autoscale setting of a scale set.
type AutoscaleSpec struct {
	Min        int             `yaml:"min"`
	Max        int             `yaml:"max"`
	Default    int             `yaml:"default"`
	Out        *ScaleOutSpec   `yaml:"out"`
	In         *ScaleInSpec    `yaml:"in"`
	Predictive *PredictiveSpec `yaml:"predictive"`
}

// ScaleOutSpec is the rule that adds members.
type ScaleOutSpec struct {
	Metric   string        `yaml:"metric"`
	Above    float64       `yaml:"above"`
	Over     time.Duration `yaml:"over"`
	By       int           `yaml:"by"`
	Cooldown time.Duration `yaml:"cooldown"`
}

// ScaleInSpec is the rule that takes members away.
type ScaleInSpec struct {
	Metric   string        `yaml:"metric"`
	Below    float64       `yaml:"below"`
	Over     time.Duration `yaml:"over"`
	By       int           `yaml:"by"`
	Cooldown time.Duration `yaml:"cooldown"`
}

// PredictiveSpec is predictive autoscale.
type PredictiveSpec struct {
	Mode      string        `yaml:"mode"` // off, forecast-only or enabled
	LookAhead time.Duration `yaml:"look_ahead"`
}

// SpotSpec is the mix of Spot and regular members.
type SpotSpec struct {
	RegularBase      int           `yaml:"regular_base"`
	RegularAboveBase Percent       `yaml:"regular_above_base"`
	Eviction         string        `yaml:"eviction"` // deallocate or delete
	Restore          time.Duration `yaml:"restore"`  // 0: not tried
}

// RolloutSpec is how a version reaches the scale sets.
type RolloutSpec struct {
	Waves        []WaveSpec    `yaml:"waves"`
	ObserveEvery time.Duration `yaml:"observe_every"`
	Gates        GatesSpec     `yaml:"gates"`
	Drain        string        `yaml:"drain"` // none or run-command
	OnHalt       OnHaltSpec    `yaml:"on_halt"`
	Journal      string        `yaml:"journal"` // a directory as it can be opened from here, or the https URL of a container of blobs and a path in it
}

// WaveSpec is one wave of a rollout.
type WaveSpec struct {
	Name      string        `yaml:"name"`
	ScaleSets []string      `yaml:"scale_sets"`
	Instances int           `yaml:"instances"` // of each set; 0: all that are not yet on the version
	Soak      time.Duration `yaml:"soak"`
	Approve   bool          `yaml:"approve"`
}

// GatesSpec is what a rollout asks before it goes on.
type GatesSpec struct {
	HealthyWithin time.Duration    `yaml:"healthy_within"`
	HealthyFor    time.Duration    `yaml:"healthy_for"`
	Stuck         time.Duration    `yaml:"stuck"`
	Prometheus    []PrometheusSpec `yaml:"prometheus"`
	Window        *WindowSpec      `yaml:"window"` // nil: at any time
}

// PrometheusSpec is a question to Prometheus. One of Above and Below is set: the
// gate fails beyond it, For times in a row.
type PrometheusSpec struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
	Auth string `yaml:"auth"` // none or azure
	// Headers of the question: a bearer token, a tenant. Their values are secret.
	Headers map[string]string `yaml:"headers"`
	Query   string            `yaml:"query"`
	Above   *float64          `yaml:"above"`
	Below   *float64          `yaml:"below"`
	Step    time.Duration     `yaml:"step"`
	For     int               `yaml:"for"`
	NoData  string            `yaml:"no_data"` // pass, pause or fail
	Traffic *TrafficSpec      `yaml:"traffic"` // nil: none is asked for
}

// TrafficSpec is the traffic without which the answer of a gate means nothing.
type TrafficSpec struct {
	Query   string  `yaml:"query"`
	AtLeast float64 `yaml:"at_least"`
}

// WindowSpec is when new batches may begin.
type WindowSpec struct {
	Days     []string `yaml:"days"` // mon to sun; empty: all
	From     string   `yaml:"from"` // "09:00"
	To       string   `yaml:"to"`
	Timezone string   `yaml:"timezone"`
}

// OnHaltSpec is what a rollout that halts does beside going back.
type OnHaltSpec struct {
	Scope    string `yaml:"scope"`    // rollout or wave
	Diagnose string `yaml:"diagnose"` // none or run-command
	Notify   string `yaml:"notify"`   // URL of a webhook, which is secret; empty: none
}

// SetID returns the id of a scale set of the file: its own, or that of the set of
// this name in the resource group.
func (s *Spec) SetID(name string) ResourceID {
	if id := s.ScaleSets[name].ID; id != "" {
		return id
	}
	return s.group("") + ResourceID("/providers/Microsoft.Compute/virtualMachineScaleSets/"+name)
}

// GalleryID returns the id of the gallery; empty when the file has none.
func (s *Spec) GalleryID() ResourceID {
	if s.Gallery == nil {
		return ""
	}
	return s.group(s.Gallery.ResourceGroup) + ResourceID("/providers/Microsoft.Compute/galleries/"+s.Gallery.Name)
}

// DefinitionID returns the id of the image definition; empty when the file has none.
func (s *Spec) DefinitionID() ResourceID {
	if s.Gallery == nil {
		return ""
	}
	return s.GalleryID() + ResourceID("/images/"+s.Gallery.Image.Name)
}

// IdentityID returns the id of the identity that Image Builder works as; empty when the
// file has none.
func (s *Spec) IdentityID() ResourceID {
	switch {
	case s.Bake == nil || s.Bake.Identity == "":
		return ""
	case strings.HasPrefix(s.Bake.Identity, "/"):
		return ResourceID(s.Bake.Identity)
	}
	return s.group("") + ResourceID("/providers/Microsoft.ManagedIdentity/userAssignedIdentities/"+s.Bake.Identity)
}

// group returns the id of a resource group of the subscription; that of the file when
// it has no name.
func (s *Spec) group(name string) ResourceID {
	return ResourceID("/subscriptions/" + s.Subscription + "/resourceGroups/" + cmp.Or(name, s.ResourceGroup))
}
