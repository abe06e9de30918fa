package arm

import (
	"embed"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// A Scenario is a subscription written down: what is in it when the simulation
// begins. Its form is that of the examples in the directory scenarios, and
// ScenarioSchema describes it.
type Scenario struct {
	Name        string // of an example, or the file
	Description string
	file        scenarioFile
}

// Subscription is the id of the subscription, or "" when the scenario does not say.
func (sc *Scenario) Subscription() string { return sc.file.Subscription }

// Start is the simulated time at which the scenario begins, or zero: now.
func (sc *Scenario) Start() time.Time { return sc.file.Clock.Start }

// Speed is how many times as fast as real time the clock shall run, or 0 when the
// scenario does not say.
func (sc *Scenario) Speed() float64 { return sc.file.Clock.Speed }

// scenarioFile is the shape of a scenario file. What a key means stands in its doc
// tag, for the JSON Schema; enum lists what a value may be.
type scenarioFile struct {
	Description     string            `yaml:"description" doc:"what the scenario shows"`
	Subscription    string            `yaml:"subscription" doc:"id of the subscription"`
	Clock           clockSpec         `yaml:"clock" doc:"the simulated time"`
	ResourceGroup   string            `yaml:"resource_group" doc:"of every resource below that names none"`
	Location        string            `yaml:"location" doc:"region of every resource below that names none"`
	ResourceGroups  []groupSpec       `yaml:"resource_groups" doc:"resource groups; one that is used and not listed is made"`
	Providers       map[string]string `yaml:"providers" enum:"Registered,NotRegistered,Registering,Unregistering" doc:"registration state by namespace"`
	Replication     replicationSpec   `yaml:"replication" doc:"how image versions come to regions"`
	Galleries       []gallerySpec     `yaml:"galleries" doc:"Compute Galleries"`
	ScaleSets       []setSpec         `yaml:"scale_sets" doc:"Flexible scale sets with their members"`
	Autoscale       []autoscaleSpec   `yaml:"autoscale" doc:"autoscale settings"`
	Templates       []templateSpec    `yaml:"templates" doc:"image templates of Azure Image Builder"`
	Builds          []buildSpec       `yaml:"builds" doc:"how builds of image templates go; the first rule that matches counts"`
	StorageAccounts []accountSpec     `yaml:"storage_accounts" doc:"storage accounts with blob containers"`
	Roles           rolesSpec         `yaml:"roles" doc:"roles and their assignments to identities"`
	Caller          callerSpec        `yaml:"caller" doc:"what whoever asks may not do"`
	Policies        []policySpec      `yaml:"policies" doc:"assignments of Azure Policy, which deny writes"`
	Resources       []rawSpec         `yaml:"resources" doc:"any other resource as Azure holds it"`
	Faults          []faultSpec       `yaml:"faults" doc:"answers that take the place of the right ones"`

	machineSections  `yaml:",inline"`
	platformSections `yaml:",inline"`
}

type clockSpec struct {
	Start time.Time `yaml:"start" doc:"the time at which the simulation begins; without it, now"`
	Speed float64   `yaml:"speed" doc:"times as fast as real time, up to 1000"`
}

type groupSpec struct {
	Name     string            `yaml:"name" required:"true"`
	Location string            `yaml:"location"`
	Tags     map[string]string `yaml:"tags"`
}

// place is where a resource is.
type place struct {
	ResourceGroup string            `yaml:"resource_group"`
	Location      string            `yaml:"location"`
	Tags          map[string]string `yaml:"tags"`
}

type gallerySpec struct {
	Name        string `yaml:"name" required:"true"`
	place       `yaml:",inline"`
	Definitions []definitionSpec `yaml:"definitions" doc:"image definitions"`
	Body        map[string]any   `yaml:"body" doc:"raw ARM, merged last; null takes a property away"`
}

type definitionSpec struct {
	Name         string         `yaml:"name" required:"true"`
	Publisher    string         `yaml:"publisher" required:"true"`
	Offer        string         `yaml:"offer" required:"true"`
	SKU          string         `yaml:"sku" required:"true"`
	OS           string         `yaml:"os" enum:"Linux,Windows"`
	State        string         `yaml:"state" enum:"Generalized,Specialized"`
	HyperV       string         `yaml:"hyper_v" enum:"V1,V2"`
	SecurityType string         `yaml:"security_type" doc:"the feature SecurityType; none: no such feature"`
	Versions     []versionSpec  `yaml:"versions" doc:"image versions"`
	Body         map[string]any `yaml:"body" doc:"raw ARM, merged last"`
}

type versionSpec struct {
	Name         string                `yaml:"name" required:"true" doc:"major.minor.patch"`
	Published    age                   `yaml:"published" doc:"how long ago"`
	Excluded     bool                  `yaml:"excluded" doc:"excludeFromLatest everywhere"`
	EndOfLife    age                   `yaml:"end_of_life" doc:"in how long; negative when it has passed"`
	Provisioning string                `yaml:"provisioning" enum:"Succeeded,Creating,Updating,Failed,Deleting"`
	Mode         string                `yaml:"mode" enum:"Full,Shallow" doc:"replicationMode"`
	Storage      string                `yaml:"storage" enum:"Standard_LRS,Standard_ZRS,Premium_LRS" doc:"storageAccountType of every region"`
	BlockDelete  bool                  `yaml:"block_delete" doc:"blockDeletionBeforeEndOfLife"`
	Tags         map[string]string     `yaml:"tags"`
	Regions      map[string]regionSpec `yaml:"regions" doc:"where it is, or shall be"`
	Health       string                `yaml:"health" enum:"Healthy,Unhealthy,Unknown,Initializing,missing" doc:"what becomes of members that boot it; without it, Healthy; missing: their OS hangs, and says nothing"`
	Body         map[string]any        `yaml:"body" doc:"raw ARM, merged last"`
}

type regionSpec struct {
	Replicas int    `yaml:"replicas" doc:"1 when it is not given"`
	Storage  string `yaml:"storage" enum:"Standard_LRS,Standard_ZRS,Premium_LRS" doc:"storageAccountType when it is another"`
	Excluded bool   `yaml:"excluded" doc:"excludeFromLatest in this region"`
	State    string `yaml:"state" enum:"Completed,Replicating,Failed,Unknown" doc:"Completed when it is not given"`
	Progress int    `yaml:"progress" doc:"percent, of a region that is Replicating"`
	Details  string `yaml:"details" doc:"why it failed"`
}

type setSpec struct {
	Name            string `yaml:"name" required:"true"`
	place           `yaml:",inline"`
	Zones           []string       `yaml:"zones"`
	Capacity        *int           `yaml:"capacity" doc:"sku.capacity; without it, the number of members"`
	VMSize          string         `yaml:"vm_size"`
	FaultDomains    *int           `yaml:"fault_domains" doc:"platformFaultDomainCount; 1 when it is not given"`
	SinglePlacement bool           `yaml:"single_placement_group"`
	Image           string         `yaml:"image" doc:"GALLERY/DEFINITION[/VERSION], a resource id, or publisher:offer:sku:version"`
	Windows         bool           `yaml:"windows"`
	Mode            string         `yaml:"mode" enum:"Manual,Automatic,Rolling" doc:"upgradePolicy.mode; Manual when it is not given"`
	Rolling         *rollingSpec   `yaml:"rolling" doc:"rollingUpgradePolicy"`
	AutoOS          bool           `yaml:"auto_os" doc:"enableAutomaticOSUpgrade, with the rolling policy"`
	Health          *healthSpec    `yaml:"health" doc:"the Application Health extension"`
	Extensions      []extSpec      `yaml:"extensions" doc:"other extensions"`
	Repairs         *repairsSpec   `yaml:"repairs" doc:"automaticRepairsPolicy"`
	TerminateNotice age            `yaml:"terminate_notice" doc:"of terminateNotificationProfile"`
	Spot            *spotSpec      `yaml:"spot" doc:"priority Spot"`
	OSDiskDelete    string         `yaml:"os_disk_delete" enum:"Delete,Detach" doc:"deleteOption of the OS disk; Delete when it is not given"`
	Identities      []string       `yaml:"identities" doc:"names of user-assigned identities in the set's resource group"`
	Body            map[string]any `yaml:"body" doc:"raw ARM, merged last; null takes a property away"`
	Members         []memberSpec   `yaml:"members" doc:"without them, capacity members that are well"`
	RollingUpgrade  *upgradeSpec   `yaml:"rolling_upgrade" doc:"rollingUpgrades/latest"`
	History         []upgradeSpec  `yaml:"history" doc:"osUpgradeHistory, the newest first"`
}

type rollingSpec struct {
	MaxBatch             *int  `yaml:"max_batch" doc:"maxBatchInstancePercent"`
	MaxUnhealthy         *int  `yaml:"max_unhealthy" doc:"maxUnhealthyInstancePercent"`
	MaxUnhealthyUpgraded *int  `yaml:"max_unhealthy_upgraded" doc:"maxUnhealthyUpgradedInstancePercent"`
	Pause                age   `yaml:"pause" doc:"pauseTimeBetweenBatches"`
	PrioritizeUnhealthy  *bool `yaml:"prioritize_unhealthy"`
	MaxSurge             *bool `yaml:"max_surge"`
	CrossZone            *bool `yaml:"cross_zone"`
	RollbackFailed       *bool `yaml:"rollback_failed" doc:"rollbackFailedInstancesOnPolicyBreach"`
}

type healthSpec struct {
	Version  string `yaml:"version" doc:"typeHandlerVersion: 1.0 or 2.0"`
	Protocol string `yaml:"protocol" enum:"http,https,tcp"`
	Port     int    `yaml:"port"`
	Path     string `yaml:"path" doc:"requestPath"`
	Interval age    `yaml:"interval"`
	Probes   int    `yaml:"probes" doc:"numberOfProbes"`
	Grace    age    `yaml:"grace" doc:"gracePeriod"`
}

type extSpec struct {
	Name              string         `yaml:"name" required:"true"`
	Publisher         string         `yaml:"publisher" required:"true"`
	Type              string         `yaml:"type" required:"true"`
	Version           string         `yaml:"version" required:"true"`
	AutoUpgrade       *bool          `yaml:"auto_upgrade" doc:"enableAutomaticUpgrade"`
	Settings          map[string]any `yaml:"settings"`
	ProtectedSettings map[string]any `yaml:"protected_settings" doc:"never returned"`
}

type repairsSpec struct {
	After  age    `yaml:"after" doc:"gracePeriod"`
	Action string `yaml:"action" enum:"Replace,Restart,Reimage"`
}

type spotSpec struct {
	Eviction         string `yaml:"eviction" enum:"Deallocate,Delete"`
	RegularBase      *int   `yaml:"regular_base" doc:"baseRegularPriorityCount"`
	RegularAboveBase *int   `yaml:"regular_above_base" doc:"regularPriorityPercentageAboveBase"`
	Restore          age    `yaml:"restore" doc:"restoreTimeout of spotRestorePolicy"`
}

// A memberSpec is one member, or as many alike as Count says.
type memberSpec struct {
	Name         string            `yaml:"name" doc:"without it, one is made"`
	Count        *int              `yaml:"count" doc:"as many alike; 1 when it is not given"`
	Zone         string            `yaml:"zone" doc:"without it, the set's zones in turn"`
	Version      string            `yaml:"version" doc:"exact version that it runs; without it, what its reference means in its region"`
	Image        string            `yaml:"image" doc:"reference of its own model; without it, the set's"`
	Spot         *bool             `yaml:"spot" doc:"without it, what the set's mix says"`
	Age          age               `yaml:"age" doc:"since when it exists"`
	Provisioning string            `yaml:"provisioning" enum:"Succeeded,Creating,Updating,Failed,Deleting"`
	Power        string            `yaml:"power" enum:"running,stopped,deallocated,starting,deallocating"`
	Health       string            `yaml:"health" enum:"Healthy,Unhealthy,Unknown,Initializing,missing" doc:"Healthy when it is not given; missing: the instance view has no vmHealth"`
	HealthSince  age               `yaml:"health_since" doc:"how long ago the health was seen to change"`
	Protect      []string          `yaml:"protect" enum:"scale-in,scale-set-actions"`
	Stale        bool              `yaml:"stale" doc:"the set's model has changed since it was made or upgraded"`
	LatestModel  *bool             `yaml:"latest_model" doc:"what latestModelApplied says, even where it is not so"`
	Extensions   map[string]string `yaml:"extensions" doc:"version by type, in place of those of the model"`
	Vanished     bool              `yaml:"vanished" doc:"the set lists it and the virtual machine is not there"`
}

type upgradeSpec struct {
	Code       string `yaml:"code" required:"true" enum:"RollingForward,RollingBack,Cancelled,Completed,Faulted"`
	StartedBy  string `yaml:"started_by" enum:"User,Platform,Unknown" doc:"of an entry of the history"`
	Started    age    `yaml:"started" doc:"how long ago"`
	Ended      age    `yaml:"ended" doc:"how long ago"`
	Successful int    `yaml:"successful"`
	Failed     int    `yaml:"failed"`
	InProgress int    `yaml:"in_progress"`
	Pending    int    `yaml:"pending"`
	ErrorCode  string `yaml:"error_code"`
	Error      string `yaml:"error"`
	Target     string `yaml:"target" doc:"image of an entry of the history"`
	RolledBack int    `yaml:"rolled_back"`
	Lost       int    `yaml:"rollback_failed" doc:"members that could not be rolled back"`
}

type autoscaleSpec struct {
	Name       string `yaml:"name" required:"true"`
	place      `yaml:",inline"`
	ScaleSet   string          `yaml:"scale_set" required:"true" doc:"name of a set of this file"`
	Disabled   bool            `yaml:"disabled"`
	Min        int             `yaml:"min"`
	Max        int             `yaml:"max"`
	Default    int             `yaml:"default"`
	Rules      []ruleSpec      `yaml:"rules"`
	Predictive *predictiveSpec `yaml:"predictive"`
	Body       map[string]any  `yaml:"body" doc:"raw ARM, merged last"`
}

type ruleSpec struct {
	Metric   string   `yaml:"metric" doc:"Percentage CPU when it is not given"`
	Above    *float64 `yaml:"above" doc:"scale out above this"`
	Below    *float64 `yaml:"below" doc:"scale in below this"`
	Over     age      `yaml:"over"`
	By       int      `yaml:"by"`
	Cooldown age      `yaml:"cooldown"`
}

type predictiveSpec struct {
	Mode      string `yaml:"mode" required:"true" doc:"scaleMode: Disabled, ForecastOnly or Enabled"`
	LookAhead age    `yaml:"look_ahead"`
}

type templateSpec struct {
	Name         string `yaml:"name" required:"true"`
	place        `yaml:",inline"`
	Identity     string         `yaml:"identity" doc:"name of a user-assigned identity in its resource group"`
	Image        string         `yaml:"image" doc:"GALLERY/DEFINITION that it distributes to"`
	Regions      map[string]int `yaml:"regions" doc:"replicas by region"`
	Included     bool           `yaml:"included" doc:"distributes without excludeFromLatest"`
	Provisioning string         `yaml:"provisioning" enum:"Succeeded,Creating,Updating,Failed,Deleting,Canceled"`
	RunState     string         `yaml:"run_state" enum:"Running,Canceling,Succeeded,PartiallySucceeded,Failed,Canceled"`
	RunSubState  string         `yaml:"run_sub_state" enum:"Queued,Building,Customizing,Optimizing,Validating,Distributing"`
	RunMessage   string         `yaml:"run_message"`
	RunStarted   age            `yaml:"run_started" doc:"how long ago"`
	RunEnded     age            `yaml:"run_ended" doc:"how long ago"`
	Body         map[string]any `yaml:"body" doc:"raw ARM, merged last"`
}

type rawSpec struct {
	ID   string         `yaml:"id" required:"true" doc:"resource id; one that begins with Microsoft. is in the resource group"`
	Body map[string]any `yaml:"body" required:"true" doc:"raw ARM"`
}

type faultSpec struct {
	Kind       string `yaml:"kind" required:"true" enum:"error,throttle,operation,delay,hang,reset,lost,empty,truncated,html,huge"`
	Method     string `yaml:"method" enum:"GET,HEAD,PUT,PATCH,POST,DELETE" doc:"without it, any"`
	Path       string `yaml:"path" doc:"part of the path, without regard to case; without it, any"`
	Status     int    `yaml:"status" doc:"of the answer, for error and html"`
	Code       string `yaml:"code"`
	Message    string `yaml:"message"`
	RetryAfter age    `yaml:"retry_after"`
	Delay      age    `yaml:"delay" doc:"before the answer"`
	After      age    `yaml:"after" doc:"since the start"`
	Count      int    `yaml:"count" doc:"how many requests; without it, all"`
	For        age    `yaml:"for" doc:"how long; without it, until it is cleared"`
}

// fault is what the control API would be told.
func (f faultSpec) fault() Fault {
	return Fault{
		Kind: FaultKind(f.Kind), Method: f.Method, Path: f.Path, Status: f.Status, Code: f.Code, Message: f.Message, Count: f.Count,
		RetryAfter: time.Duration(f.RetryAfter), Delay: time.Duration(f.Delay), After: time.Duration(f.After), For: time.Duration(f.For),
	}
}

// An age is a duration that is written like 90s, 10m, 36h or 30d.
type age time.Duration

// UnmarshalYAML reads it.
func (a *age) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode && strings.HasSuffix(node.Value, "d") {
		if d, err := time.ParseDuration(strings.TrimSuffix(node.Value, "d") + "h"); err == nil {
			*a = age(24 * d)
			return nil
		}
	}
	d, err := strict.DecodeDuration(node)
	*a = age(d)
	return err
}

