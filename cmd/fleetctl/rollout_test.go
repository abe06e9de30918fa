package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A rolling is a simulated Azure with a fleet on 1.7.0, whose time passes only while
// somebody waits, and the fleet.yaml of its rollouts.
type rolling struct {
	*baking

	t     *testing.T
	setup rollSetup
	// ticks are called after each wait.
	ticks []func()
}

// A rollSetup is what is different from the usual.
type rollSetup struct {
	health  string   // of members on 1.7.1; Healthy
	journal string   // rollouts, a directory
	approve bool     // the second wave waits for an approval
	edits   []string // pairs of a text of the scenario or the file, and what stands there in its place
}

// blobJournal is a journal in a storage account of the simulator.
const blobJournal = "https://stpay.blob.core.windows.net/fleetctl/pay"

func newRolling(t *testing.T, s rollSetup) *rolling {
	t.Helper()
	words := map[bool]string{true: ", approve: true"}
	fill := strings.NewReplacer(append(s.edits, "%HEALTH%", cmp.Or(s.health, "Healthy"), "%JOURNAL%", cmp.Or(s.journal, "rollouts"), "%APPROVE%", words[s.approve])...)
	text, err := os.ReadFile(filepath.Join("testdata", "roll", "ground.yaml"))
	require.NoError(t, err)
	scenario, err := arm.ParseScenario("ground.yaml", []byte(fill.Replace(string(text))))
	require.NoError(t, err)
	w := &rolling{baking: newBakingOf(t, scenario), t: t, setup: s}
	text, err = os.ReadFile(filepath.Join("testdata", "roll", "fleet.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(w.file, []byte(fill.Replace(string(text))), 0o644))
	if s.journal == blobJournal {
		w.serve(http.MethodPut, "/blob/stpay/fleetctl?restype=container", http.StatusCreated)
	}
	return w
}

// directory is where the journal is, if that is no container.
func (w *rolling) directory() string { return filepath.Join(filepath.Dir(w.file), "rollouts") }

// serve sends a request past all clients.
func (w *rolling) serve(method, path string, want int) {
	w.t.Helper()
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(w.t.Context(), method, path, nil)
	req.Header.Set("X-Ms-Version", "2024-11-04")
	w.server.ServeHTTP(rec, req)
	require.Equal(w.t, want, rec.Code, rec.Body.String())
}

// globals are those of a call of fleetctl by somebody on host-a.
func (w *rolling) globals() (g *globals, stdout, stderr *bytes.Buffer) {
	g, stdout, stderr = w.baking.globals()
	env := g.getenv
	g.getenv = func(name string) string {
		if name == "USER" {
			return "ana"
		}
		return env(name)
	}
	sleep := g.sleep
	g.sleep = func(ctx context.Context, d time.Duration) error {
		err := sleep(ctx, d)
		for _, tick := range w.ticks {
			tick()
		}
		return err
	}
	return g, stdout, stderr
}

// fleetctl runs the command rollout, and returns all that it shows, made the same on
// every machine.
func (w *rolling) fleetctl(args ...string) (text string, code int) {
	w.t.Helper()
	g, stdout, stderr := w.globals()
	return w.call(g, stdout, stderr, args...)
}

func (w *rolling) call(g *globals, stdout, stderr *bytes.Buffer, args ...string) (text string, code int) {
	code = g.run(append(append([]string{"rollout"}, args...), "--file", w.file))
	text = fmt.Sprintf("$ fleetctl rollout %s\n%s%s[exit %d]\n", strings.Join(args, " "), stderr, stdout, code)
	return w.plain(text), code
}

// transcript returns a call that has to end with a code, and what all calls have printed.
func (w *rolling) transcript() (say func(want int, args ...string), all *strings.Builder) {
	all = new(strings.Builder)
	return func(want int, args ...string) {
		w.t.Helper()
		text, code := w.fleetctl(args...)
		all.WriteString(text + "\n")
		require.Equal(w.t, want, code, text)
	}, all
}

// plain makes a text the same on every machine.
func (w *rolling) plain(text string) string {
	host, _ := os.Hostname()
	return strings.NewReplacer(w.file, "fleet.yaml", filepath.Dir(w.file)+"/", "", "ana@"+host, "ana@host-a").Replace(text)
}

// status is the rollout as JSON shows it.
func (w *rolling) status(args ...string) rollout.View {
	w.t.Helper()
	g, stdout, stderr := w.globals()
	code := g.run(append([]string{"rollout", "status", "-o", "json", "--file", w.file}, args...))
	require.Zero(w.t, code, stderr.String())
	var v rollout.View
	require.NoError(w.t, json.Unmarshal(stdout.Bytes(), &v))
	return v
}

// on counts the members of a set on a version.
func (w *rolling) on(set, version string) int {
	w.t.Helper()
	n := 0
	for _, s := range w.status().Sets {
		for _, m := range s.Members {
			if s.Name == set && m.Version == version {
				n++
			}
		}
	}
	return n
}

// onEveryPlace runs a test with a journal in a directory, and with one of blobs.
func onEveryPlace(t *testing.T, s rollSetup, test func(t *testing.T, w *rolling)) {
	t.Helper()
	for name, journal := range map[string]string{"directory": "", "blobs": blobJournal} {
		t.Run(name, func(t *testing.T) {
			s.journal = journal
			test(t, newRolling(t, s))
		})
	}
}

// stop deallocates a member, as an operator does, and start starts it again.
func (w *rolling) stop(name string)  { w.power(name, "deallocate") }
func (w *rolling) start(name string) { w.power(name, "start") }

func (w *rolling) power(name, how string) {
	w.t.Helper()
	w.serve(http.MethodPost, "/subscriptions/"+arm.DefaultSubscription+"/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachines/"+name+"/"+how+"?api-version=2024-07-01", http.StatusAccepted)
	w.server.Advance(time.Minute)
}

// until moves the rollout on by ticks of a schedule until something is so.
func (w *rolling) until(there func() bool) {
	w.t.Helper()
	for range 200 {
		if there() {
			return
		}
		w.server.Advance(3 * time.Minute)
		text, code := w.fleetctl("advance")
		require.Contains(w.t, []int{0, exitHalted}, code, text)
	}
	require.Fail(w.t, "it never was so")
}

// phase waits for a phase.
func (w *rolling) phase(want rollout.Phase) {
	w.t.Helper()
	w.until(func() bool { return w.status("--offline").Phase == want })
}

// step waits for the step of a wave.
func (w *rolling) step(wave int, want rollout.Step) {
	w.t.Helper()
	w.until(func() bool { return w.status("--offline").Waves[wave].Step == want })
}

// begin begins a rollout of 1.7.1, and does its first tick.
func (w *rolling) begin() {
	w.t.Helper()
	text, code := w.fleetctl("run", "1.7.1", "--yes", "--no-wait")
	require.Zero(w.t, code, text)
}

// A good version reaches everybody, and the command says so.
func TestRolloutRun(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		text, code := w.fleetctl("run", "1.7.1", "--yes")
		require.Zero(t, code, text)
		v := w.status()
		require.Equal(t, rollout.Succeeded, v.Phase)
		require.Equal(t, "1", v.ID)
		require.Empty(t, v.Lock)
		golden(t, "roll/succeeded", text)

		text, code = w.fleetctl("advance", "--exit-code")
		require.Zero(t, code, text)
		require.Contains(t, text, "rollout 1 of 1.7.1 is over: there is nothing to do")
	})
}

