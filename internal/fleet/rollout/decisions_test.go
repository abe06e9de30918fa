package rollout

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A scene is a rollout in which something happens at a moment.
type scene struct {
	name    string
	sizes   map[string]int
	waves   []Wave
	image   image
	plan    func(*Plan)
	setup   func(*azure)
	when    func(*rig) bool // once, before a tick
	then    func(*rig)
	atMost  time.Duration
	every   time.Duration
	phase   Phase
	runs    int // members that ever ran the version; -1: any
	require func(*testing.T, *rig)
}

func (s *scene) play(t *testing.T) {
	t.Helper()
	if s.sizes == nil {
		s.sizes = map[string]int{"a": 3, "b": 2}
	}
	a := newAzure(s.sizes)
	if s.setup != nil {
		s.setup(a)
	}
	if s.image != "" {
		a.Image = s.image
	}
	if s.waves == nil {
		s.waves = twoWaves()
	}
	r := newRig(planned(a, s.waves, s.plan), a)
	every, happened := max(s.every, time.Minute), false
	if s.atMost == 0 {
		s.atMost = 48 * time.Hour
	}
	for until := start.Add(s.atMost); a.Now.Before(until); a.advance(every) {
		if s.when != nil && !happened && s.when(r) {
			happened = true
			s.then(r)
		}
		r.tick()
		require.Empty(t, r.check())
		if r.state.Phase.Over() && len(r.last.Actions) == 0 && len(r.state.Drains) == 0 && (r.state.Phase != Held || s.phase == Held) {
			break
		}
	}
	require.Equal(t, s.phase, r.state.Phase, "%+v %s\n%+v\n%+v", Accounting(r.state), r.state.Why, r.state.Block, r.last.Waits)
	if s.when != nil {
		require.True(t, happened, "it never happened")
	}
	if s.runs >= 0 {
		require.Len(t, Accounting(r.state), s.runs)
	}
	if s.require != nil {
		s.require(t, r)
	}
}

func step(wave int, want Step) func(*rig) bool {
	return func(r *rig) bool { return r.state.Wave == wave && r.state.Waves[wave].Step == want }
}

func batchIs(set string, want Step) func(*rig) bool {
	return func(r *rig) bool { b := r.state.Sets[set].Batch; return b != nil && b.Step == want }
}

// onVersion returns a member of a set that runs the version.
func onVersion(r *rig, set string) string {
	for _, name := range sorted(r.azure.Sets[set].Members) {
		if r.azure.Sets[set].Members[name].Version == newVersion {
			return name
		}
	}
	return ""
}

func ask(o Order, keep bool) func(*rig) {
	return func(r *rig) {
		r.requests = append(r.requests, Request{ID: "1", Do: o, Wave: r.plan.Waves[r.state.Wave].Name, Keep: keep, By: "ada"})
	}
}

// done lists the actions of a verb that were carried out.
func (r *rig) done(v Verb) []Action {
	var list []Action
	for _, e := range r.journal {
		if e.Kind == Began && e.Action.Do == v {
			list = append(list, *e.Action)
		}
	}
	return list
}

// neverStood requires that the rollout never stood still.
func (r *rig) neverStood(t *testing.T) {
	t.Helper()
	for _, e := range r.journal {
		require.False(t, e.Kind == Blocked && e.Class != "", e.Why)
	}
}

