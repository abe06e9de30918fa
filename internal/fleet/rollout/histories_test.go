package rollout

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

var (
	firstHistory  = flag.Uint64("seed", 1, "the seed of the first random history; the others count on from it")
	manyHistories = flag.Int("histories", 30, "how many random histories a rollout lives through")
)

// TestHistories lives through random histories of a rollout: good and bad images,
// evictions, repairs, scale-out and in, protected and stopped members, reads that fail,
// requests without an answer or refused, other tools' writes, the platform's own work,
// operators, late ticks, and crashes at every entry of the journal.
//
// A failure prints the seed and what happened; with -seed N -histories 1 it is lived
// through again. The others are lived through all the same, until a few have failed.
func TestHistories(t *testing.T) {
	before := debug.SetGCPercent(400) // they make many small things, and little lives long
	t.Cleanup(func() { debug.SetGCPercent(before) })
	const few = 20
	var next, ends, failed atomic.Int64
	counts := make(chan Phase, *manyHistories)
	t.Run("lives", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("worker", func(t *testing.T) {
				t.Parallel()
				for failed.Load() < few {
					n := next.Add(1) - 1
					if n >= int64(*manyHistories) {
						return
					}
					h := newHistory(*firstHistory + uint64(n))
					h.live()
					if len(h.broken) > 0 {
						if *manyHistories == 1 {
							for _, e := range h.journal[1:] {
								data, _ := json.Marshal(e) //nolint:errchkjson // for people
								t.Logf("%s", data)
							}
						}
						failed.Add(1)
						t.Errorf("go test ./internal/fleet/rollout -run TestHistories -seed %d -histories 1\n%s\n%s\n%s", h.seed, h.setting, strings.Join(h.told(), "\n"), strings.Join(h.broken, "\n"))
						continue
					}
					ends.Add(1)
					counts <- h.state.Phase
				}
			})
		}
	})
	close(counts)
	by := make(map[Phase]int)
	for p := range counts {
		by[p]++
	}
	t.Logf("%d histories: %v", ends.Load(), by)
	require.Equal(t, int64(*manyHistories), ends.Load())
}

// A history is one rollout through a time of trouble, and then of quiet.
type history struct {
	*rig
	rng     *rand.Rand
	seed    uint64
	setting string
	script  []string
	every   time.Duration
	trouble int // one action in so many
	quiet   time.Time
	curse   curse
	others  *rand.Rand // of another tool that makes the version the latest, and takes it back; nil: there is none
}

// oneIn says whether something happens that does once in n times.
func oneIn(rng *rand.Rand, n int) bool { return rng.IntN(n) == 0 }

func newHistory(seed uint64) *history {
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable on purpose
	a := randomAzure(rng)
	h := &history{rng: rng, seed: seed, trouble: 3 + rng.IntN(30)}
	h.every = []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute}[rng.IntN(3)]
	wide := oneIn(rand.New(rand.NewPCG(seed, 4)), 4) //nolint:gosec // repeatable on purpose
	p := randomPlan(rng, a, wide)
	h.rig = newRig(p, a)
	if oneIn(rng, 5) {
		h.curse = curses[rng.IntN(len(curses))]
	}
	if others := rand.New(rand.NewPCG(seed, 2)); oneIn(others, 4) { //nolint:gosec // repeatable on purpose
		h.others = others
	}
	h.takes = randomTakes(rand.New(rand.NewPCG(seed, 3))) //nolint:gosec // repeatable on purpose
	h.fates, h.lean = h.fate, seed%32 != 1
	sizes := make(map[string]int)
	for name, s := range a.Sets {
		sizes[name] = len(s.Members)
	}
	driver := p.Sets["a"].Driver
	h.setting = fmt.Sprintf("%s image, %s, %v, every %s, drain %v, by wave %v, scope wave %v, window %d, curse %q, takes %v", a.Image, driver, sizes, h.every, p.Drain, p.ByWave, p.WaveOnly, a.Opens, h.curse.name, h.takes)
	return h
}