// A bad version ends with 5, and says why.
func TestRolloutHalts(t *testing.T) {
	w := newRolling(t, rollSetup{health: "Unhealthy"})
	text, code := w.fleetctl("run", "1.7.1", "--yes")
	require.Equal(t, exitHalted, code, text)
	golden(t, "roll/halted", text)
	text, code = w.fleetctl("status", "--exit-code")
	require.Equal(t, exitHalted, code, text)
	text, code = w.fleetctl("status")
	require.Zero(t, code, text)
	text, code = w.fleetctl("advance")
	require.Zero(t, code, text)

	text, code = w.fleetctl("show")
	require.Zero(t, code, text)
	golden(t, "roll/show-halted", text)
}

// As JSON, a run is one document, and nothing is asked.
func TestRolloutRunJSON(t *testing.T) {
	w := newRolling(t, rollSetup{})
	text, code := w.fleetctl("run", "1.7.1", "-o", "json")
	require.Equal(t, exitUsage, code, text)
	require.Contains(t, text, "there is nobody to ask")
	g, stdout, stderr := w.globals()
	code = g.run([]string{"rollout", "run", "1.7.1", "--yes", "-o", "json", "--file", w.file})
	require.Zero(t, code, stderr.String())
	var v rollout.View
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &v))
	require.Equal(t, rollout.Succeeded, v.Phase)
	require.Equal(t, 1, v.Version)
	require.Len(t, v.Ran, 6)
}

// What is asked before a rollout begins, and what no answer does.
func TestRolloutConfirm(t *testing.T) {
	w := newRolling(t, rollSetup{})
	for _, answer := range []string{"", "n\n", "maybe\n"} {
		g, stdout, stderr := w.globals()
		g.answers = answersFrom(strings.NewReader(answer))
		text, code := w.call(g, stdout, stderr, "run", "1.7.1")
		require.Equal(t, 1, code, text)
		require.Contains(t, text, "fleetctl: rollouts is not there yet: it is made by the first rollout")
		require.Contains(t, text, "Begin this rollout? [y/N]")
		require.Contains(t, text, "nothing was written")
	}
	require.NoDirExists(t, w.directory())
	g, stdout, stderr := w.globals()
	g.answers = answersFrom(strings.NewReader("y\n"))
	text, code := w.call(g, stdout, stderr, "run", "1.7.1", "--no-wait")
	require.Zero(t, code, text)
	require.Equal(t, rollout.Rolling, w.status("--offline").Phase)
}

// Ticks of a schedule come to the same end, and say how it stands by their exit code.
func TestRolloutAdvance(t *testing.T) {
	w := newRolling(t, rollSetup{journal: blobJournal})
	text, code := w.fleetctl("advance", "--exit-code")
	require.Zero(t, code, text)
	require.Contains(t, text, "there is no rollout")
	w.begin()
	ticks := 0
	for code = exitChanges; code == exitChanges && ticks < 100; ticks++ {
		w.server.Advance(4 * time.Minute)
		text, code = w.fleetctl("advance", "--exit-code")
	}
	require.Zero(t, code, text)
	require.Greater(t, ticks, 5)
	require.Equal(t, rollout.Succeeded, w.status().Phase)
	require.Equal(t, 3, w.on("vmss-authz-west", "1.7.1"))
}

