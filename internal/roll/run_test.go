package roll_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A good version reaches one member, then all, and is promoted last.
func TestGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	require.Equal(t, 3, w.on("vmss-authz", version))
	require.Equal(t, 3, w.on("vmss-authz-west", version))
	require.Equal(t, version, w.model("vmss-authz"))
	image := w.image()
	require.True(t, image.Good())
	require.False(t, image.Excluded)
	require.Zero(t, s.Again)
	require.False(t, s.Overdue(w.clock.Now()))

	// The model pointed at the version no longer than the first upgrade took.
	pointed, back := time.Time{}, time.Time{}
	for _, e := range s.Events {
		if e.Kind == rollout.Began && e.Action.Do == rollout.PatchModel && e.Action.Set == "vmss-authz" {
			switch {
			case e.Action.Version == version && pointed.IsZero():
				pointed = e.At
			case e.Action.Version == before && back.IsZero():
				back = e.At
			}
		}
	}
	require.Positive(t, back.Sub(pointed), c.log())
	require.LessOrEqual(t, back.Sub(pointed), 2*time.Minute, c.log())
	require.Zero(t, w.count("PUT"), "no scale set is written whole")

	// What is over asks nothing of Azure any more.
	asked := w.count("")
	s, err = w.runner().Advance(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Succeeded, s.State.Phase)
	require.Equal(t, asked, w.count(""))
}

// drained is a rollout that drains, diagnoses and tells a webhook.
const drained = `  waves:
    - {name: canary, scale_sets: [vmss-authz], instances: 1, soak: 10m}
    - {name: all, scale_sets: [vmss-authz, vmss-authz-west], soak: 20m}
  gates: {healthy_within: 2m}
  drain: run-command
  on_halt: {diagnose: run-command%s}
`

// A bad version reaches one member, which goes back; the version is marked and kept
// from everybody.
func TestBad(t *testing.T) {
	t.Parallel()
	hook := &webhook{fails: 1}
	w := newWorld(t, setup{health: "Unhealthy", rollout: fmt.Sprintf(drained, ", notify: "+hook.start(t)+"/secret-path")})
	c := w.start()
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Halted, s.State.Phase, c.log())
	require.Equal(t, rollout.Bad, s.State.Class)
	require.Equal(t, 3, w.on("vmss-authz", before))
	require.Equal(t, before, w.model("vmss-authz"))
	image := w.image()
	failed, why := image.Failed()
	require.True(t, failed)
	require.Contains(t, why, "Unhealthy")
	require.True(t, image.Excluded)

	ran := rollout.Accounting(s.State)
	require.Len(t, ran, 1, c.log())
	require.Contains(t, ran[0].Node, "hsm: connection refused")
	require.False(t, ran[0].To.IsZero())
	require.Equal(t, 2, w.count("POST", "/manualupgrade 202"), "once forward, once back")
	require.Len(t, hook.told(), 2)
	require.Contains(t, hook.told()[0], `"event":"halting"`)
	require.Contains(t, hook.told()[1], `"event":"halted"`)
	require.NotContains(t, c.log(), "secret-path")
	require.False(t, w.journal.mentions("secret-path"))
	require.True(t, w.journal.mentions(`"drain"`), "the member was drained first")
}

// A notice that could not be sent at the end is sent by a later tick.
func TestToldLater(t *testing.T) {
	t.Parallel()
	hook := &webhook{down: true}
	w := newWorld(t, setup{health: "Unhealthy", rollout: fmt.Sprintf(drained, ", notify: "+hook.start(t))})
	c := w.start()
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Halted, s.State.Phase)
	require.Empty(t, hook.told())
	hook.mend()
	w.server.Advance(5 * time.Minute)
	s, err = w.runner().Advance(t.Context())
	require.NoError(t, err)
	require.Len(t, hook.told(), 1)
	require.Zero(t, s.Again)
}

