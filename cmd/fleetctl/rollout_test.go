package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A rolling is a simulated Azure with a fleet on 1.7.0, whose time passes only while
// somebody waits, and the fleet.yaml of its rollouts.
type rolling struct {
	*baking

	t *testing.T
	// ticks are called after each wait.
	ticks []func()
}

// A rollSetup is what is different from the usual.
type rollSetup struct {
	health  string // of members on 1.7.1; Healthy
	journal string // rollouts, a directory
	approve bool   // the second wave waits for an approval
}

// blobJournal is a journal in a storage account of the simulator.
const blobJournal = "https://stpay.blob.core.windows.net/fleetctl/pay"

func newRolling(t *testing.T, s rollSetup) *rolling {
	t.Helper()
	words := map[bool]string{true: ", approve: true"}
	fill := strings.NewReplacer("%HEALTH%", orText(s.health, "Healthy"), "%JOURNAL%", orText(s.journal, "rollouts"), "%APPROVE%", words[s.approve])
	text, err := os.ReadFile(filepath.Join("testdata", "roll", "ground.yaml"))
	require.NoError(t, err)
	scenario, err := arm.ParseScenario("ground.yaml", []byte(fill.Replace(string(text))))
	require.NoError(t, err)
	w := &rolling{baking: newBakingOf(t, scenario), t: t}
	text, err = os.ReadFile(filepath.Join("testdata", "roll", "fleet.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(w.file, []byte(fill.Replace(string(text))), 0o644))
	if s.journal == blobJournal {
		w.serve(http.MethodPut, "/blob/stpay/fleetctl?restype=container", http.StatusCreated)
	}
	return w
}

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

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

// machine is what differs in texts from one machine, and one moment, to the other.
var machine = regexp.MustCompile(`(on|ana@)(\s?)\S+(\s\(process\s)\d+(\)), since \S+ \S+ UTC \(\S+\)`)

// plain makes a text the same on every machine.
func (w *rolling) plain(text string) string {
	host, _ := os.Hostname()
	text = strings.NewReplacer(w.file, "fleet.yaml", filepath.Dir(w.file)+"/", "", "ana@"+host, "ana@host-a").Replace(text)
	return machine.ReplaceAllString(text, "${1}${2}host-a${3}4711${4}, since 14:00 (2s)")
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

// goldenRoll compares a text with a file of testdata.
func goldenRoll(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", "roll", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
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


// until moves the rollout on by ticks of a schedule until something is so.
func (w *rolling) until(there func() bool) {
	w.t.Helper()
	for range 200 {
		if there() {
			return
		}
		w.server.Advance(time.Minute)
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
		goldenRoll(t, "succeeded", text)

		text, code = w.fleetctl("advance", "--exit-code")
		require.Zero(t, code, text)
		require.Contains(t, text, "rollout 1 of 1.7.1 is over: there is nothing to do")
	})
}

// A bad version ends with 5, and says why.
func TestRolloutHalts(t *testing.T) {
	onEveryPlace(t, rollSetup{health: "Unhealthy"}, func(t *testing.T, w *rolling) {
		text, code := w.fleetctl("run", "1.7.1", "--yes")
		require.Equal(t, exitHalted, code, text)
		goldenRoll(t, "halted", text)
		text, code = w.fleetctl("status", "--exit-code")
		require.Equal(t, exitHalted, code, text)
		text, code = w.fleetctl("status")
		require.Zero(t, code, text)
		text, code = w.fleetctl("advance")
		require.Zero(t, code, text)

		text, code = w.fleetctl("show")
		require.Zero(t, code, text)
		goldenRoll(t, "show-halted", text)
	})
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
		require.Contains(t, text, "Begin this rollout? [y/N]")
		require.Contains(t, text, "nothing was written")
	}
	text, code := w.fleetctl("history")
	require.Zero(t, code, text)
	require.Contains(t, text, "there was no rollout yet")
	g, stdout, stderr := w.globals()
	g.answers = answersFrom(strings.NewReader("y\n"))
	text, code = w.call(g, stdout, stderr, "run", "1.7.1", "--no-wait")
	require.Zero(t, code, text)
	require.Equal(t, rollout.Rolling, w.status("--offline").Phase)
}

// Ticks of a schedule come to the same end, and say how it stands by their exit code.
func TestRolloutAdvance(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
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
	})
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
				require.Regexp(t, `at work on this rollout:\s+ana\s+on\s+host-a`, text)
			}
			require.Contains(t, w.status().Lock, "ana")
			g, stdout, stderr := w.globals()
			require.Zero(t, g.run([]string{"rollout", "advance", "-o", "json", "--file", w.file}), stderr.String())
			var v rollout.View
			require.NoError(t, json.Unmarshal(stdout.Bytes(), &v))
			require.Contains(t, v.Lock, "ana")
		})
		text, code := w.fleetctl("run", "1.7.1", "--yes")
		require.Zero(t, code, text)
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
			goldenRoll(t, "pause", text)
			text, code = w.fleetctl("pause", "--why", "incident 4711")
			require.Zero(t, code, text)
			require.Contains(t, text, "asked already")
		})
		w.once(stderr, "paused by ana", func() {
			require.LessOrEqual(t, w.clock.Now().Sub(paused), 20*time.Second)
			w.server.Advance(time.Hour)
		})
		w.once(stderr, "paused, operator", func() {
			text, code := w.fleetctl("abort")
			aborted = w.clock.Now()
			require.Zero(t, code, text)
		})
		text, code := w.call(g, stdout, stderr, "run", "1.7.1", "--yes")
		require.Equal(t, exitHalted, code, text)
		v := w.status()
		require.Equal(t, rollout.Aborted, v.Phase, text)
		require.Len(t, v.Ran, 1, "nothing was begun after the pause")
		require.LessOrEqual(t, v.Ran[0].To.Sub(aborted), 15*time.Minute, text)
		require.Equal(t, 3, w.on("vmss-authz", "1.7.0"))
	})
}