// randomTakes is how long actions take: nothing at all in every second history, and else
// what Azure needs at times.
func randomTakes(rng *rand.Rand) map[Verb]time.Duration {
	takes := make(map[Verb]time.Duration)
	if oneIn(rng, 2) {
		return takes
	}
	for _, kind := range []struct {
		verbs       []Verb
		least, most int // seconds
	}{
		{[]Verb{""}, 1, 20},
		{[]Verb{PatchModel}, 30, 90},
		{[]Verb{ManualUpgrade, CancelRolling}, 1, 20},
		{[]Verb{SuspendRepairs, ResumeRepairs}, 5, 60},
		{[]Verb{Drain}, 20, 180},
		{[]Verb{Undrain, AskAgent, Diagnose}, 20, 90},
		{[]Verb{Replicate, Include, Exclude, TagFailed, TagGood}, 1, 30},
		{[]Verb{QueryGate, Notify}, 1, 30},
	} {
		d := time.Duration(kind.least+rng.IntN(1+kind.most-kind.least)) * time.Second
		if oneIn(rng, 2) {
			continue
		}
		for _, v := range kind.verbs {
			takes[v] = d
		}
	}
	return takes
}

// randomAzure is a fleet with a past: some of its members are on Spot, protected or
// stopped, some of its sets in another region.
func randomAzure(rng *rand.Rand) *azure {
	sizes := map[string]int{"a": 1 + rng.IntN(6), "b": 1 + rng.IntN(5)}
	if oneIn(rng, 3) {
		sizes["c"] = rng.IntN(4)
	}
	if oneIn(rng, 40) {
		clear(sizes)
		sizes["a"], sizes["b"] = 0, 0
	}
	a := newAzure(sizes)
	a.Renews = oneIn(rng, 2)
	images := []image{good, good, good, neverWell, silent, turnsBad, hangs, broken, errs}
	a.Image = images[rng.IntN(len(images))]
	a.Terse = oneIn(rng, 3)
	a.Rights = !oneIn(rng, 6)
	a.Upgrade = time.Duration(1+rng.IntN(6)) * time.Minute
	if oneIn(rng, 2) {
		a.LogLag = time.Duration(rng.IntN(6)) * time.Minute
	}
	if oneIn(rng, 3) {
		a.Opens = rng.IntN(24)
	}
	for _, name := range sorted(a.Sets) {
		s := a.Sets[name]
		if name != "a" && oneIn(rng, 2) {
			s.Region = "westus3"
			a.Version.Ready[s.Region] = time.Time{}
		}
		for _, key := range sorted(s.Members) {
			m := s.Members[key]
			m.Spot = oneIn(rng, 4)
			m.Protected = oneIn(rng, 12)
			m.Stopped = m.Spot && oneIn(rng, 5)
		}
	}
	if oneIn(rng, 3) {
		a.Version.Ready[home] = a.Now.Add(time.Duration(rng.IntN(40)) * time.Minute)
	}
	a.Version.Stranded = oneIn(rng, 50)
	return a
}

