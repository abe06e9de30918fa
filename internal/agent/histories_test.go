package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

var (
	firstHistory  = flag.Uint64("seed", 1, "the seed of the first random history; the others count on from it")
	manyHistories = flag.Int("histories", 100, "how many random histories the agent lives through")
)

// TestHistories lives through random histories of a node, each in virtual time
// and against the model below: events in any order, of any VM, announced or not,
// that come back under their old id or lose time; restarts of the agent and of
// the machine; a metadata service that fails in every way it can, and documents
// with repeated and reordered events; operators and shutdowns.
//
// A failure prints the seed and the history; with -seed N -histories 1 it is
// lived through again.
func TestHistories(t *testing.T) {
	var next atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		t.Run("worker", func(t *testing.T) {
			t.Parallel()
			dir := fastDir(t)
			for !t.Failed() {
				n := next.Add(1) - 1
				if n >= int64(*manyHistories) {
					return
				}
				liveThrough(t, *firstHistory+uint64(n), filepath.Join(dir, strconv.FormatInt(n, 10)))
			}
		})
	}
}

// fastDir is a directory in memory where there is one: a history waits for
// hundreds of fsyncs, and none of them is what it tests.
func fastDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "fleet-agent-test-") //nolint:usetesting // t.TempDir is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// A history is one life of a node, and what the model knows about it.
type history struct {
	*world
	rng    *rand.Rand
	seed   uint64
	script []string
	begin  time.Time
	mangle bool // documents come with repeated and reordered events
	moved  map[string]time.Duration
	later  []appointment
	work   sync.WaitGroup
	model

	mu       sync.Mutex
	problems []string
	finished map[string]map[string]bool // drain -> steps that have ended well
	stands   map[string]bool            // steps that have ended well and were not taken back
	effects  map[string]bool            // steps that have begun and were not taken back
	thawed   chan struct{}              // closed when the disk answers; nil: it does
	unlucky  bool                       // the agent is restarted after its next ack
	acked    bool                       // which it has sent
}

type appointment struct {
	at time.Time
	do func()
}

func liveThrough(t *testing.T, seed uint64, dir string) {
	t.Helper()
	defer os.RemoveAll(dir)
	synctest.Test(t, func(t *testing.T) {
		h := newHistory(t, seed, dir)
		defer func() {
			if t.Failed() {
				t.Logf("go test ./internal/agent -run TestHistories -seed %d -histories 1\n%s\n%s", seed, strings.Join(h.script, "\n"), h.log)
			}
		}()
		running, end := context.WithCancel(t.Context())
		h.work.Go(func() { _ = h.sim.Run(running) }) // always nil
		defer h.work.Wait()
		defer end()
		defer func() {
			h.thaw()
			if h.agent != nil {
				h.kill()
			}
		}()
		h.live()
	})
}

func newHistory(t *testing.T, seed uint64, dir string) *history {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	conf := config.Default()
	conf.StateDir, conf.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	conf.Drain.Settle = config.Duration(rng.IntN(3)) * config.Duration(time.Second)
	conf.ScheduledEvents.SharedAck = pick(rng, "never", "never", "first", "always")
	for _, kind := range slices.Sorted(maps.Keys(conf.ScheduledEvents.Events)) {
		policy := conf.ScheduledEvents.Events[kind]
		policy.Action = pick(rng, policy.Action, policy.Action, "drain", "cordon", "ignore")
		policy.Ack = pick(rng, policy.Ack, policy.Ack, "after-drain", "immediately", "user-initiated", "after-drain-even-if-failed", "never")
		policy.LeadTime = config.Duration(pick(rng, policy.LeadTime.D(), 0, 20*time.Second))
		conf.ScheduledEvents.Events[kind] = policy
	}
	h := &history{
		world: &world{
			t: t, dir: dir, boot: "boot-1", up: time.Hour, conf: conf, log: &testkit.Buffer{},
			sim: simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}, {Name: other}}}),
		},
		rng: rng, seed: seed, begin: time.Now(), mangle: rng.IntN(3) == 0,
		moved: map[string]time.Duration{}, finished: map[string]map[string]bool{}, stands: map[string]bool{}, effects: map[string]bool{},
	}
	h.up = pick(rng, time.Hour, time.Hour, 5*time.Minute)
	h.model = newModel()
	for i := range 1 + rng.IntN(3) {
		h.steps = append(h.steps, &testStep{
			name: fmt.Sprintf("step-%d", i), takes: h.upTo(4 * time.Second), fails: rng.IntN(12) == 0, optional: i > 0 && rng.IntN(3) == 0,
		})
	}
	return h
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// upTo is a random duration.
func (h *history) upTo(d time.Duration) time.Duration {
	return time.Duration(h.rng.Int64N(int64(d)/1e6+1)) * time.Millisecond
}