func TestDecisions(t *testing.T) {
	for _, s := range []scene{
		{
			name: "1: the version is released last of all", phase: Succeeded, runs: 5,
			require: func(t *testing.T, r *rig) {
				t.Helper()
				i := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Began && e.Action.Do == Include })
				j := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == WaveTo && e.Wave == 1 && e.Step == WaveDone })
				require.Greater(t, i, j)
				require.True(t, r.azure.Version.Good)
			},
		},
		{
			name: "1: a version that somebody else releases pauses, until it is excluded again", phase: Succeeded, runs: 5,
			when: step(0, Soaking), then: func(r *rig) {
				released := r.azure.Version.Released
				released[home] = true
				r.tick()
				if b := r.state.Block; b == nil || b.Class != NotOurs || !strings.Contains(b.Why, "the latest in "+home) {
					panic("nobody says so")
				}
				r.azure.advance(time.Minute)
				delete(released, home)
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Empty(t, r.done(Exclude)) },
		},
		{
			name: "1: a version that somebody else released is accepted by resume", phase: Held, runs: 1, atMost: 30 * time.Hour,
			when: step(0, Soaking), then: func(r *rig) {
				r.azure.Version.Released[home] = true
				r.tick()
				ask(Resume, false)(r)
				r.azure.advance(time.Minute)
				r.tick()
				if r.state.Block != nil {
					panic(r.state.Block.Why)
				}
				r.azure.Version.Ready["westus3"] = start
				r.azure.Version.Released["westus3"] = true
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Why, "the latest in westus3")
				require.False(t, r.azure.Version.Failed)
			},
		},
		{
			name: "1: a version that was released before its rollout is rolled out", phase: Succeeded, runs: 5,
			setup: func(a *azure) { a.Version.Released[home] = true }, plan: func(p *Plan) { p.Released = []string{home} },
		},
		{
			name: "1: under platform-auto-os, somebody else's release is no approval", phase: Succeeded, runs: 3,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour, Approve: true}},
			setup: followsLatest, plan: drivenBy(fleet.DriverPlatformAutoOS),
			when: step(0, Asking), then: func(r *rig) {
				r.azure.Version.Released[home] = true
				for range 30 {
					r.tick()
					r.azure.advance(time.Minute)
				}
				if b := r.state.Block; b == nil || b.Class != NotOurs || !strings.Contains(b.Why, "the latest in "+home) {
					panic("nobody says so")
				}
				ask(Resume, false)(r) // it is accepted
				r.requests = append(r.requests, Request{ID: "2", Do: Approve, Wave: "all"})
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Empty(t, r.done(Include)) },
		},
		{
			name: "1: under platform-auto-os, members that somebody else's release reached go back", phase: Aborted, runs: 1,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour, Approve: true}},
			setup: followsLatest, plan: drivenBy(fleet.DriverPlatformAutoOS),
			when: step(0, Asking), then: func(r *rig) {
				for r.azure.Version.Released[home] = true; onVersion(r, "a") == ""; r.azure.advance(time.Minute) {
					r.tick()
				}
				ask(Abort, false)(r)
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Len(t, r.done(CancelRolling), 1)
				require.True(t, r.azure.Sets["a"].AutoOS)
				require.Equal(t, fleet.Rolling, r.azure.Sets["a"].Mode)
			},
		},
		{
			name: "1: under platform-auto-os, members that somebody else's release reached while the halt was ending go back", image: turnsBad, phase: Halted, runs: -1,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			setup: followsLatest, plan: drivenBy(fleet.DriverPlatformAutoOS),
			when: func(r *rig) bool { return onVersion(r, "a") != "" }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					set := r.azure.Sets["a"]
					if a.Do != ResumeRepairs || len(r.done(ResumeRepairs)) > 2 {
						return fine
					}
					if set.AutoOS { // it is as it was, and the last write is to be made again
						r.azure.Version.Released[home], set.Rolling = true, nil
						r.azure.platform(set) // which begins before the version is excluded again
					}
					return lostBefore
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Len(t, r.done(CancelRolling), 1)
				require.Empty(t, onVersion(r, "a"))
				require.True(t, r.azure.Sets["a"].AutoOS)
			},
		},
		{
			name: "1: under platform-auto-os, a version that somebody excludes in the middle of its wave pauses", phase: Succeeded, runs: 3,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			setup: followsLatest, plan: drivenBy(fleet.DriverPlatformAutoOS),
			when: func(r *rig) bool { return onVersion(r, "a") != "" }, then: func(r *rig) {
				delete(r.azure.Version.Released, home)
				for range 30 {
					r.tick()
					r.azure.advance(time.Minute)
				}
				if b := r.state.Block; b == nil || b.Class != NotOurs || !strings.Contains(b.Why, "excluded the version in "+home) || len(r.done(Include)) > 1 {
					panic("it is released again, and nobody says so")
				}
				ask(Resume, false)(r)
			},
		},
		{
			name: "4: the way back does not wait for a webhook", image: turnsBad, phase: Halted, runs: -1,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}}, plan: func(p *Plan) { p.Notify = true },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				began := func(of func(*Action) bool) int {
					return slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Began && of(e.Action) })
				}
				told := began(func(a *Action) bool { return a.Do == Notify })
				require.Greater(t, told, began(func(a *Action) bool { return a.Do == ManualUpgrade && a.Version == oldVersion }))
			},
		},
		{
			name: "2: platform-rolling takes back what another tool's write of the model brought", image: neverWell, phase: Halted, runs: 1,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour, Approve: true}},
			setup: func(a *azure) { a.Sets["a"].Mode = fleet.Rolling }, plan: drivenBy(fleet.DriverPlatformRolling),
			when: step(0, Asking), then: func(r *rig) {
				s := r.azure.Sets["a"]
				r.azure.patched(s, &Action{Version: newVersion})
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, fleet.Rolling, r.azure.Sets["a"].Mode)
				require.Equal(t, oldVersion, r.azure.Sets["a"].Model)
			},
		},
		{
			name: "2: platform-rolling goes back by one PATCH to Manual and the last good, by names, and Rolling last", image: neverWell, phase: Halted, runs: 1,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			setup: func(a *azure) { a.Sets["a"].Mode = fleet.Rolling }, plan: drivenBy(fleet.DriverPlatformRolling),
			require: func(t *testing.T, r *rig) {
				t.Helper()
				patches := r.done(PatchModel)
				require.Equal(t, oldVersion, patches[1].Version)
				require.Equal(t, fleet.Manual, patches[1].Mode)
				require.Equal(t, fleet.Rolling, patches[len(patches)-1].Mode)
				require.Equal(t, fleet.Rolling, r.azure.Sets["a"].Mode)
			},
		},
		{
			name: "2: a set that could be stopped only when the wait for it was over gets its policy back", phase: Aborted, runs: -1,
			sizes: map[string]int{"a": 2}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			setup: func(a *azure) { a.Sets["a"].Mode = fleet.Rolling },
			plan: func(p *Plan) {
				s := p.Sets["a"]
				s.Driver, s.Repairs = fleet.DriverPlatformRolling, false
				p.Sets["a"] = s
			},
			when: batchIs("a", Upgrading), then: func(r *rig) {
				s := r.azure.Sets["a"]
				for _, name := range sorted(s.Members) {
					r.azure.gone(s, name, Operator)
				}
				s.BusyUntil, s.BusyWhy = r.azure.Now.Add(r.plan.Limits.Stuck-30*time.Second), "another tool writes"
				ask(Abort, false)(r)
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, oldVersion, r.azure.Sets["a"].Model)
				require.Equal(t, fleet.Rolling, r.azure.Sets["a"].Mode)
			},
		},
		{
			name: "2: platform-auto-os excludes first, and undoes its pin", image: neverWell, phase: Halted, runs: 1,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			setup: followsLatest, plan: drivenBy(fleet.DriverPlatformAutoOS),
			require: func(t *testing.T, r *rig) {
				t.Helper()
				excluded := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Began && e.Action.Do == Exclude })
				patched := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Began && e.Action.Do == PatchModel })
				require.Less(t, excluded, patched)
				require.True(t, r.azure.Sets["a"].AutoOS)
				require.Empty(t, r.azure.Sets["a"].Model)
			},
		},
		{
			name: "2: a mode that somebody changes pauses", phase: Held, runs: -1,
			when: step(0, Soaking), then: func(r *rig) { r.azure.Sets["a"].Mode = fleet.Automatic; r.azure.Sets["a"].ETag++ },
			require: func(t *testing.T, r *rig) { t.Helper(); require.Contains(t, r.state.Why, "Automatic") },
		},
		{
			name: "3: a birth while a part of a set soaks is born on the last good", phase: Succeeded, runs: 6,
			when: step(0, Soaking), then: func(r *rig) {
				r.azure.scaleOut(r.azure.Sets["a"])
				if onVersion(r, "a") == "a_04" {
					panic("born on the version")
				}
				for name, m := range r.azure.Sets["a"].Members {
					if m.Created.Equal(r.azure.Now) && m.Version != oldVersion {
						panic(name + " was born on the version")
					}
				}
			},
		},
		{
			name: "3: a birth while the model points at the version is touched, and taken back", image: neverWell, phase: Halted, runs: 2,
			when: func(r *rig) bool { return r.azure.Sets["a"].Model == newVersion }, then: func(r *rig) { r.azure.scaleOut(r.azure.Sets["a"]) },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.True(t, slices.ContainsFunc(Accounting(r.state), func(x Ran) bool { return x.Why == becauseBorn }))
			},
		},
		{
			name: "3: the model goes back when the upgrade that needs it is refused, and points at the version again for the next try", phase: Succeeded, runs: 6,
			when: func(r *rig) bool { return r.state.Phase == Pending }, then: func(r *rig) {
				s := r.azure.Sets["a"]
				r.fates = func(_ int, a *Action) fate {
					if a.Do == ManualUpgrade {
						return denied
					}
					return fine
				}
				for i := range 60 {
					r.tick()
					r.check()
					if s.Model != oldVersion {
						panic(r.azure.Now.Format("15:04") + ": the model points at the version, and no upgrade is under way")
					}
					if i == 50 {
						r.azure.scaleOut(s)
					}
					r.azure.advance(time.Minute)
				}
				if b := r.state.Block; b == nil || !strings.Contains(b.Why, "upgrade a is refused: AuthorizationFailed") {
					panic("the refusal is forgotten")
				}
				r.fates = func(int, *Action) fate { return fine }
				ask(Resume, false)(r)
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				for _, x := range Accounting(r.state) {
					require.Contains(t, x.Why, becauseUpgraded)
				}
			},
		},
		{
			name: "3: the model rests at the last good version between tries of an upgrade that is refused, however long a PATCH takes", phase: Held, runs: 0,
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.takes = map[Verb]time.Duration{PatchModel: 80 * time.Second}
				r.fates = func(_ int, a *Action) fate {
					if a.Do == ManualUpgrade {
						return noCapacity
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Why, "upgrade a is refused: AllocationFailed")
				require.Greater(t, len(r.done(ManualUpgrade)), 3)
				var back time.Time
				for _, e := range r.journal {
					if e.Kind == Ended && e.Action.Do == PatchModel && e.Action.Version == oldVersion {
						back = e.At
					}
					if e.Kind == Began && e.Action.Do == PatchModel && e.Action.Version == newVersion && !back.IsZero() {
						require.GreaterOrEqual(t, e.At.Sub(back), r.plan.Limits.Retry)
					}
				}
			},
		},
		{
			name: "3: two sets whose upgrades are refused keep no tick going, however long a PATCH takes", phase: Held, runs: 0,
			waves: []Wave{{Name: "canary", Sets: []string{"a", "b"}, Instances: 1, Soak: time.Hour}, {Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}},
			when:  func(*rig) bool { return true }, then: func(r *rig) {
				r.takes = map[Verb]time.Duration{PatchModel: 80 * time.Second}
				r.fates = func(_ int, a *Action) fate {
					if a.Do == ManualUpgrade {
						return noCapacity
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Greater(t, len(r.done(ManualUpgrade)), 6) },
		},
		{
			name: "3: a model at the version does not wait for the drain of another set to go back", phase: Succeeded, runs: 5,
			waves: []Wave{{Name: "canary", Sets: []string{"a", "b"}, Instances: 1, Soak: time.Hour}, {Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}},
			setup: func(a *azure) {
				for _, m := range a.Sets["b"].Members {
					m.Protected = true
				}
			},
			when: func(r *rig) bool { return len(r.done(ManualUpgrade)) == 1 }, then: func(r *rig) {
				r.takes = map[Verb]time.Duration{Drain: 3 * time.Minute}
				for _, m := range r.azure.Sets["b"].Members {
					m.Protected = false
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				var asked, back time.Time
				for _, e := range r.journal {
					switch {
					case e.Kind != Began || e.Action.Set != "a":
					case e.Action.Do == ManualUpgrade && asked.IsZero():
						asked = e.At
					case e.Action.Do == PatchModel && e.Action.Version == oldVersion && back.IsZero():
						back = e.At
					}
				}
				require.LessOrEqual(t, back.Sub(asked), r.azure.Upgrade)
			},
		},
		{
			name: "4: a part of a set has no failure to spare", image: neverWell, phase: Halted, runs: 1,
			plan: func(p *Plan) {
				s := p.Sets["a"]
				s.MaxUnhealthyUpgraded = 100
				p.Sets["a"] = s
			},
		},
		{
			name: "5: nothing is done to a set that cannot be read", phase: Held, runs: 0,
			when: func(r *rig) bool { return r.azure.Now.Equal(start) }, then: func(r *rig) { r.unread = map[string]bool{"a": true} },
			require: func(t *testing.T, r *rig) { t.Helper(); require.Empty(t, r.done(PatchModel)) },
		},
		{
			name: "5: no debt is paid to a set that cannot be read", phase: Incomplete, runs: 1, atMost: 12 * time.Hour,
			when: step(0, Soaking), then: func(r *rig) {
				ask(Abort, false)(r)
				r.unread = map[string]bool{"a": true}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, "it could not be read", r.state.Left[0].Why)
			},
		},
		{
			name: "6: another tool's change of the model pauses, and is never a failure", phase: Held, runs: -1,
			when: step(0, Soaking), then: func(r *rig) { r.azure.Sets["a"].Tag++; r.azure.Sets["a"].ETag++ },
			require: func(t *testing.T, r *rig) { t.Helper(); require.False(t, r.azure.Version.Failed) },
		},
		{
			name: "6: a model that another tool takes back in a set's last wave is not written over", phase: Held, runs: 5,
			when: step(1, Soaking), then: func(r *rig) {
				s := r.azure.Sets["a"]
				s.Model, s.ETag = oldVersion, s.ETag+1
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				i := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == WaveTo && e.Wave == 1 && e.Step == Soaking })
				require.False(t, slices.ContainsFunc(r.journal[i:], func(e Event) bool {
					return e.Kind == Began && e.Action.Do == PatchModel && e.Action.Version == newVersion
				}))
				require.Contains(t, r.state.Why, "the model of a asks for "+oldVersion)
			},
		},
		{
			name: "7: health missing everywhere is not the image", image: silent, phase: Held, runs: 1,
			sizes: map[string]int{"a": 1}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Contains(t, r.state.Why, "no member reports") },
		},
		{
			name: "7: a member without health while others report has failed", image: silent, phase: Halted, runs: 1,
		},
		{
			name: "7: capacity that stays refused pauses, and then is held", phase: Held, runs: 0,
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if a.Do == ManualUpgrade {
						return noCapacity
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Why, "AllocationFailed")
				require.False(t, r.azure.Version.Failed)
				require.Equal(t, oldVersion, r.azure.Sets["a"].Model)
			},
		},
		{
			name: "7: the platform's own work is waited for", phase: Succeeded, runs: 5,
			when: step(0, Soaking), then: func(r *rig) {
				r.azure.Sets["a"].BusyUntil, r.azure.Sets["a"].BusyWhy = r.azure.Now.Add(20*time.Minute), "the platform upgrades its agent"
			},
		},
		{
			name: "7: what was canceled is at rest", phase: Succeeded, runs: 5,
			setup: func(a *azure) { a.Sets["a"].Rests = "Canceled" },
		},
		{
			name: "8: a member of the canary that is evicted is replaced, and the soak starts again", phase: Succeeded, runs: 5,
			when: step(0, Soaking), then: func(r *rig) { r.azure.gone(r.azure.Sets["a"], onVersion(r, "a"), Evicted) },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				soaks := 0
				for _, e := range r.journal {
					if e.Kind == WaveTo && e.Wave == 0 && e.Step == Soaking {
						soaks++
					}
				}
				require.Equal(t, 2, soaks)
			},
		},
		{
			name: "8: a member that vanishes for an unknown cause pauses", phase: Held, runs: 1,
			when: step(0, Soaking), then: func(r *rig) {
				s := r.azure.Sets["a"]
				delete(s.Members, onVersion(r, "a"))
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Contains(t, r.state.Why, "activity log") },
		},
		{
			name: "8: a repair of a member on the version is a failure", phase: Halted, runs: -1, image: errs,
			when: step(0, Soaking), then: func(r *rig) { r.azure.gone(r.azure.Sets["a"], onVersion(r, "a"), Repaired) },
		},
		{
			name: "8: a wave is not done with fewer members than it needs", phase: Held, runs: 1, sizes: map[string]int{"a": 2},
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 2, Soak: time.Minute}, {Name: "all", Sets: []string{"a"}}},
			when:  batchIs("a", Verifying), then: func(r *rig) {
				for _, m := range r.azure.Sets["a"].Members {
					if m.Version == oldVersion {
						m.MovesUntil = r.azure.Now.Add(1000 * time.Hour) // the platform works on it
					}
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Contains(t, r.state.Why, "1 of 2 members") },
		},
		{
			name: "8: sets without members stand for nothing, and promote nothing", sizes: map[string]int{"a": 0, "b": 0}, phase: Held, runs: 0,
			require: func(t *testing.T, r *rig) { t.Helper(); require.True(t, r.azure.Version.excluded()) },
		},
		{
			name: "8: repairs are suspended from the first batch to the end of the soak", phase: Succeeded, runs: 5,
			when: step(1, Soaking), then: func(r *rig) {
				if !r.azure.Sets["a"].Suspended {
					panic("repairs are not suspended")
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.False(t, r.azure.Sets["a"].Suspended) },
		},
		{
			name: "8: repairs are suspended again when a wave that was held soaks on", phase: Succeeded, runs: 3, sizes: map[string]int{"a": 3},
			waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: 4 * time.Hour}},
			when:  step(0, Soaking), then: func(r *rig) {
				ask(Pause, false)(r)
				for ; r.state.Phase != Held || r.azure.Sets["a"].Suspended; r.azure.advance(time.Minute) {
					r.tick()
				}
				r.requests = append(r.requests, Request{ID: "2", Do: Resume})
				for range 5 {
					r.tick()
					r.azure.advance(time.Minute)
				}
				if !r.azure.Sets["a"].Suspended {
					panic("it soaks, and repairs are not suspended")
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.False(t, r.azure.Sets["a"].Suspended) },
		},
		{
			name: "8: repairs are resumed when the wave is over", phase: Succeeded, runs: 5,
			waves: []Wave{{Name: "first", Sets: []string{"a"}, Soak: time.Minute}, {Name: "second", Sets: []string{"b"}, Soak: time.Hour}},
			when:  step(1, Soaking), then: func(r *rig) {
				if r.azure.Sets["a"].Suspended || !r.azure.Sets["b"].Suspended {
					panic("the repairs of a are suspended, or those of b are not")
				}
			},
		},
		{
			name: "9: a soak does not count while nobody looks", every: 20 * time.Minute, phase: Rolling, runs: 1, atMost: 24 * time.Hour,
			require: func(t *testing.T, r *rig) { t.Helper(); require.Zero(t, r.state.Waves[0].Soaked) },
		},
		{
			name: "10: a batch that is given up is undrained", phase: Succeeded, runs: 5,
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if s := r.azure.Sets[a.Set]; a.Do == PatchModel && s.BusyUntil.IsZero() {
						s.BusyUntil, s.BusyWhy = r.azure.Now.Add(10*time.Minute), "another tool writes"
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.True(t, slices.ContainsFunc(r.journal, func(e Event) bool { return e.Kind == BatchTo && e.Step == GivenUp }))
				require.NotEmpty(t, r.done(Undrain))
			},
		},
		{
			name: "10: a node whose undrain got no answer is drained again", phase: Succeeded, runs: 5,
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if s := r.azure.Sets[a.Set]; a.Do == PatchModel && s.BusyUntil.IsZero() {
						s.BusyUntil, s.BusyWhy = r.azure.Now.Add(time.Second), "another tool writes"
					}
					if a.Do == Undrain {
						return lostAfter
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.NotEmpty(t, r.done(Undrain)) },
		},
		{
			name: "10: a drain that ended before the disk was replaced is made again", phase: Succeeded, runs: 5,
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					passed := r.azure.Now.Sub(start)
					if a.Do != ManualUpgrade || passed > 40*time.Minute {
						return fine
					}
					if passed > 28*time.Minute { // it gives the batch more time than the drain has
						r.requests = []Request{{ID: "1", Do: Resume}}
					}
					return noCapacity
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Len(t, r.done(Drain), 6) },
		},
		{
			name: "7: a drain that was refused because its member was evicted is not waited for", phase: Succeeded, runs: 4,
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: time.Hour}, {Name: "all", Sets: []string{"a", "b"}, Soak: 20 * time.Minute}},
			when:  func(*rig) bool { return true }, then: func(r *rig) {
				evicted := false
				r.fates = func(_ int, a *Action) fate {
					if s := r.azure.Sets["a"]; a.Do == Drain && !evicted {
						s.Members[a.Members[0]].Spot, evicted = true, true
						r.azure.stop(s, a.Members[0])
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); r.neverStood(t) },
		},
		{
			name: "8: repairs that may not be suspended keep no rollout from going on", phase: Succeeded, runs: 5,
			waves:   []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: time.Hour}, {Name: "all", Sets: []string{"a", "b"}, Soak: 20 * time.Minute}},
			setup:   func(a *azure) { a.Rights = false },
			require: func(t *testing.T, r *rig) { t.Helper(); r.neverStood(t) },
		},
		{
			name: "4: a halt of the wave takes back whoever failed, of whatever wave", phase: Halted, runs: 5,
			waves: []Wave{{Name: "first", Sets: []string{"a"}, Soak: time.Minute}, {Name: "second", Sets: []string{"b"}, Soak: time.Hour}},
			plan:  func(p *Plan) { p.WaveOnly = true },
			when:  step(1, Soaking), then: func(r *rig) { r.azure.Sets["a"].Members[onVersion(r, "a")].Sick, r.azure.Image = true, errs },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Empty(t, onVersion(r, "a"), "who failed is back")
				require.Empty(t, onVersion(r, "b"), "and the wave that was under way")
			},
		},
		{
			name: "4: where nobody reports, the members that may serve are drained and go back in batches", phase: Aborted, runs: 10, sizes: map[string]int{"a": 10},
			waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			when:  step(0, Soaking), then: func(r *rig) {
				r.azure.Image = silent
				ask(Abort, false)(r)
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				back := slices.DeleteFunc(r.done(ManualUpgrade), func(a Action) bool { return a.Version == newVersion })
				require.Len(t, back[0].Members, 5, "half of them, as the file says")
				require.Len(t, r.done(Drain), 15, "and drained")
			},
		},
		{
			name: "4: who serves is not taken back when those before it are not Healthy on the last good version", phase: Incomplete, runs: 5, sizes: map[string]int{"a": 5},
			waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			plan: func(p *Plan) {
				s := p.Sets["a"]
				s.MaxUnhealthy = 20
				p.Sets["a"] = s
			},
			setup: func(a *azure) { a.Rotten = true },
			when:  step(0, Soaking), then: ask(Abort, false),
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Len(t, r.state.Left, 3, "they go on serving")
				require.Equal(t, unwell, r.state.Left[0].Why)
				r.azure.Rotten = false
				for range 60 {
					r.azure.advance(time.Minute)
					r.tick()
				}
				require.Equal(t, Aborted, r.state.Phase, "they go back when those are Healthy again")
			},
		},
		{
			name: "7: a member that the platform is taking away, and that is Unhealthy meanwhile, has not failed", phase: Succeeded, runs: -1,
			when: step(0, Soaking), then: func(r *rig) {
				s := r.azure.Sets["a"]
				m := s.Members[onVersion(r, "a")]
				m.Sick, m.MovesUntil = true, r.azure.Now.Add(time.Hour)
				for range 8 {
					r.tick()
					r.azure.advance(time.Minute)
				}
				r.azure.gone(s, m.Name, ScaledIn)
			},
			require: func(t *testing.T, r *rig) { t.Helper(); r.neverStood(t) },
		},
		{
			name: "7: a member that becomes Unhealthy, and that the platform works on without an end, has failed", phase: Halted, runs: 1,
			when: step(0, Soaking), then: func(r *rig) {
				m := r.azure.Sets["a"].Members[onVersion(r, "a")]
				m.Sick, m.MovesUntil, r.azure.Image = true, r.azure.Now.Add(40*time.Minute), errs
			},
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: time.Hour}, {Name: "all", Sets: []string{"a", "b"}, Soak: 20 * time.Minute}},
		},
		{
			name: "7: while a member that was verified is Unhealthy and not judged, no set begins a batch", phase: Succeeded, runs: 5,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Minute}},
			when:  func(r *rig) bool { return r.state.Sets["a"].Numbers == 1 && r.state.Sets["a"].Batch == nil },
			then: func(r *rig) {
				m := r.azure.Sets["a"].Members[onVersion(r, "a")]
				m.Sick, m.MovesUntil = true, r.azure.Now.Add(20*time.Minute)
				begun := r.state.Sets["b"].Numbers
				for range 15 {
					r.tick()
					r.azure.advance(time.Minute)
				}
				if r.state.Sets["a"].Numbers != 1 || r.state.Sets["b"].Numbers != begun {
					panic("a batch began")
				}
				m.Sick, m.MovesUntil = false, r.azure.Now
			},
		},
		{
			name: "7: while a member that was verified is Unhealthy and not judged, the platform upgrades no set", phase: Succeeded, runs: 4,
			sizes: map[string]int{"a": 2, "b": 2}, waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}},
			setup: func(a *azure) {
				a.Sets["b"].Mode = fleet.Rolling
				a.Sets["b"].Members["b_02"].Stopped = true
			},
			plan: func(p *Plan) {
				s := p.Sets["b"]
				s.Driver = fleet.DriverPlatformRolling
				p.Sets["b"] = s
			},
			when: step(0, Soaking), then: func(r *rig) {
				m := r.azure.Sets["a"].Members[onVersion(r, "a")]
				m.Sick, m.MovesUntil = true, r.azure.Now.Add(20*time.Minute)
				r.azure.start(r.azure.Sets["b"].Members["b_02"])
				begun := r.state.Sets["b"].Numbers
				for range 15 {
					r.tick()
					r.azure.advance(time.Minute)
				}
				if r.state.Sets["b"].Numbers != begun {
					panic("a batch began")
				}
				m.Sick, m.MovesUntil = false, r.azure.Now
			},
		},
		{
			name: "10: who fails is taken back at once and undrained, who serves is drained first", image: turnsBad, phase: Halted, runs: 4,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				halting := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == PhaseTo && e.Phase == Halting })
				drained := make(map[string]bool)
				for _, e := range r.journal[halting:] {
					if e.Kind == Began && e.Action.Do == Drain {
						drained[e.Action.Members[0]] = true
					}
				}
				for _, x := range Accounting(r.state) {
					require.Equal(t, x.Failed == "", drained[x.Member], x.Member)
				}
				repairs := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Began && e.Action.Do == ResumeRepairs })
				require.Equal(t, Demoting, phaseAt(r.journal, repairs), "no repair comes in between")
			},
		},
		{
			name: "11: failing members are asked before their disks are replaced", image: neverWell, phase: Halted, runs: 1,
			plan: func(p *Plan) { p.Diagnose = true },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, "hsm: connection refused", Accounting(r.state)[0].Node)
			},
		},
		{
			name: "12: a tag says that the version failed", image: neverWell, phase: Halted, runs: 1,
			require: func(t *testing.T, r *rig) { t.Helper(); require.True(t, r.azure.Version.Failed) },
		},
		{
			name: "7: a replication that fails pauses, and is not the image", phase: Held, runs: 0,
			setup: func(a *azure) { a.Version.Stranded = true },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Why, "did not replicate to eastus")
			},
		},
		{
			name: "a gate that fails halts", image: errs, phase: Halted, runs: 1,
			plan: func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
		},
		{
			name: "a gate that fails before a member ran the version waits, and fails nobody", phase: Succeeded, runs: 5,
			plan:  func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
			setup: func(a *azure) { a.Gate, a.GateUntil = earlier, start.Add(2*time.Hour) },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				blocked := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Blocked && e.Class == Inconclusive })
				require.NotEqual(t, -1, blocked)
				require.Equal(t, "gate errors fails, and no member runs the version: 0.2 is above 0.01, 3 times in a row", r.journal[blocked].Why)
				picked := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == BatchTo })
				require.False(t, r.journal[picked].At.Before(start.Add(2*time.Hour)))
			},
		},
		{
			name: "a gate that goes on failing before a member ran the version holds, and marks nothing", phase: Held, runs: 0, atMost: 20 * 24 * time.Hour, every: 5 * time.Minute,
			plan:    func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
			setup:   func(a *azure) { a.Gate, a.GateUntil = earlier, start.Add(30*24*time.Hour) },
			require: func(t *testing.T, r *rig) { t.Helper(); require.False(t, r.azure.Version.Failed) },
		},
		{
			name: "what a gate said before a member was born on the version says nothing of it", phase: Succeeded, runs: 6,
			plan:  func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
			setup: func(a *azure) { a.Gate, a.GateUntil = earlier, start.Add(30*24*time.Hour) },
			when:  func(r *rig) bool { return r.state.Block != nil }, then: func(r *rig) { r.azure.birth(r.azure.Sets["a"], newVersion, r.azure.Now) },
		},
		{
			name: "what a gate said while a member was born on the version, before it was seen, says nothing of it", phase: Succeeded, runs: 6,
			plan: func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
			when: func(*rig) bool { return true }, then: func(r *rig) {
				patches := 0
				r.fates = func(_ int, a *Action) fate {
					if a.Do == PatchModel && a.Version == newVersion {
						patches++
					}
					switch {
					case a.Do == PatchModel && patches == 1:
						r.azure.Gate, r.azure.GateUntil = earlier, start.Add(30*24*time.Hour)
						return noCapacity
					case a.Do == PatchModel && patches == 2 && len(r.azure.Ran) == 0: // the gate has failed just now, after this birth
						r.azure.birth(r.azure.Sets["a"], newVersion, r.azure.Now.Add(-time.Second))
					}
					return fine
				}
			},
		},
		{
			name: "a gate whose answer is too old after a drain is asked again, and gives no batch up", phase: Succeeded, runs: 5,
			plan: func(p *Plan) {
				p.Limits.ObserveEvery = 2 * time.Minute
				p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}}
			},
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if a.Do == Drain {
						r.azure.advance(150 * time.Second)
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				r.neverStood(t)
				require.Empty(t, r.done(Undrain))
			},
		},
		{
			name: "a gate that wants data gives the first member its step to have some", phase: Succeeded, runs: 5,
			plan:  func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: 10 * time.Minute, NoData: Fail}} },
			setup: func(a *azure) { a.Gate, a.GateUntil = noData, start.Add(24*time.Hour) },
			when:  func(r *rig) bool { return len(r.azure.Ran) > 0 }, then: func(r *rig) { r.azure.GateUntil = r.azure.Now.Add(5 * time.Minute) },
		},
		{
			name: "a member that was stopped with the version before its rollout keeps no gate from being asked", phase: Succeeded, runs: 5,
			plan: func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
			setup: func(a *azure) {
				m := a.Sets["a"].Members["a_01"]
				m.Version, m.Stopped = newVersion, true
				a.ran(a.Sets["a"], m)
			},
			when: func(r *rig) bool { return r.state.Block != nil }, then: ask(Resume, false), // it is accepted that it is gone
		},
		{
			name: "a gate that had no data yesterday is asked before the first batch", phase: Succeeded, runs: 3, sizes: map[string]int{"a": 3},
			waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			setup: func(a *azure) { a.Sets["a"].Mode, a.Opens = fleet.Rolling, 3 },
			plan: func(p *Plan) {
				s := p.Sets["a"]
				s.Driver, s.Repairs = fleet.DriverPlatformRolling, false
				p.Sets["a"], p.Window = s, true
				p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}}
			},
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.azure.Gate, r.azure.GateUntil = noData, start.Add(20*time.Hour)
				r.fates = func(_ int, a *Action) fate {
					if s := r.azure.Sets["a"]; a.Do == QueryGate && s.BusyUntil.IsZero() { // until the window is closed
						s.BusyUntil, s.BusyWhy = start.Add(9*time.Hour), "another tool writes"
					}
					if r.azure.Now.After(start.Add(20 * time.Hour)) {
						r.azure.Gate, r.azure.GateUntil = earlier, start.Add(26*time.Hour)
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.False(t, r.state.Reached().Before(start.Add(26*time.Hour)), "%s", r.state.Reached())
			},
		},
		{
			name: "a gate that fails while no member runs the version any more keeps the next batch from beginning", phase: Succeeded, runs: 6,
			plan: func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
			when: step(0, Soaking), then: func(r *rig) {
				s := r.azure.Sets["a"]
				r.azure.gone(s, onVersion(r, "a"), Evicted)
				r.azure.birth(s, oldVersion, r.azure.Now)
				r.azure.Gate, r.azure.GateUntil = earlier, r.azure.Now.Add(2*time.Hour)
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				ran := Accounting(r.state)
				require.Equal(t, string(Evicted), ran[0].Ended)
				require.False(t, ran[1].From.Before(ran[0].To.Add(2*time.Hour)), "%s", ran[1].From)
				require.Equal(t, ran[1].From, r.state.Reached())
			},
		},
		{
			name: "a gate that never answers is not waited for in each window anew", phase: Held, runs: 0, atMost: 20 * 24 * time.Hour, every: 5 * time.Minute,
			plan: func(p *Plan) {
				p.Window = true
				p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}}
			},
			setup: func(a *azure) { a.Opens, a.Gate, a.GateUntil = 23, outage, start.Add(30*24*time.Hour) },
		},
		{
			name: "a gate is asked at once when the member that it was to be asked for is gone", phase: Succeeded, runs: 5,
			plan: func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: 10 * time.Minute, NoData: Pass}} },
			when: func(r *rig) bool { return len(r.azure.Ran) == 1 }, then: func(r *rig) { r.azure.stop(r.azure.Sets["a"], onVersion(r, "a")) },
		},
		{
			name: "a wave waits for its approval", phase: Succeeded, runs: 5,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour, Approve: true}},
			when:  func(r *rig) bool { return r.azure.Now.After(start.Add(3*time.Hour)) && len(r.azure.Ran) == 0 }, then: ask(Approve, false),
		},
		{
			name: "an approval that does not come is held", phase: Held, runs: 0, atMost: 20 * 24 * time.Hour, every: 5 * time.Minute,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour, Approve: true}},
		},
		{
			name: "an abort takes the members back, and does not mark the version", phase: Aborted, runs: 1,
			when: step(0, Soaking), then: ask(Abort, false),
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Empty(t, onVersion(r, "a"))
				require.False(t, r.azure.Version.Failed)
			},
		},
		{
			name: "an abort that keeps leaves the members", phase: Aborted, runs: 1,
			when: step(0, Soaking), then: ask(Abort, true),
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.NotEmpty(t, onVersion(r, "a"))
				require.Equal(t, oldVersion, r.azure.Sets["a"].Model)
			},
		},
		{
			name: "an abort that takes members back counts more than one that keeps", phase: Aborted, runs: 1,
			when: step(0, Soaking), then: func(r *rig) {
				r.requests = append(r.requests, Request{ID: "1", Do: Abort, Keep: true}, Request{ID: "2", Do: Abort})
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Empty(t, onVersion(r, "a"))
			},
		},
		{
			name: "a gap takes from nobody the time to be verified afresh", phase: Succeeded, runs: 5,
			when: step(1, Soaking), then: func(r *rig) { r.azure.advance(3 * time.Hour) },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				for _, e := range r.journal {
					require.False(t, e.Kind == Blocked && e.Class != "", e.Why)
				}
			},
		},
		{
			name: "a gap in which no gate was asked is no pause", phase: Succeeded, runs: 5,
			plan: func(p *Plan) { p.Gates = []Gate{{Name: "errors", Every: time.Minute, NoData: Pass}} },
			when: step(1, Soaking), then: func(r *rig) { r.azure.advance(3 * time.Hour) },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				for _, e := range r.journal {
					require.NotEqual(t, Blocked, e.Kind, e.Why)
				}
			},
		},
		{
			name: "a pause is held at its deadline", phase: Held, runs: 1, when: step(0, Soaking), then: ask(Pause, false),
		},
		{
			name: "a paused rollout still halts", image: turnsBad, phase: Halted, runs: 1, when: step(0, Soaking), then: ask(Pause, false),
		},
		{
			name: "a protected member is left out, and told", phase: Succeeded, runs: 4,
			setup: func(a *azure) { a.Sets["a"].Members["a_02"].Protected = true },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, []Left{{"a", "a_02", "it is protected from scale set actions"}}, r.state.Left)
			},
		},
		{
			name: "a member that stops on the version leaves the halt incomplete, until it runs again", phase: Incomplete, runs: 2,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 2, Soak: time.Hour}, {Name: "all", Sets: []string{"a"}}},
			when: step(0, Soaking), then: func(r *rig) {
				r.azure.stop(r.azure.Sets["a"], onVersion(r, "a"))
				r.azure.Image = turnsBad
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, "it is deallocated", r.state.Left[0].Why)
				m := r.azure.Sets["a"].Members[r.state.Left[0].Member]
				r.azure.advance(time.Hour)
				m.Stopped, m.Booted = false, r.azure.Now
				for range 30 {
					r.tick()
					require.Empty(t, r.check())
					r.azure.advance(time.Minute)
				}
				require.Equal(t, Halted, r.state.Phase)
			},
		},
		{
			name: "without a way back the members are listed", image: neverWell, phase: Incomplete, runs: 1,
			plan: func(p *Plan) {
				for name, s := range p.Sets {
					s.LastGood = ""
					p.Sets[name] = s
				}
			},
			when: func(*rig) bool { return true }, then: func(r *rig) { r.azure.Sets["a"].Max = 0 },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Left[len(r.state.Left)-1].Why, "no version to go back to")
			},
		},
		{
			name: "3: the model is back at last good before the batch is verified", phase: Succeeded, runs: 5, every: 5 * time.Minute,
			when: batchIs("a", Verifying), then: func(r *rig) {
				if r.azure.Sets["a"].Model != oldVersion {
					panic("the model still points at the version")
				}
			},
		},
		{
			name: "3: a set whose wave was skipped gets the version when others have stood for it", phase: Succeeded, runs: 2, sizes: map[string]int{"a": 0, "b": 2},
			waves: []Wave{{Name: "empty", Sets: []string{"a"}, Soak: time.Minute}, {Name: "all", Sets: []string{"b"}, Soak: time.Hour}},
			when:  step(1, Soaking), then: func(r *rig) {
				if r.azure.Sets["a"].Model != oldVersion {
					panic("a points at a version that nobody stands for")
				}
			},
			require: func(t *testing.T, r *rig) { t.Helper(); require.Equal(t, newVersion, r.azure.Sets["a"].Model) },
		},
		{
			name: "6: with the model of today does not mean with that of tomorrow", phase: Held, runs: -1,
			plan: func(p *Plan) { p.WithModel = true },
			when: step(0, Soaking), then: func(r *rig) { r.azure.Sets["a"].Tag++; r.azure.Sets["a"].ETag++ },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Why, "changed by somebody else")
			},
		},
		{
			name: "8: without anybody to stand for the version it is held at once, and resumed from the first wave on", sizes: map[string]int{"a": 0, "b": 0}, phase: Succeeded, runs: 1, atMost: 10 * time.Hour,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Minute, Approve: true}},
			setup: func(a *azure) { a.Sets["a"].Max = 2 },
			when:  func(r *rig) bool { return r.state.Phase == Rolling && r.state.Waves[0].Step == Asking },
			then: func(r *rig) {
				ask(Approve, false)(r)
				r.tick()
				r.tick() // all waves are over; it is held
				if r.state.Phase != Held {
					panic("it is " + string(r.state.Phase))
				}
				r.azure.scaleOut(r.azure.Sets["a"])
				r.requests = append(r.requests, Request{ID: "2", Do: Resume})
				r.tick()
				if r.state.Waves[0].Step != Asking {
					panic("the approval of before is good for now")
				}
				r.requests = append(r.requests, Request{ID: "3", Do: Approve, Wave: "all"})
			},
		},
		{
			name: "8: waves that begin again have begun nothing of those behind them", sizes: map[string]int{"a": 0, "b": 1}, phase: Succeeded, runs: 3, atMost: 10 * time.Hour,
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Soak: time.Hour}, {Name: "all", Sets: []string{"b"}, Soak: time.Minute}},
			setup: func(a *azure) { a.Sets["a"].Max = 1 },
			when:  batchIs("b", Verifying), then: lostEverybody,
		},
		{
			name: "8: a set of the platform's that was stopped waits for its wave when the waves begin again", sizes: map[string]int{"a": 0, "b": 1}, phase: Succeeded, runs: 3, atMost: 10 * time.Hour,
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Soak: time.Hour}, {Name: "all", Sets: []string{"b"}, Soak: time.Minute}},
			setup: func(a *azure) {
				a.Sets["a"].Max = 1
				for _, s := range a.Sets {
					s.Mode = fleet.Rolling
				}
			},
			plan: drivenBy(fleet.DriverPlatformRolling),
			when: func(r *rig) bool { return onVersion(r, "b") != "" }, then: lostEverybody,
		},
		{
			name: "9: a soak that nobody looks at often enough is held in the end", every: 20 * time.Minute, phase: Held, runs: 1, atMost: 5 * 24 * time.Hour,
			when: step(0, Soaking), then: func(*rig) {},
			plan: func(p *Plan) { p.Drain, p.Limits.HealthyFor = false, 0 },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Why, "5m0s apart")
			},
		},
		{
			name: "9: a member that nobody looks at often enough to verify is held in the end", every: 20 * time.Minute, phase: Held, runs: 1, atMost: 5 * 24 * time.Hour,
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Contains(t, r.state.Why, "could not be verified")
			},
		},
		{
			name: "the window that opens no more is held in the end", phase: Held, runs: 1, atMost: 20 * 24 * time.Hour, every: 5 * time.Minute,
			plan: func(p *Plan) { p.Window = true },
			when: step(0, Soaking), then: func(r *rig) { r.azure.Opens = -2 },
			require: func(t *testing.T, r *rig) { t.Helper(); require.Contains(t, r.state.Why, "window") },
		},
		{
			name: "an abort that keeps members under platform-rolling leaves the mode Manual, and says so", phase: Aborted, runs: 1,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}},
			setup: func(a *azure) { a.Sets["a"].Mode = fleet.Rolling }, plan: drivenBy(fleet.DriverPlatformRolling),
			when: func(r *rig) bool { return len(r.azure.Ran) == 1 }, then: ask(Abort, true),
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.NotEmpty(t, onVersion(r, "a"))
				require.Equal(t, []Left{{Set: "a", Why: keptManual}}, r.state.Left)
				require.Equal(t, fleet.Manual, r.azure.Sets["a"].Mode)
			},
		},
		{
			name: "a version that fails when it is released already is excluded before anybody goes back", phase: Halted, runs: 5, image: good,
			when: step(1, Soaking), then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if a.Do == TagGood {
						r.azure.Image = neverWell
						return denied
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				excluded := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Began && e.Action.Do == Exclude })
				back := slices.IndexFunc(r.journal, func(e Event) bool {
					return e.Kind == Began && e.Action.Do == ManualUpgrade && e.Action.Version == oldVersion
				})
				require.Less(t, excluded, back)
			},
		},
		{
			name: "one member that cannot be taken back does not keep the others", image: turnsBad, phase: Incomplete, runs: 2, sizes: map[string]int{"a": 3},
			waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, atMost: 8 * time.Hour,
			plan: func(p *Plan) {
				s := p.Sets["a"]
				s.Batch = 100
				p.Sets["a"] = s
			},
			when: func(r *rig) bool { return len(r.azure.Ran) == 2 }, then: func(r *rig) {
				stuck := onVersion(r, "a")
				r.fates = func(_ int, a *Action) fate {
					if a.Do == ManualUpgrade && a.Version == oldVersion && slices.Contains(a.Members, stuck) {
						return lostBefore
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Len(t, r.state.Left, 1)
				require.Equal(t, onVersion(r, "a"), r.state.Left[0].Member)
			},
		},
		{
			name: "an upgrade of the platform that got no capacity is begun anew by resume", phase: Succeeded, runs: 3,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Minute}},
			setup: func(a *azure) { a.Sets["a"].Mode = fleet.Rolling }, plan: drivenBy(fleet.DriverPlatformRolling),
			when: func(r *rig) bool { return r.azure.Sets["a"].Rolling.Active() },
			then: func(r *rig) {
				u := r.azure.Sets["a"].Rolling
				u.Code, u.End, u.ErrorCode = "Faulted", r.azure.Now, "AllocationFailed"
				u.Error = "no room"
				r.tick()
				if b := r.state.Block; b == nil || b.Class != NoCapacity || !strings.Contains(b.Why, "AllocationFailed: no room") {
					panic("it does not pause, and say what Azure said")
				}
				r.azure.advance(time.Minute)
				ask(Resume, false)(r)
			},
		},
		{
			name: "2: an upgrade of the platform that was held, and resumed at night, waits for the window", phase: Succeeded, runs: 3,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Minute}}, atMost: 72 * time.Hour,
			setup: func(a *azure) { a.Sets["a"].Mode, a.Opens = fleet.Rolling, 3 },
			plan: func(p *Plan) {
				drivenBy(fleet.DriverPlatformRolling)(p)
				p.Window = true
			},
			when: func(r *rig) bool { return r.azure.Sets["a"].Rolling.Active() },
			then: func(r *rig) {
				u := r.azure.Sets["a"].Rolling
				u.Code, u.End, u.ErrorCode = "Faulted", r.azure.Now, "AllocationFailed"
				for until := start.Add(34 * time.Hour); r.azure.Now.Before(until); r.azure.advance(time.Minute) {
					r.tick()
				}
				if r.state.Phase != Held {
					panic(r.state.Phase)
				}
				ask(Resume, false)(r)
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				for _, ran := range Accounting(r.state)[1:] {
					require.False(t, ran.From.Before(start.Add(48*time.Hour)), "%s runs it since %s", ran.Member, ran.From)
				}
			},
		},
		{
			name: "7: an upgrade that the platform stopped for others, while its member begins, is no failure", phase: Succeeded, runs: 3,
			sizes: map[string]int{"a": 3}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Minute}},
			setup: func(a *azure) { a.Sets["a"].Mode = fleet.Rolling }, plan: drivenBy(fleet.DriverPlatformRolling),
			when: func(r *rig) bool {
				for _, m := range r.azure.Sets["a"].Members {
					if h, _ := r.azure.health(m); m.Version == newVersion && h == fleet.Initializing {
						return true
					}
				}
				return false
			},
			then: func(r *rig) {
				u := r.azure.Sets["a"].Rolling
				u.Code, u.End, u.ErrorCode = "Faulted", r.azure.Now, "MaxUnhealthyInstancePercentExceededInRollingUpgrade"
				r.tick()
				if b := r.state.Block; b == nil || b.Class != Inconclusive {
					panic("it does not pause")
				}
				r.azure.advance(time.Minute)
				ask(Resume, false)(r)
			},
		},
		{
			name: "who was not Healthy at the baseline is picked last", phase: Succeeded, runs: 3, sizes: map[string]int{"a": 3},
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: time.Minute}, {Name: "all", Sets: []string{"a"}}},
			plan: func(p *Plan) {
				s := p.Sets["a"]
				s.Unhealthy = []string{"a_03"} // it would be the first by its zone
				p.Sets["a"] = s
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				ran := Accounting(r.state)
				require.Equal(t, "a_03", ran[len(ran)-1].Member)
			},
		},
		{
			name: "10: a member whose agent drains is not verified, Healthy or not", phase: Held, runs: 1,
			when: func(r *rig) bool { return len(r.azure.Ran) > 0 }, then: func(r *rig) { r.azure.Word = "draining" },
			require: func(t *testing.T, r *rig) { t.Helper(); require.Contains(t, r.state.Why, "could not be verified") },
		},
		{
			name: "6: a promotion that takes long does not promote what is not ours", phase: Held, runs: 5,
			when: step(1, Soaking), then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if a.Do != Include || r.azure.Now.Sub(r.state.Since) > 40*time.Minute {
						return fine
					}
					r.azure.Sets["a"].Tag, r.azure.Sets["a"].ETag = 1, r.azure.Sets["a"].ETag+1
					return denied
				}
			},
		},
		{
			name: "10: two members whose agents do not serve keep no tick going, however long an answer takes", phase: Held, runs: 2,
			sizes: map[string]int{"a": 1, "b": 1}, waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}},
			setup: func(a *azure) {
				a.Word, a.Sets["b"].BusyUntil, a.Sets["b"].BusyWhy = "starting", a.Now.Add(7*time.Minute), "the platform"
			},
			when: func(*rig) bool { return true }, then: func(r *rig) {
				r.takes = map[Verb]time.Duration{"": 20 * time.Second, AskAgent: 80 * time.Second}
			},
		},
		{
			name: "10: repairs of two sets that cannot be resumed keep no tick going, however long a try takes", phase: Succeeded, runs: 5,
			waves: []Wave{{Name: "both", Sets: []string{"a", "b"}, Soak: 10 * time.Minute}},
			when:  step(0, Soaking), then: func(r *rig) {
				r.takes = map[Verb]time.Duration{"": 20 * time.Second, ResumeRepairs: 40 * time.Second}
				r.fates = func(_ int, a *Action) fate {
					if a.Do == ResumeRepairs {
						return denied
					}
					return fine
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Greater(t, len(r.done(ResumeRepairs)), 20)
				require.Len(t, r.state.Unpaid, 2)
			},
		},
		{
			name: "10: repairs that cannot be resumed are told", phase: Succeeded, runs: 5,
			plan: func(p *Plan) { p.Notify = true },
			when: step(1, Soaking), then: func(r *rig) { r.azure.Rights = false },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				told := 0
				for _, a := range r.done(Notify) {
					if strings.Contains(a.Why, "repairs are still suspended") {
						told++
					}
				}
				require.Equal(t, 2, told, "once for each of two sets")
				require.Len(t, r.state.Left, 2)
			},
		},
		{
			name: "2: a model at the version goes back at once when somebody changes the mode", phase: Held, runs: -1, every: 30 * time.Second,
			when: func(r *rig) bool { return r.azure.Sets["a"].Model == newVersion },
			then: func(r *rig) { r.azure.Sets["a"].Mode = fleet.Automatic; r.azure.Sets["a"].ETag++ },
			plan: func(p *Plan) {
				p.Waves = p.Waves[1:]
				s := p.Sets["a"]
				s.LastWave = 0
				p.Sets["a"] = s
				s = p.Sets["b"]
				s.LastWave = 0
				p.Sets["b"] = s
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				blocked := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Blocked && e.Class == NotOurs })
				back := slices.IndexFunc(r.journal, func(e Event) bool {
					return e.Kind == Began && e.Action.Do == PatchModel && e.Action.Version == oldVersion
				})
				require.NotEqual(t, -1, back)
				require.Less(t, r.journal[back].At.Sub(r.journal[blocked].At), 5*time.Minute)
			},
		},
		{
			name: "an approval that comes late, and before it is held, is enough", phase: Succeeded, runs: 5, atMost: 20 * 24 * time.Hour, every: 5 * time.Minute,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour, Approve: true}},
			when:  func(r *rig) bool { return r.state.Block != nil }, then: ask(Approve, false),
		},
		{
			name: "a replication that takes long, and comes before it is held, is enough", phase: Succeeded, runs: 5, atMost: 20 * 24 * time.Hour, every: 5 * time.Minute,
			setup: func(a *azure) { a.Version.Ready[home] = start.Add(30 * time.Hour) },
			when:  func(r *rig) bool { return r.state.Block != nil }, then: func(*rig) {},
		},
		{
			name: "an approval is for the wave that it names", phase: Held, runs: 0, atMost: 20 * 24 * time.Hour, every: 5 * time.Minute,
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour, Approve: true}},
			when:  step(0, Asking), then: func(r *rig) { r.requests = []Request{{ID: "1", Do: Approve, Wave: "another"}} },
		},
		{
			name: "batches wait for the window, the way back does not", phase: Halted, runs: 1, image: turnsBad,
			plan:  func(p *Plan) { p.Window = true },
			setup: func(a *azure) { a.Opens = 9 },
			when:  step(0, Soaking), then: func(r *rig) { r.azure.Opens = -2 },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				first := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == BatchTo && e.Step == Picked })
				require.Equal(t, 9, r.journal[first].At.Hour())
			},
		},
		{
			name: "a window that opens after a night is enough for the next batch", phase: Succeeded, runs: 5,
			plan: func(p *Plan) { p.Window, p.Limits.Pause = true, 3*time.Hour },
			when: func(r *rig) bool { return r.state.Wave == 1 && batchIs("a", Verifying)(r) },
			then: func(r *rig) { r.azure.Opens = (r.azure.Now.Hour() + 12) % 24 },
		},
		{
			name: "the webhook hears of a halt when it begins, and once", image: neverWell, phase: Halted, runs: 1,
			plan: func(p *Plan) { p.Notify = true },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				var told []string
				for _, a := range r.done(Notify) {
					told = append(told, a.Name)
				}
				require.Equal(t, []string{"halting", "halted"}, told)
				halting := slices.IndexFunc(r.journal, func(e Event) bool { return e.Phase == Halting })
				first := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == Began && e.Action.Do == Notify })
				require.Equal(t, r.journal[halting].At, r.journal[first].At)
			},
		},
		{
			name: "10: a drain that ended while nobody looked is not said to be unanswered", phase: Held, runs: 0, every: 9 * time.Hour,
			plan: func(p *Plan) { p.Notify = true },
			when: func(r *rig) bool { return r.state.Phase == Pending }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if a.Do != Drain {
						return fine
					}
					ask(Pause, false)(r)
					return crashAfter
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Len(t, r.state.Unpaid, 1)
				require.Equal(t, ranOut, r.state.Unpaid[0].Why)
				require.Empty(t, r.done(Undrain))
				require.False(t, slices.ContainsFunc(r.done(Notify), func(a Action) bool { return strings.Contains(a.Why, "drain") }))
			},
		},
		{
			name: "an answer that was lost is not waited for as long as another tool is at work", image: neverWell, phase: Incomplete, runs: 1,
			when: step(0, Batches), then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if a.Do != ManualUpgrade || a.Version != oldVersion {
						return fine
					}
					s := r.azure.Sets["a"]
					s.BusyUntil, s.BusyWhy = r.azure.Now.Add(1000*time.Hour), "another tool writes"
					return lostBefore
				}
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.NotEmpty(t, r.state.Ops)
				r.azure.advance(r.plan.Limits.Pause)
				r.tick()
				require.Empty(t, r.state.Ops)
			},
		},
		{
			name: "a zone is finished before the next begins", phase: Succeeded, runs: 6, sizes: map[string]int{"a": 6},
			waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Minute}},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				for _, a := range r.done(ManualUpgrade) {
					zones := make(map[string]bool)
					for _, name := range a.Members {
						zones[r.azure.Sets["a"].Members[name].Zone] = true
					}
					require.Len(t, zones, 1)
				}
			},
		},
		{
			name: "4: a batch is given up when a member comes back that makes it one too many", phase: Succeeded, runs: 6, // one of them twice
			when: step(0, Soaking), then: func(r *rig) {
				s := r.azure.Sets["a"]
				back := s.Members[onVersion(r, "a")]
				r.azure.stop(s, back.Name)
				r.fates = func(_ int, a *Action) fate {
					if a.Do == Drain {
						return lostBefore
					}
					return fine
				}
				for !batchIs("a", Picked)(r) {
					r.tick()
					r.azure.advance(time.Minute)
				}
				r.fates = func(int, *Action) fate { return fine }
				r.azure.start(back)
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				given := slices.IndexFunc(r.journal, func(e Event) bool { return e.Kind == BatchTo && e.Step == GivenUp })
				require.Positive(t, given)
				for i := given; r.journal[i].Step != Picked; i-- {
					require.False(t, r.journal[i].Kind == Ended && r.journal[i].Action.Do == Drain && r.journal[i].Result.Outcome == Done, "nobody is drained for nothing")
				}
				for _, run := range Accounting(r.state)[:2] {
					require.Equal(t, Accounting(r.state)[0].Member, run.Member, "the canary is one member, before and after it was stopped")
				}
			},
		},
		{
			name: "2: a halt that is completed in one set changes the policy of no other", phase: Incomplete, runs: 2, image: neverWell, sizes: map[string]int{"a": 2, "b": 1},
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}},
			setup: func(a *azure) {
				for _, s := range a.Sets {
					s.Mode = fleet.Rolling
				}
			},
			plan: drivenBy(fleet.DriverPlatformRolling),
			when: func(r *rig) bool { return len(r.azure.Ran) == 2 },
			then: func(r *rig) { r.azure.stop(r.azure.Sets["b"], onVersion(r, "b")) },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Len(t, r.state.Left, 1)
				r.azure.start(r.azure.Sets["b"].Members[r.state.Left[0].Member])
				for range 30 {
					r.tick()
					require.Empty(t, r.check())
					r.azure.advance(time.Minute)
				}
				require.Equal(t, Halted, r.state.Phase)
				manual := make(map[string]int)
				for _, a := range r.done(PatchModel) {
					if a.Mode == fleet.Manual {
						manual[a.Set]++
					}
				}
				require.Equal(t, map[string]int{"a": 1, "b": 2}, manual)
			},
		},
		{
			name: "2: a version that cannot be read does not keep the platform's upgrade from its end", phase: Held, runs: 2,
			sizes: map[string]int{"a": 2}, waves: []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Minute}},
			setup: followsLatest, plan: drivenBy(fleet.DriverPlatformAutoOS),
			when: func(r *rig) bool { return len(r.azure.Ran) == 2 },
			then: func(r *rig) { r.unread = map[string]bool{versionTarget: true} },
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, WaveDone, r.state.Waves[0].Step)
				require.Contains(t, r.state.Why, unpromoted)
			},
		},
		{
			name: "10: a member of a batch that was stopped and started is drained again", phase: Succeeded, runs: 3, sizes: map[string]int{"a": 3},
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: time.Minute}, {Name: "all", Sets: []string{"a"}}},
			when:  func(r *rig) bool { return r.state.Phase == Pending }, then: func(r *rig) {
				r.fates = func(_ int, a *Action) fate {
					if a.Do == ManualUpgrade {
						return lostAfter
					}
					return fine
				}
				r.tick()
				m := r.azure.Sets["a"].Members[r.state.Sets["a"].Batch.Members[0]]
				r.azure.stop(r.azure.Sets["a"], m.Name)
				r.azure.advance(time.Minute)
				r.tick()
				r.check()
				r.azure.start(m)
				r.fates = func(int, *Action) fate { return fine }
			},
		},
		{
			name: "4: an abort takes back what waves did before they began again", phase: Incomplete, runs: 1, sizes: map[string]int{"a": 0, "b": 1},
			waves: []Wave{{Name: "first", Sets: []string{"a"}, Soak: time.Minute}, {Name: "second", Sets: []string{"b"}, Soak: time.Hour}},
			when:  step(1, Soaking), then: func(r *rig) {
				r.azure.stop(r.azure.Sets["b"], onVersion(r, "b"))
				for r.state.Phase != Held {
					r.tick()
					r.azure.advance(time.Minute)
				}
				r.azure.Version.Ready[home] = r.azure.Now.Add(time.Hour) // the first wave waits
				r.requests = []Request{{ID: "1", Do: Resume}}
				r.tick()
				r.requests = append(r.requests, Request{ID: "2", Do: Abort})
			},
			require: func(t *testing.T, r *rig) {
				t.Helper()
				require.Equal(t, []Left{{"b", "b_01", deallocated}}, r.state.Left)
			},
		},
		{
			name: "7: a member that begins anew has the time to be Healthy", phase: Succeeded, runs: 3, sizes: map[string]int{"a": 3},
			waves: []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: time.Minute}, {Name: "all", Sets: []string{"a"}}},
			plan:  func(p *Plan) { p.Limits.HealthyFor = 9 * time.Minute },
			when: func(r *rig) bool {
				m := r.azure.Sets["a"].Members[onVersion(r, "a")]
				return m != nil && !r.state.Runs[memberKey("a", m.Name)].Well.IsZero() && r.azure.Now.Sub(m.Booted) > 9*time.Minute
			},
			then: func(r *rig) { r.azure.Sets["a"].Members[onVersion(r, "a")].Booted = r.azure.Now },
		},
		{
			name: "what a phase waited for is not waited for in the next", phase: Halted, runs: 1, image: hangs,
			when: func(r *rig) bool { return len(r.state.Runs) == 1 }, then: func(r *rig) {
				r.azure.advance(9 * time.Hour)
				for _, w := range Next(r.plan, r.state, r.azure.observe(r.state.Epoch, nil), r.azure.Now).Waits {
					if w.Until.Before(r.azure.Now) {
						panic(w.For)
					}
				}
			},
		},
		{
			name: "a set that cannot be read is waited for no longer than it may take, whatever the others do", phase: Incomplete, runs: 6, sizes: map[string]int{"a": 1, "b": 5},
			waves: []Wave{{Name: "all", Sets: []string{"a", "b"}, Soak: time.Hour}}, setup: func(a *azure) { a.Upgrade = 29 * time.Minute },
			plan: func(p *Plan) {
				s := p.Sets["b"]
				s.Batch = 20
				p.Sets["b"] = s
			},
			when: step(0, Soaking), then: func(r *rig) {
				ask(Abort, false)(r)
				r.unread = map[string]bool{"a": true}
			},
		},
	} {
		t.Run(strings.ReplaceAll(s.name, "/", " "), s.play)
	}
}