// randomPlan is a plan for a fleet, as a file may ask for it. In a wide one the first wave
// takes a part of every set.
func randomPlan(rng *rand.Rand, a *azure, wide bool) Plan {
	waves := twoWaves()
	waves[0].Instances = 1 + rng.IntN(2)
	waves[1].Sets = sorted(a.Sets)
	if wide {
		waves[0].Sets = sorted(a.Sets)
	}
	waves[1].Approve = oneIn(rng, 3)
	if oneIn(rng, 4) { // set by set
		waves = nil
		for _, name := range sorted(a.Sets) {
			waves = append(waves, Wave{Name: "wave-" + name, Sets: []string{name}, Soak: time.Duration(rng.IntN(30)) * time.Minute})
		}
	}
	driver := []fleet.Driver{fleet.DriverBatches, fleet.DriverBatches, fleet.DriverBatches, fleet.DriverPlatformRolling, fleet.DriverPlatformAutoOS}[rng.IntN(5)]
	if driver.Platform() && waves[0].Instances > 0 {
		waves = waves[1:]
	}
	for _, s := range a.Sets {
		switch driver {
		case fleet.DriverPlatformRolling:
			s.Mode = fleet.Rolling
		case fleet.DriverPlatformAutoOS: // they follow the latest of their region: it is one wave
			s.Mode, s.AutoOS, s.Model = fleet.Rolling, true, ""
			waves = regionWaves(rng, a)
		default:
		}
	}
	p := planned(a, waves, func(p *Plan) {
		p.Drain = !oneIn(rng, 3)
		p.Diagnose = p.Drain && oneIn(rng, 2)
		p.Notify = oneIn(rng, 2)
		p.Window = a.Opens != -1
		p.WaveOnly = oneIn(rng, 4)
		p.WithModel = oneIn(rng, 5)
		p.ByWave = oneIn(rng, 4)
		p.Limits.Pause, p.Limits.Approval = 3*time.Hour, 25*time.Hour
		if oneIn(rng, 3) || a.Image == errs {
			p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Unknown}}
			if a.Image != errs { // what nobody is to see, nobody can stop
				p.Gates[0].NoData = []Verdict{Pass, Unknown}[rng.IntN(2)]
			}
		}
		for _, name := range sorted(p.Sets) {
			s := p.Sets[name]
			s.Driver = driver
			s.Batch = fleet.Percent(10 + 10*rng.IntN(9))
			s.MaxUnhealthyUpgraded = fleet.Percent(20 * rng.IntN(2))
			s.Pause = time.Duration(rng.IntN(3)) * time.Minute
			if oneIn(rng, 20) {
				p.NoReturn, s.LastGood = true, ""
			}
			p.Sets[name] = s
		}
	})
	if p.ByWave {
		delete(a.Version.Ready, "westus3")
		if !oneIn(rng, 3) {
			delete(a.Version.Ready, home)
		}
	}
	return p
}

// regionWaves are waves region by region: the sets of one that follow the latest get the
// version together.
func regionWaves(rng *rand.Rand, a *azure) []Wave {
	regions := make(map[string][]string)
	for _, name := range sorted(a.Sets) {
		region := a.Sets[name].Region
		regions[region] = append(regions[region], name)
	}
	var waves []Wave
	for _, region := range sorted(regions) {
		waves = append(waves, Wave{Name: region, Sets: regions[region], Soak: 20 * time.Minute, Approve: oneIn(rng, 3)})
	}
	return waves
}

// A curse is something that never goes well again, and nobody comes to help: the rollout
// must still come to an end by itself.
type curse struct {
	name string
	fate func(a *Action) fate
	tick func(h *history)
}

var curses = []curse{
	{name: "nobody comes"},
	{name: "a set cannot be read", tick: func(h *history) { h.unread = map[string]bool{"a": true} }},
	{name: "the version cannot be read", tick: func(h *history) { h.unread = map[string]bool{versionTarget: true} }},
	{name: "models cannot be written", fate: cursed(PatchModel, denied)},
	{name: "upgrades are refused for capacity", fate: cursed(ManualUpgrade, noCapacity)},
	{name: "upgrades get no answer", fate: cursed(ManualUpgrade, lostBefore)},
	{name: "agents do not answer", fate: cursed(AskAgent, lostBefore)},
	{name: "drains do not answer", fate: cursed(Drain, lostBefore)},
	{name: "undrains do not answer", fate: cursed(Undrain, lostBefore)},
	{name: "nodes cannot be asked", fate: cursed(Diagnose, lostBefore)},
	{name: "repairs cannot be suspended", fate: cursed(SuspendRepairs, noCapacity)},
	{name: "repairs cannot be resumed", fate: cursed(ResumeRepairs, denied)},
	{name: "upgrades cannot be cancelled", fate: cursed(CancelRolling, denied)},
	{name: "the version cannot be marked", fate: cursed(TagFailed, denied)},
	{name: "the version cannot be marked good", fate: cursed(TagGood, denied)},
	{name: "the version cannot be released", fate: cursed(Include, lostBefore)},
	{name: "the version cannot be excluded", fate: cursed(Exclude, denied)},
	{name: "the version cannot be replicated", fate: cursed(Replicate, denied)},
	{name: "the hook does not answer", fate: cursed(Notify, lostBefore)},
	{name: "Prometheus is away", tick: func(h *history) { h.azure.Gate, h.azure.GateUntil = outage, h.azure.Now.Add(time.Hour) }},
	{name: "the window does not open", tick: func(h *history) {
		if h.plan.Window {
			h.azure.Opens = -2
		}
	}},
	{name: "ticks are late", tick: func(h *history) { h.every = 20 * time.Minute }},
	{name: "another tool is at it", tick: func(h *history) {
		s := h.azure.Sets["a"]
		s.BusyUntil, s.BusyWhy = h.azure.Now.Add(time.Hour), "another tool writes"
	}},
	{name: "another tool changes the model", tick: func(h *history) {
		if s := h.azure.Sets["a"]; s.Tag == 0 {
			s.Tag, s.ETag = 1, s.ETag+1
		}
	}},
	{name: "members vanish without a word", tick: func(h *history) {
		s := h.azure.Sets["a"]
		name := onVersion(h.rig, "a")
		if _, seen := h.state.Runs[memberKey("a", name)]; seen && len(s.Members) > 1 { // of another nothing would be left to know it by
			delete(s.Members, name)
		}
	}},
	{name: "members flap", tick: func(h *history) {
		if name := onVersion(h.rig, "a"); name != "" && h.azure.Image == turnsBad {
			h.azure.Sets["a"].Members[name].Booted = h.azure.Now // Initializing, until it begins anew
		}
	}},
}