func (h *history) note(format string, args ...any) {
	h.script = append(h.script, fmt.Sprintf("%8.3f  ", time.Since(h.begin).Seconds())+fmt.Sprintf(format, args...))
}

// diverged says what the agent did that the model does not allow.
func (h *history) diverged(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.problems = append(h.problems, fmt.Sprintf("%8.3f  ", time.Since(h.begin).Seconds())+fmt.Sprintf(format, args...))
}

// live lives the history: a minute or so in which things happen, and the time
// after, when everything is mended and the node has to come back.
func (h *history) live() {
	for range h.rng.IntN(5) / 3 { // things may be under way when the agent first starts
		h.publish()
	}
	h.start()
	for range 3 + h.rng.IntN(8) {
		h.pass(h.upTo(pick(h.rng, 500*time.Millisecond, 4*time.Second, 15*time.Second)))
		h.happen()
	}
	h.pass(h.upTo(20 * time.Second))
	h.mend()
	h.pass(idleBound + 12*time.Second)
	require.Equal(h.t, control.StateServing, h.status().State, "seed %d: when everything is over, the node serves", h.seed)
}

// pass lets time go by, keeps the appointments and looks at the node.
func (h *history) pass(d time.Duration) {
	const look = 250 * time.Millisecond
	for end := time.Now().Add(d); ; {
		now := time.Now()
		for i := 0; i < len(h.later); {
			if a := h.later[i]; !a.at.After(now) {
				h.later = slices.Delete(h.later, i, i+1)
				a.do()
				continue
			}
			i++
		}
		synctest.Wait()
		h.look()
		if h.unlucky && h.hasAcked() {
			h.unlucky = false
			h.restart(0)
			continue
		}
		if !now.Before(end) {
			return
		}
		time.Sleep(min(look, end.Sub(now)))
	}
}

func (h *history) in(d time.Duration, do func()) {
	h.later = append(h.later, appointment{time.Now().Add(d), do})
}

// happen lets one thing happen.
func (h *history) happen() {
	ctx := h.t.Context()
	switch n := h.rng.IntN(100); {
	case n < 36:
		h.publish()
	case n < 50:
		h.change()
	case n < 60:
		h.fault()
	case n < 62:
		h.stall()
	case n < 66:
		h.turnOdd()
	case n < 73:
		if h.rng.IntN(4) == 0 {
			h.note("the agent will restart after its next ack")
			h.unlucky = true
			h.hasAcked()
			return
		}
		h.restart(pick(h.rng, 0, h.upTo(5*time.Second)))
	case n < 77:
		h.thaw()
		h.note("the machine reboots")
		h.kill()
		require.NoError(h.t, removeAll(h.conf.RunDir))
		h.boot, h.up = h.boot+"+1", 20*time.Second
		h.rebooted()
		h.start()
	case n < 82:
		h.note("an operator drains")
		_, err := h.ops().Drain(ctx, root, control.DrainRequest{TimeoutSeconds: pick(h.rng, 0, 0, 30.0)})
		require.NoError(h.t, err)
		h.operator = true
	case n < 89:
		force := h.rng.IntN(2) == 0
		h.look()
		err := h.undrain(force, func() error {
			_, err := h.ops().Undrain(ctx, root, control.UndrainRequest{Force: force})
			return err
		})
		h.note("an operator undrains, force=%t: %v", force, err)
	case n < 92:
		length := time.Second + h.upTo(10*time.Second)
		h.note("an operator begins maintenance for %s", length)
		until := time.Now().Add(length)
		_, err := h.ops().Maintenance(ctx, root, control.MaintenanceRequest{On: true, ForSeconds: length.Seconds()})
		require.NoError(h.t, err)
		h.maintenance = until
	case n < 95:
		h.note("a shutdown is announced")
		h.shutdown = time.Now().Add(20 * time.Second)
		h.announce()
		h.in(h.upTo(15*time.Second), h.callOff)
	default:
		h.note("the incarnation begins anew")
		h.sim.ResetIncarnation(int64(h.rng.IntN(3)))
	}
}

