package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	oldVersion = "1.0.0"
	newVersion = "2.0.0"
	definition = fleet.ResourceID("/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i")
)

var start = time.Date(2026, 7, 9, 3, 0, 0, 0, time.UTC)

// An azure is a model of what Azure does to scale sets while a rollout runs: the truth
// that the machine is judged by.
type azure struct {
	Now     time.Time
	Sets    map[string]*azureSet
	Version azureVersion
	Image   image
	Ran     map[string]bool // members that ever ran the new version
	Upgrade time.Duration   // that an upgrade takes
	Boot    time.Duration   // from a new disk to the first health
	Turns   time.Duration   // from the first health until a member turns unhealthy, if its image does
	LogLag  time.Duration   // until the activity log says why a member left
	Terse   bool            // a set does not show that its members are being upgraded
	Renews  bool            // the time of health is that of the last report, not of the last change
	Harm    []string        // rules that were broken in Azure
}

// An image is how the new version behaves.
type image string

const (
	good      image = "good"
	neverWell image = "never healthy"
	silent    image = "reports nothing"
	turnsBad  image = "turns unhealthy"
	hangs     image = "hangs in provisioning"
	broken    image = "fails to provision"
	errs      image = "is Healthy and serves errors" // a gate sees it
)

type azureVersion struct {
	Excluded     bool
	Failed, Good bool
	Ready        time.Time // when it is replicated
	Stranded     bool      // its replication failed
	Included     bool      // it was ever released
}

type azureSet struct {
	Name, Zone string
	Mode       fleet.UpgradeMode
	AutoOS     bool
	Model      string
	Tag        int // of its profile: another tool counts it up
	ETag       int
	Members    map[string]*azureMember
	Born       int
	Max        int
	Suspended  bool
	BusyUntil  time.Time
	BusyWhy    string
	Gone       []Departure
	OpUntil    time.Time // of an operation on the set
	Rolling    *fleet.RollingUpgrade
	RollingTo  string    // the version that the platform's upgrade brings
	Late       *Action   // a PATCH that is still on its way, and shows nowhere
	LateAt     time.Time // when it takes effect
}

type azureMember struct {
	Name, Zone string
	Version    string
	Next       string // what its disk becomes
	Created    time.Time
	Booted     time.Time // when its disk was new
	MovesUntil time.Time // the platform is at work on it
	Stopped    bool
	Protected  bool
	Spot       bool
	Sick       bool      // for a reason of its own
	Drained    time.Time // until when
}

// newAzure returns sets of these sizes, all on the old version.
func newAzure(sizes map[string]int) *azure {
	a := &azure{
		Now: start, Sets: make(map[string]*azureSet), Version: azureVersion{Excluded: true}, Image: good,
		Ran: make(map[string]bool), Upgrade: 2 * time.Minute, Boot: time.Minute, Turns: 6 * time.Minute, Renews: true,
	}
	for _, name := range sorted(sizes) {
		s := &azureSet{Name: name, Mode: fleet.Manual, Model: oldVersion, Members: make(map[string]*azureMember), Max: sizes[name] + 2}
		for range sizes[name] {
			a.birth(s, oldVersion, start.Add(-24*time.Hour))
		}
		a.Sets[name] = s
	}
	return a
}

func (a *azure) clone() *azure {
	c := *a
	c.Sets = make(map[string]*azureSet, len(a.Sets))
	for name, s := range a.Sets {
		t := *s
		t.Members = make(map[string]*azureMember, len(s.Members))
		for key, m := range s.Members {
			n := *m
			t.Members[key] = &n
		}
		t.Gone = slices.Clone(s.Gone)
		if s.Rolling != nil {
			r := *s.Rolling
			t.Rolling = &r
		}
		c.Sets[name] = &t
	}
	c.Ran = maps.Clone(a.Ran)
	c.Harm = slices.Clone(a.Harm)
	return &c
}

// birth makes a member from the model of the moment.
func (a *azure) birth(s *azureSet, version string, at time.Time) *azureMember {
	s.Born++
	m := &azureMember{Name: fmt.Sprintf("%s_%02d", s.Name, s.Born), Zone: strconv.Itoa(1 + s.Born%3), Version: version, Created: at, Booted: at}
	s.Members[m.Name] = m
	a.ran(s, m)
	return m
}

// resolves is what a reference of a model means now.
func (a *azure) resolves(model string) string {
	switch {
	case model != "":
		return model
	case a.Version.Excluded || a.Now.Before(a.Version.Ready):
		return oldVersion
	}
	return newVersion
}

