package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/release"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

// A watching is a rollout that is watched, and what it does meanwhile.
type watching struct {
	*rolloutWatch
	stdout *bytes.Buffer

	mu      sync.Mutex // guards what follows
	events  []rollout.Event
	read    fleet.Fleet
	looks   int
	journal error
	azure   error
	hangs   bool // Azure does not answer
}

// newWatching begins to watch a rollout of the article's fleet that was just begun.
func newWatching(t *testing.T, format command.Format) *watching {
	t.Helper()
	f := fleettest.Article()
	plan, refusals := rollout.PlanFor(*articleSpec(), f, "1.8.0", rollout.Options{})
	require.Empty(t, refusals)
	g, stdout := seeing(t, cli.Style{}, 80)
	g.format = format
	start := time.Now()
	g.now = func() time.Time { return fleettest.Now.Add(time.Since(start)) }
	w := &watching{stdout: stdout, read: f}
	w.events = []rollout.Event{rollout.Begin(plan, g.now())}
	w.rolloutWatch = &rolloutWatch{
		g: g, now: g.now, interval: 30 * time.Second, screen: &cli.Screen{Output: g.out},
		found: found{"3", w.status()}, lines: (&rollouts{g: g}).newRolloutLines(&plan),
	}
	w.rolloutWatch.journal = func(context.Context) (roll.Status, string, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.status(), "ops is at work on it", w.journal
	}
	w.rolloutWatch.azure = func(ctx context.Context) (roll.Status, error) {
		w.mu.Lock()
		w.looks++
		hangs, s, err := w.hangs, w.status(), w.azure
		w.mu.Unlock()
		if hangs {
			<-ctx.Done()
			return roll.Status{}, ctx.Err()
		}
		o := rollout.Observation{At: g.now(), Epoch: s.State.Epoch, Sets: make(map[string]rollout.SetSeen)}
		for i := range w.read.Sets {
			o.Sets[w.read.Sets[i].Model.ID.Name()] = rollout.SetSeen{Set: w.read.Sets[i]}
		}
		s.Observation, s.Again = &o, g.now().Add(time.Minute)
		return s, err
	}
	return w
}

func (w *watching) status() roll.Status {
	plan, state, _ := rollout.Fold(w.events)
	return roll.Status{Plan: plan, State: state, Events: w.events}
}

// happens is an event of whoever works on the rollout.
func (w *watching) happens(e rollout.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Format, e.At = rollout.Format, w.g.now()
	w.events = append(slices.Clip(w.events), e)
}

// changes changes how the sources answer, after a time.
func (w *watching) changes(after time.Duration, how func()) {
	time.AfterFunc(after, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		how()
	})
}

// watchFor watches for a time, or to the end.
func watchFor(t *testing.T, format command.Format, limit time.Duration, setup func(*watching)) (out string, w *watching, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w = newWatching(t, format)
		setup(w)
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		err = w.run(ctx)
		out = w.stdout.String()
	})
	return out, w, err
}

// TestRolloutWatchLines: without a terminal there is a line for each thing that happens,
// and the whole page at the end with its exit code.
func TestRolloutWatchLines(t *testing.T) {
	for phase, code := range map[rollout.Phase]int{rollout.Succeeded: 0, rollout.Halted: exitHalted, rollout.Held: exitHalted, rollout.Aborted: exitHalted} {
		out, w, err := watchFor(t, command.Text, time.Hour, func(w *watching) {
			after := func(d time.Duration, e rollout.Event) { time.AfterFunc(d, func() { w.happens(e) }) }
			after(10*time.Second, rollout.Event{Kind: rollout.PhaseTo, Phase: rollout.Rolling, Why: "begun"})
			after(10*time.Second, rollout.Event{Kind: rollout.WaveTo, Step: rollout.Batches})
			after(20*time.Second, rollout.Event{Kind: rollout.Verified, Set: "vmss-authz", Member: "vmss-authz_5a1e0000"})
			after(20*time.Second, rollout.Event{Kind: rollout.Observed})
			after(70*time.Second, rollout.Event{Kind: rollout.PhaseTo, Phase: phase, Why: "it is so"})
		})
		require.Equal(t, cli.Exit(code), err, phase)
		require.Contains(t, out, "rollout 3 of ubuntu-app 1.8.0")
		require.Equal(t, 1, strings.Count(out, " vmss-authz_5a1e0000 is verified\n"), out)
		require.Contains(t, out, "wave canary")
		require.Contains(t, out, string(phase))
		require.Contains(t, out, "GATE", "the whole page at the end")
		require.LessOrEqual(t, w.looks, 5)
		require.False(t, w.observed.At.Before(w.found.State.Since), "it looks once more when it is over")
		require.Less(t, w.observed.At.Sub(w.found.State.Since), 2*journalEvery)
	}
}