func (h *history) publish() {
	spec := simimds.EventSpec{
		ID: fmt.Sprintf("E%d", len(h.facts)), Hold: h.rng.IntN(4) > 0,
		Type:      pick(h.rng, simimds.Preempt, simimds.Terminate, simimds.Reboot, simimds.Redeploy, simimds.Freeze, "Eclipse"),
		Resources: pick(h.rng, []string{self}, []string{self}, []string{self}, []string{strings.ToUpper(self)}, []string{other}, []string{self, other}, []string{other, self}),
		Notice:    time.Second + h.upTo(pick(h.rng, 5*time.Second, 40*time.Second, 2*time.Minute)),
		Started:   h.rng.IntN(6) == 0, StartDelay: pick(h.rng, 0, 0, 700*time.Millisecond, 3*time.Second),
		Source: pick(h.rng, "Platform", "User"),
	}
	if gone := h.vanished(); len(gone) > 0 && h.rng.IntN(4) == 0 {
		old := pick(h.rng, gone...)
		spec.ID, spec.Type, spec.Source = old.id, old.kind, old.source
		if h.rng.IntN(2) == 0 || !h.missed(old) {
			spec.Resources = old.resources
		}
	}
	h.note("%s of %v is published as %s, notice %s, started=%t, by %s", spec.Type, spec.Resources, spec.ID, spec.Notice, spec.Started, spec.Source)
	h.sim.Publish(spec)
	h.published(spec, h.conf)
}

// change moves an event on.
func (h *history) change() {
	live := slices.DeleteFunc(slices.Clone(h.facts), func(f *fact) bool { return !h.truth(f).live })
	if len(live) == 0 {
		return
	}
	f := pick(h.rng, live...)
	switch how := h.rng.IntN(5); {
	case how == 0 && !h.truth(f).started:
		h.note("%s starts", f.id)
		f.changed = time.Now()
		require.NoError(h.t, h.sim.Start(f.id))
	case how == 1 && !h.truth(f).started:
		sooner := h.upTo(20 * time.Second).Truncate(time.Second)
		h.note("%s comes %s sooner", f.id, sooner)
		h.mu.Lock()
		h.moved[f.id] += sooner
		f.changed = time.Now()
		h.mu.Unlock()
	default:
		h.note("%s vanishes", f.id)
		require.NoError(h.t, h.sim.Complete(f.id))
	}
}

// fault makes the metadata service misbehave for a while.
func (h *history) fault() {
	f := simimds.Fault{
		Kind:     pick(h.rng, simimds.FaultStatus, simimds.FaultHang, simimds.FaultReset, simimds.FaultLost, simimds.FaultEmpty, simimds.FaultTruncated, simimds.FaultPartial),
		Endpoint: pick(h.rng, simimds.EndpointScheduledEvents, simimds.EndpointScheduledEvents, ""),
		Method:   pick(h.rng, "", http.MethodGet, http.MethodPost),
	}
	if f.Kind == simimds.FaultStatus {
		f.Status, f.RetryAfter = pick(h.rng, 403, 410, 421, 429, 500, 503), pick(h.rng, 0, 0, 3*time.Second)
	}
	length := h.upTo(15 * time.Second)
	h.note("the metadata service: %s %d %s for %s", f.Kind, f.Status, f.Method, length)
	require.NoError(h.t, h.sim.SetFault(f))
	h.blinded()
	h.in(length, func() {
		h.note("the metadata service is well")
		h.sim.ClearFaults()
		h.recovered()
	})
}