// lostEverybody takes the only member of the last wave away, and has the waves begin again.
func lostEverybody(r *rig) {
	a, b := r.azure.Sets["a"], r.azure.Sets["b"]
	r.azure.gone(b, onVersion(r, "b"), ScaledIn)
	for range 60 { // until all waves are over: it is held
		r.tick()
		r.azure.advance(time.Minute)
	}
	if r.state.Phase != Held {
		panic("it is " + string(r.state.Phase))
	}
	r.azure.scaleOut(a)
	r.azure.scaleOut(b)
	ask(Resume, false)(r)
}

func followsLatest(a *azure) {
	for _, s := range a.Sets {
		s.Mode, s.AutoOS, s.Model = fleet.Rolling, true, ""
	}
}

// phaseAt is the phase in which an entry was written.
func phaseAt(journal []Event, at int) (phase Phase) {
	for i := range journal[:at] {
		if journal[i].Kind == PhaseTo {
			phase = journal[i].Phase
		}
	}
	return phase
}

func drivenBy(d fleet.Driver) func(*Plan) {
	return func(p *Plan) {
		for name, s := range p.Sets {
			s.Driver = d
			p.Sets[name] = s
		}
	}
}

// Who resumes accepts what was read by then. What is decided of a reading comes a moment
// later, and a member that leaves after that is another matter.
func TestResumeAcceptsNoLaterDeparture(t *testing.T) {
	a := newAzure(map[string]int{"a": 3})
	r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, nil), a)
	for ; r.state.Waves[0].Step != Soaking; a.advance(time.Minute) {
		r.tick()
	}
	gone := func() {
		a.gone(a.Sets["a"], onVersion(r, "a"), NotKnown)
		a.advance(time.Minute)
		r.tick()
	}
	gone()
	require.Equal(t, Inconclusive, r.state.Block.Class)
	a.advance(time.Minute)
	o := a.observe(r.state.Epoch, nil)
	o.Requests = []Request{{ID: "1", Do: Resume}}
	for _, e := range Next(r.plan, r.state, o, a.Now.Add(3*time.Second)).Events {
		require.True(t, r.append(&e))
	}
	require.Nil(t, r.state.Block)
	gone()
	require.NotNil(t, r.state.Block)
	require.Contains(t, r.state.Block.Why, "and is gone: the activity log does not say why")
}