// cursed lets every action of a verb meet a fate.
func cursed(v Verb, f fate) func(*Action) fate {
	return func(a *Action) fate {
		if a.Do == v {
			return f
		}
		return fine
	}
}

// told is the history, without the middle of a long one.
func (h *history) told() []string {
	if n := len(h.script); n > 50 {
		return append(append(h.script[:35:35], "..."), h.script[n-15:]...)
	}
	return h.script
}

func (h *history) say(format string, args ...any) {
	h.script = append(h.script, h.azure.Now.Format("02 15:04 ")+fmt.Sprintf(format, args...))
}

// fate is what happens to an action.
func (h *history) fate(_ int, a *Action) fate {
	if h.curse.fate != nil && h.trouble == 0 {
		if f := h.curse.fate(a); f != fine {
			return f
		}
	}
	if h.trouble == 0 || h.rng.IntN(h.trouble) > 0 {
		return fine
	}
	fates := []fate{lostBefore, lostAfter, lostLate, noCapacity, denied, crashBefore, crashAfter}
	f := fates[h.rng.IntN(len(fates))]
	if f == lostLate && a.Do != PatchModel && a.Do != ManualUpgrade {
		f = lostAfter
	}
	h.say("%s %s %v: %s", a.Do, a.Set, a.Members, f)
	return f
}

// live lives through the history: half a day of trouble, then quiet until it is over.
func (h *history) live() {
	calm := h.azure.Now.Add(time.Duration(1+h.rng.IntN(12)) * time.Hour)
	last := calm.Add(12 * 24 * time.Hour)
	for h.azure.Now.Before(last) && len(h.broken) == 0 {
		h.crashAt, h.unread = 0, nil
		if h.azure.Now.Before(calm) {
			h.disturb()
		} else if h.trouble > 0 {
			h.calm()
		}
		if h.trouble == 0 && h.curse.tick != nil {
			h.curse.tick(h)
		}
		phase := h.state.Phase
		h.tick()
		if h.state.Phase != phase {
			h.say("%s: %s", h.state.Phase, h.state.Why)
		}
		h.check()
		if h.trouble == 0 && h.over() {
			h.replay()
			return
		}
		step := h.every
		if h.trouble > 0 && h.rng.IntN(20) == 0 {
			step *= time.Duration(2 + h.rng.IntN(8))
		}
		if h.trouble > 0 && h.rng.IntN(300) == 0 {
			step = 9 * time.Hour // nobody ticks overnight
		}
		if h.rng.IntN(4) == 0 {
			step -= time.Duration(h.rng.IntN(30)) * time.Second
		}
		h.azure.advance(step)
		h.operate()
	}
	if len(h.broken) == 0 {
		h.breaks(deadlines, "it is not over: %s %v, %+v, %+v, %+v", h.state.Phase, h.state.Waves, h.state.Block, h.last, h.state.Sets["a"])
	}
}