// The ways in which a document is odd. What is there is there in all of them; what is
// absent can be seen in the last alone.
const (
	oddElement  = "a null beside the events"
	oddKey      = "the events twice, the second time empty"
	oddDuration = "durations that do not read"
)

// turnOdd makes documents odd for a while.
func (h *history) turnOdd() {
	if h.odd != "" {
		return
	}
	odd, length := pick(h.rng, oddElement, oddKey, oddDuration), h.upTo(15*time.Second)
	h.note("documents have %s for %s", odd, length)
	h.setOdd(odd)
	if h.rng.IntN(2) == 0 {
		h.in(h.upTo(length), h.change) // which is what has to be told from it
	}
	h.in(length, func() {
		h.note("documents are whole")
		h.setOdd("")
	})
}

// restart restarts the agent, with a time between.
func (h *history) restart(between time.Duration) {
	h.thaw()
	h.note("the agent restarts")
	h.kill()
	if between > 0 {
		h.pass(between)
	}
	h.start()
}

// stall keeps the journal's disk from answering for a while. The restarts and
// reboots of a history wait for it: what a SIGKILL then means has tests of its own.
func (h *history) stall() {
	if h.thawed != nil {
		return
	}
	length := h.upTo(pick(h.rng, time.Second, 15*time.Second))
	h.note("the disk does not answer for %s", length)
	thawed := make(chan struct{})
	h.mu.Lock()
	h.thawed = thawed
	h.mu.Unlock()
	h.in(length, h.thaw)
}

func (h *history) thaw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.thawed != nil {
		h.note("the disk answers")
		close(h.thawed)
		h.thawed = nil
	}
}

// mend ends everything that a history may have left.
func (h *history) mend() {
	h.note("everything is mended")
	for _, a := range h.later {
		a.do()
	}
	h.later, h.unlucky = nil, false
	h.sim.ClearFaults()
	h.recovered()
	for _, f := range h.facts {
		if h.truth(f).live {
			require.NoError(h.t, h.sim.Complete(f.id))
		}
	}
	if h.operator {
		h.pass(time.Until(h.blindUntil) + 2*time.Second) // until the agent sees that no event is left
		require.NoError(h.t, h.undrain(false, func() error {
			_, err := h.ops().Undrain(h.t.Context(), root, control.UndrainRequest{})
			return err
		}), "seed %d: an operator's drain can be ended", h.seed)
	}
}

// announce tells the agent of the shutdown that is announced, if one is.
func (h *history) announce() {
	if !h.shutdown.IsZero() {
		h.tell(h.shutdown)
	}
}

func (h *history) callOff() {
	if h.shutdown.IsZero() {
		return
	}
	h.note("the shutdown is called off")
	h.mu.Lock()
	h.shutdown = time.Time{}
	h.mu.Unlock()
	if h.agent != nil {
		h.untell()
	}
}

// start starts the agent as the last one left it, with the model's ears on it.
func (h *history) start() {
	h.t.Helper()
	a, err := New(Config{
		Config: h.conf, Version: "test", BootID: h.boot, Uptime: func() time.Duration { return h.up },
		Transport: mangled{h}, AfterAppend: func(uint64) { h.journaled() },
		Plan: func(*config.Config) (*drain.Plan, error) {
			var steps []drain.StepConfig
			for _, s := range h.steps {
				steps = append(steps, drain.StepConfig{Name: s.name, Kind: "exec", Max: time.Minute, Optional: s.optional, Step: heardStep{s, h}})
			}
			return drain.NewPlan(steps)
		},
		Logger: slog.New(slog.NewTextHandler(h.log, nil)),
	})
	require.NoError(h.t, err)
	address := "127.0.0.1:0"
	a.probeAddr.Store(&address)
	a.coordinator.staysUp = func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.shutdown.IsZero()
	}
	a.closeGate()
	watch := func(set *func(bool), other *bool) {
		inner := *set
		*set = func(on bool) {
			if !on && !*other {
				h.opened()
			}
			inner(on)
		}
	}
	watch(&a.gate.setDraining, &a.gate.cordon)
	watch(&a.gate.setCordoned, &a.gate.drain)
	life, stop := context.WithCancel(h.t.Context())
	h.agent, h.stop, h.done = a, stop, make(chan error, 1)
	h.tell = func(deadline time.Time) {
		shutdown, stop := context.WithCancel(life)
		returned := make(chan struct{})
		h.work.Go(func() {
			defer close(returned)
			a.coordinator.Shutdown(shutdown, deadline)
		})
		h.untell = func() { // in the order of systemd.Inhibitor
			stop()
			<-returned
			a.coordinator.ShutdownCalledOff(life)
		}
	}
	go func() { h.done <- serve(life, a.core()...) }()
	h.begun()
	h.announce()
}