func TestEventsGoThroughJSON(t *testing.T) {
	a := newAzure(map[string]int{"a": 3})
	a.Image = neverWell
	r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, nil), a)
	r.run(time.Minute, 24*time.Hour)
	require.Empty(t, r.broken)
	require.NotEmpty(t, r.journal)
	for _, e := range r.journal {
		data, err := json.Marshal(e)
		require.NoError(t, err)
		back, err := DecodeEvent(data)
		require.NoError(t, err)
		again, err := json.Marshal(back)
		require.NoError(t, err)
		require.JSONEq(t, string(data), string(again))
	}
	plan, s, err := Fold(r.journal)
	require.NoError(t, err)
	require.Equal(t, r.plan.Version, plan.Version)
	require.Equal(t, canonical(r.state, a.Now), canonical(s, a.Now))
}

func TestAnEventThatIsNotUnderstoodIsRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"another format", `{"format":2,"kind":"observed"}`, "format 2"},
		{"another kind", `{"format":1,"kind":"danced"}`, "danced"},
		{"another key", `{"format":1,"kind":"observed","mood":"good"}`, "mood"},
		{"half a line", `{"format":1,"kind":`, "unexpected end"},
		{"an intent without an action", `{"format":1,"kind":"began"}`, "without an action"},
		{"a drain of nobody", `{"format":1,"kind":"began","action":{"op":1,"do":"drain","set":"a"}}`, "without an action"},
		{"an end without a result", `{"format":1,"kind":"ended","action":{"op":1,"do":"include"}}`, "without a result"},
		{"a plan that is not there", `{"format":1,"kind":"planned"}`, "without a plan"},
		{"a wave before the first", `{"format":1,"kind":"wave","wave":-1}`, "without a wave"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := DecodeEvent([]byte(c.text))
			require.ErrorContains(t, err, c.want)
		})
	}
	_, _, err := Fold(nil)
	require.ErrorContains(t, err, "does not begin with a plan")
	a := newAzure(map[string]int{"a": 2})
	begin := Begin(planned(a, twoWaves()[:1], nil), start)
	_, _, err = Fold([]Event{begin, {Format: Format, Kind: WaveTo, Wave: 1, Step: Replicating}})
	require.ErrorContains(t, err, "event 2 is of wave 2, and the plan has 1")
	begin.Plan.Waves = nil
	_, _, err = Fold([]Event{begin, {Format: Format, Kind: Observed}})
	require.ErrorContains(t, err, "event 1 is of wave 1, and the plan has 0")
}