// TestRolloutWatchOver: a rollout that is over already is shown, and ends the command.
func TestRolloutWatchOver(t *testing.T) {
	_, w, err := watchFor(t, command.Text, time.Minute, func(w *watching) {
		w.happens(rollout.Event{Kind: rollout.PhaseTo, Phase: rollout.Succeeded})
		w.found.Status = w.status()
		w.azure = errors.New("boom")
	})
	require.NoError(t, err, "what cannot be read does not keep it from ending")
	require.Equal(t, 1, w.looks)
}

// TestRolloutWatchSurvives: what fails or hangs leaves what was shown, says so once, and
// is tried again.
func TestRolloutWatchSurvives(t *testing.T) {
	out, _, err := watchFor(t, command.Text, 5*time.Minute, func(w *watching) {
		w.changes(20*time.Second, func() { w.journal = errors.New("503 Server Busy") })
		w.changes(60*time.Second, func() { w.journal = nil })
		w.changes(80*time.Second, func() { w.hangs = true })
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 1, strings.Count(out, "it cannot be read: 503 Server Busy"), out)
	require.Contains(t, out, "it can be read again")
	require.Contains(t, out, "no answer within 2m")
	require.Less(t, strings.Index(out, "can be read again"), strings.Index(out, "no answer"))
}

// TestRolloutWatchScreen: the screen says how old the journal is that it shows, and the
// clock goes on while nothing is read.
func TestRolloutWatchScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t, command.Text)
		w.happens(rollout.Event{Kind: rollout.PhaseTo, Phase: rollout.Rolling, Why: "begun"})
		w.happens(rollout.Event{Kind: rollout.WaveTo, Step: rollout.Batches})
		w.at = w.now()
		r := w.rolloutWatch.read(t.Context(), fromJournal, false)
		w.take(&r)
		r = w.rolloutWatch.read(t.Context(), fromAzure, false)
		w.take(&r)
		w.news()
		require.NoError(t, w.g.sleep(t.Context(), 40*time.Second))
		w.journal = errors.New("503 Server Busy")
		r = w.rolloutWatch.read(t.Context(), fromJournal, false)
		w.take(&r)
		text := pageText(w.page())
		require.Contains(t, text, "the journal is 40s old: the last reading failed")
		require.Contains(t, text, "503 Server Busy")
		require.Contains(t, text, "read 40s ago - next look in 20s")
		require.Contains(t, text, "ops is at work on it")
		require.Contains(t, text, "since 03:12:44 UTC (40s)")
		require.Less(t, strings.Index(text, "do: "), strings.Index(text, "WAVE"), "a low screen is cut at its end")
		require.NoError(t, w.g.sleep(t.Context(), 2*time.Second))
		require.Contains(t, pageText(w.page()), "(42s)")
	})
}

// TestRolloutWatchJSON: a document a line, that of a reading that failed included.
func TestRolloutWatchJSON(t *testing.T) {
	out, _, err := watchFor(t, command.JSON, 20*time.Second, func(w *watching) {
		w.changes(10*time.Second, func() { w.journal = errors.New("boom") })
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var first struct {
		Version int            `json:"version"`
		Phase   string         `json:"phase"`
		Waves   []any          `json:"waves"`
		Error   string         `json:"error"`
		LastAt  time.Time      `json:"last_at"`
		Other   map[string]any `json:"-"`
	}
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &first))
	require.Equal(t, 1, first.Version)
	require.Equal(t, "pending", first.Phase)
	require.Len(t, first.Waves, 3)
	require.NoError(t, json.Unmarshal([]byte(lines[len(lines)-1]), &first))
	require.Equal(t, "boom", first.Error)
	require.NotZero(t, first.LastAt)
}