func (a *azure) ran(s *azureSet, m *azureMember) {
	if m.Version == newVersion {
		a.Ran[memberKey(s.Name, m.Name)] = true
	}
}

// moving says whether the platform is at work on a set.
func (a *azure) moving(s *azureSet) bool { return a.Now.Before(s.OpUntil) }

// advance lets time pass.
func (a *azure) advance(d time.Duration) {
	a.Now = a.Now.Add(d)
	for _, name := range sorted(a.Sets) {
		s := a.Sets[name]
		if s.Late != nil && !a.Now.Before(s.LateAt) {
			if s.Late.IfMatch == strconv.Itoa(s.ETag) {
				a.patched(s, s.Late)
			}
			s.Late = nil
		}
		for _, key := range sorted(s.Members) {
			m := s.Members[key]
			if m.Next == "" || a.Now.Before(m.MovesUntil) {
				continue
			}
			if m.Next == m.Version && a.Image == good {
				a.harm("%s got a new disk of the version that it ran", key)
			}
			m.Version, m.Next, m.Booted = m.Next, "", m.MovesUntil
			m.Drained, m.Sick = time.Time{}, false
			if m.Version == newVersion && a.Image == hangs {
				m.MovesUntil = a.Now.Add(1000 * time.Hour)
			}
			a.ran(s, m)
		}
		a.platform(s)
	}
}

func (a *azure) harm(format string, args ...any) {
	a.Harm = append(a.Harm, fmt.Sprintf(format, args...))
}

// health is what the platform says of a member.
func (a *azure) health(m *azureMember) (fleet.HealthState, time.Time) {
	since := m.Booted.Add(a.Boot)
	at := func(h fleet.HealthState, changed time.Time) (fleet.HealthState, time.Time) {
		if a.Renews {
			return h, a.Now
		}
		return h, changed
	}
	switch {
	case m.Stopped:
		return fleet.HealthMissing, time.Time{}
	case m.Sick:
		return at(fleet.Unhealthy, m.Booted)
	case a.Now.Before(since):
		return at(fleet.Initializing, m.Booted)
	case m.Version == newVersion && a.Image == neverWell:
		return at(fleet.Unhealthy, since)
	case m.Version == newVersion && (a.Image == silent || a.Image == hangs || a.Image == broken):
		return fleet.HealthMissing, time.Time{}
	case m.Version == newVersion && a.Image == turnsBad && !a.Now.Before(since.Add(a.Turns)):
		return at(fleet.Unhealthy, since.Add(a.Turns))
	}
	return at(fleet.Healthy, since)
}

// observe is what can be read of it all. unread are sets that cannot be.
func (a *azure) observe(epoch int, unread map[string]bool) Observation {
	o := Observation{At: a.Now, Epoch: epoch, Sets: make(map[string]SetSeen, len(a.Sets)), WindowOpen: true}
	for name, s := range a.Sets {
		if unread[name] {
			o.Sets[name] = SetSeen{Unknown: "429 TooManyRequests"}
			continue
		}
		o.Sets[name] = a.seen(s)
	}
	state := fleet.Replicated
	switch {
	case a.Version.Stranded:
		state = fleet.ReplicationFailed
	case a.Now.Before(a.Version.Ready):
		state = fleet.Replicating
	}
	o.Version.Version = fleet.Version{
		Name: newVersion, Provisioning: fleet.Succeeded, Excluded: a.Version.Excluded, Tags: map[string]string{},
		Regions: []fleet.Region{{Name: "eastus", State: state}},
	}
	if a.Version.Failed {
		o.Version.Tags[fleet.TagFailed] = "it failed"
	}
	if a.Version.Good {
		o.Version.Tags[fleet.TagGood] = ""
	}
	if unread[versionTarget] {
		o.Version = VersionSeen{Unknown: "429 TooManyRequests"}
	}
	return o
}

func reference(version string) fleet.ImageReference {
	if version == "" {
		return fleet.ImageReference{ID: string(definition)}
	}
	return fleet.ImageReference{ID: string(definition) + "/versions/" + version}
}