// A pause, a resume and an approval by a schedule's side.
func TestRolloutAsks(t *testing.T) {
	onEveryPlace(t, rollSetup{approve: true}, func(t *testing.T, w *rolling) {
		var all strings.Builder
		say := func(want int, args ...string) {
			t.Helper()
			text, code := w.fleetctl(args...)
			all.WriteString(text + "\n")
			require.Equal(t, want, code, text)
		}
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
		goldenRoll(t, "asks", all.String())
	})
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
			for range 30 {
				w.server.Advance(time.Hour)
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
		goldenRoll(t, "interrupted", text)
		require.Empty(t, w.status().Lock)
		text, code = w.fleetctl("run", "1.7.1")
		require.Zero(t, code, text)
		require.Contains(t, text, "rollout 1 of 1.7.1, begun")
		require.Equal(t, rollout.Succeeded, w.status().Phase)
	})
}

// Another version is refused while a rollout is unfinished, or supersedes it.
func TestRolloutSupersede(t *testing.T) {
	onEveryPlace(t, rollSetup{}, func(t *testing.T, w *rolling) {
		w.begin()
		w.step(0, rollout.Soaking)
		text, code := w.fleetctl("run", "1.7.2", "--yes")
		require.Equal(t, exitRefused, code, text)
		goldenRoll(t, "in-the-way", text)
		text, code = w.fleetctl("run", "1.7.2", "--yes", "--supersede")
		require.Zero(t, code, text)
		v := w.status()
		require.Equal(t, "2", v.ID)
		require.Equal(t, rollout.Succeeded, v.Phase)
		require.Equal(t, 3, w.on("vmss-authz", "1.7.2"))
		text, code = w.fleetctl("history")
		require.Zero(t, code, text)
		goldenRoll(t, "history", text)
		text, code = w.fleetctl("show", "1")
		require.Zero(t, code, text)
		require.Contains(t, text, "superseded by 1.7.2")
	})
}