// A tick that ends a rollout badly exits with 5; one after it has nothing to do.
func TestRolloutAdvanceHalts(t *testing.T) {
	w := newRolling(t, rollSetup{health: "Unhealthy"})
	w.begin()
	text, code := "", 0
	for range 100 {
		w.server.Advance(time.Minute)
		if text, code = w.fleetctl("advance"); code != 0 {
			break
		}
	}
	require.Equal(t, exitHalted, code, text)
	require.Equal(t, rollout.Halted, w.status().Phase)
	text, code = w.fleetctl("advance")
	require.Zero(t, code, text)
}

// Two at once: one works, the other says who does.
func TestRolloutTwoAtOnce(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		asked := false
		w.ticks = append(w.ticks, func() {
			if asked {
				return
			}
			asked = true
			for _, tc := range []struct {
				args string
				code int
			}{
				{"advance", 0}, {"advance --exit-code", exitChanges}, {"run 1.7.1 --yes", exitRefused}, {"run 1.7.2 --yes", exitRefused}, {"run 1.7.2 --yes --supersede", exitRefused},
			} {
				text, code := w.fleetctl(strings.Fields(tc.args)...)
				require.Equal(t, tc.code, code, text)
				require.Regexp(t, `at work on this rollout:\s+ana\s+on\s`, text)
			}
			require.Contains(t, w.status().Lock, "ana")
			g, stdout, stderr := w.globals()
			require.Zero(t, g.run([]string{"rollout", "advance", "-o", "json", "--file", w.file}), stderr.String())
			var v rollout.View
			require.NoError(t, json.Unmarshal(stdout.Bytes(), &v))
			require.Contains(t, v.Lock, "ana")
		})
		g, stdout, stderr := w.globals()
		sleep := g.sleep
		g.sleep = func(ctx context.Context, d time.Duration) error {
			return errors.Join(sleep(ctx, d), errors.New("that is enough"))
		}
		text, code := w.call(g, stdout, stderr, "run", "1.7.1", "--yes")
		require.Equal(t, 1, code, text)
		require.Contains(t, text, "that is enough")
		require.True(t, asked)
		require.Empty(t, w.status().Lock)
	})
}

// once does something when a text has been shown.
func (w *rolling) once(stderr fmt.Stringer, shown string, do func()) {
	done := false
	w.ticks = append(w.ticks, func() {
		if !done && strings.Contains(stderr.String(), shown) {
			done = true
			do()
		}
	})
}

// What an operator asks takes effect within one tick while another process holds the
// lock.
func TestRolloutAsksWhileItRuns(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		var paused, aborted time.Time
		g, stdout, stderr := w.globals()
		w.once(stderr, "wave canary soaking", func() {
			paused = w.clock.Now()
			text, code := w.fleetctl("pause", "--why", "incident 4711")
			require.Zero(t, code, text)
			require.Contains(t, text, "rollout 1 of 1.7.1 · asked: pause")
			if w.setup.journal != blobJournal { // where the time of a lease has passed, and the holder's has not
				require.Contains(t, text, "it is taken up in the next tick there")
			}
			text, code = w.fleetctl("pause", "--why", "incident 4711")
			require.Zero(t, code, text)
			require.Contains(t, text, "asked already")
		})
		w.once(stderr, "paused by ana", func() {
			require.LessOrEqual(t, w.clock.Now().Sub(paused), 20*time.Second)
			w.server.Advance(time.Hour)
			text, code := w.fleetctl("abort")
			aborted = w.clock.Now()
			require.Zero(t, code, text)
		})
		text, code := w.call(g, stdout, stderr, "run", "1.7.1", "--yes")
		require.Equal(t, exitHalted, code, text)
		require.False(t, aborted.IsZero(), "nobody was told of the pause: "+text)
		v := w.status()
		require.Equal(t, rollout.Aborted, v.Phase, text)
		require.Len(t, v.Ran, 1, "nothing was begun after the pause")
		require.LessOrEqual(t, v.Ran[0].To.Sub(aborted), 15*time.Minute, text)
		require.Equal(t, 3, w.on("vmss-authz", "1.7.0"))
	})
}

// Of two aborts the one that takes members back counts, whichever was asked first. What is
// no request is said once a call.
func TestRolloutAbortsThatDiffer(t *testing.T) {
	w := newRolling(t, rollSetup{})
	w.begin()
	w.step(0, rollout.Soaking)
	text, code := w.fleetctl("abort", "--keep")
	require.Zero(t, code, text)
	text, code = w.fleetctl("abort")
	require.Zero(t, code, text)
	text, code = w.fleetctl("abort", "--keep")
	require.Equal(t, exitRefused, code, text)
	bad := filepath.Join(filepath.Dir(w.file), "rollouts", "1", "requests", "20260101T000000.000000000Z-00000000")
	require.NoError(t, os.WriteFile(bad, []byte("no JSON"), 0o600))
	text, code = w.fleetctl("status")
	require.Zero(t, code, text)
	require.Contains(t, text, "abort, members stay as they are, by ana")
	require.Equal(t, 1, strings.Count(text, "is left out: it is no JSON"), text)
	w.phase(rollout.Aborted)
	require.Equal(t, 3, w.on("vmss-authz", "1.7.0"))
}

// However much lies among the requests that is none, an operator's abort is taken, shown
// and done.
func TestRolloutAbortAmongLitter(t *testing.T) {
	w := newRolling(t, rollSetup{})
	w.begin()
	dir := filepath.Join(w.directory(), "1", "requests")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for n := range 1000 {
		text := []string{"no JSON", "{}"}[n%2]
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("20260101T000000.000000000Z-%08x", n)), []byte(text), 0o600))
	}
	text, code := w.fleetctl("abort")
	require.Zero(t, code, text)
	require.Contains(t, text, "asked: abort")
	require.Len(t, w.status("--offline").Asked, 1)
	w.phase(rollout.Aborted)
}

