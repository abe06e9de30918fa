package nodes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

const (
	// maxMachines bounds the machines that run at a time: each is a process at least.
	maxMachines = 100

	startTimeout = 10 * time.Minute // real time, as all that follows
	stopTimeout  = time.Minute
	probeTimeout = 30 * time.Second // the extension's own
	leastPause   = 20 * time.Millisecond
)

// A Machine is what stands behind one boot of a member. Start comes first and Stop last;
// the others may be called at a time, also when Start has failed or has not returned.
type Machine interface {
	// Start boots it. It returns when it boots, not when it serves.
	Start(ctx context.Context) error
	// Stop ends it, and frees what it had.
	Stop(ctx context.Context) error
	// Run runs a script on it, as root where it is a machine.
	Run(ctx context.Context, script string) (Output, error)
	// Probe asks it as the health extension does, which is on the machine.
	Probe(ctx context.Context, settings arm.HealthExtension) (Answer, error)
}

// An Output is what a script printed: the end of it.
type Output struct{ Stdout, Stderr string }

// A Listener is a Machine that hears of scheduled events.
type Listener interface {
	// Tell publishes an event once, however often it is called. Notice is real time.
	Tell(event arm.MachineEvent, notice time.Duration)
	// Acked says whether the machine has acknowledged an event.
	Acked(event string) bool
}

// A Control says what shall run, and is told what becomes of it: an arm.Server.
type Control interface {
	Machines() ([]arm.Machine, error)
	Clock() *arm.Clock
	ReportHealth(id string, boot int, state string) error
	ReportAck(id, event string) error
	ReportCommand(id string, result arm.CommandResult) error
}

// Config says what [Run] runs.
type Config struct {
	Control Control
	// Make makes the machine for a boot of a member. It starts nothing.
	Make   func(arm.Machine) Machine
	Logger *slog.Logger  // nil discards
	Every  time.Duration // between two looks at what shall run; 0 means 100 ms
}