// TestRolloutWatchAnother: a journal that somebody put in the place of another, such as
// an older copy of it, is shown from its beginning, and a reading that began earlier is
// not taken.
func TestRolloutWatchAnother(t *testing.T) {
	out, w, err := watchFor(t, command.Text, 2*time.Minute, func(w *watching) {
		w.happens(rollout.Event{Kind: rollout.PhaseTo, Phase: rollout.Rolling, Why: "begun"})
		w.happens(rollout.Event{Kind: rollout.WaveTo, Step: rollout.Batches})
		w.changes(30*time.Second, func() { w.events = w.events[:2] })
		time.AfterFunc(60*time.Second, func() {
			w.happens(rollout.Event{Kind: rollout.PhaseTo, Phase: rollout.Halting, Class: rollout.Bad, Why: "too bad"})
		})
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 2, strings.Count(out, "rollout 3 of ubuntu-app 1.8.0"), out)
	require.Equal(t, 1, strings.Count(out, "rollout halting: too bad"), out)
	require.Equal(t, rollout.Halting, w.found.State.Phase)
	require.Len(t, w.found.Events, 3)

	w.take(&reading{source: fromAzure, began: w.began.Add(-time.Second), status: roll.Status{Plan: w.found.Plan, State: w.found.State, Events: w.found.Events[:1]}})
	require.Len(t, w.found.Events, 3)
}

// TestRolloutWatchReads: a watch costs Azure Storage three requests a look, and of the
// journal what was added; its look at Azure reads no more of it either.
func TestRolloutWatchReads(t *testing.T) {
	w := newRolling(t, rollSetup{journal: blobJournal})
	var mu sync.Mutex
	var asked []string
	read := 0
	next := w.endpoint.Config.Handler
	counted := armjudge.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		mu.Lock()
		if strings.HasPrefix(r.URL.Path, "/blob/") {
			asked, read = append(asked, r.Method+" "+r.URL.String()), read+answer.Body.Len()
		}
		mu.Unlock()
		maps.Copy(rw.Header(), answer.Header())
		rw.WriteHeader(answer.Code)
		_, _ = rw.Write(answer.Body.Bytes())
	}))
	w.begin()
	w.step(0, rollout.Soaking)
	w.endpoint = counted
	g, _, _ := w.globals()
	g.file, g.auth = w.file, "default"
	r, err := g.loadRollouts()
	require.NoError(t, err)
	last, _, err := r.newest(t.Context())
	require.NoError(t, err)
	watch, err := r.newWatch(last, time.Minute)
	require.NoError(t, err)
	costs := func(source int) (requests, bytes int) {
		asked, read = nil, 0
		got := watch.read(t.Context(), source, false)
		require.NoError(t, got.err)
		watch.take(&got)
		return len(asked), read
	}
	_, whole := costs(fromJournal)
	require.Greater(t, whole, 5000, "the journal, once")
	for range 3 {
		requests, bytes := costs(fromJournal)
		require.Equal(t, 3, requests, asked)
		require.Less(t, bytes, 1500)
		requests, bytes = costs(fromAzure)
		require.Equal(t, 2, requests, asked)
		require.Less(t, bytes, 1500)
	}
	before := len(watch.found.Events)
	w.server.Advance(3 * time.Minute)
	text, code := w.fleetctl("advance")
	require.Zero(t, code, text)
	requests, bytes := costs(fromJournal)
	require.Equal(t, 3, requests, asked)
	require.Less(t, bytes, whole/2)
	require.Greater(t, len(watch.found.Events), before)
	fresh, _, err := r.newest(t.Context())
	require.NoError(t, err)
	require.Equal(t, fresh.Events, watch.found.Events)
	require.Equal(t, fresh.State, watch.found.State)
}

// TestRolloutScreen: whoever works on a rollout sees it as soon as its journal is known,
// and before that what happens.
func TestRolloutScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t, command.Text)
		r := &rollouts{g: w.g, now: w.now, sleep: w.g.sleep}
		out := new(bytes.Buffer)
		plan := w.found.Plan
		output := cli.NewOutput(cli.OutputConfig{Out: out, Err: out, Getenv: w.g.getenv})
		d := &rolloutScreen{r: r, id: "3", plan: &plan, screen: &cli.Screen{Output: output}, lines: r.newRolloutLines(&plan)}
		verified := rollout.Event{Kind: rollout.Verified, Set: "vmss-authz", Member: "vmss-authz_5a1e0000"}
		d.take(roll.Event{At: w.now(), Entry: &verified})
		require.Contains(t, pageText(d.page()), "rollout 3 of 1.8.0 - it is read\n  03:12:44 vmss-authz_5a1e0000 is verified\n")

		status := w.status()
		d.take(roll.Event{At: w.now(), Look: &status})
		require.Contains(t, pageText(d.page()), "rollout 3 of ubuntu-app 1.8.0 - pending")
		d.take(roll.Event{At: w.now(), Entry: &rollout.Event{Kind: rollout.PhaseTo, Phase: rollout.Halting, Class: rollout.Bad, Why: "too bad", At: w.now()}})
		text := pageText(d.page())
		require.Contains(t, text, "x rollout 3 of ubuntu-app 1.8.0 - halting")
		require.Contains(t, text, "too bad")
		require.NoError(t, d.wait(t.Context(), 3500*time.Millisecond))
		require.Equal(t, fleettest.Now.Add(3500*time.Millisecond), w.now())
		d.end()
	})
}

// TestRolloutScreenShared: an action waits, as for another try to tell a webhook, while
// others tell that they have ended.
func TestRolloutScreenShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatching(t, command.Text)
		r := &rollouts{g: w.g, now: w.now, sleep: release.Sleep}
		out := new(bytes.Buffer)
		output := cli.NewOutput(cli.OutputConfig{Out: out, Err: out, Getenv: w.g.getenv})
		d := &rolloutScreen{r: r, id: "3", plan: &w.found.Plan, screen: &cli.Screen{Output: output}, lines: r.newRolloutLines(&w.found.Plan)}
		waited := make(chan error)
		go func() { waited <- d.wait(t.Context(), 5*time.Second) }()
		for range 5 {
			d.take(roll.Event{At: w.now(), Note: "drained"})
			require.NoError(t, r.sleep(t.Context(), time.Second)) // of the bubble
		}
		require.NoError(t, <-waited)
		require.Contains(t, out.String(), "drained")
	})
}
