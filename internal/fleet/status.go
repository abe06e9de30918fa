package fleet

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// ViewVersion is the version of the JSON documents that views are.
const ViewVersion = 1

// A Level says how much a problem asks for somebody's attention.
type Level string

// The levels, the least urgent first.
const (
	LevelOK      Level = "ok"
	LevelInfo    Level = "info"    // worth knowing, and as it should be
	LevelWarning Level = "warning" // not as it should be, or not known
	LevelError   Level = "error"   // members do not serve, or the next one will not
)

// Rank orders levels: the more urgent has the higher one.
func (l Level) Rank() int {
	return slices.Index([]Level{LevelOK, LevelInfo, LevelWarning, LevelError}, l)
}

// A Problem is one thing to know about a scale set, with its root: which members,
// and which version they run.
type Problem struct {
	ID    string `json:"id"` // stable: "unhealthy"
	Level Level  `json:"level"`
	Text  string `json:"text"`
	// Members are those concerned, by name.
	Members []string `json:"members,omitempty"`
}

// A StatusView is what a fleet looks like at a moment: every scale set, the one that
// needs attention most first.
type StatusView struct {
	Version   int          `json:"version"`
	At        time.Time    `json:"at"`
	ScaleSets []SetStatus  `json:"scale_sets"`
	Missing   []ResourceID `json:"missing,omitempty"` // that the file declares and that are not there
	Notes     []string     `json:"notes,omitempty"`   // what was not read, and why
}

// A SetStatus is what a scale set looks like.
type SetStatus struct {
	Name          string           `json:"name"`
	ID            ResourceID       `json:"id"`
	Location      string           `json:"location"`
	Level         Level            `json:"level"`
	Problems      []Problem        `json:"problems"`
	Provisioning  string           `json:"provisioning_state"`
	Capacity      int              `json:"capacity"`
	Counts        MemberCounts     `json:"counts"`
	Target        Target           `json:"model_image"`
	Versions      []VersionCount   `json:"versions"` // that members run, most members first
	Mixed         bool             `json:"mixed_versions"`
	Stale         int              `json:"stale"`  // latestModelApplied is false
	Behind        int              `json:"behind"` // run another version than the model's
	Mode          UpgradeMode      `json:"upgrade_mode"`
	AutoOS        bool             `json:"automatic_os_upgrade"`
	Driver        Driver           `json:"driver"`
	Upgrade       *UpgradeStatus   `json:"rolling_upgrade,omitempty"`
	Autoscale     *AutoscaleStatus `json:"autoscale,omitempty"`
	SpotEviction  string           `json:"spot_eviction_policy,omitempty"`
	RegularBase   *int             `json:"spot_regular_base,omitempty"`
	RegularAbove  *int             `json:"spot_regular_above_base_percent,omitempty"`
	Members       []MemberStatus   `json:"members"`
	ResourceGroup string           `json:"resource_group"`
}

// MemberCounts counts members. Those by health, those without one (Missing), those
// deallocated and those vanished add up to Total.
type MemberCounts struct {
	Total        int `json:"total"`
	Running      int `json:"running"`
	Healthy      int `json:"healthy"`
	Unhealthy    int `json:"unhealthy"`
	Initializing int `json:"initializing"`
	Unknown      int `json:"unknown"`
	Missing      int `json:"missing"`
	Deallocated  int `json:"deallocated"`
	Vanished     int `json:"vanished"`
	Spot         int `json:"spot"`
	Regular      int `json:"regular"`
	Protected    int `json:"protected"`
}

// A VersionCount says how many members run a version; "" is one that Azure does not
// tell.
type VersionCount struct {
	Version string `json:"version"`
	Members int    `json:"members"`
	OfModel bool   `json:"of_model"`
}

