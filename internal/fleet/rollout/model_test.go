package rollout

import (
	"cmp"
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

// home is the region of sets that have no other.
const home = "eastus"

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

	Gate      gate
	GateUntil time.Time // until when the gate is as Gate says
	Opens     int       // the hour in which a window of eight hours opens; -1: it is always open, -2: never
	Rotten    bool      // disks of the old version that are made now are not Healthy
	Rights    bool      // repairs may be suspended and resumed
	Word      string    // of every agent, if it is not that it serves
}

// A gate is how Prometheus answers.
type gate string

const (
	answers gate = ""
	outage  gate = "cannot be reached"
	noData  gate = "has no series"
	noUse   gate = "sees no traffic" // the gate's query of traffic says so: that is no data, too
	earlier gate = "fails"           // an incident of the service, which is over when a member runs the version
)

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
	Released     map[string]bool      // regions in which it is the latest
	Ours         map[string]bool      // regions in which we made it so, and did not exclude it since
	Ready        map[string]time.Time // regions that it is or will be replicated to, and when
	Failed, Good bool
	Stranded     bool // its replication fails
	Theirs       bool // somebody else marked it failed
}

// excluded says whether the version is the latest nowhere.
func (v *azureVersion) excluded() bool { return len(v.Released) == 0 }

type azureSet struct {
	Name      string
	Region    string
	Mode      fleet.UpgradeMode
	AutoOS    bool
	Model     string
	Tag       int // of its profile: another tool counts it up
	ETag      int
	Members   map[string]*azureMember
	Born      int
	Min, Max  int // that autoscale keeps to
	Suspended bool
	BusyUntil time.Time
	BusyWhy   string
	Rests     string // its provisioning state when nobody works on it; empty: Succeeded
	Gone      []Departure
	OpUntil   time.Time // of an operation on the set
	Rolling   *fleet.RollingUpgrade
	RollingTo string    // the version that the platform's upgrade brings
	Late      *Action   // a request that is still on its way, and shows nowhere
	LateAt    time.Time // when it takes effect
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
	Fault      *Fault    // why it failed to provision, beside its image
	Drained    time.Time // until when
}