// A runner that dies between an end and its notice leaves it owed, however late the next
// one comes.
func TestToldAfterACrash(t *testing.T) {
	t.Parallel()
	hook := &webhook{}
	w := newWorld(t, setup{health: "Unhealthy", rollout: fmt.Sprintf(drained, ", notify: "+hook.start(t))})
	c := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.killed, w.journal.dies = cancel, `"name":"halted"`
	_, err := c.Run(ctx)
	require.Error(t, err)
	require.Len(t, hook.told(), 1, c.log())
	w.revive()
	w.server.Advance(26 * time.Hour)
	s, err := w.runner().Advance(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Halted, s.State.Phase)
	require.Len(t, hook.told(), 2)
	require.Contains(t, hook.told()[1], `"event":"halted"`)
	require.Zero(t, s.Again)
}

// A member that a program took away, for reasons of its own, pauses the rollout, and an
// operator is told who it was.
func TestTakenAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	took, asked := "", false
	w.ticks = append(w.ticks, func() {
		switch {
		case took == "" && w.on("vmss-authz", version) == 1:
			for name, v := range w.members("vmss-authz") {
				if v == version {
					took = name
				}
			}
			_, err := w.reader.Send(context.Background(), fleet.Write{Method: http.MethodDelete, ID: group + "/providers/Microsoft.Compute/virtualMachines/" + fleet.ResourceID(took)})
			require.NoError(t, err)
		case !asked && w.journal.mentions(`"class":"inconclusive"`):
			asked = true
			w.journal.ask("r1", `{"do":"resume","by":"ops","why":"it was the node pool's own healer"}`)
		}
	})
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.True(t, asked, c.log())
	require.Regexp(t, took+` of vmss-authz left: Microsoft.Compute/virtualMachines/delete by [0-9a-f-]{36}, .* UTC; that does not tell`, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	require.False(t, func() bool { v := w.image(); failed, _ := v.Failed(); return failed }())
}

// A member that Azure has no room for says nothing of the version.
func TestCapacity(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	require.NoError(t, w.server.SetFault(arm.Fault{
		Kind: arm.FaultError, Method: http.MethodPost, Path: "/manualupgrade", Status: http.StatusConflict, Code: "OperationNotAllowed",
		Message: "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.", For: 10 * time.Minute,
	}))
	c := w.start()
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.True(t, w.journal.mentions(`"outcome":"capacity"`), c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
}

// What Azure says of an upgrade that it took, and that failed, is in the journal: it is
// what an operator goes by.
func TestUpgradeThatFailsLater(t *testing.T) {
	t.Parallel()
	for code, outcome := range map[string]string{"InternalExecutionError": "error", "QuotaExceeded": "capacity"} {
		w := newWorld(t, setup{})
		require.NoError(t, w.server.SetFault(arm.Fault{
			Kind: arm.FaultOperation, Method: http.MethodPost, Path: "/manualupgrade", Code: code, Message: "the disk cannot be swapped", For: 10 * time.Minute,
		}))
		c := w.start()
		s, err := c.Run(t.Context())
		require.NoError(t, err, c.log())
		require.True(t, w.journal.mentions(`"outcome":"`+outcome+`","text":"`), code)
		require.True(t, w.journal.mentions("the disk cannot be swapped"), code)
		require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	}
}

// The next tick of a schedule cannot ask Azure how that upgrade ended, and says where it is
// told.
func TestUpgradeThatFailsBetweenTicks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultOperation, Method: http.MethodPost, Path: "/manualupgrade", Code: "InternalExecutionError", For: 10 * time.Hour}))
	w.start()
	for range 12 {
		_, err := w.runner().Advance(t.Context())
		require.NoError(t, err)
		w.server.Advance(4 * time.Minute)
	}
	s, err := w.runner().Advance(t.Context())
	require.NoError(t, err)
	require.NotNil(t, s.State.Block)
	require.Contains(t, s.State.Block.Why, "the activity log of the scale set says why")
}