// over says whether nothing is left to do. What cannot be brought back stays listed.
func (h *history) over() bool {
	if !h.state.Phase.Over() || len(h.last.Actions) > 0 {
		return false
	}
	for _, op := range h.state.Ops {
		if !h.unread[op.Action.Set] { // what became of others nobody can know
			return false
		}
	}
	if h.curse.name != "" {
		return true // nobody will come
	}
	if h.state.Phase == Incomplete {
		if h.azure.Now.Sub(h.state.Since) < 20*time.Minute || h.azure.Now.Sub(h.quiet) < 6*time.Hour {
			return false // it has the time to complete
		}
		for _, l := range h.state.Left {
			if !h.stays(&l) {
				h.breaks(haltsReturn, "quiet, and it does not complete: %+v", l)
			}
		}
	}
	return h.state.Phase != Held && len(h.state.Drains) == 0
}

// stays says whether what is left cannot be brought back, however long it is quiet.
func (h *history) stays(l *Left) bool {
	if l.Set == "" || l.Why == keptManual || strings.Contains(l.Why, "not ours") {
		return l.Set != ""
	}
	m := h.azure.Sets[l.Set].Members[l.Member]
	return h.plan.Sets[l.Set].LastGood == "" || m != nil && m.Protected
}

// calm ends the trouble: what is stopped starts, and nothing fails any more.
func (h *history) calm() {
	h.say("quiet")
	h.trouble, h.quiet = 0, h.azure.Now
	h.azure.Version.Stranded = false
	for _, name := range sorted(h.azure.Sets) {
		s := h.azure.Sets[name]
		for _, key := range sorted(s.Members) {
			m := s.Members[key]
			m.Sick, m.Fault = false, nil
			if m.Stopped {
				h.azure.start(m)
			}
		}
	}
}

// operate is what an operator does who looks now and then.
func (h *history) operate() {
	ask := func(r Request) {
		r.Wave = h.plan.Waves[h.state.Wave].Name
		r.ID = strconv.Itoa(len(h.requests))
		h.requests = append(h.requests, r)
		h.say("the operator: %s %v", r.Do, r.Keep)
	}
	w := h.state.Waves[h.state.Wave]
	quiet := h.trouble == 0
	switch {
	case quiet && h.curse.name != "": // nobody comes
	case !quiet && h.rng.IntN(150) == 0:
		ask(Request{Do: []Order{Pause, Resume, Approve}[h.rng.IntN(3)]})
	case !quiet && h.rng.IntN(500) == 0:
		ask(Request{Do: Abort, Keep: h.rng.IntN(2) == 0})
	case h.state.Phase == Incomplete && h.rng.IntN(100) == 0:
		ask(Request{Do: Abort, Keep: h.rng.IntN(4) == 0})
	case h.state.Phase == Rolling && w.Step == Asking && h.rng.IntN(10) == 0:
		ask(Request{Do: Approve})
	case quiet && (h.state.Block != nil || h.state.Paused != nil || h.state.Phase == Held) && h.rng.IntN(20) == 0:
		ask(Request{Do: Resume})
	case quiet && h.state.Block != nil && h.rng.IntN(100) == 0, h.state.Phase == Held && h.rng.IntN(50) == 0:
		ask(Request{Do: Abort, Keep: h.rng.IntN(4) == 0})
	}
}

// disturb lets something happen that is not ours.
func (h *history) disturb() {
	if h.rng.IntN(10) == 0 {
		h.crashAt = 1 + h.rng.IntN(12)
		h.say("crash at entry %d", h.crashAt)
	}
	if h.others != nil && oneIn(h.others, 60) && !h.state.Phase.Over() {
		h.released()
	}
	names := sorted(h.azure.Sets)
	s := h.azure.Sets[names[h.rng.IntN(len(names))]]
	var m *azureMember
	if keys := sorted(s.Members); len(keys) > 0 {
		m = s.Members[keys[h.rng.IntN(len(keys))]]
	}
	if h.rng.IntN(12) == 0 {
		h.unread = map[string]bool{s.Name: h.rng.IntN(2) == 0, versionTarget: h.rng.IntN(2) == 0}
		h.say("unread %v", h.unread)
	}
	if h.rng.IntN(h.trouble) > 0 {
		return
	}
	h.befalls(s, m)
}