// FuzzDecodeEvent reads anything without harm, and what it reads folds.
func FuzzDecodeEvent(f *testing.F) {
	a := newAzure(map[string]int{"a": 2})
	r := newRig(planned(a, twoWaves()[:1], nil), a)
	r.tick()
	for _, e := range r.journal {
		data, err := json.Marshal(e)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := DecodeEvent(data)
		if err != nil {
			return
		}
		if _, _, err := Fold([]Event{Begin(r.plan, start), e}); err != nil {
			require.NotEmpty(t, err.Error())
		}
	})
}

// An abort ends a halt that had to leave something: what is in reach goes back, what is
// not stays listed, and is taken up no more.
func TestAnAbortEndsAHaltThatIsIncomplete(t *testing.T) {
	for _, c := range []struct {
		name   string
		order  Request
		before func(*azure, *azureMember) // the abort
		end    Phase
		left   int
		on     string // what the member runs in the end
	}{
		{"what is out of reach is left", Request{Do: Abort}, func(*azure, *azureMember) {}, Aborted, 1, newVersion},
		{"what is in reach goes back, and the halt is whole", Request{Do: Abort}, (*azure).start, Halted, 0, oldVersion},
		{"members that are kept stay", Request{Do: Abort, Keep: true}, (*azure).start, Aborted, 0, newVersion},
		{"the version that cannot be read is left as it is", Request{Do: Abort}, func(a *azure, _ *azureMember) { a.Version.Released[home] = true }, Aborted, 2, newVersion},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newAzure(map[string]int{"a": 3})
			r := newRig(planned(a, []Wave{{Name: "canary", Sets: []string{"a"}, Instances: 2, Soak: time.Hour}, {Name: "all", Sets: []string{"a"}}}, nil), a)
			until := func(there func() bool) {
				for range 300 {
					if there() {
						return
					}
					r.tick()
					require.Empty(t, r.check())
					a.advance(time.Minute)
				}
				require.Fail(t, "it never comes there", "%s %+v", r.state.Phase, r.state.Left)
			}
			until(func() bool { return step(0, Soaking)(r) })
			m := a.Sets["a"].Members[onVersion(r, "a")]
			a.stop(a.Sets["a"], m.Name)
			a.Image = turnsBad
			until(func() bool { return r.state.Phase == Incomplete })

			c.before(a, m)
			if a.Version.Released[home] {
				r.unread = map[string]bool{versionTarget: true}
			}
			c.order.ID = "1"
			r.requests = []Request{c.order}
			r.tick()
			require.NotEqual(t, Incomplete, r.state.Phase, "it takes effect in the next tick")
			until(func() bool { return r.state.Phase.Over() })
			require.Equal(t, c.end, r.state.Phase)
			require.Len(t, r.state.Left, c.left)
			require.Contains(t, r.state.Why, "aborted by an operator; it had halted: ")
			require.True(t, a.Version.Failed)
			require.True(t, r.state.Settled())

			done := len(r.journal)
			m.Stopped, m.Booted = false, a.Now
			for range 100 {
				r.tick()
				require.Empty(t, r.check())
				a.advance(time.Minute)
			}
			require.Equal(t, c.end, r.state.Phase)
			require.Equal(t, c.on, m.Version)
			require.False(t, slices.ContainsFunc(r.journal[done:], func(e Event) bool { return e.Kind == Began && e.Action.Effect() }))
		})
	}
}