// What operators ask cannot be read for a moment: nobody's run ends of it, and nothing is
// done meanwhile.
func TestRequestsUnreadForAMoment(t *testing.T) {
	t.Parallel()
	for unread, ends := range map[int]bool{3: false, 100: true} {
		w := newWorld(t, setup{})
		c := w.start()
		done := false
		w.ticks = append(w.ticks, func() {
			if !done && w.on("vmss-authz", version) == 1 {
				done = true
				w.journal.mu.Lock()
				defer w.journal.mu.Unlock()
				w.journal.unread = unread
				w.journal.asked = append(w.journal.asked, roll.Asked{Name: "r1", Data: []byte(`{"do":"abort","by":"ops"}`)})
			}
		})
		s, err := c.Run(t.Context())
		if ends {
			require.ErrorContains(t, err, "503 ServerBusy")
			continue
		}
		require.NoError(t, err, c.log())
		require.Equal(t, rollout.Aborted, s.State.Phase, c.log())
	}
}

// A storm of 429 pauses, and does not halt.
func TestThrottled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	storm := false
	w.ticks = append(w.ticks, func() {
		if !storm && w.on("vmss-authz", version) == 1 {
			storm = true
			require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultThrottle, Path: "virtualMachines", RetryAfter: 10 * time.Minute, For: 90 * time.Second}))
		}
	})
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.True(t, storm)
	require.Contains(t, c.log(), "cannot be read", c.log())
	require.True(t, w.journal.mentions(`"class":"inconclusive"`), c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
}

// Another tool's write of the model in the middle of a wave pauses the rollout, until an
// operator accepts it. It never is the version's fault.
func TestAnotherTool(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	wrote, asked := false, false
	w.ticks = append(w.ticks, func() {
		switch {
		case !wrote && w.on("vmss-authz", version) == 1:
			wrote = true
			w.patch(sets+"/vmss-authz", map[string]any{"properties": map[string]any{"virtualMachineProfile": map[string]any{
				"diagnosticsProfile": map[string]any{"bootDiagnostics": map[string]any{"enabled": true}},
			}}})
		case !asked && w.journal.mentions(`"class":"not ours"`):
			asked = true
			w.journal.ask("r1", `{"do":"resume","by":"ops","why":"it is ours"}`)
		}
	})
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.True(t, asked, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	require.Empty(t, w.journal.asked, "what was taken up is gone")
}

// What operators ask is taken up within one tick.
func TestOperators(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rollout: `  waves:
    - {name: canary, scale_sets: [vmss-authz], instances: 1, soak: 2h}
    - {name: all, scale_sets: [vmss-authz, vmss-authz-west], soak: 20m, approve: true}
`})
	c := w.start()
	type step struct {
		when, ask string
		at        time.Time // when it was asked
	}
	steps := []step{
		{when: `"step":"soaking"`, ask: `{"do":"pause","by":"ops"}`},
		{when: `"class":"operator"`, ask: `{"do":"resume"}`},
		{when: `"wave":1,"step":"asking"`, ask: `{"do":"approve","wave":"all"}`},
		{when: `"wave":1,"step":"batches"`, ask: `{"do":"abort","why":"enough"}`},
	}
	next := 0
	w.ticks = append(w.ticks, func() {
		if next < len(steps) && w.journal.mentions(steps[next].when) {
			steps[next].at = w.clock.Now()
			w.journal.ask(fmt.Sprint("r", next), steps[next].ask)
			next++
		}
	})
	w.journal.ask("odd", `{"do":"dance"}`)
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, len(steps), next, c.log())
	require.Equal(t, rollout.Aborted, s.State.Phase, c.log())
	require.Equal(t, 3, w.on("vmss-authz", before))
	failed, _ := func() (bool, string) { v := w.image(); return v.Failed() }()
	require.False(t, failed, "an operator's abort says nothing of the version")
	for i, step := range steps {
		for _, e := range s.Events {
			if e.Kind == rollout.Requested && e.Request.ID == fmt.Sprint("r", i) {
				require.LessOrEqual(t, e.At.Sub(step.at), 20*time.Second, step.ask)
			}
		}
	}
	require.Len(t, w.journal.asked, 1, "what is not understood stays")
}