// befalls lets something happen to a set, or to one of its members.
func (h *history) befalls(s *azureSet, m *azureMember) {
	const ofMembers = 10
	what := h.rng.IntN(18)
	if m == nil && what < ofMembers {
		return
	}
	soon := h.azure.Now.Add(time.Duration(h.rng.IntN(40)) * time.Minute)
	switch what {
	case 0:
		if m.Spot {
			h.say("%s is evicted", m.Name)
			h.azure.gone(s, m.Name, Evicted)
		}
	case 1:
		if !m.Stopped {
			h.say("%s is stopped", m.Name)
			h.azure.stop(s, m.Name)
		}
	case 2, 3:
		if m.Stopped {
			h.say("%s is started", m.Name)
			h.azure.start(m)
		}
	case 4:
		if m.Version == oldVersion && m.Next == "" {
			h.say("%s is sick", m.Name)
			m.Sick = true
		}
	case 5:
		if m.Sick && m.Version == oldVersion && m.Next == "" {
			h.say("%s is repaired", m.Name)
			h.azure.repair(s, m.Name)
		}
	case 6:
		if !m.Stopped {
			m.Protected = !m.Protected
			h.say("%s is protected: %v", m.Name, m.Protected)
		}
	case 7:
		if m.Next == "" && m.Fault == nil && !m.Stopped {
			class := []Class{NoCapacity, Inconclusive}[h.rng.IntN(2)]
			h.say("%s fails to provision: %s", m.Name, class)
			m.Fault = &Fault{Class: class, Text: "OSProvisioningTimedOut"}
		}
	case 8, 9:
		if m.Fault != nil {
			h.say("%s is provisioned", m.Name)
			m.Fault = nil
		}
	case 10:
		h.say("%s is scaled in: %s", s.Name, h.azure.scaleIn(s))
	case 11, 12:
		h.say("%s is scaled out", s.Name)
		h.azure.scaleOut(s)
	case 13:
		h.say("the platform is busy with %s", s.Name)
		s.BusyUntil, s.BusyWhy = soon, "the platform upgrades its own agent"
	case 14:
		h.otherTool(s)
	case 15:
		h.azure.Gate, h.azure.GateUntil = []gate{outage, noData, noUse, earlier}[h.rng.IntN(4)], h.azure.Now.Add(time.Duration(h.rng.IntN(600))*time.Minute)
		h.say("the gate %s until %s", h.azure.Gate, h.azure.GateUntil.Format("02 15:04"))
	case 16:
		if s.Rolling.Active() && h.azure.Sets[s.Name].Mode == fleet.Rolling {
			h.say("the rolling upgrade of %s gets no capacity", s.Name)
			s.Rolling.Code, s.Rolling.End, s.Rolling.ErrorCode = "Faulted", h.azure.Now, "AllocationFailed"
		}
	case 17:
		if oneIn(h.rng, 20) && !h.state.Phase.Over() && !h.azure.Version.Failed {
			h.say("somebody marks the version failed")
			h.azure.Version.Failed, h.azure.Version.Theirs = true, true
		}
	}
}

// otherTool writes the model of a set. It never brings the version.
func (h *history) otherTool(s *azureSet) {
	if h.azure.moving(s) {
		return
	}
	s.ETag++
	if h.rng.IntN(2) == 0 {
		s.Tag = 1 - s.Tag // it may also take its change back
		h.say("another tool changes the model of %s to %d", s.Name, s.Tag)
		return
	}
	if s.Model != "" {
		s.Model = oldVersion
		h.say("another tool pins %s to %s", s.Name, oldVersion)
	}
}

// released is another tool's release of the version in a region, or the end of one.
func (h *history) released() {
	v := &h.azure.Version
	regions := sorted(v.Ready)
	switch {
	case !v.excluded():
		h.say("another tool excludes the version")
		clear(v.Released)
	case len(regions) > 0:
		region := regions[h.others.IntN(len(regions))]
		h.say("another tool makes the version the latest in %s", region)
		v.Released[region] = true
		v.Good = v.Good || oneIn(h.others, 4) // it promotes it
	}
}

// replay folds the whole journal again: it must come to the same.
func (h *history) replay() {
	_, s, err := Fold(h.journal)
	if err != nil {
		h.breaks(pureNext, "fold: %v", err)
		return
	}
	if canonical(s, h.azure.Now) != canonical(h.state, h.azure.Now) {
		h.breaks(pureNext, "the journal does not come to the state of the runner")
	}
}
