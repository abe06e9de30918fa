package rollout

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

// TestLook shows rollouts at every tick of random histories, with what was read and
// without.
func TestLook(t *testing.T) {
	cells := make(map[Cell]int)
	for seed := range uint64(24) {
		h := newHistory(1000 + seed)
		calm := h.azure.Now.Add(4 * time.Hour)
		for tick := 0; tick < 400 && len(h.broken) == 0; tick++ {
			h.crashAt, h.unread = 0, nil
			if h.azure.Now.Before(calm) {
				h.disturb()
			} else if h.trouble > 0 {
				h.calm()
			}
			h.tick()
			if tick%3 == 0 {
				h.looks(t, cells)
			}
			if h.trouble == 0 && h.over() {
				break
			}
			h.azure.advance(h.every)
			h.operate()
		}
		require.Empty(t, h.broken, "seed %d", h.seed)
	}
	for _, c := range Cells[:len(Cells)-1] { // all but unknown
		require.Positive(t, cells[c], "no history has a member that is %s", c)
	}
}

// looks checks what is shown of a history just now.
func (h *history) looks(t *testing.T, cells map[Cell]int) {
	t.Helper()
	o := h.azure.observe(h.state.Epoch, h.unread)
	o.Requests = h.requests
	now := h.azure.Now
	before := canonical(h.state, now)
	v := Look(h.plan, h.state, h.journal, &o, now)
	require.Equal(t, before, canonical(h.state, now), "seed %d: Look changed the state", h.seed)
	require.Equal(t, v, Look(h.plan, h.state, h.journal, &o, now), "seed %d: Look answers in two ways", h.seed)
	require.Equal(t, Accounting(h.state), v.Ran)
	require.Len(t, v.Waves, len(h.plan.Waves))
	require.Len(t, v.Sets, len(h.plan.Sets))
	for _, s := range v.Sets {
		seen := o.Sets[s.Name]
		if seen.Unknown != "" {
			require.Equal(t, seen.Unknown, s.Unknown)
			seen.Members = nil
		}
		shown := make(map[string]MemberView)
		for _, m := range s.Members {
			require.NotContains(t, shown, m.Name, "seed %d: %s is shown twice", h.seed, m.Name)
			shown[m.Name] = m
			cells[m.Cell]++
		}
		for i := range seen.Members {
			member := &seen.Members[i]
			require.Contains(t, shown, member.Name, "seed %d", h.seed)
			cell := shown[member.Name].Cell
			if member.Image.ExactVersion == newVersion {
				require.NotContains(t, []Cell{CellOther, CellReturned, CellStarting, CellStopped, CellUnhealthy}, cell, "seed %d: %s", h.seed, member.Name)
			} else {
				require.NotContains(t, []Cell{CellVerified, CellVerifying, CellFailed}, cell, "seed %d: %s", h.seed, member.Name)
			}
		}
		for _, r := range h.state.Runs {
			if r.Set == s.Name {
				require.Contains(t, shown, r.Name, "seed %d", h.seed)
			}
		}
	}
	h.batchesShown(t, &v)
	blind := Look(h.plan, h.state, h.journal, nil, now)
	require.Equal(t, v.Ran, blind.Ran)
	require.Equal(t, v.Waves, blind.Waves)
	for _, s := range blind.Sets {
		require.Empty(t, s.Unknown)
		for _, m := range s.Members {
			cells[m.Cell]++
			require.NotEmpty(t, m.Name)
		}
	}
}

// batchesShown checks the batches against the state.
func (h *history) batchesShown(t *testing.T, v *View) {
	t.Helper()
	count := make(map[string]int)
	for _, w := range v.Waves {
		for _, b := range w.Batches {
			count[b.Set]++
			open := h.state.Sets[b.Set].Batch
			if b.Ended.IsZero() {
				require.NotNil(t, open, "seed %d: batch %d of %s", h.seed, b.Number, b.Set)
				require.Equal(t, BatchView{Set: b.Set, Number: open.Number, Back: open.Back, Step: open.Step, Members: open.Members, Begun: b.Begun, Why: b.Why}, b)
			}
		}
	}
	for name, s := range h.state.Sets {
		require.Equal(t, s.Numbers, count[name], "seed %d: the batches of %s", h.seed, name)
	}
}