// Batches begin in the window only.
func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{rollout: twoWaves + `  gates: {window: {days: [thu, sat], from: "17:00", to: "20:00", timezone: Europe/Berlin}}
`})
	c := w.start()
	s, err := c.Advance(t.Context())
	require.NoError(t, err)
	require.False(t, s.Observation.WindowOpen)
	require.Equal(t, time.Date(2026, 3, 5, 16, 0, 0, 0, time.UTC), s.Observation.Opens.UTC())
	require.Contains(t, fmt.Sprint(s.Waits), "the window")
	s, err = c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	for _, e := range s.Events {
		if e.Kind == rollout.BatchTo && e.Step == rollout.Picked {
			require.False(t, e.At.Before(time.Date(2026, 3, 5, 16, 0, 0, 0, time.UTC)), e.At)
		}
	}
}

// A journal that is almost full pauses the rollout while there is room for the way back.
func TestFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	w.journal.takes = 31 // it is almost full at 25
	w.ticks = append(w.ticks, func() {
		if w.journal.mentions(`"class":"operator"`) && len(w.journal.asked) == 0 && !w.journal.mentions("enough") {
			w.journal.ask("r1", `{"do":"abort","why":"enough"}`)
		}
	})
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.True(t, w.journal.mentions("the rest is kept for the way back: abort this rollout and begin it anew"), c.log())
	require.Equal(t, rollout.Aborted, s.State.Phase, c.log())
	require.Equal(t, 3, w.on("vmss-authz", before), c.log())
	require.Empty(t, w.journal.asked)
}

// A schedule that calls advance every five minutes comes to the same end as one process.
func TestSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.start()
	for range 60 {
		c := w.runner()
		s, err := c.Advance(t.Context())
		require.NoError(t, err, c.log())
		if s.State.Phase.Over() {
			require.Equal(t, rollout.Succeeded, s.State.Phase)
			return
		}
		require.True(t, s.Again.After(w.clock.Now()))
		w.server.Advance(5 * time.Minute)
	}
	t.Fatal("it has no end")
}

// A second runner is told who holds the journal, and does nothing in Azure.
func TestHeld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	w.start()
	w.journal.holder = "runner-2"
	c := w.runner()
	writes := w.writes()
	_, err := c.Advance(t.Context())
	require.ErrorIs(t, err, errHeld)
	require.Equal(t, writes, w.writes())

	// It may look all the same.
	s, err := c.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Pending, s.State.Phase)
	s, err = c.Look(t.Context())
	require.NoError(t, err)
	require.True(t, s.Due)
	require.Len(t, s.Observation.Sets["vmss-authz"].Members, 3)
	require.False(t, s.Overdue(w.clock.Now()))
	w.server.Advance(16 * time.Minute)
	require.True(t, s.Overdue(w.clock.Now()))
	require.Equal(t, writes, w.writes())
}

// writes counts the requests that change something.
func (w *world) writes() int { return w.count("PUT ") + w.count("PATCH ") + w.count("POST ") }

// A journal that has a rollout gets no other one; a plan that is refused is not begun.
func TestStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	_, err := w.runner().Status(t.Context())
	require.ErrorIs(t, err, roll.ErrNone)
	_, err = w.runner().Advance(t.Context())
	require.ErrorIs(t, err, roll.ErrNone)
	_, refusals, err := w.runner().Start(t.Context(), "9.9.9", rollout.Options{})
	require.NoError(t, err)
	require.Equal(t, "no-version", refusals[0].ID)
	require.Empty(t, w.journal.entries)
	w.start()
	plan, _, err := w.runner().Start(t.Context(), version, rollout.Options{})
	require.ErrorIs(t, err, roll.ErrBegun)
	require.Equal(t, version, plan.Version)
	require.Equal(t, w.clock.Now(), plan.Made.UTC())
	require.Zero(t, w.writes())
}