func (a *azure) seen(s *azureSet) SetSeen {
	var seen SetSeen
	for _, d := range s.Gone {
		if !a.Now.Before(d.At.Add(a.LogLag)) {
			seen.Gone = append(seen.Gone, d)
		}
	}
	seen.Model = fleet.ScaleSet{
		ID: setID(s.Name), Location: "eastus", ETag: strconv.Itoa(s.ETag), Provisioning: fleet.Succeeded, Image: reference(s.Model), Capacity: len(s.Members),
		VMSize: fmt.Sprintf("size-%d", s.Tag), Upgrade: fleet.UpgradePolicy{Mode: s.Mode, AutoOS: s.AutoOS}, Repairs: fleet.RepairsPolicy{Enabled: true},
	}
	if a.moving(s) && !a.Terse {
		seen.Model.Provisioning = fleet.Updating
	}
	if a.Now.Before(s.BusyUntil) {
		seen.Busy = s.BusyWhy
	}
	if s.Rolling != nil {
		r := *s.Rolling
		seen.Rolling = &r
	}
	for _, name := range sorted(s.Members) {
		m := s.Members[name]
		f := fleet.Member{
			Name: name, Zone: m.Zone, Created: m.Created, Provisioning: fleet.Succeeded, Power: fleet.Running, Spot: m.Spot,
			Image: reference(m.Version), ProtectSetActions: m.Protected,
		}
		f.Image.ExactVersion = m.Version
		f.Health, f.HealthAt = a.health(m)
		switch {
		case m.Stopped:
			f.Power = fleet.Deallocated
		case a.Now.Before(m.MovesUntil):
			f.Provisioning = fleet.Updating
		case m.Version == newVersion && a.Image == broken:
			f.Provisioning = fleet.Failed
		}
		seen.Members = append(seen.Members, f)
	}
	return seen
}

func setID(name string) fleet.ResourceID {
	return fleet.ResourceID("/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/" + name)
}

// do carries an action out as Azure does.
func (a *azure) do(act *Action) Result {
	s := a.Sets[act.Set]
	done := Result{Outcome: Done}
	changes := act.Do == PatchModel || act.Do == ManualUpgrade || act.Do == CancelRolling
	if changes && (a.moving(s) && !a.Terse || a.Now.Before(s.BusyUntil)) {
		return Result{Outcome: Changed, Text: "another operation is in progress"}
	}
	switch act.Do {
	case PatchModel:
		if act.IfMatch != strconv.Itoa(s.ETag) {
			return Result{Outcome: Changed, Text: "PreconditionFailed"}
		}
		a.patched(s, act)
	case ManualUpgrade:
		return a.manualUpgrade(s, act)
	case CancelRolling:
		if s.Rolling.Active() {
			s.Rolling.Code, s.Rolling.End = "Cancelled", a.Now
		}
	case SuspendRepairs:
		s.Suspended = true
	case ResumeRepairs:
		s.Suspended = false
	case Drain, Undrain, AskAgent, Diagnose:
		return a.runCommand(s, act)
	case QueryGate:
		done.Answer = string(Pass)
		if a.Image == errs && a.serving() {
			done.Answer = string(Fail)
		}
	case Include:
		if a.Version.Failed {
			a.harm("a version that failed is released")
		}
		a.Version.Excluded, a.Version.Included = false, true
	case Exclude:
		a.Version.Excluded = true
	case TagFailed:
		a.Version.Failed = true
	case TagGood:
		a.Version.Good = true
	default:
	}
	return done
}

// serving says whether members on the new version serve.
func (a *azure) serving() bool {
	for _, s := range a.Sets {
		for _, m := range s.Members {
			if h, _ := a.health(m); m.Version == newVersion && h == fleet.Healthy {
				return true
			}
		}
	}
	return false
}

// ill says whether some member on the new version is not Healthy.
func (a *azure) ill() bool {
	for _, s := range a.Sets {
		for _, m := range s.Members {
			if h, _ := a.health(m); m.Version == newVersion && h != fleet.Healthy && !m.Stopped {
				return true
			}
		}
	}
	return false
}

// patched changes the model, which starts an upgrade where the mode is Rolling.
func (a *azure) patched(s *azureSet, act *Action) {
	s.Model = act.Version
	if act.Mode != "" {
		s.Mode = act.Mode
	}
	if act.AutoOS != nil {
		s.AutoOS = *act.AutoOS
	}
	s.ETag++
	if s.Mode == fleet.Rolling && !s.AutoOS {
		s.Rolling = &fleet.RollingUpgrade{Code: "RollingForward", Start: a.Now}
		s.RollingTo = a.resolves(s.Model)
	}
}

