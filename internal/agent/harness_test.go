package agent

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
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

// The simulated machine of the tests, and its neighbour.
const (
	self  = "web_0"
	other = "web_1"
)

// A world is a simulated Azure and one machine with an agent on it, in virtual
// time. The agent can be stopped and started again; disk and Azure stay.
type world struct {
	t    *testing.T
	sim  *simimds.Server
	dir  string
	boot string
	up   time.Duration // uptime that the agent is told
	conf *config.Config

	// load is what a reload reads; nil: conf.
	load func() (*config.Config, error)

	// steps are the plan: steps that the test controls.
	steps []*testStep
	// prepare, if set, sees to an agent before it runs.
	prepare func(*Agent)

	agent *Agent
	stop  context.CancelFunc
	done  chan error
	log   *testkit.Buffer
}

// testStep is a step of known length that counts.
type testStep struct {
	name      string
	takes     time.Duration
	fails     bool
	optional  bool
	min, max  time.Duration // max 0: a minute
	run, undo func()        // called at the beginning of each; nil: nothing

	mu                   sync.Mutex
	begun, ended, undone int
}

func (s *testStep) Run(ctx context.Context) error {
	s.count(&s.begun)
	if s.run != nil {
		s.run()
	}
	if !sleep(ctx, s.takes) {
		return context.Cause(ctx)
	}
	s.count(&s.ended)
	if s.fails {
		return errors.New("it did not work")
	}
	return nil
}

func (s *testStep) Undo(context.Context) error {
	s.count(&s.undone)
	if s.undo != nil {
		s.undo()
	}
	return nil
}

func (s *testStep) count(n *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
}

func (s *testStep) counts() (begun, ended, undone int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun, s.ended, s.undone
}

// inWorld runs a test in virtual time, with a fresh world whose agent is not yet
// started.
func inWorld(t *testing.T, test func(t *testing.T, w *world)) {
	t.Helper()
	dir := fastDir(t)
	synctest.Test(t, func(t *testing.T) {
		conf := config.Default()
		conf.StateDir, conf.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
		conf.Drain.Settle = config.Duration(2 * time.Second)
		w := &world{
			t: t, dir: dir, boot: "boot-1", up: time.Hour, conf: conf, log: &testkit.Buffer{},
			sim:   simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: self}, {Name: other}}}),
			steps: []*testStep{{name: "workloads", takes: 3 * time.Second}},
		}
		simulated, endSimulation := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = w.sim.Run(simulated) }) // always nil
		defer func() {
			if w.agent != nil {
				w.kill()
			}
			endSimulation()
			running.Wait()
			if t.Failed() {
				t.Log(w.log.String())
			}
		}()
		test(t, w)
	})
}

// start starts the agent as the last one left it.
func (w *world) start() {
	w.t.Helper()
	a, err := New(Config{
		Config: w.conf, Version: "test", BootID: w.boot,
		Load: func() (*config.Config, error) {
			if w.load == nil {
				return w.conf, nil
			}
			return w.load()
		},
		Uptime:    func() time.Duration { return w.up },
		Transport: w.sim.Transport(self),
		Plan:      func(*config.Config) (*drain.Plan, error) { return w.plan(), nil },
		Logger:    slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(w.t, err)
	address := "127.0.0.1:0"
	a.probeAddr.Store(&address)
	a.closeGate()
	if w.prepare != nil {
		w.prepare(a)
	}
	ctx, stop := context.WithCancel(w.t.Context())
	w.agent, w.stop, w.done = a, stop, make(chan error, 1)
	go func() { w.done <- serve(ctx, a.core()...) }()
}

// plan is one required step after the other.
func (w *world) plan() *drain.Plan {
	w.t.Helper()
	var steps []drain.StepConfig
	for _, s := range w.steps {
		steps = append(steps, drain.StepConfig{Name: s.name, Kind: "exec", Min: s.min, Max: cmp.Or(s.max, time.Minute), Optional: s.optional, Step: s})
	}
	plan, err := drain.NewPlan(steps)
	require.NoError(w.t, err)
	return plan
}

// kill ends the agent as SIGTERM does: it drains nothing.
func (w *world) kill() {
	w.t.Helper()
	w.stop()
	require.NoError(w.t, <-w.done)
	require.NoError(w.t, w.agent.journal.Close())
	w.agent = nil
}

// restart kills the agent and starts it again.
func (w *world) restart() {
	w.t.Helper()
	w.kill()
	w.start()
}

// reboot restarts the machine.
func (w *world) reboot() {
	w.t.Helper()
	w.kill()
	require.NoError(w.t, removeAll(w.conf.RunDir)) // a tmpfs
	w.boot += "+1"
	w.up = 20 * time.Second
	w.start()
}

// pass lets virtual time go by.
func (w *world) pass(d time.Duration) {
	time.Sleep(d) // virtual: no wait for anything
	synctest.Wait()
}

// code asks a probe endpoint.
func (w *world) code(path string) int {
	w.t.Helper()
	r := httptest.NewRecorder()
	w.agent.answers.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return r.Code
}

func (w *world) status() control.Status {
	w.t.Helper()
	return (&controlOps{w.agent}).Status()
}

// awaitState passes time until the node is in the state, at most for a bound.
func (w *world) awaitState(want control.State, bound time.Duration) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for {
		synctest.Wait()
		if got := w.status().State; got == want {
			return time.Since(begin)
		} else if time.Since(begin) > bound {
			require.Equal(w.t, want, got, "after %s", bound)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// awaitCode passes time until a probe endpoint answers a code.
func (w *world) awaitCode(path string, want int, bound time.Duration) time.Duration {
	w.t.Helper()
	begin := time.Now()
	for {
		synctest.Wait()
		if got := w.code(path); got == want {
			return time.Since(begin)
		} else if time.Since(begin) > bound {
			require.Equal(w.t, want, got, "%s after %s", path, bound)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// root is who operates the node.
const root = "uid 0 (root)"

func (w *world) ops() *controlOps { return &controlOps{w.agent} }

// drain drains the node as an operator does.
func (w *world) drain() {
	w.t.Helper()
	_, err := w.ops().Drain(w.t.Context(), root, control.DrainRequest{})
	require.NoError(w.t, err)
}

// undrain ends that.
func (w *world) undrain() {
	w.t.Helper()
	_, err := w.ops().Undrain(w.t.Context(), root, control.UndrainRequest{})
	require.NoError(w.t, err)
}

// accepted counts the acks of an event that Azure took.
func (w *world) accepted(id string) int {
	n := 0
	for _, a := range w.sim.Acks() {
		if a.EventID == id && a.Accepted {
			n++
		}
	}
	return n
}

// serving starts the agent and lets it find its feet.
func (w *world) serving() {
	w.t.Helper()
	w.start()
	w.awaitState(control.StateServing, 5*time.Second)
	w.pass(2 * time.Second)
	require.Equal(w.t, self, w.status().Node.Name)
}