// A pause, a resume and an approval by a schedule's side.
func TestRolloutAsks(t *testing.T) {
	w := newRolling(t, rollSetup{approve: true})
	require.NoError(t, os.Mkdir(w.directory(), 0o755))
	text, code := w.fleetctl("history")
	require.Zero(t, code, text)
	require.Contains(t, text, "there was no rollout yet")
	say, all := w.transcript()
	say(exitRefused, "pause")
	w.begin()
	say(exitRefused, "approve")
	say(exitRefused, "resume")
	say(0, "pause", "--why", "incident 4711")
	say(0, "resume") // before anybody took the pause up
	w.server.Advance(time.Minute)
	say(0, "advance")
	w.step(1, rollout.Asking)
	say(exitRefused, "approve", "canary")
	w.server.Advance(time.Hour)
	say(0, "approve", "all", "--why", "CAB-1207")
	say(0, "approve")
	w.phase(rollout.Succeeded)
	say(exitRefused, "abort")
	say(exitRefused, "approve")
	golden(t, "roll/asks", all.String())
}

// The last word of operators counts, also when none of them was taken up yet.
func TestRolloutAsksInTheirOrder(t *testing.T) {
	w := newRolling(t, rollSetup{})
	w.begin()
	w.step(0, rollout.Soaking)
	paused := func() bool {
		w.server.Advance(time.Minute)
		text, code := w.fleetctl("advance")
		require.Zero(t, code, text)
		return w.status("--offline").Paused != ""
	}
	for _, ask := range []string{"pause", "resume", "pause"} {
		text, code := w.fleetctl(ask)
		require.Zero(t, code, text)
		require.NotContains(t, text, "already")
	}
	require.True(t, paused())
	for _, ask := range []string{"resume", "pause"} { // of one that is paused
		text, code := w.fleetctl(ask)
		require.Zero(t, code, text)
	}
	require.True(t, paused())
}

// Two files that name one place: the rollout of one is nothing to the other.
func TestRolloutOfAnotherFleet(t *testing.T) {
	w := newRolling(t, rollSetup{})
	w.begin()
	text, err := os.ReadFile(w.file)
	require.NoError(t, err)
	mine, entries := w.file, len(w.status("--offline").Ran)
	w.file = filepath.Join(filepath.Dir(w.file), "staging.yaml")
	require.NoError(t, os.WriteFile(w.file, bytes.ReplaceAll(text, []byte("rg-pay-prod"), []byte("rg-pay-staging")), 0o600))
	w.server.Advance(5 * time.Minute)
	for _, args := range []string{"advance", "run 1.7.1 --yes", "run 1.7.2 --yes", "run 1.7.2 --yes --supersede", "pause", "abort", "unlock --yes"} {
		text, code := w.fleetctl(strings.Fields(args)...)
		require.Equal(t, 1, code, text)
		require.Contains(t, strings.Join(strings.Fields(text), " "), "rollout 1 of 1.7.1 is of the fleet pay, and none of its scale sets is in this file")
	}
	w.file = mine
	v := w.status("--offline")
	require.Empty(t, v.Asked)
	require.Len(t, v.Ran, entries)
}

// A pause that nobody ends is held: it can be resumed, and aborted.
func TestRolloutHeld(t *testing.T) {
	for name, tc := range map[string]struct {
		ask []string
		end rollout.Phase
	}{
		"resume": {[]string{"resume"}, rollout.Succeeded},
		"abort":  {[]string{"abort"}, rollout.Aborted},
		"keep":   {[]string{"abort", "--keep"}, rollout.Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRolling(t, rollSetup{})
			w.begin()
			w.step(0, rollout.Soaking)
			text, code := w.fleetctl("pause")
			require.Zero(t, code, text)
			for range 3 {
				w.server.Advance(13 * time.Hour)
				text, code = w.fleetctl("advance")
			}
			require.Equal(t, exitHalted, code, text)
			require.Equal(t, rollout.Held, w.status().Phase)
			text, code = w.fleetctl("run", "1.7.1", "--yes")
			require.Equal(t, exitHalted, code, text)
			text, code = w.fleetctl("pause")
			require.Equal(t, exitRefused, code, text)
			require.Contains(t, text, "fleetctl rollout resume lets it go on")
			text, code = w.fleetctl(tc.ask...)
			require.Zero(t, code, text)
			w.phase(tc.end)
			want := 3
			if name == "keep" {
				want = 2
			}
			if tc.end == rollout.Aborted {
				require.Equal(t, want, w.on("vmss-authz", "1.7.0"))
			}
		})
	}
}

// An interrupt ends in order, gives the lock back, and says how to go on; the next call
// does.
func TestRolloutInterrupted(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		g, stdout, stderr := w.globals()
		sleep := g.sleep
		g.sleep = func(ctx context.Context, d time.Duration) error {
			if strings.Contains(stderr.String(), "wave canary soaking") && ctx.Err() == nil {
				require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
				<-ctx.Done()
			}
			return sleep(ctx, d)
		}
		text, code := w.call(g, stdout, stderr, "run", "1.7.1", "--yes")
		require.Equal(t, cli.ExitInterrupted, code, text)
		golden(t, "roll/interrupted", text)
		require.Empty(t, w.status().Lock)
		text, code = w.fleetctl("run", "1.7.1", "--no-wait")
		require.Zero(t, code, text)
		require.Contains(t, text, "rollout 1 of 1.7.1, begun")
		require.Equal(t, "1", w.status("--offline").ID)
	})
}