// The end of the context ends a tick in order, and another one goes on.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	ctx, cancel := context.WithCancel(t.Context())
	w.after = func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manualupgrade") {
			cancel()
		}
		return false
	}
	_, err := c.Run(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, w.journal.mentions(`"do":"manual-upgrade"`))
	last := string(w.journal.entries[len(w.journal.entries)-1])
	require.Contains(t, last, `"kind":"ended"`, "what was begun has its end in the journal")
	w.revive()
	c = w.runner()
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	require.Equal(t, 6, w.count("POST", "/manualupgrade 202"), "each member once")
}

// A tick without anything to do costs what status costs.
func TestCost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	for range 3 {
		s, err := c.Advance(t.Context())
		require.NoError(t, err)
		w.server.Advance(s.Again.Sub(w.clock.Now()))
	}
	for w.journal.mentions(`"step":"soaking"`) == false {
		_, err := c.Advance(t.Context())
		require.NoError(t, err)
		w.server.Advance(4 * time.Minute)
	}
	_, err := c.Advance(t.Context())
	require.NoError(t, err)
	asked := w.count("")
	_, err = c.Advance(t.Context())
	require.NoError(t, err)
	// For each of two sets: itself, its members, their machines, its rolling upgrade;
	// and the version.
	require.Equal(t, 2*4+1, w.count("")-asked)
}

// platform is a rollout by the platform's rolling upgrades, set by set.
var platform = setup{
	set:     "    mode: Rolling\n    rolling: {max_batch: 40, max_unhealthy: 100, max_unhealthy_upgraded: 20, pause: 10s}\n",
	upgrade: "driver: platform-rolling",
	rollout: `  waves:
    - {name: east, scale_sets: [vmss-authz], soak: 10m}
    - {name: west, scale_sets: [vmss-authz-west], soak: 10m}
`,
}

// rolled is the world after a rollout: how it has ended, and what all members run then.
func rolled(t *testing.T, s setup, phase rollout.Phase, version string) *world {
	t.Helper()
	w := newWorld(t, s)
	c := w.start()
	status, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, phase, status.State.Phase, c.log())
	require.Equal(t, 3, w.on("vmss-authz", version), c.log())
	require.Equal(t, 3, w.on("vmss-authz-west", version), c.log())
	return w
}

// The platform's rolling upgrades take the members, and the rollout watches.
func TestPlatformRolling(t *testing.T) {
	t.Parallel()
	w := rolled(t, platform, rollout.Succeeded, version)
	require.Zero(t, w.count("/manualupgrade"))
}

// The platform stops at the first member: it goes back by hand, and the mode is what it
// was in the end.
func TestPlatformRollingBad(t *testing.T) {
	t.Parallel()
	bad := platform
	bad.health = "Unhealthy"
	w := rolled(t, bad, rollout.Halted, before)
	require.Equal(t, before, w.model("vmss-authz"))
	set, err := w.reader.ScaleSet(t.Context(), sets+"/vmss-authz")
	require.NoError(t, err)
	require.Equal(t, fleet.Rolling, set.Upgrade.Mode)
}

// automatic is a rollout by automatic OS upgrade, region by region.
var automatic = setup{
	latest:   true,
	set:      "    auto_os: true\n    rolling: {max_batch: 40, max_unhealthy: 100, max_unhealthy_upgraded: 20, pause: 10s}\n",
	scenario: "auto_os_on_flexible: true\nauto_os_delay: 1m\n",
	upgrade:  "driver: platform-auto-os, auto_os: true",
	rollout:  platform.rollout,
}