// An UpgradeStatus is the latest rolling upgrade of a scale set.
type UpgradeStatus struct {
	Code       string     `json:"code"`
	Active     bool       `json:"active"`
	StartedBy  string     `json:"started_by"`
	StartedAt  *time.Time `json:"started_at,omitempty"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
	Successful int        `json:"successful"`
	Failed     int        `json:"failed"`
	InProgress int        `json:"in_progress"`
	Pending    int        `json:"pending"`
	ErrorCode  string     `json:"error_code,omitempty"`
	Error      string     `json:"error,omitempty"`
}

// An AutoscaleStatus is the autoscale setting of a scale set.
type AutoscaleStatus struct {
	Enabled    bool   `json:"enabled"`
	Min        int    `json:"min"`
	Max        int    `json:"max"`
	Predictive string `json:"predictive,omitempty"`
}

// A MemberStatus is what one member looks like.
type MemberStatus struct {
	Name         string      `json:"name"`
	Zone         string      `json:"zone,omitempty"`
	State        string      `json:"state"` // a HealthState, or "deallocated" or "vanished"
	Health       HealthState `json:"health"`
	HealthAt     *time.Time  `json:"health_at,omitempty"`
	Power        PowerState  `json:"power"`
	Provisioning string      `json:"provisioning_state"`
	Version      string      `json:"version"`  // exact; "" when Azure does not say
	OnModel      *bool       `json:"on_model"` // runs the version that the model asks for; null: not known
	LatestModel  *bool       `json:"latest_model_applied"`
	Spot         bool        `json:"spot"`
	Protected    []string    `json:"protected,omitempty"` // scale-in, scale-set-actions
	// HealthExtension is the version of the Application Health extension that the
	// member has: empty when it has none, null when Azure does not say.
	HealthExtension *string `json:"health_extension"`
}

// The states of a member that come before its health.
const (
	StateDeallocated = "deallocated"
	StateVanished    = "vanished"
)

// DriverNone is what drives a scale set of mode Automatic: the platform, which
// upgrades members in any order as soon as the model changes.
const DriverNone Driver = "none"

// Driver returns the driver that fits a scale set as it is; it is empty when Azure
// does not say the mode.
func (s *ScaleSet) Driver() Driver {
	switch {
	case s.Upgrade.AutoOS:
		return DriverPlatformAutoOS
	case s.Upgrade.Mode == Manual:
		return DriverBatches
	case s.Upgrade.Mode == Rolling:
		return DriverPlatformRolling
	case s.Upgrade.Mode == Automatic:
		return DriverNone
	}
	return ""
}

// StatusOptions says what Status looks for.
type StatusOptions struct {
	Now time.Time
	// HealthAge is the age from which a member's health counts as old; 0: none does.
	HealthAge time.Duration
}

// Status returns what the fleet looks like.
func Status(f Fleet, o StatusOptions) StatusView {
	view := StatusView{Version: ViewVersion, At: f.At, ScaleSets: make([]SetStatus, 0, len(f.Sets)), Missing: f.Missing, Notes: f.Notes}
	c := f.catalog()
	for i := range f.Sets {
		view.ScaleSets = append(view.ScaleSets, setStatus(&f.Sets[i], c, o))
	}
	slices.SortStableFunc(view.ScaleSets, func(a, b SetStatus) int {
		return cmp.Or(cmp.Compare(b.Level.Rank(), a.Level.Rank()), cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return view
}

func setStatus(set *Set, c catalog, o StatusOptions) SetStatus {
	model := &set.Model
	s := SetStatus{
		Name: model.ID.Name(), ID: model.ID, Location: model.Location, ResourceGroup: model.ID.ResourceGroup(),
		Provisioning: model.Provisioning, Capacity: model.Capacity,
		Target: c.target(model), Versions: []VersionCount{},
		Mode: model.Upgrade.Mode, AutoOS: model.Upgrade.AutoOS, Driver: model.Driver(),
		Upgrade: upgradeStatus(set), Autoscale: autoscaleStatus(set.Autoscale),
	}
	if model.Spot {
		s.SpotEviction = cmp.Or(model.EvictionPolicy, "Deallocate")
		if m := model.PriorityMix; m != nil {
			s.RegularBase, s.RegularAbove = &m.RegularBase, &m.RegularAboveBase
		}
	}
	s.Members = make([]MemberStatus, 0, len(set.Members))
	for i := range set.Members {
		s.Members = append(s.Members, memberStatus(&set.Members[i], &s.Target))
	}
	slices.SortStableFunc(s.Members, func(a, b MemberStatus) int {
		return cmp.Or(cmp.Compare(a.rank(), b.rank()), cmp.Compare(a.Name, b.Name))
	})
	s.count()
	s.Problems = setProblems(&s, set, c, o)
	s.Level = LevelOK
	for _, p := range s.Problems {
		if p.Level.Rank() > s.Level.Rank() {
			s.Level = p.Level
		}
	}
	return s
}

// count counts members and the versions that they run.
func (s *SetStatus) count() {
	versions := make(map[string]int)
	n := &s.Counts
	for i := range s.Members {
		m := &s.Members[i]
		n.Total++
		*n.state(m.State)++
		if m.Power == Running && m.State != StateVanished {
			n.Running++
		}
		if m.Spot {
			n.Spot++
		} else {
			n.Regular++
		}
		if len(m.Protected) > 0 {
			n.Protected++
		}
		if m.State == StateVanished {
			continue
		}
		versions[m.Version]++
		if m.LatestModel != nil && !*m.LatestModel {
			s.Stale++
		}
		if m.OnModel != nil && !*m.OnModel {
			s.Behind++
		}
	}
	known := 0
	for version, members := range versions {
		if version != "" {
			known++
		}
		s.Versions = append(s.Versions, VersionCount{version, members, version != "" && version == s.Target.Version})
	}
	s.Mixed = known > 1
	slices.SortFunc(s.Versions, func(a, b VersionCount) int {
		return cmp.Or(cmp.Compare(b.Members, a.Members), CompareVersions(b.Version, a.Version))
	})
}

// state returns the count of a member's state.
func (n *MemberCounts) state(state string) *int {
	switch state {
	case string(Healthy):
		return &n.Healthy
	case string(Unhealthy):
		return &n.Unhealthy
	case string(Initializing):
		return &n.Initializing
	case string(HealthUnknown):
		return &n.Unknown
	case StateDeallocated:
		return &n.Deallocated
	case StateVanished:
		return &n.Vanished
	}
	return &n.Missing
}

func memberStatus(m *Member, t *Target) MemberStatus {
	s := MemberStatus{
		Name: m.Name, Zone: m.Zone, Health: m.Health, Power: m.Power, Provisioning: m.Provisioning,
		Version: t.runs(m), LatestModel: m.LatestModel, Spot: m.Spot,
	}
	switch {
	case m.Vanished:
		s.State = StateVanished
	case strings.EqualFold(string(m.Power), string(Deallocated)):
		s.State, s.Power = StateDeallocated, Deallocated
	default:
		s.State = string(known(m.Health))
	}
	s.Health = cmp.Or(s.Health, HealthMissing)
	s.HealthAt = given(m.HealthAt)
	if m.Extensions != nil {
		version := m.healthExtension()
		s.HealthExtension = &version
	}
	if s.Version != "" && t.Version != "" {
		on := s.Version == t.Version
		s.OnModel = &on
	}
	s.Protected = m.protection().Names()
	return s
}

// healthExtension returns the version of the member's Application Health extension,
// or "".
func (m *Member) healthExtension() string {
	for kind, version := range m.Extensions {
		// The type may stand behind the publisher.
		name := kind[strings.LastIndexByte(kind, '.')+1:]
		if strings.EqualFold(name, HealthTypeLinux) || strings.EqualFold(name, HealthTypeWindows) {
			return cmp.Or(version, "unknown")
		}
	}
	return ""
}

// known is a health state that is known here: a new word of Azure's is Unknown.
func known(h HealthState) HealthState {
	switch h {
	case Healthy, Unhealthy, Initializing, HealthUnknown, HealthMissing:
		return h
	case "":
		return HealthMissing
	}
	return HealthUnknown
}

// rank orders members: what is wrong comes first.
func (m *MemberStatus) rank() int {
	states := []string{StateVanished, string(Unhealthy), string(HealthUnknown), string(HealthMissing), string(Initializing), StateDeallocated}
	rank := slices.Index(states, m.State)
	switch {
	case rank >= 0:
		return rank
	case m.OnModel == nil || !*m.OnModel:
		return len(states)
	}
	return len(states) + 1
}

func upgradeStatus(set *Set) *UpgradeStatus {
	u := set.Rolling
	if u == nil {
		return nil
	}
	return &UpgradeStatus{
		Code: u.Code, Active: u.Active(), StartedBy: set.startedBy(),
		StartedAt: given(u.Start), EndedAt: given(u.End),
		Successful: u.Successful, Failed: u.Failed, InProgress: u.InProgress, Pending: u.Pending,
		ErrorCode: u.ErrorCode, Error: u.Error,
	}
}

// sameStart is how far the times of one upgrade may lie apart in its status and in the
// history.
const sameStart = time.Minute

// startedBy says whose the latest upgrade is. Its status does not say, but the history
// does, where the upgrade has the same start.
func (s *Set) startedBy() string {
	const unknown = "Unknown"
	if by := s.Rolling.StartedBy; by != "" && by != unknown {
		return by
	}
	for i := range s.History {
		if e := &s.History[i]; e.Start.Sub(s.Rolling.Start).Abs() <= sameStart {
			return cmp.Or(e.StartedBy, unknown)
		}
	}
	return unknown
}

func autoscaleStatus(a *Autoscale) *AutoscaleStatus {
	if a == nil {
		return nil
	}
	return &AutoscaleStatus{Enabled: a.Enabled, Min: a.Min, Max: a.Max, Predictive: a.Predictive}
}

// given is a time that may not have been told.
func given(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