// Another version is refused while a rollout is unfinished, or supersedes it.
func TestRolloutSupersede(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		w.begin()
		w.step(0, rollout.Soaking)
		text, code := w.fleetctl("run", "1.7.2", "--yes")
		require.Equal(t, exitRefused, code, text)
		golden(t, "roll/in-the-way", text)
		text, code = w.fleetctl("run", "1.7.2", "--yes", "--supersede")
		require.Zero(t, code, text)
		v := w.status()
		require.Equal(t, "2", v.ID)
		require.Equal(t, rollout.Succeeded, v.Phase)
		require.Equal(t, 3, w.on("vmss-authz", "1.7.2"))
		text, code = w.fleetctl("history")
		require.Zero(t, code, text)
		golden(t, "roll/history", text)
		text, code = w.fleetctl("show", "1")
		require.Zero(t, code, text)
		require.Contains(t, text, "superseded by 1.7.2")
	})
}

// Between a look at a rollout and its lock, another call may have superseded it: nothing is
// done for the old one then.
func TestRolloutSupersededMeanwhile(t *testing.T) {
	for name, args := range map[string][]string{
		"go on":     {"run", "1.7.1", "--yes"},
		"supersede": {"run", "1.7.0", "--yes", "--supersede"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newRolling(t, rollSetup{})
			w.begin()
			g, stdout, stderr := w.globals()
			env, done := g.getenv, false
			g.getenv = func(name string) string {
				if name == "USER" && !done { // it is about to take the lock
					done = true
					text, code := w.fleetctl("run", "1.7.2", "--yes", "--supersede", "--no-wait")
					require.Zero(t, code, text)
				}
				return env(name)
			}
			text, code := w.call(g, stdout, stderr, args...)
			require.True(t, done)
			require.Equal(t, exitRefused, code, text)
			require.Contains(t, text, "rollout 2 of 1.7.2 was begun by somebody else just now")
			v := w.status()
			require.Equal(t, "2", v.ID)
			require.Equal(t, rollout.Rolling, v.Phase)
			require.Empty(t, v.Asked)
		})
	}
}

// A process that is killed leaves a rollout that the next call goes on with: at once where
// the lock is a file, within a minute where it is a lease.
func TestRolloutKilled(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		cmd := exec.CommandContext(t.Context(), "fleetctl", "rollout", "run", "1.7.1", "--yes", "--file", w.file)
		cmd.Env = append(os.Environ(), azure.EndpointVariable+"="+w.endpoint.URL, subscriptionVariable+"="+arm.DefaultSubscription)
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(stderr)
		for lines.Scan() && !strings.Contains(lines.Text(), "batch to 1.7.1") {
			continue
		}
		require.NoError(t, cmd.Process.Kill())
		require.Error(t, cmd.Wait())

		if w.setup.journal == blobJournal {
			text, code := w.fleetctl("run", "1.7.1", "--yes")
			require.Equal(t, exitRefused, code, text)
			require.Contains(t, text, "at work on this rollout")
			w.server.Advance(time.Minute)
		}
		text, code := w.fleetctl("run", "1.7.1")
		require.Zero(t, code, text)
		require.Contains(t, text, "is gone on with")
		v := w.status()
		require.Equal(t, rollout.Succeeded, v.Phase)
		require.Equal(t, "1", v.ID)
		require.Len(t, v.Ran, 6, "each member once")
	})
}

// holds takes the lock of a rollout for somebody else.
func (w *rolling) holds(id string) *journal.Lock {
	w.t.Helper()
	g, _, _ := w.globals()
	g.file, g.auth = w.file, "default"
	r, err := g.loadRollouts()
	require.NoError(w.t, err)
	j, err := r.place.Journal(id)
	require.NoError(w.t, err)
	lock, err := j.Acquire(w.t.Context(), journal.Owner{Name: "ben", Host: "host-b"})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = lock.Release(context.Background()) })
	return lock
}

// A lock is taken from somebody who is named first, when that is confirmed.
func TestRolloutUnlock(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		if w.setup.journal != blobJournal {
			require.NoError(t, os.Mkdir(w.directory(), 0o755))
		}
		text, code := w.fleetctl("unlock")
		require.Zero(t, code, text)
		require.Contains(t, text, "nobody has a lock")
		w.begin()
		lock := w.holds("1")
		text, code = w.fleetctl("unlock")
		require.Equal(t, exitUsage, code, text)
		require.Contains(t, text, "ben on host-b")
		g, stdout, stderr := w.globals()
		g.answers = answersFrom(strings.NewReader("no\n"))
		text, code = w.call(g, stdout, stderr, "unlock")
		require.Equal(t, 1, code, text)
		require.NoError(t, lock.Guard())

		g, stdout, stderr = w.globals()
		g.answers = answersFrom(strings.NewReader("yes\n"))
		text, code = w.call(g, stdout, stderr, "unlock")
		require.Zero(t, code, text)
		require.Contains(t, text, "Take the lock of rollout 1 from them? [y/N]")
		require.Contains(t, text, "rollout 1 is unlocked")
		require.ErrorIs(t, lock.Append(t.Context(), json.RawMessage("1")), journal.ErrLost)
		text, code = w.fleetctl("advance")
		require.Zero(t, code, text)

		// One that is about to begin the next rollout, as JSON.
		w.holds("2")
		g, stdout, stderr = w.globals()
		require.Zero(t, g.run([]string{"rollout", "unlock", "--yes", "-o", "json", "--file", w.file}), stderr.String())
		var v unlockView
		require.NoError(t, json.Unmarshal(stdout.Bytes(), &v))
		require.Equal(t, unlockView{1, "2", true, "ben", "host-b", v.Since}, v)
	})
}