// newAzure returns sets of these sizes, all on the old version.
func newAzure(sizes map[string]int) *azure {
	a := &azure{
		Now: start, Sets: make(map[string]*azureSet), Image: good, Opens: -1, Rights: true,
		Version: azureVersion{Released: map[string]bool{}, Ours: map[string]bool{}, Ready: map[string]time.Time{home: {}}},
		Ran:     make(map[string]bool), Upgrade: 2 * time.Minute, Boot: time.Minute, Turns: 6 * time.Minute, Renews: true,
	}
	for _, name := range sorted(sizes) {
		s := &azureSet{Name: name, Region: home, Mode: fleet.Manual, Model: oldVersion, Members: make(map[string]*azureMember), Min: min(1, sizes[name]), Max: sizes[name] + 2}
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
	c.Version.Released, c.Version.Ours, c.Version.Ready = maps.Clone(a.Version.Released), maps.Clone(a.Version.Ours), maps.Clone(a.Version.Ready)
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

// resolves is what the model of a set means now.
func (a *azure) resolves(s *azureSet) string {
	switch {
	case s.Model != "":
		return s.Model
	case !a.Version.Released[s.Region] || !a.replicated(s.Region):
		return oldVersion
	}
	return newVersion
}

// replicated says whether the version can be had in a region.
func (a *azure) replicated(region string) bool {
	ready, ok := a.Version.Ready[region]
	return ok && !a.Version.Stranded && !a.Now.Before(ready)
}

// open says whether the window is open, and when it opens next.
func (a *azure) open() (open bool, opens time.Time) {
	const hours = 8
	switch a.Opens {
	case -1:
		return true, time.Time{}
	case -2:
		return false, time.Time{}
	}
	begins := time.Date(a.Now.Year(), a.Now.Month(), a.Now.Day(), a.Opens, 0, 0, 0, time.UTC)
	for ; !a.Now.Before(begins.Add(hours * time.Hour)); begins = begins.AddDate(0, 0, 1) {
	}
	return !a.Now.Before(begins), begins
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
			switch {
			case a.moving(s):
			case s.Late.Do == ManualUpgrade:
				a.manualUpgrade(s, s.Late)
			case s.Late.IfMatch == strconv.Itoa(s.ETag):
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
			m.Drained, m.Sick, m.Fault = time.Time{}, false, nil
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
	case m.Version == newVersion && a.Image == neverWell, m.Version == oldVersion && a.Rotten && m.Booted.After(start):
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
	o := Observation{At: a.Now, Epoch: epoch, Sets: make(map[string]SetSeen, len(a.Sets))}
	o.WindowOpen, o.Opens = a.open()
	for name, s := range a.Sets {
		if unread[name] {
			o.Sets[name] = SetSeen{Unknown: "429 TooManyRequests"}
			continue
		}
		o.Sets[name] = a.seen(s)
	}
	o.Version.Version = fleet.Version{Name: newVersion, Provisioning: fleet.Succeeded, Excluded: a.Version.excluded(), Tags: map[string]string{}}
	for _, region := range sorted(a.Version.Ready) {
		r := fleet.Region{Name: region, State: fleet.Replicated, Excluded: !a.Version.Released[region]}
		switch {
		case a.Version.Stranded:
			r.State = fleet.ReplicationFailed
		case !a.replicated(region):
			r.State, o.Version.Provisioning = fleet.Replicating, fleet.Updating
		}
		o.Version.Regions = append(o.Version.Regions, r)
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
		ID: setID(s.Name), Location: s.Region, ETag: strconv.Itoa(s.ETag), Provisioning: cmp.Or(s.Rests, fleet.Succeeded), Image: reference(s.Model), Capacity: len(s.Members),
		VMSize: fmt.Sprintf("size-%d", s.Tag), Upgrade: fleet.UpgradePolicy{Mode: s.Mode, AutoOS: s.AutoOS}, Repairs: fleet.RepairsPolicy{Enabled: true},
	}
	if (a.moving(s) || s.Rolling.Active()) && !a.Terse { // the write that began it goes on as long
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
			Name: name, Zone: m.Zone, Created: m.Created, Provisioning: cmp.Or(s.Rests, fleet.Succeeded), Power: fleet.Running, Spot: m.Spot,
			Image: reference(m.Version), ProtectSetActions: m.Protected,
		}
		f.Image.ExactVersion = m.Version
		f.Health, f.HealthAt = a.health(m)
		switch {
		case m.Stopped:
			f.Power = fleet.Deallocated
		case a.Now.Before(m.MovesUntil):
			f.Provisioning = fleet.Updating
		case m.Fault != nil:
			f.Provisioning = fleet.Failed
			seen.fault(name, *m.Fault)
		case m.Version == newVersion && a.Image == broken:
			f.Provisioning = fleet.Failed
			seen.fault(name, Fault{Class: Bad, Text: "VMExtensionProvisioningError"})
		}
		seen.Members = append(seen.Members, f)
	}
	return seen
}

func (seen *SetSeen) fault(name string, f Fault) {
	if seen.Faults == nil {
		seen.Faults = make(map[string]Fault)
	}
	seen.Faults[name] = f
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
	case SuspendRepairs, ResumeRepairs:
		if !a.Rights {
			return Result{Outcome: Denied, Text: "AuthorizationFailed"}
		}
		s.Suspended = act.Do == SuspendRepairs
	case Drain, Undrain, AskAgent, Diagnose:
		return a.runCommand(s, act)
	case QueryGate:
		return a.prometheus()
	case Replicate:
		if _, twice := a.Version.Ready[act.Region]; twice {
			a.harm("the version is replicated to %s twice", act.Region)
		}
		a.Version.Ready[act.Region] = a.Now.Add(10 * time.Minute)
	case Include:
		if a.Version.Failed {
			a.harm("a version that failed is released")
		}
		a.release(act.Region)
	case Exclude:
		if a.Version.excluded() {
			a.harm("the version is excluded twice")
		}
		if act.Region == "" {
			clear(a.Version.Released)
			clear(a.Version.Ours)
		}
		delete(a.Version.Released, act.Region)
		delete(a.Version.Ours, act.Region)
	case TagFailed:
		if a.Version.Failed {
			a.harm("the version is marked twice")
		}
		a.Version.Failed = true
	case TagGood:
		a.Version.Good = true
	default:
	}
	return done
}

// release makes the version the latest in a region, or everywhere.
func (a *azure) release(region string) {
	before := len(a.Version.Released)
	for _, r := range sorted(a.Version.Ready) {
		if region == "" || region == r {
			a.Version.Released[r], a.Version.Ours[r] = true, true
		}
	}
	if len(a.Version.Released) == before {
		a.harm("the version is released twice")
	}
}

// prometheus answers the gate.
func (a *azure) prometheus() Result {
	r := Result{Outcome: Done, Answer: string(Pass)}
	how := a.Gate
	if !a.Now.Before(a.GateUntil) {
		how = answers
	}
	switch {
	case how == outage:
		return Result{Outcome: Errored, Text: "connection refused"}
	case how == earlier && !a.running():
		r.Answer, r.Text = string(Fail), "0.2 is above 0.01, 3 times in a row"
	case how == noData || how == noUse:
		r.Answer, r.Text = string(NoData), string(how)
	case a.Image == errs && a.serving():
		r.Answer = string(Fail)
	}
	return r
}

// running says whether members run the new version.
func (a *azure) running() bool {
	for _, s := range a.Sets {
		for _, m := range s.Members {
			if m.Version == newVersion && !m.Stopped {
				return true
			}
		}
	}
	return false
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
		s.RollingTo = a.resolves(s)
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
		if m.Next == s.Model || m.Version == s.Model && a.Now.Before(m.MovesUntil) && a.Image != hangs {
			a.harm("%s was upgraded twice", name)
		}
		if m.Version == s.Model {
			continue // it has the model already
		}
		if s.Model == newVersion && !a.replicated(s.Region) {
			a.harm("%s is upgraded before the version is replicated to %s", name, s.Region)
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
		r.Answer = cmp.Or(a.Word, Serving)
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

// stop deallocates a member: one on Spot is evicted, another is stopped by somebody. A
// drain belongs to the boot in which it began: the agent serves after the next one.
func (a *azure) stop(s *azureSet, name string) {
	m := s.Members[name]
	m.Stopped, m.Next, m.MovesUntil, m.Drained = true, "", time.Time{}, time.Time{}
	cause := Operator
	if m.Spot {
		cause = Evicted
	}
	s.Gone = append(s.Gone, Departure{Member: name, Born: m.Created, At: a.Now, Cause: cause})
}

// start lets a member run again that was deallocated.
func (a *azure) start(m *azureMember) { m.Stopped, m.Booted = false, a.Now }

// scaleIn takes the newest member away, as long as there are enough.
func (a *azure) scaleIn(s *azureSet) (name string) {
	for _, key := range sorted(s.Members) {
		if m := s.Members[key]; name == "" || m.Created.After(s.Members[name].Created) {
			name = key
		}
	}
	if len(s.Members) <= s.Min || name == "" {
		return ""
	}
	a.gone(s, name, ScaledIn)
	return name
}

// repair replaces a member, unless repairs are suspended.
func (a *azure) repair(s *azureSet, name string) {
	if s.Suspended {
		return
	}
	a.gone(s, name, Repaired)
	a.birth(s, a.resolves(s), a.Now)
}

// scaleOut adds a member, if there is room.
func (a *azure) scaleOut(s *azureSet) {
	if len(s.Members) < s.Max {
		a.birth(s, a.resolves(s), a.Now)
	}
}

// platform lets the platform's own upgrades take a step: one member at a time.
func (a *azure) platform(s *azureSet) {
	want := a.resolves(s)
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