// An abort that keeps members changes no policy that was restored already.
func TestAnAbortThatKeepsLeavesThePolicyRestored(t *testing.T) {
	a := newAzure(map[string]int{"a": 2})
	a.Image, a.Sets["a"].Mode = neverWell, fleet.Rolling
	r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, drivenBy(fleet.DriverPlatformRolling)), a)
	for range 100 {
		name := onVersion(r, "a")
		switch {
		case r.state.Phase == Rolling && name != "":
			a.Sets["a"].Members[name].Protected = true
		case r.state.Phase == Incomplete && r.requests == nil:
			a.Sets["a"].Members[name].Protected = false
			r.requests = []Request{{ID: "1", Do: Abort, Keep: true}}
		}
		r.tick()
		require.Empty(t, r.check())
		a.advance(time.Minute)
	}
	require.Equal(t, Aborted, r.state.Phase)
	require.Equal(t, fleet.Rolling, a.Sets["a"].Mode)
}

// A rolling upgrade is cancelled also when the write that began it was never answered.
func TestALostWriteHoldsUpNoAbort(t *testing.T) {
	a := newAzure(map[string]int{"a": 9})
	a.Sets["a"].Mode = fleet.Rolling
	r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, drivenBy(fleet.DriverPlatformRolling)), a)
	r.fates = func(_ int, a *Action) fate {
		if a.Do == PatchModel && a.Version == newVersion {
			return lostAfter
		}
		return fine
	}
	for range 300 {
		if onVersion(r, "a") != "" && r.requests == nil {
			r.requests = []Request{{ID: "1", Do: Abort}}
		}
		r.tick()
		require.Empty(t, r.check())
		a.advance(time.Minute)
	}
	require.Equal(t, Aborted, r.state.Phase)
	require.Less(t, len(Accounting(r.state)), 9)
}