// What is wrong with a journal is said, with what to do.
func TestRolloutJournalErrors(t *testing.T) {
	w := newRolling(t, rollSetup{})
	w.begin()
	path := filepath.Join(filepath.Dir(w.file), "rollouts", "1", "journal")
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	say, all := w.transcript()
	damaged := bytes.Replace(whole, []byte("1.7.1"), []byte("1.7.2"), 1)
	require.NoError(t, os.WriteFile(path, damaged, 0o644))
	say(1, "advance")
	say(1, "status", "--offline")
	text, code := w.fleetctl("history")
	require.Zero(t, code, text)
	require.Contains(t, text, "cannot be read")
	require.Contains(t, strings.Join(strings.Fields(text), " "), "the line is damaged")
	lines := bytes.SplitAfterN(whole, []byte("\n"), 3)
	later := slices.Concat(lines[0], []byte("2"), lines[1][1:])
	require.NoError(t, os.WriteFile(path, later, 0o644))
	say(1, "run", "1.7.1", "--yes")
	require.NoError(t, os.WriteFile(path, whole, 0o644))
	say(1, "show", "7")
	say(1, "show", "canary")
	say(exitUsage, "show", "1", "2")
	say(exitUsage, "history", "--last", "0")
	say(exitUsage, "run", "newest")
	say(exitUsage, "pause", "--why", strings.Repeat("x", maxWhy+1))
	golden(t, "roll/journal-errors", strings.ReplaceAll(all.String(), strings.Repeat("x", maxWhy+1), "xxx"))
}

// What is wrong with a container is said, with what to do.
func TestRolloutContainerErrors(t *testing.T) {
	w := newRolling(t, rollSetup{journal: blobJournal})
	w.serve(http.MethodDelete, "/blob/stpay/fleetctl?restype=container", http.StatusAccepted)
	text, code := w.fleetctl("status")
	require.Equal(t, 1, code, text)
	require.Contains(t, text, "hint: make the container of rollout.journal first")
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Path: "/blob/", Status: http.StatusForbidden, Code: "AuthorizationPermissionMismatch", Message: "This request is not authorized to perform this operation using this permission."}))
	for _, args := range []string{"status", "advance", "run 1.7.1 --yes", "pause", "unlock", "history", "show"} {
		text, code = w.fleetctl(strings.Fields(args)...)
		require.Equal(t, exitUnauthorised, code, text)
		require.Contains(t, text, "Storage Blob Data Contributor")
	}
}

// A journal whose place is lost, or mistyped, is not that of a fleet without rollouts:
// only who begins one takes a directory that is not there for the first one's, and says it.
func TestRolloutLostPlace(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		w.begin()
		var back func()
		if w.setup.journal == blobJournal {
			w.serve(http.MethodDelete, "/blob/stpay/fleetctl?restype=container", http.StatusAccepted)
		} else {
			dir := w.directory()
			require.NoError(t, os.Rename(dir, dir+".away"))
			back = func() { require.NoError(t, os.Rename(dir+".away", dir)) }
		}
		for _, args := range []string{"status", "watch", "show", "show 1", "history", "advance", "approve", "pause", "resume", "abort", "unlock --yes"} {
			text, code := w.fleetctl(strings.Fields(args)...)
			require.Equal(t, 1, code, args, text)
			require.Contains(t, text, "the place of the journal is not there", args)
			require.Contains(t, text, "hint: ", args)
			require.Contains(t, text, "a rollout may be under way", args)
			require.NotContains(t, text, "there is no rollout", args)
		}
		w.server.Advance(2 * time.Minute) // the canary has its disk
		text, code := w.fleetctl("plan", "1.7.2")
		if back == nil {
			require.Equal(t, 1, code, text)
			require.Contains(t, text, "az storage container create")
			return
		}
		require.Zero(t, code, text)
		require.Contains(t, text, "1.7.2 to pay can begin")
		back()
		require.Equal(t, "1", w.status().ID)
	})
}

// A file that says nothing of rollouts has none, and says what to write.
func TestRolloutWithoutSection(t *testing.T) {
	w := newRolling(t, rollSetup{})
	text, err := os.ReadFile(w.file)
	require.NoError(t, err)
	head, _, _ := strings.Cut(string(text), "rollout:\n")
	require.NoError(t, os.WriteFile(w.file, []byte(head), 0o644))
	for _, args := range []string{"status", "advance", "run 1.7.1 --yes", "pause", "unlock", "history", "show"} {
		text, code := w.fleetctl(strings.Fields(args)...)
		require.Equal(t, 1, code, text)
		require.Contains(t, text, "hint: add one, such as: rollout: {waves:")
	}
	g, _, _ := w.globals()
	g.file, g.auth = w.file, "default"
	spec, err := g.load()
	require.NoError(t, err)
	held, err := g.hold(t.Context(), spec)
	require.NoError(t, err)
	require.Nil(t, held)
}