// Automatic OS upgrade finds the version in a region when its wave releases it there.
func TestAutoOS(t *testing.T) {
	t.Parallel()
	w := rolled(t, automatic, rollout.Succeeded, version)
	require.Empty(t, w.model("vmss-authz"))
	require.Zero(t, w.count("/manualupgrade"))
}

// A bad version is released in one region, and taken back there; no other one sees it.
func TestAutoOSBad(t *testing.T) {
	t.Parallel()
	bad := automatic
	bad.health = "Unhealthy"
	w := rolled(t, bad, rollout.Halted, before)
	require.Empty(t, w.model("vmss-authz"), "it follows the latest again")
	set, err := w.reader.ScaleSet(t.Context(), sets+"/vmss-authz")
	require.NoError(t, err)
	require.True(t, set.Upgrade.AutoOS)
	image := w.image()
	failed, _ := image.Failed()
	require.True(t, failed)
	require.True(t, image.Excluded || image.Region("eastus").Excluded && image.Region("westus3").Excluded)
}

// What an operator asks while a tick reads Azure is no less urgent than what is asked
// while the runner waits.
func TestAskedWhileItLooks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	var asked time.Time
	var mu sync.Mutex // guards asked: a tick reads side by side
	w.after = func(r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if asked.IsZero() && r.Method == http.MethodGet && w.journal.mentions(`"step":"soaking"`) {
			asked = w.clock.Now()
			w.journal.ask("a", `{"do":"abort"}`)
		}
		return false
	}
	s, err := c.Run(t.Context())
	mu.Lock()
	defer mu.Unlock()
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Aborted, s.State.Phase, c.log())
	i := slices.IndexFunc(s.Events, func(e rollout.Event) bool { return e.Kind == rollout.Requested })
	require.GreaterOrEqual(t, i, 0)
	require.LessOrEqual(t, s.Events[i].At.Sub(asked), 15*time.Second, c.log())
}

// Times are those of the wall: a machine that slept between two looks has not looked for
// as long as it slept, which the clock of its process does not count.
func TestTimesOfTheWall(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.runner()
	c.Now = time.Now
	_, refusals, err := c.Start(t.Context(), version, rollout.Options{})
	require.NoError(t, err)
	require.Empty(t, refusals)
	s, err := c.Advance(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, s.Events)
	for _, at := range []time.Time{s.Events[0].At, s.Events[len(s.Events)-1].At, s.Observation.At, s.Again} {
		require.NotContains(t, at.String(), " m=", "it has a reading of the process's clock")
	}
}

// With by-wave, a region gets the version when its wave comes, and not before.
func TestByWave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{gallery: "  replicate: by-wave\n", regions: "{eastus: {}}"})
	c := w.start()
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
	require.Equal(t, 3, w.on("vmss-authz-west", version))
	image := w.image()
	require.Equal(t, fleet.Replicated, image.Region("westus3").State)
	require.False(t, image.Region("westus3").Excluded)
	asked := false
	for _, e := range s.Events {
		if e.Kind == rollout.Began && e.Action.Do == rollout.Replicate {
			asked = true
			require.Equal(t, "westus3", e.Action.Region)
			require.Equal(t, "wave all", e.Action.Why)
		}
	}
	require.True(t, asked, c.log())
}

// A rolling upgrade that somebody else began pauses the rollout, and says so.
func TestBusy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	_, err := c.Advance(t.Context())
	require.NoError(t, err)
	w.patch(sets+"/vmss-authz", map[string]any{"properties": map[string]any{"upgradePolicy": map[string]any{
		"mode": "Rolling", "rollingUpgradePolicy": map[string]any{"maxBatchInstancePercent": 20, "maxUnhealthyInstancePercent": 20, "maxUnhealthyUpgradedInstancePercent": 20, "pauseTimeBetweenBatches": "PT30M"},
	}}})
	w.server.Advance(2 * time.Minute)
	s, err := c.Advance(t.Context())
	require.NoError(t, err)
	require.NotNil(t, s.State.Block, c.log())
	require.Equal(t, rollout.NotOurs, s.State.Block.Class, c.log())
}