// Run runs the machines that shall run until ctx is done and all have ended.
func Run(ctx context.Context, cfg Config) error {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	w := &worker{Config: cfg, nodes: map[string]*node{}}
	defer w.stop()
	tick := time.NewTicker(cmp.Or(cfg.Every, 100*time.Millisecond))
	defer tick.Stop()
	for {
		all, err := cfg.Control.Machines()
		if err != nil {
			return fmt.Errorf("ask which machines shall run: %w", err)
		}
		w.reconcile(ctx, all)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

type worker struct {
	Config

	nodes map[string]*node // by the member's id
	full  bool             // there are more than maxMachines, which was said
}

// stop ends all machines and waits for them.
func (w *worker) stop() {
	for _, n := range w.nodes {
		n.cancel()
	}
	for _, n := range w.nodes {
		<-n.done
	}
}

// reconcile brings what runs nearer to what shall run.
func (w *worker) reconcile(ctx context.Context, all []arm.Machine) {
	wanted := map[string]bool{}
	for _, m := range all {
		n := w.nodes[m.ID]
		if n == nil && len(w.nodes) >= maxMachines {
			if !w.full {
				w.Logger.Error("machine is not started: there are too many", "vm", m.Name, "most", maxMachines)
			}
			w.full = true
			continue
		}
		if n == nil {
			n = w.start(ctx, m)
		}
		if n.boot != m.Boot || n.vmID != m.VMID {
			continue // the one before ends first: it is not wanted
		}
		wanted[m.ID] = true
		n.want.Store(&m)
		w.event(n, m)
		w.command(n, m)
	}
	for id, n := range w.nodes {
		if wanted[id] {
			continue
		}
		n.cancel()
		select {
		case <-n.done:
			delete(w.nodes, id)
			w.full = false
		default: // it is looked at again
		}
	}
}

// event tells a machine of its event, and its ack to the control plane.
func (w *worker) event(n *node, m arm.Machine) {
	listener, hears := n.machine.(Listener)
	if m.Event == nil || !hears {
		return
	}
	listener.Tell(*m.Event, w.real(m.Event.Notice))
	if n.acked != m.Event.ID && listener.Acked(m.Event.ID) {
		n.acked = m.Event.ID
		w.Logger.Info("event acknowledged", "vm", m.Name, "type", m.Event.Type)
		w.report(w.Control.ReportAck(m.ID, m.Event.ID))
	}
}

// command begins to run a script.
func (w *worker) command(n *node, m arm.Machine) {
	if m.Command == nil || n.command == m.Command.ID {
		return
	}
	n.command = m.Command.ID
	n.running.Go(func() {
		ctx, cancel := context.WithTimeout(n.ctx, w.real(m.Command.Left))
		defer cancel()
		w.report(w.Control.ReportCommand(m.Command.ID, n.exec(ctx, m.Command.Script)))
	})
}

// real is how long a simulated span takes. A clock that stands still has no answer, so
// that the span itself has to do.
func (w *worker) real(d time.Duration) time.Duration {
	if factor := w.Control.Clock().Factor(); factor > 0 {
		return time.Duration(float64(d) / factor)
	}
	return d
}

// report notes that the control plane could not be told: its state is not saved.
func (w *worker) report(err error) {
	if err != nil {
		w.Logger.Error("report is not taken", "err", err)
	}
}

// A node is one boot of a member.
type node struct {
	machine Machine
	name    string
	boot    int
	vmID    string
	want    atomic.Pointer[arm.Machine] // what arm says of it now

	ctx     context.Context //nolint:containedctx // the life of the machine
	cancel  context.CancelFunc
	booted  chan struct{}  // closed when Start has returned
	done    chan struct{}  // closed when nothing is left of it
	running sync.WaitGroup // of scripts

	acked, command string // the last event and script: worker's only
}

func (w *worker) start(ctx context.Context, m arm.Machine) *node {
	n := &node{machine: w.Make(m), name: m.Name, boot: m.Boot, vmID: m.VMID, booted: make(chan struct{}), done: make(chan struct{})}
	n.want.Store(&m)
	n.ctx, n.cancel = context.WithCancel(context.WithoutCancel(ctx)) // the worker ends it, and nobody else
	w.nodes[m.ID] = n
	go w.live(n, m.ID)
	return n
}

// live is the life of a machine.
func (w *worker) live(n *node, id string) {
	defer close(n.done)
	log := w.Logger.With("vm", n.name, "boot", n.boot)
	begin, cancel := context.WithTimeout(n.ctx, startTimeout)
	err := n.machine.Start(begin)
	cancel()
	if err == nil {
		log.Info("machine started", "version", n.want.Load().Version)
		close(n.booted)
		w.probe(n, id)
	} else if n.ctx.Err() == nil {
		log.Error("machine does not start", "err", err)
	}
	<-n.ctx.Done()
	n.running.Wait()
	end, cancel := context.WithTimeout(context.WithoutCancel(n.ctx), stopTimeout)
	defer cancel()
	if err := n.machine.Stop(end); err != nil {
		log.Error("machine does not stop", "err", err)
		return
	}
	log.Info("machine stopped")
}

// probe is the health extension of a machine, until it ends.
func (w *worker) probe(n *node, id string) {
	var e *extension
	for n.ctx.Err() == nil {
		began := time.Now()
		pause := leastPause
		h := n.want.Load().Health
		if h != nil && (e == nil || *h != e.settings) {
			e = newExtension(*h, w.Control.Clock().Now())
		}
		if h == nil {
			e = nil
		} else {
			pause = w.real(h.Interval)
			if state := w.ask(n, e); state != "" && n.ctx.Err() == nil {
				w.report(w.Control.ReportHealth(id, n.boot, state))
			}
		}
		select {
		case <-n.ctx.Done():
		case <-time.After(max(pause-time.Since(began), leastPause)):
		}
	}
}

// ask probes a machine once, and returns the state to report.
func (w *worker) ask(n *node, e *extension) string {
	if !e.probes() {
		return e.state
	}
	ctx, cancel := context.WithTimeout(n.ctx, probeTimeout)
	defer cancel()
	a, err := n.machine.Probe(ctx, e.settings)
	return e.observe(w.Control.Clock().Now(), a, err)
}

// errEnded says that a machine ended while a script ran on it.
var errEnded = errors.New("the machine has ended")

// exec runs a script once the machine has booted.
func (n *node) exec(ctx context.Context, script string) arm.CommandResult {
	select {
	case <-n.booted:
	case <-ctx.Done():
		return arm.CommandResult{Failure: errEnded.Error()}
	}
	out, err := n.machine.Run(ctx, script)
	switch {
	case n.ctx.Err() != nil:
		return arm.CommandResult{Failure: errEnded.Error()}
	case err != nil:
		return arm.CommandResult{Failure: err.Error()}
	}
	return arm.CommandResult{Stdout: out.Stdout, Stderr: out.Stderr}
}