// What speaks against a plan refuses it, each reason with what to do.
func TestRolloutRefused(t *testing.T) {
	w := newRolling(t, rollSetup{})
	text, code := w.fleetctl("run", "9.9.9", "--yes")
	require.Equal(t, exitRefused, code, text)
	golden(t, "roll/refused", text)
	require.NoDirExists(t, w.directory())
}

// A rollout that nobody looks at is overdue, and whoever asks something is told.
func TestRolloutOverdue(t *testing.T) {
	w := newRolling(t, rollSetup{})
	w.begin()
	require.False(t, w.status().Overdue)
	w.server.Advance(16 * time.Minute)
	require.True(t, w.status().Overdue)
	require.Equal(t, 16*time.Minute, w.status().At.Sub(w.status().Worked).Round(time.Minute))
	text, code := w.fleetctl("status", "--exit-code")
	require.Equal(t, exitChanges, code, text)
	require.Contains(t, text, "OVERDUE: nobody has worked on it for 16m")
	text, code = w.fleetctl("pause")
	require.Zero(t, code, text)
	require.Contains(t, strings.Join(strings.Fields(text), " "), "run fleetctl rollout advance")
	g, stdout, stderr := w.globals()
	require.Zero(t, g.run([]string{"rollout", "pause", "-o", "json", "--file", w.file}), stderr.String())
	var v askView
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &v))
	require.True(t, v.Overdue)
	require.True(t, v.Already)
	require.Equal(t, rollout.Pause, v.Request.Do)
}

// A rollout as JSON, whole.
func TestRolloutShowJSON(t *testing.T) {
	w := newRolling(t, rollSetup{health: "Unhealthy"})
	text, code := w.fleetctl("run", "1.7.1", "--yes")
	require.Equal(t, exitHalted, code, text)
	g, stdout, stderr := w.globals()
	require.Zero(t, g.run([]string{"rollout", "show", "1", "-o", "json", "--file", w.file}), stderr.String())
	var v showView
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &v))
	require.Equal(t, 1, v.Version)
	require.Len(t, v.Ran, 1)
	require.Contains(t, v.Ran[0].Node, "hsm: connection refused")
	require.False(t, v.Ran[0].To.IsZero())
	require.Equal(t, rollout.Planned, v.Events[0].Kind)
	require.Equal(t, "1.7.1", v.Plan.Version)

	g, stdout, stderr = w.globals()
	require.Zero(t, g.run([]string{"rollout", "history", "-o", "json", "--file", w.file}), stderr.String())
	var h historyView
	require.NoError(t, json.Unmarshal(stdout.Bytes(), &h))
	require.Equal(t, 1, h.Version)
	require.Len(t, h.Rollouts, 1)
	require.Equal(t, rollout.Halted, h.Rollouts[0].Phase)
	require.Equal(t, 1, h.Rollouts[0].Ran)
}

// Who works on a rollout is a person on a machine, or a run of a pipeline by its address.
func TestRolloutOwner(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"ana": {"USER": "ana"},
		"ben": {"LOGNAME": "ben"},
		"uid": {},
		"https://github.com/kloudvin/pay/actions/runs/42": {
			"USER": "runner", "GITHUB_RUN_ID": "42", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "kloudvin/pay",
		},
		"https://dev.azure.com/kloudvin/pay/_build/results?buildId=7": {
			"BUILD_BUILDID": "7", "SYSTEM_COLLECTIONURI": "https://dev.azure.com/kloudvin/", "SYSTEM_TEAMPROJECT": "pay",
		},
	} {
		g := &globals{getenv: func(name string) string { return env[name] }}
		o := g.owner()
		require.True(t, strings.HasPrefix(o.Name, want), o.Name)
		require.Equal(t, os.Getpid(), o.PID)
	}
	require.Equal(t, "ana@host-a", nameOf(journal.Owner{Name: "ana", Host: "host-a"}))
	require.Equal(t, "https://github.com/kloudvin/pay/actions/runs/42", nameOf(journal.Owner{Name: "https://github.com/kloudvin/pay/actions/runs/42", Host: "host-a"}))
}

// What makes sense to ask of a rollout, phase by phase.
func TestRolloutRefusals(t *testing.T) {
	phases := []rollout.Phase{
		rollout.Pending, rollout.Rolling, rollout.Promoting, rollout.Halting, rollout.Returning, rollout.Demoting,
		rollout.Held, rollout.Incomplete, rollout.Succeeded, rollout.Halted, rollout.Aborted,
	}
	allowed := map[rollout.Order][]rollout.Phase{
		rollout.Pause:   {rollout.Pending, rollout.Rolling, rollout.Promoting},
		rollout.Resume:  {rollout.Held},
		rollout.Abort:   {rollout.Pending, rollout.Rolling, rollout.Promoting, rollout.Held, rollout.Incomplete},
		rollout.Approve: {},
	}
	plan := rollout.Plan{Waves: []rollout.Wave{{Name: "canary"}, {Name: "all", Approve: true}}}
	for do, may := range allowed {
		for _, phase := range phases {
			f := &found{"1", roll.Status{Plan: plan, State: rollout.State{Phase: phase, Waves: make([]rollout.WaveState, 2)}}}
			no, hint := refusal(f, &rollout.Request{Do: do})
			require.Equal(t, slices.Contains(may, phase), no == "", "%s of one that is %s: %s", do, phase, no)
			require.Equal(t, no == "", hint == "", "%s of one that is %s", do, phase)
		}
	}
	rolling := rollout.State{Phase: rollout.Rolling, Wave: 1, Waves: []rollout.WaveState{{Step: rollout.WaveDone}, {Step: rollout.Asking}}}
	q := rollout.Request{Do: rollout.Approve}
	no, _ := refusal(&found{"1", roll.Status{Plan: plan, State: rolling}}, &q)
	require.Empty(t, no)
	require.Equal(t, "all", q.Wave)
	blocked := rolling
	blocked.Block = &rollout.Block{Class: rollout.NoCapacity}
	no, _ = refusal(&found{"1", roll.Status{Plan: plan, State: blocked}}, &rollout.Request{Do: rollout.Resume})
	require.Empty(t, no)
}