func (a *azure) manualUpgrade(s *azureSet, act *Action) Result {
	for _, name := range act.Members {
		m := s.Members[name]
		switch {
		case m == nil:
			return Result{Outcome: Errored, Text: "VM Instance " + name + " cannot be found"}
		case m.Stopped, m.Protected:
			return Result{Outcome: Errored, Text: name + " cannot be upgraded"}
		}
	}
	for _, name := range act.Members {
		m := s.Members[name]
		if m.Version == s.Model {
			if a.Now.Before(m.MovesUntil) || m.Next != "" {
				a.harm("%s was upgraded twice", name)
			}
			continue // it has the model already
		}
		m.Next, m.MovesUntil = s.Model, a.Now.Add(a.Upgrade)
	}
	s.OpUntil = a.Now.Add(a.Upgrade)
	return Result{Outcome: Underway}
}

func (a *azure) runCommand(s *azureSet, act *Action) Result {
	m := s.Members[act.Members[0]]
	if m == nil || m.Stopped {
		return Result{Outcome: Errored, Text: "it does not run"}
	}
	r := Result{Outcome: Done}
	switch act.Do {
	case Drain:
		m.Drained = a.Now.Add(standing.Drained)
	case Undrain:
		m.Drained = time.Time{}
	case AskAgent:
		r.Answer = Serving
		if a.Now.Before(m.Drained) {
			r.Answer = "draining"
		}
	case Diagnose:
		r.Answer = "hsm: connection refused"
	default:
	}
	return r
}

// operations says what became of the operations that a state still has.
func (a *azure) operations(s *State, o *Observation) {
	o.Operations = make(map[int]Result)
	for n, op := range s.Ops {
		if op.Action.Do == ManualUpgrade && op.Result != nil && op.Result.Outcome == Underway {
			r := Result{Outcome: Underway}
			if !a.moving(a.Sets[op.Action.Set]) {
				r.Outcome = Done
			}
			o.Operations[n] = r
		}
	}
}

// gone takes a member away.
func (a *azure) gone(s *azureSet, name string, cause Cause) {
	s.Gone = append(s.Gone, Departure{Member: name, Born: s.Members[name].Created, At: a.Now, Cause: cause})
	delete(s.Members, name)
}

// stop deallocates a Spot member.
func (a *azure) stop(s *azureSet, name string) {
	m := s.Members[name]
	m.Stopped, m.Next, m.MovesUntil = true, "", time.Time{}
	s.Gone = append(s.Gone, Departure{Member: name, Born: m.Created, At: a.Now, Cause: Evicted})
}

// repair replaces a member, unless repairs are suspended.
func (a *azure) repair(s *azureSet, name string) {
	if s.Suspended {
		return
	}
	a.gone(s, name, Repaired)
	a.birth(s, a.resolves(s.Model), a.Now)
}

// scaleOut adds a member, if there is room.
func (a *azure) scaleOut(s *azureSet) {
	if len(s.Members) < s.Max {
		a.birth(s, a.resolves(s.Model), a.Now)
	}
}

// platform lets the platform's own upgrades take a step: one member at a time.
func (a *azure) platform(s *azureSet) {
	want := a.resolves(s.Model)
	if s.AutoOS && !s.Rolling.Active() && slices.ContainsFunc(slices.Collect(maps.Values(s.Members)), func(m *azureMember) bool { return m.Version != want }) && want == newVersion && (s.Rolling == nil || s.Rolling.Code != "Faulted") {
		s.Rolling = &fleet.RollingUpgrade{Code: "RollingForward", Start: a.Now, StartedBy: "Platform"}
		s.RollingTo = want
	}
	if !s.Rolling.Active() || a.moving(s) {
		return
	}
	want = s.RollingTo
	for _, name := range sorted(s.Members) {
		m := s.Members[name]
		h, _ := a.health(m)
		if m.Version == want && !m.Stopped && h != fleet.Healthy {
			if a.Now.Sub(m.Booted) > 5*time.Minute {
				s.Rolling.Code, s.Rolling.End = "Faulted", a.Now
				s.Rolling.ErrorCode = "MaxUnhealthyUpgradedInstancePercentExceededInRollingUpgrade"
			}
			return
		}
	}
	for _, name := range sorted(s.Members) {
		m := s.Members[name]
		if m.Version != want && !m.Stopped && !m.Protected && m.Next == "" {
			m.Next, m.MovesUntil = want, a.Now.Add(a.Upgrade)
			return
		}
		if m.Next != "" {
			return
		}
	}
	s.Rolling.Code, s.Rolling.End = "Completed", a.Now
}