// heardStep is a step of a history.
type heardStep struct {
	*testStep
	h *history
}

// Run runs the step, and hears of it when it must not.
func (s heardStep) Run(ctx context.Context) error {
	id := drain.BriefFrom(ctx).DrainID
	s.h.stepRuns(id, s.name)
	err := s.testStep.Run(ctx)
	if err == nil && ctx.Err() == nil {
		s.h.mu.Lock()
		if s.h.finished[id] == nil {
			s.h.finished[id] = map[string]bool{}
		}
		s.h.finished[id][s.name], s.h.stands[s.name] = true, true
		s.h.mu.Unlock()
	}
	return err
}

// Undo takes the step back.
func (s heardStep) Undo(ctx context.Context) error {
	s.h.stepIsTakenBack(s.name)
	return s.testStep.Undo(ctx)
}

// mangled is the way to the metadata service, and hears each ack that leaves.
type mangled struct{ h *history }

// RoundTrip implements http.RoundTripper.
func (m mangled) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		var ack struct {
			StartRequests []struct {
				EventID string `json:"EventId"`
			}
		}
		if json.Unmarshal(body, &ack) != nil || len(ack.StartRequests) != 1 {
			m.h.diverged("an ack is not one event: %s", body)
			return nil, errors.New("bad ack")
		}
		if err := r.Context().Err(); err != nil {
			return nil, err
		}
		id := ack.StartRequests[0].EventID
		m.h.acks(id)
		r.Body = io.NopCloser(bytes.NewReader(body))
		resp, err := m.h.sim.Transport(self).RoundTrip(r)
		m.h.answered(id, resp, err)
		return resp, err
	}
	began := time.Now()
	resp, err := m.h.sim.Transport(self).RoundTrip(r)
	if err != nil || r.Method != http.MethodGet || resp.StatusCode != http.StatusOK || !strings.HasSuffix(r.URL.Path, "scheduledevents") {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	m.h.documented(began)
	body = m.h.mangleDocument(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return resp, nil
}

// mangleDocument moves deadlines, and reorders and repeats events, as far as
// the history wants it.
func (h *history) mangleDocument(body []byte) []byte {
	var doc struct {
		DocumentIncarnation int
		Events              []map[string]any
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if (!h.mangle && len(h.moved) == 0 && h.odd == "") || json.Unmarshal(body, &doc) != nil || doc.Events == nil {
		return body
	}
	for _, e := range doc.Events {
		if at, err := time.Parse(http.TimeFormat, fmt.Sprint(e["NotBefore"])); err == nil {
			e["NotBefore"] = at.Add(-h.moved[fmt.Sprint(e["EventId"])]).Format(http.TimeFormat)
		}
	}
	if h.mangle && len(doc.Events) > 0 {
		doc.Events = append(doc.Events, doc.Events[doc.DocumentIncarnation%len(doc.Events)])
		slices.Reverse(doc.Events)
	}
	if h.odd == oddDuration {
		for i, e := range doc.Events {
			e["DurationInSeconds"] = []any{"", 1.5, nil, []int{1}}[(i+doc.DocumentIncarnation)%4]
		}
	}
	if h.odd == oddElement {
		doc.Events = append(doc.Events, nil)
	}
	out, err := json.Marshal(doc)
	if err != nil {
		return body
	}
	if h.odd == oddKey {
		out = append(bytes.TrimSuffix(out, []byte{'}'}), `,"events":[]}`...)
	}
	return out
}