// newIncomplete is a rollout that was aborted and had to leave a member.
func newIncomplete(t *testing.T) *rolling {
	t.Helper()
	w := newRolling(t, rollSetup{})
	w.begin()
	w.step(0, rollout.Soaking)
	w.stop(w.status("--offline").Ran[0].Member)
	text, code := w.fleetctl("abort")
	require.Zero(t, code, text)
	w.phase(rollout.Incomplete)
	require.Len(t, w.status().Left, 1)
	return w
}

// What a halt had to leave refuses another version, until it is superseded.
func TestRolloutIncomplete(t *testing.T) {
	w := newIncomplete(t)
	text, code := w.fleetctl("advance")
	require.Equal(t, exitHalted, code, text)
	text, code = w.fleetctl("run", "1.7.2", "--yes")
	require.Equal(t, exitRefused, code, text)
	text, code = w.fleetctl("run", "1.7.2", "--yes", "--supersede", "--no-wait")
	require.Zero(t, code, text)
	v := w.status("--offline")
	require.Equal(t, "2", v.ID)
	require.Equal(t, rollout.Rolling, v.Phase)
}

// An abort ends what a halt had to leave: it stays listed, and nothing is in the way of
// another version any more.
func TestRolloutAbortOfAnIncompleteHalt(t *testing.T) {
	w := newIncomplete(t)
	text, code := w.fleetctl("abort", "--why", "it was taken away")
	require.Zero(t, code, text)
	w.phase(rollout.Aborted)
	require.Len(t, w.status().Left, 1)
	text, code = w.fleetctl("run", "1.7.2", "--yes", "--no-wait")
	require.Zero(t, code, text)
}

// A run whose lock in Azure Storage is lost because nobody could renew it, as on a machine
// that slept, takes it again, unless somebody else has it by then, or took it away.
func TestRolloutTakesItsLockAgain(t *testing.T) {
	const lost = "it was not renewed for 1m0s; the machine slept, or Azure Storage was out of reach: it is taken again when it can be"
	// run runs a rollout on a machine whose clock is the rollout's: a lease is renewed every
	// 15 s of the test, in which hours of it pass. Once the lock is lost, then is done.
	run := func(t *testing.T, then func(w *rolling)) (w *rolling, text string, code int) {
		t.Helper()
		w = newRolling(t, rollSetup{journal: blobJournal})
		g, stdout, stderr := w.globals()
		start := w.clock.Now()
		g.passed = func() time.Duration { return w.clock.Now().Sub(start) }
		w.ticks = append(w.ticks, func() {
			if do := then; do != nil && strings.Contains(stderr.String(), lost) {
				then = nil // what is done ticks, too
				do(w)
			}
		})
		text, code = w.call(g, stdout, stderr, "run", "1.7.1", "--yes")
		require.Contains(t, text, lost)
		w.ticks = nil
		return w, text, code
	}
	t.Run("again", func(t *testing.T) {
		w, text, code := run(t, nil)
		require.Zero(t, code, text)
		v := w.status()
		require.Equal(t, rollout.Succeeded, v.Phase)
		require.Len(t, v.Ran, 6, "each member once")
	})
	t.Run("somebody else has it", func(t *testing.T) {
		_, text, code := run(t, func(w *rolling) { w.holds("1") })
		require.Equal(t, exitRefused, code, text)
		require.Contains(t, text, "at work on this rollout: ben on host-b")
		require.Contains(t, text, "is unfinished; fleetctl rollout advance goes on with it")
	})
	t.Run("superseded meanwhile", func(t *testing.T) {
		w, text, code := run(t, func(w *rolling) {
			w.step(0, rollout.Soaking)
			member := w.status("--offline").Ran[0].Member
			w.stop(member)
			text, code := w.fleetctl("run", "1.7.2", "--yes", "--supersede", "--no-wait")
			require.Zero(w.t, code, text)
			w.start(member) // the first rollout could take it back now, in the middle of the second
		})
		require.Equal(t, exitHalted, code, text)
		require.Contains(t, text, "rollout 1 of ubuntu-app 1.7.1 · halted-incomplete")
		require.NotContains(t, text, "returning")
		require.Equal(t, "2", w.status().ID)
	})
	t.Run("out of reach", func(t *testing.T) {
		w, text, code := run(t, func(w *rolling) {
			require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Path: "/blob/", Status: http.StatusServiceUnavailable, Code: "ServerBusy", Message: "The server is busy."}))
			w.server.Advance(regainWithin)
		})
		require.Equal(t, 1, code, text)
		require.Contains(t, text, "The server is busy")
		w.server.ClearFaults()
		require.Equal(t, rollout.Rolling, w.status().Phase)
	})
}
