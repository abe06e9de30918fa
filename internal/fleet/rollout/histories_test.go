package rollout

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
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
// through again.
func TestHistories(t *testing.T) {
	var next, ends [1]atomic.Int64
	counts := make(chan Phase, *manyHistories)
	t.Run("lives", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("worker", func(t *testing.T) {
				t.Parallel()
				for !t.Failed() {
					n := next[0].Add(1) - 1
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
						t.Fatalf("go test ./internal/fleet/rollout -run TestHistories -seed %d -histories 1\n%s\n%s\n%s", h.seed, h.setting, strings.Join(h.told(), "\n"), strings.Join(h.broken, "\n"))
					}
					ends[0].Add(1)
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
	t.Logf("%d histories: %v", ends[0].Load(), by)
	require.Equal(t, int64(*manyHistories), ends[0].Load())
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
}

func newHistory(seed uint64) *history {
	rng := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // repeatable on purpose
	sizes := map[string]int{"a": 1 + rng.IntN(6), "b": 1 + rng.IntN(5)}
	if rng.IntN(3) == 0 {
		sizes["c"] = rng.IntN(4)
	}
	a := newAzure(sizes)
	a.Renews = rng.IntN(2) == 0
	images := []image{good, good, good, neverWell, silent, turnsBad, hangs, broken, errs}
	a.Image = images[rng.IntN(len(images))]
	a.Terse = rng.IntN(3) == 0
	a.Upgrade = time.Duration(1+rng.IntN(6)) * time.Minute
	if rng.IntN(2) == 0 {
		a.LogLag = time.Duration(rng.IntN(6)) * time.Minute
	}
	if rng.IntN(3) == 0 {
		a.Version.Ready = a.Now.Add(time.Duration(rng.IntN(40)) * time.Minute)
	}
	for _, name := range sorted(a.Sets) {
		for _, key := range sorted(a.Sets[name].Members) {
			m := a.Sets[name].Members[key]
			m.Spot = rng.IntN(4) == 0
			m.Protected = rng.IntN(12) == 0
			if m.Spot && rng.IntN(5) == 0 {
				m.Stopped = true
			}
		}
	}
	waves := twoWaves()
	waves[0].Instances = 1 + rng.IntN(2)
	waves[1].Sets = sorted(sizes)
	waves[1].Approve = rng.IntN(3) == 0
	driver := []fleet.Driver{fleet.DriverBatches, fleet.DriverBatches, fleet.DriverBatches, fleet.DriverPlatformRolling, fleet.DriverPlatformAutoOS}[rng.IntN(5)]
	if driver.Platform() {
		waves = waves[1:]
		waves[0].Sets = sorted(sizes)
	}
	for name, s := range a.Sets {
		switch driver {
		case fleet.DriverPlatformRolling:
			s.Mode = fleet.Rolling
		case fleet.DriverPlatformAutoOS:
			s.Mode, s.AutoOS, s.Model = fleet.Rolling, true, ""
		default:
		}
		_ = name
	}
	p := planned(a, waves, func(p *Plan) {
		p.Drain = rng.IntN(3) > 0
		p.Diagnose = p.Drain && rng.IntN(2) == 0
		p.Notify = rng.IntN(2) == 0
		if rng.IntN(3) == 0 || a.Image == errs {
			p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}}
		}
		for name, s := range p.Sets {
			s.Driver = driver
			s.Batch = fleet.Percent(10 + 10*rng.IntN(9))
			p.Sets[name] = s
		}
	})
	h := &history{rig: newRig(p, a), rng: rng, seed: seed, trouble: 3 + rng.IntN(30)}
	h.every = []time.Duration{time.Minute, 2 * time.Minute, 5 * time.Minute}[rng.IntN(3)]
	h.setting = fmt.Sprintf("%s image, %s, %v, every %s, drain %v", a.Image, driver, sizes, h.every, p.Drain)
	h.fates, h.lean = h.fate, seed%8 != 0
	return h
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
	if h.trouble == 0 || h.rng.IntN(h.trouble) > 0 {
		return fine
	}
	fates := []fate{lostBefore, lostAfter, lostLate, noCapacity, denied, crashBefore, crashAfter}
	f := fates[h.rng.IntN(len(fates))]
	if f == lostLate && a.Do != PatchModel {
		f = lostAfter
	}
	h.say("%s %s %v: %s", a.Do, a.Set, a.Members, f)
	return f
}

// live lives through the history: half a day of trouble, then quiet until it is over.
func (h *history) live() {
	calm := h.azure.Now.Add(time.Duration(1+h.rng.IntN(12)) * time.Hour)
	last := h.azure.Now.Add(20 * 24 * time.Hour)
	for h.azure.Now.Before(last) && len(h.broken) == 0 {
		h.crashAt, h.unread = 0, nil
		if h.azure.Now.Before(calm) {
			h.disturb()
		} else if h.trouble > 0 {
			h.calm()
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
		if h.rng.IntN(4) == 0 {
			step -= time.Duration(h.rng.IntN(30)) * time.Second
		}
		h.azure.advance(step)
		h.operate()
	}
	if len(h.broken) == 0 {
		h.breaks("it is not over: %s %v, %+v, %+v, %+v", h.state.Phase, h.state.Waves, h.state.Block, h.last, h.state.Sets["a"])
	}
}

// over says whether nothing is left to do. What cannot be brought back stays listed.
func (h *history) over() bool {
	if !h.state.Phase.Over() || len(h.last.Actions) > 0 || len(h.state.Ops) > 0 {
		return false
	}
	if h.state.Phase == Incomplete {
		if h.azure.Now.Sub(h.state.Since) < 20*time.Minute || h.azure.Now.Sub(h.quiet) < 6*time.Hour {
			return false // it has the time to complete
		}
		for _, l := range h.state.Left {
			if !slices.Contains([]string{"it is protected from scale set actions", "there is no version to go back to"}, l.Why) && !strings.Contains(l.Why, "not ours") {
				h.breaks("quiet, and it does not complete: %+v", l)
			}
		}
	}
	return h.state.Phase != Held && len(h.state.Drains) == 0
}

// calm ends the trouble: what is stopped starts, and nothing fails any more.
func (h *history) calm() {
	h.say("quiet")
	h.trouble, h.quiet = 0, h.azure.Now
	for _, name := range sorted(h.azure.Sets) {
		s := h.azure.Sets[name]
		for _, key := range sorted(s.Members) {
			m := s.Members[key]
			m.Sick = false
			if m.Stopped {
				m.Stopped, m.Booted = false, h.azure.Now
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
	switch {
	case h.trouble > 0 && h.rng.IntN(150) == 0:
		ask(Request{Do: []Order{Pause, Resume, Approve}[h.rng.IntN(3)]})
	case h.trouble > 0 && h.rng.IntN(500) == 0:
		ask(Request{Do: Abort, Keep: h.rng.IntN(2) == 0})
	case h.state.Phase == Rolling && w.Step == Asking && h.rng.IntN(10) == 0:
		ask(Request{Do: Approve})
	case h.trouble == 0 && (h.state.Block != nil || h.state.Paused != nil || h.state.Phase == Held) && h.rng.IntN(20) == 0:
		ask(Request{Do: Resume})
	case h.trouble == 0 && h.state.Block != nil && h.rng.IntN(100) == 0, h.state.Phase == Held && h.rng.IntN(50) == 0:
		ask(Request{Do: Abort})
	}
}

// disturb lets something happen that is not ours.
func (h *history) disturb() {
	if h.rng.IntN(10) == 0 {
		h.crashAt = 1 + h.rng.IntN(12)
		h.say("crash at entry %d", h.crashAt)
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
	what := h.rng.IntN(10)
	if m == nil && what < 6 {
		return
	}
	switch what {
	case 0:
		h.say("%s is evicted", m.Name)
		h.azure.gone(s, m.Name, Evicted)
	case 1:
		if m.Spot && !m.Stopped {
			h.say("%s is stopped", m.Name)
			h.azure.stop(s, m.Name)
		}
	case 2:
		if m.Stopped {
			h.say("%s is started", m.Name)
			m.Stopped, m.Booted = false, h.azure.Now
		}
	case 3:
		if m.Version == oldVersion && m.Next == "" {
			h.say("%s is sick", m.Name)
			m.Sick = true
		}
	case 4:
		if m.Sick && m.Version == oldVersion && m.Next == "" {
			h.say("%s is repaired", m.Name)
			h.azure.repair(s, m.Name)
		}
	case 5:
		h.say("%s is scaled in", m.Name)
		h.azure.gone(s, m.Name, ScaledIn)
	case 6, 7:
		h.say("%s is scaled out", s.Name)
		h.azure.scaleOut(s)
	case 8:
		h.say("the platform is busy with %s", s.Name)
		s.BusyUntil, s.BusyWhy = h.azure.Now.Add(time.Duration(h.rng.IntN(40))*time.Minute), "the platform upgrades its own agent"
	case 9:
		h.otherTool(s)
	}
}

// otherTool writes the model of a set. It never brings the version.
func (h *history) otherTool(s *azureSet) {
	if h.azure.moving(s) {
		return
	}
	s.ETag++
	if h.rng.IntN(2) == 0 {
		s.Tag++
		h.say("another tool changes the model of %s", s.Name)
		return
	}
	if s.Model != "" {
		s.Model = oldVersion
		h.say("another tool pins %s to %s", s.Name, oldVersion)
	}
}

// replay folds the whole journal again: it must come to the same.
func (h *history) replay() {
	_, s, err := Fold(h.journal)
	if err != nil {
		h.breaks("fold: %v", err)
		return
	}
	if canonical(s, h.azure.Now) != canonical(h.state, h.azure.Now) {
		h.breaks("the journal does not come to the state of the runner")
	}
}