//go:embed scenarios/*.yaml
var exampleFiles embed.FS

func library() strict.Library { return strict.Library{FS: exampleFiles} }

// Examples returns the names of the scenarios that come with the package.
func Examples() []string { return library().Names() }

// ExampleText returns the file of one of the scenarios that come with the package.
// The error for an unknown name is fs.ErrNotExist.
func ExampleText(name string) ([]byte, error) { return library().Text(name) }

// Example returns one of the scenarios that come with the package.
func Example(name string) (*Scenario, error) {
	data, err := ExampleText(name)
	if err != nil {
		return nil, err
	}
	sc, err := ParseScenario(name+".yaml", data)
	if err != nil {
		return nil, err
	}
	sc.Name = name
	return sc, nil
}

// LoadScenario reads a scenario file.
func LoadScenario(file string) (*Scenario, error) {
	data, err := strict.ReadFile("scenario", file)
	if err != nil {
		return nil, err
	}
	return ParseScenario(file, data)
}

// ParseScenario reads a scenario. Its errors are all those of the file, each with
// file and line.
func ParseScenario(file string, data []byte) (*Scenario, error) {
	sc := &Scenario{Name: file}
	c, err := strict.Decode(file, data, &sc.file)
	if err != nil {
		return nil, err
	}
	checkScenario(c, &sc.file)
	if err := c.Err(); err != nil {
		return nil, err
	}
	sc.Description = strings.TrimSpace(sc.file.Description)
	return sc, nil
}