func TestLookAtWhatAnOperatorAsks(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	waves := twoWaves()
	waves[1].Approve = true
	r := newRig(planned(a, waves, func(p *Plan) {
		p.Window = true
		p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}}
	}), a)
	for range 90 {
		r.tick()
		a.advance(time.Minute)
	}
	o := a.observe(r.state.Epoch, nil)
	o.WindowOpen, o.Opens = false, a.Now.Add(time.Hour)
	v := Look(r.plan, r.state, r.journal, &o, a.Now)
	require.Equal(t, Rolling, v.Phase)
	require.Equal(t, Asking, v.Waves[1].Step)
	require.Equal(t, map[string]Verdict{"healthy": Pass, "vanished": Pass, "window": Waiting, "approval": Waiting, "errors": Pass}, verdicts(v.Gates))
	require.Contains(t, v.Waits, WaitView{For: "the approval of wave all", Until: r.state.Waves[1].Since.Add(r.plan.Limits.Approval)})
	require.Contains(t, Look(r.plan, r.state, r.journal, nil, a.Now).Waits, v.Waits[0], "the journal tells it, too")

	r.requests = []Request{{ID: "1", Do: Approve, Wave: "all", By: "ops"}}
	r.tick()
	v = Look(r.plan, r.state, r.journal, nil, a.Now)
	require.Equal(t, "ops", v.Waves[1].Approved)
	require.Equal(t, Pass, verdicts(v.Gates)["approval"])
}

func verdicts(gates []GateView) map[string]Verdict {
	by := make(map[string]Verdict)
	for _, g := range gates {
		by[g.Name] = g.Verdict
	}
	return by
}

// TestLookAtTheCauseOfNow: a pause of which the first cause is gone shows the one that is
// left.
func TestLookAtTheCauseOfNow(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	r := newRig(planned(a, twoWaves(), nil), a)
	for step := step(1, Soaking); !step(r); a.advance(time.Minute) {
		r.tick()
	}
	paused := func(set string) string {
		r.unread = map[string]bool{set: true}
		a.advance(time.Minute)
		r.tick()
		o := a.observe(r.state.Epoch, r.unread)
		v := Look(r.plan, r.state, r.journal, &o, a.Now)
		require.Equal(t, Inconclusive, v.Class)
		require.Contains(t, v.Waits[0].For, v.Paused)
		require.False(t, v.NeedsResume, "it goes on when they can be read")
		return v.Paused
	}
	require.Contains(t, paused("a"), "a could not be read")
	require.Contains(t, paused("b"), "b could not be read")
}

// TestLookSaysWhatOnlyResumeEnds: what was refused for too long is not tried again, also
// when its cause is gone.
func TestLookSaysWhatOnlyResumeEnds(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	r := newRig(planned(a, twoWaves(), nil), a)
	r.fates = func(_ int, a *Action) fate {
		if a.Do == ManualUpgrade {
			return noCapacity
		}
		return fine
	}
	for r.state.Block == nil {
		r.tick()
		a.advance(time.Minute)
	}
	r.fates = func(int, *Action) fate { return fine }
	for range 60 {
		r.tick()
		a.advance(time.Minute)
	}
	require.NotNil(t, r.state.Block)
	o := a.observe(r.state.Epoch, nil)
	require.True(t, Look(r.plan, r.state, r.journal, &o, a.Now).NeedsResume)
}

// TestLookAtOldReading: where the journal is newer than what was read, it knows better.
func TestLookAtOldReading(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	a.Image = neverWell
	r := newRig(planned(a, twoWaves(), nil), a)
	r.tick()
	old := a.observe(r.state.Epoch, nil)
	cell := func() Cell {
		v := Look(r.plan, r.state, r.journal, &old, a.Now)
		require.Equal(t, later(old.At, r.state.Read["a"]), v.Observed)
		for _, m := range v.Sets[0].Members {
			if len(v.Ran) > 0 && m.Name == v.Ran[0].Member {
				return m.Cell
			}
		}
		return ""
	}
	seen := make(map[Cell]bool)
	for r.state.Phase != Halted {
		a.advance(time.Minute)
		r.tick()
		seen[cell()] = true
		if r.state.Phase == Rolling && len(r.state.Runs) == 1 {
			require.Contains(t, []Cell{CellVerifying, CellVerified, CellFailed}, cell())
		}
	}
	require.Equal(t, CellReturned, cell())
	require.True(t, seen[CellFailed])
}

// TestLookWithoutReading shows what the journal alone tells of members.
func TestLookWithoutReading(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	a.Image = neverWell
	r := newRig(planned(a, twoWaves(), func(p *Plan) {
		s := p.Sets["a"]
		s.LeftOut = []Left{{Set: "a", Member: "a-2", Why: protected}}
		p.Sets["a"] = s
	}), a)
	r.run(time.Minute, 24*time.Hour)
	require.Equal(t, Halted, r.state.Phase)
	v := Look(r.plan, r.state, r.journal, nil, a.Now)
	ran := v.Ran[0].Member
	require.Equal(t, v.Ended, r.state.Since)
	by := make(map[string]MemberView)
	for _, m := range v.Sets[0].Members {
		by[m.Name] = m
	}
	require.Equal(t, CellReturned, by[ran].Cell)
	require.Equal(t, oldVersion, by[ran].Version)
	require.NotEmpty(t, by[ran].Why, "why it failed")
	require.Equal(t, MemberView{Name: "a-2", Cell: CellUnknown, Why: protected}, by["a-2"])
	require.Equal(t, 1, v.Sets[0].Unnamed)
	require.Equal(t, 2, v.Sets[1].Unnamed)
	batches := v.Waves[0].Batches
	require.Len(t, batches, 2, "there, and back")
	require.Equal(t, []bool{false, true}, []bool{batches[0].Back, batches[1].Back})
	require.Contains(t, batches[0].Why, ran)
	require.Equal(t, Fail, verdicts(v.Gates)["healthy"])
}

