package drain

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// A world is a node: what agents on it did, over their crashes. A process is one
// agent on it.
type world struct {
	t      *testing.T
	files  *memFiles
	boot   string
	began  time.Time
	units  Units        // what a Runner is given; nil: no systemd
	logger *slog.Logger // what the agent logs to; nil: nowhere

	mu    sync.Mutex // guards what follows
	log   []string   // what happened, with the time since began
	runs  map[string]int
	undos map[string]int
	// cordoned is what the last call of Cordon said.
	cordoned bool
	// flag is what the run directory has.
	flag *Flag
}

type process struct {
	*world
	journal *Journal
	runner  *Runner
	gone    atomic.Bool
	ctx     context.Context //nolint:containedctx // the life of the process
	stop    context.CancelFunc
	// killAfter kills the process after so many durable entries; 0: never.
	killAfter int
	entries   atomic.Int64
	registry  *prometheus.Registry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{
		t: t, files: newMemFiles(), boot: "b1", began: time.Now(),
		runs: map[string]int{}, undos: map[string]int{},
	}
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, fmt.Sprintf("%s %s", time.Since(w.began), fmt.Sprintf(format, args...)))
}

// did notes that a step runs or is taken back, and checks that the node is out of
// service.
func (w *world) did(counts map[string]int, name, what string) {
	w.note("%s %s", name, what)
	w.mu.Lock()
	defer w.mu.Unlock()
	counts[name]++
	require.True(w.t, w.cordoned, "%s %s on a node that is in service", name, what)
}

// taking returns the configuration of a step that takes a time.
func (p *process) taking(name string, d time.Duration, change ...func(*StepConfig)) StepConfig {
	s := StepConfig{Name: name, Kind: "exec", Max: 60 * second, Step: stepFunc{
		run: func(ctx context.Context) error {
			if p.dead() {
				return errDead
			}
			p.did(p.runs, name, "runs")
			require.True(p.t, slices.ContainsFunc(p.journal.State().Drain.Steps, func(s StepRecord) bool {
				return s.Name == name && s.Status == StepRunning
			}), "step %s runs and the journal does not know", name)
			for _, s := range p.journal.State().Drain.Steps {
				require.False(p.t, s.Name == name && s.Status.final(), "step %s has finished and runs again", name)
			}
			if err := pause(ctx, d); err != nil {
				return err
			}
			if p.dead() {
				return errDead
			}
			p.note("%s done", name)
			return nil
		},
		undo: func(context.Context) error {
			if p.dead() {
				return errDead
			}
			p.did(p.undos, name, "undone")
			require.True(p.t, p.journal.State().Drain.Undraining, "step %s is taken back and the journal does not know", name)
			return nil
		},
	}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func optional(s *StepConfig) { s.Optional = true }

func after(names ...string) func(*StepConfig) {
	return func(s *StepConfig) { s.After, s.AfterSet = names, true }
}

func limits(low, high time.Duration) func(*StepConfig) {
	return func(s *StepConfig) { s.Min, s.Max = low, high }
}

// start starts an agent with a plan.
func (w *world) start(settle time.Duration, plan func(p *process) []StepConfig, change ...func(*process)) *process {
	w.t.Helper()
	p := &process{world: w, registry: prometheus.NewRegistry()}
	p.ctx, p.stop = context.WithCancel(w.t.Context())
	w.t.Cleanup(p.stop)
	for _, c := range change {
		c(p)
	}
	var err error
	p.journal, err = OpenJournal(JournalConfig{Dir: "/state", BootID: w.boot, files: w.files, AfterAppend: func(uint64) {
		if p.entries.Add(1) == int64(p.killAfter) {
			p.kill()
		}
	}})
	require.NoError(w.t, err)
	steps, err := NewPlan(plan(p))
	require.NoError(w.t, err)
	p.runner, err = New(Config{
		Plan: steps, Journal: p.journal, Units: w.units, Settle: settle, Registerer: p.registry, Logger: w.logger,
		Cordon: func(_ context.Context, flag *Flag) error {
			on := flag != nil
			if p.dead() {
				return errDead
			}
			if !on {
				require.Nil(w.t, p.journal.State().Drain, "the cordon is lifted from a node that drains")
			}
			p.mu.Lock()
			before := p.cordoned
			p.cordoned = on
			if p.flag = flag; on {
				require.Equal(w.t, p.boot, flag.Boot)
			}
			p.mu.Unlock()
			if before != on {
				p.note("cordon %t", on)
			}
			return nil
		},
	})
	require.NoError(w.t, err)
	return p
}

// kill ends the process as SIGKILL does: nothing that it does has an effect any
// more. The world's files are what the next one finds.
func (p *process) kill() {
	p.gone.Store(true)
	p.files.kill()
	p.stop()
}

func (p *process) dead() bool { return p.gone.Load() }

// entriesOf returns the journal's entries as they are on disk.
func (w *world) entriesOf() []Entry { return parse(w.files.content(journalName)).entries }

func (w *world) count(kind EntryKind, step string) int {
	n := 0
	for _, e := range w.entriesOf() {
		if e.Kind == kind && (step == "" || e.Step == step) {
			n++
		}
	}
	return n
}

func results(o Outcome) map[string]StepStatus {
	m := map[string]StepStatus{}
	for _, s := range o.Steps {
		m[s.Name] = s.Status
	}
	return m
}

var errStep = errors.New("it broke")
