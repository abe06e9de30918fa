package fleet

import "time"

// A Fleet is what was read at one moment.
type Fleet struct {
	At        time.Time
	Sets      []Set
	Galleries []Gallery
	Templates []Template
	// Providers holds the registration state of resource providers, by namespace in
	// lower case: "registered". It is nil when it was not read.
	Providers map[string]string
	// Missing are the ids that were asked for and that lead to nothing.
	Missing []ResourceID
	// Notes say what was not read and why that is no error, in a sentence each: a
	// gallery of another team that a scale set refers to.
	Notes []string
}

// A Set is a scale set with its members and what the platform does to them.
type Set struct {
	Model     ScaleSet
	Members   []Member
	Rolling   *RollingUpgrade // the latest, or nil when there was none
	History   []RollingUpgrade
	Autoscale *Autoscale
}

// HealthState is a member's health as the platform knows it.
type HealthState string

// The states of health, in the words of vmHealth. HealthMissing is no state of
// Azure's: the instance view had none.
const (
	Healthy       HealthState = "Healthy"
	Unhealthy     HealthState = "Unhealthy"
	Initializing  HealthState = "Initializing"
	HealthUnknown HealthState = "Unknown"
	HealthMissing HealthState = "missing"
)

// PowerState is a member's power state: "running", "deallocated".
type PowerState string

// The power states that decide something.
const (
	Running     PowerState = "running"
	Deallocated PowerState = "deallocated"
)

// A Member is a virtual machine of a scale set.
type Member struct {
	Name         string // the instance id of a Flexible scale set, too
	ID           ResourceID
	Zone         string
	Created      time.Time
	Provisioning string
	Failure      Failure    // why the provisioning failed; empty when it did not, or nobody says
	Power        PowerState // "" when there is no instance view
	Spot         bool

	Image       ImageReference // of the member's own model, with the exact version
	LatestModel *bool          // latestModelApplied: unreliable in known cases

	Health   HealthState
	HealthAt time.Time // when the platform saw it; zero when it does not say
	// Extensions are those that the member has, by type, with their versions. It is
	// nil when there is no instance view.
	Extensions map[string]string

	ProtectScaleIn    bool // protectFromScaleIn
	ProtectSetActions bool // protectFromScaleSetActions
	// Vanished says that the set lists the member and the virtual machine is not
	// there.
	Vanished bool
}

// A RollingUpgrade is one that runs or ran (rollingUpgrades/latest, or an entry of
// the OS upgrade history).
type RollingUpgrade struct {
	Code                                    string // RollingForward, RollingBack, Cancelled, Completed or Faulted
	Start, End                              time.Time
	StartedBy                               string // User, Platform or Unknown
	Successful, Failed, InProgress, Pending int
	ErrorCode, Error                        string
	Target                                  ImageReference // of an entry of the history
	RolledBack, RollbackFailed              int
}

// Active says whether the upgrade still runs.
func (u *RollingUpgrade) Active() bool {
	return u != nil && (u.Code == "RollingForward" || u.Code == "RollingBack")
}

// Autoscale is the autoscale setting of a scale set.
type Autoscale struct {
	ID            ResourceID
	Target        ResourceID // the scale set
	Enabled       bool
	Min, Max, Def int // of the first profile
	Rules         []ScaleRule
	Predictive    string // scaleMode: "", Disabled, ForecastOnly or Enabled
	LookAhead     time.Duration
}

// A ScaleRule is one rule of the first profile.
type ScaleRule struct {
	Metric, Aggregation, Operator string
	Threshold                     float64
	Out                           bool // increases
	By                            int
	Window, Cooldown              time.Duration
	Odd                           string // what no rule of a file is like: "acts by PercentChangeCount"; empty: nothing
}

// A Gallery is a Compute Gallery.
type Gallery struct {
	ID          ResourceID
	Location    string
	Definitions []Definition
}

// A Definition is an image definition, which cannot be changed.
type Definition struct {
	ID                    ResourceID
	Location              string
	Publisher, Offer, SKU string
	OS                    string
	State                 string // Generalized or Specialized
	HyperV                string // V1 or V2
	Security              string // the feature SecurityType
	Versions              []Version
}

// A Version is an image version.
type Version struct {
	ID           ResourceID
	Name         string
	Provisioning string
	Published    time.Time
	Excluded     bool // publishingProfile.excludeFromLatest: everywhere
	EndOfLife    time.Time
	Mode         string // replicationMode: Full or Shallow
	Storage      string // storageAccountType of the profile
	BlockDelete  bool   // safetyProfile.blockDeletionBeforeEndOfLife
	Tags         map[string]string
	Regions      []Region
	// Aggregated is replicationStatus.aggregatedState; "" when it was not asked for.
	Aggregated string
}

// A Region is where a version is, or shall be.
type Region struct {
	Name     string // normalised: "westus3"
	Replicas int
	Storage  string
	Excluded bool
	State    string // Replicating, Completed, Failed, Unknown, or "" when not told
	Progress int    // percent
	Details  string
}

// A Template is an image template of Azure Image Builder.
type Template struct {
	ID           ResourceID
	Location     string
	Provisioning string
	RunState     string // lastRunStatus.runState
	RunSubState  string
	RunMessage   string
	RunStart     time.Time
	RunEnd       time.Time
	Properties   map[string]any
}