// Who loses the lock between an entry and its action does not act. Who holds it then
// finds an action whose answer was lost.
func TestLockLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	w.journal.loses = `"kind":"began","action":{"op":3,"do":"manual-upgrade"`
	_, err := c.Run(t.Context())
	require.ErrorIs(t, err, errHeld)
	require.Zero(t, w.count("/manualupgrade"))
	w.journal.loses, w.journal.holder = "", ""
	c = w.runner()
	s, err := c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Contains(t, c.log(), "the program ended before the answer came")
	require.Equal(t, rollout.Succeeded, s.State.Phase)
	require.Equal(t, 6, w.count("POST", "/manualupgrade 202"), "each member once")
}

// A pause that nobody ends is held: models back, the version excluded and not marked,
// nothing suspended; resume takes it on.
func TestHeldOpen(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	for !w.journal.mentions(`"step":"soaking"`) {
		_, err := c.Advance(t.Context())
		require.NoError(t, err)
		w.server.Advance(4 * time.Minute)
	}
	w.journal.ask("p", `{"do":"pause"}`)
	for range 10 {
		s, err := c.Advance(t.Context())
		require.NoError(t, err)
		if s.State.Phase == rollout.Held {
			break
		}
		w.server.Advance(6 * time.Hour)
	}
	s, err := w.runner().Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Held, s.State.Phase, c.log())
	require.Equal(t, rollout.NotSuspended, s.State.Sets["vmss-authz"].Suspended)
	require.Equal(t, before, w.model("vmss-authz"))
	require.Equal(t, 1, w.on("vmss-authz", version))
	image := w.image()
	failed, _ := image.Failed()
	require.False(t, failed)
	require.True(t, image.Excluded)
	require.False(t, s.Again.IsZero())
	w.journal.ask("r", `{"do":"resume"}`)
	c = w.runner()
	s, err = c.Run(t.Context())
	require.NoError(t, err, c.log())
	require.Equal(t, rollout.Succeeded, s.State.Phase, c.log())
}

// A rollout that is held, and whose model cannot be put back at once, is not over for Run.
func TestHeldRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	c := w.start()
	for !w.journal.mentions(`"wave":1,"step":"soaking"`) {
		_, err := c.Advance(t.Context())
		require.NoError(t, err)
		w.server.Advance(2 * time.Minute)
	}
	w.journal.ask("p", `{"do":"pause"}`)
	_, err := c.Advance(t.Context())
	require.NoError(t, err)
	require.Equal(t, version, w.model("vmss-authz"))
	w.server.Advance(25 * time.Hour)
	refused := 0
	w.faulty = func(r *http.Request) bool {
		if r.Method != http.MethodPatch || !strings.HasSuffix(r.URL.Path, "/vmss-authz") || refused == 2 {
			return false
		}
		refused++
		return true
	}
	s, err := c.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, rollout.Held, s.State.Phase, c.log())
	require.Equal(t, 2, refused)
	require.Equal(t, before, w.model("vmss-authz"), c.log())
}

// The operation of a write under Rolling lasts as long as the platform's upgrade. The way
// back does not wait for it: the rest of the set would get the version first.
func TestPlatformRollingStopped(t *testing.T) {
	t.Parallel()
	slow := platform
	slow.health = "Unhealthy"
	slow.set = "    mode: Rolling\n    rolling: {max_batch: 40, max_unhealthy: 100, max_unhealthy_upgraded: 100, pause: 20m}\n"
	w := rolled(t, slow, rollout.Halted, before)
	disks, err := w.server.Disks()
	require.NoError(t, err)
	var touched []string
	for _, d := range disks {
		if d.Version == version {
			touched = append(touched, d.Member)
		}
	}
	require.Len(t, touched, 1)
}