// An abort that comes when the halt has gone on meanwhile counts for its end.
func TestAnAbortOfAHaltOnItsWayBack(t *testing.T) {
	for id, phase := range map[string]Phase{"": Incomplete, "1": Aborted} {
		a := newAzure(map[string]int{"a": 3})
		r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, nil), a)
		a.Image = turnsBad
		for range 300 {
			if r.state.Phase == Returning && r.requests == nil {
				a.stop(a.Sets["a"], onVersion(r, "a"))
				r.requests = []Request{{ID: id, Do: Abort}}
				r.state.Taken[""] = true
			}
			r.tick()
			require.Empty(t, r.check())
			a.advance(time.Minute)
		}
		require.Equal(t, phase, r.state.Phase)
		require.Len(t, r.state.Left, 1)
	}
}

// A batch that is under way for too long is told whether the window is open or not, and so
// the pause comes to its deadline.
func TestABatchUnderWayDoesNotWaitForTheWindow(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	r := newRig(planned(a, twoWaves(), func(p *Plan) { p.Window = true }), a)
	for !batchIs("a", Verifying)(r) {
		r.tick()
		a.advance(time.Minute)
	}
	for _, c := range []struct {
		open  bool
		opens time.Duration
		after time.Duration
		want  Class
	}{
		{true, 0, 23 * time.Hour, ""},
		{true, 24 * time.Hour, 25 * time.Hour, Inconclusive},
		{false, 34 * time.Hour, 25 * time.Hour, Inconclusive},
	} {
		m := newMachine(&r.plan, r.state.Clone(), &Observation{WindowOpen: c.open, Opens: a.Now.Add(c.opens)}, a.Now.Add(c.after))
		m.idle()
		require.Equal(t, c.want, m.block.Class, "%+v", c)
	}
}

// A clock that goes back takes nothing away from a soak, and what it goes over twice does
// not count twice.
func TestAClockThatGoesBack(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	r := newRig(planned(a, twoWaves(), nil), a)
	for !step(0, Soaking)(r) {
		r.tick()
		a.advance(time.Minute)
	}
	r.tick()
	look := func(after time.Duration) time.Duration {
		r.state.Apply(&r.plan, &Event{Kind: Observed, At: a.Now.Add(after)})
		return r.state.Waves[0].Soaked
	}
	soaked := r.state.Waves[0].Soaked
	require.Equal(t, soaked+3*time.Minute, look(3*time.Minute))
	require.Equal(t, soaked+3*time.Minute, look(-57*time.Minute))
	require.Equal(t, soaked+5*time.Minute, look(-55*time.Minute), "by its own time")
	require.Equal(t, soaked+5*time.Minute, look(7*time.Minute), "an hour that nobody saw")
	for _, m := range r.state.Runs {
		require.False(t, m.Verified)
	}
}