// TestLookSoaks shows that the time since the last observation counts until there is a
// gap.
func TestLookSoaks(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	r := newRig(planned(a, twoWaves(), nil), a)
	for r.state.Waves[0].Step != Soaking {
		r.tick()
		a.advance(time.Minute)
	}
	r.tick()
	soaked := func(after time.Duration) time.Duration {
		return Look(r.plan, r.state, r.journal, nil, a.Now.Add(after)).Waves[0].Soaked
	}
	base := r.state.Waves[0].Soaked
	require.Equal(t, base+90*time.Second, soaked(90*time.Second))
	require.Equal(t, base, soaked(time.Hour), "a gap does not count")
}

// TestForesee: a rollout in which nothing happens takes the members that were foreseen.
func TestForesee(t *testing.T) {
	f := fleettest.Article()
	p, refusals := PlanFor(spec(), f, "1.8.0", Options{})
	require.Empty(t, refusals)
	before, err := json.Marshal(f)
	require.NoError(t, err)
	list := Foresee(p, f)
	after, err := json.Marshal(f)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after), "the fleet is as it was")
	require.Len(t, list, 4)
	taken := make(map[string]int)
	for _, l := range list {
		for _, b := range l.Batches {
			require.NotEmpty(t, b)
			for _, name := range b {
				taken[memberKey(l.Set, name)]++
			}
		}
	}
	require.Len(t, list[0].Batches, 1)
	require.Len(t, list[0].Batches[0], 1, "one canary")
	for i := range f.Sets {
		for j := range f.Sets[i].Members {
			require.Equal(t, 1, taken[memberKey(f.Sets[i].Model.ID.Name(), f.Sets[i].Members[j].Name)], "every member is taken once")
		}
	}

	a := newAzure(map[string]int{"a": 5, "b": 4})
	r := newRig(planned(a, twoWaves(), nil), a)
	o := a.observe(0, nil)
	var world fleet.Fleet
	for _, name := range sorted(o.Sets) {
		s := o.Sets[name].Set
		s.Model.ID = setID(name)
		world.Sets = append(world.Sets, s)
	}
	r.run(time.Minute, 24*time.Hour)
	require.Equal(t, Succeeded, r.state.Phase)
	var took [][]string
	for i, w := range Look(r.plan, r.state, r.journal, nil, a.Now).Waves {
		for _, set := range r.plan.Waves[i].Sets {
			for _, b := range w.Batches {
				if b.Set == set {
					took = append(took, b.Members)
				}
			}
		}
	}
	var foreseen [][]string
	for _, l := range Foresee(r.plan, world) {
		foreseen = append(foreseen, l.Batches...)
	}
	require.Equal(t, foreseen, took)
}

// A rollout that is held says which model is not back yet.
func TestLookAtWhatIsNotHeldYet(t *testing.T) {
	a := newAzure(map[string]int{"a": 2})
	r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, nil), a)
	for ; r.state.Waves[0].Step != Soaking; a.advance(time.Minute) {
		r.tick()
	}
	ask(Pause, false)(r)
	for ; r.state.Phase != Held; a.advance(time.Minute) {
		r.tick()
		r.fates = func(_ int, act *Action) fate {
			if act.Do == PatchModel {
				return noCapacity
			}
			return fine
		}
	}
	owed := func() []Left { return Look(r.plan, r.state, r.journal, new(a.observe(r.state.Epoch, nil)), a.Now).Owed }
	require.Equal(t, []Left{{Set: "a", Why: "its model may still give the version to members"}}, owed())
	require.True(t, Holding(&r.plan, &r.state, new(a.observe(r.state.Epoch, nil)), a.Now))
	require.False(t, Holding(&r.plan, &r.state, new(a.observe(r.state.Epoch, nil)), a.Now.Add(2*r.plan.Limits.Stuck)))
	r.fates = func(int, *Action) fate { return fine }
	r.tick()
	require.Empty(t, owed())
	require.False(t, Holding(&r.plan, &r.state, new(a.observe(r.state.Epoch, nil)), a.Now))
	require.Equal(t, oldVersion, a.Sets["a"].Model)
}
