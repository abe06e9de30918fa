package drain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Units is what the steps for units need of systemd. The words for states and
// results are systemd's own (org.freedesktop.systemd1(5)).
type Units interface {
	// StopUnit and StartUnit queue a job and return when it has ended, with an
	// error unless its result was done. The end of ctx ends the waiting, not
	// the job.
	StopUnit(ctx context.Context, name string) error
	StartUnit(ctx context.Context, name string) error
	// KillUnit sends a signal to all processes of a unit and waits for nothing.
	KillUnit(ctx context.Context, name string, signal syscall.Signal) error
	// Members returns the units that stop when the target is stopped: those
	// that are PartOf= it.
	Members(ctx context.Context, target string) ([]string, error)
	UnitState(ctx context.Context, name string) (UnitState, error)
}

// UnitState is what systemd says of a unit.
type UnitState struct {
	Active, Sub string // ActiveState and SubState
	Result      string // of its last end; empty for types of unit that have none
	Job         bool   // a job of the unit is queued or runs
}

// String is how messages tell a state.
func (s UnitState) String() string { return fmt.Sprintf("%s (%s)", s.Active, s.Sub) }

const (
	// unitEvery is the time between two looks at units that are stopping.
	unitEvery = 200 * time.Millisecond
	// killWait bounds what is done about units when time is up.
	killWait = time.Second
)

// ErrUnavailable is what Units wrap when systemd cannot be asked now: the bus is
// being restarted, say. What is asked is then tried again for a while.
var ErrUnavailable = errors.New("systemd cannot be asked now")

// availableWithin is how long a step waits for a systemd that cannot be asked.
const availableWithin = 10 * time.Second

// patiently calls something again for as long as systemd cannot be asked, within
// a bound.
func patiently(ctx context.Context, call func() error) error {
	end := time.Now().Add(availableWithin)
	for {
		err := call()
		if !errors.Is(err, ErrUnavailable) || time.Now().After(end) || pause(ctx, unitEvery) != nil {
			return err
		}
	}
}

// errNoUnits says that there is no systemd to ask.
var errNoUnits = errors.New("systemd is not available")

type targetStep struct {
	units Units
	name  string
}

// TargetStep returns a step that stops a target and with it, in parallel, every
// unit that is PartOf= it, each by its own rules; Undo starts the target, which
// starts those that it wants. The step has done its work when all members have
// stopped well: systemd says done of the target's job even when a member had to
// be killed. When the step's time is up, what is left is killed,
// where the agent has the right to; as packaged it has not, and the unit's own
// TimeoutStopSec= ends it.
//
// units may be nil; the step then fails and says so.
func TargetStep(units Units, name string) (Step, error) {
	if !strings.HasSuffix(name, ".target") {
		return nil, fmt.Errorf("%q is not the name of a target", name)
	}
	return targetStep{units, name}, nil
}

func (targetStep) stopping() {}

func (s targetStep) Run(ctx context.Context) error {
	if s.units == nil {
		return fmt.Errorf("stop %s: %w", s.name, errNoUnits)
	}
	var members []string
	err := patiently(ctx, func() (err error) {
		members, err = s.units.Members(ctx, s.name)
		return err
	})
	if err != nil {
		return fmt.Errorf("list the members of %s: %w", s.name, err)
	}
	return stopUnits(ctx, s.units, s.name, members)
}

func (s targetStep) Undo(ctx context.Context) error { return startUnit(ctx, s.units, s.name) }

func (s targetStep) undoneBy() string { return s.name }

func (s targetStep) starts(ctx context.Context) (Units, []string, error) {
	if s.units == nil {
		return nil, nil, errNoUnits
	}
	members, err := s.units.Members(ctx, s.name)
	return s.units, members, err
}

type unitStep struct {
	units Units
	name  string
}

// UnitStep returns a step that stops one unit; Undo starts it. It is like
// TargetStep otherwise. A unit that was not running before the drain is started
// by the undo all the same.
func UnitStep(units Units, name string) (Step, error) {
	if !strings.Contains(name, ".") {
		return nil, fmt.Errorf("%q is not the name of a unit, such as %s.service", name, name)
	}
	return unitStep{units, name}, nil
}

func (unitStep) stopping() {}

func (s unitStep) Run(ctx context.Context) error {
	if s.units == nil {
		return fmt.Errorf("stop %s: %w", s.name, errNoUnits)
	}
	return stopUnits(ctx, s.units, s.name, []string{s.name})
}

func (s unitStep) Undo(ctx context.Context) error { return startUnit(ctx, s.units, s.name) }

func (s unitStep) undoneBy() string { return s.name }

func (s unitStep) starts(context.Context) (Units, []string, error) {
	if s.units == nil {
		return nil, nil, errNoUnits
	}
	return s.units, []string{s.name}, nil
}

// undoneBy returns the unit that Undo of a step starts; empty when it is another
// kind of step.
func undoneBy(step Step) string {
	if s, ok := step.(interface{ undoneBy() string }); ok {
		return s.undoneBy()
	}
	return ""
}

func startUnit(ctx context.Context, units Units, name string) error {
	if units == nil {
		return fmt.Errorf("start %s: %w", name, errNoUnits)
	}
	if err := patiently(ctx, func() error { return units.StartUnit(ctx, name) }); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return nil
}

// stopUnits stops a unit and looks at how all of those ended that had to. Units
// that had failed before are not blamed on the stop.
func stopUnits(ctx context.Context, units Units, name string, members []string) error {
	watched := members[:0:0]
	for _, m := range members {
		if s, err := units.UnitState(ctx, m); err != nil || !ended(s.Active) {
			watched = append(watched, m)
		}
	}
	err := patiently(ctx, func() error { return units.StopUnit(ctx, name) })
	if err != nil && ctx.Err() == nil {
		// The job failed. How the members are says more, if it says anything.
		return errors.Join(append([]error{fmt.Errorf("stop %s: %w", name, err)}, inspect(ctx, units, watched).failed...)...)
	}
	for ctx.Err() == nil {
		look := inspect(ctx, units, watched)
		if ctx.Err() == nil && len(look.running) == 0 {
			return errors.Join(look.failed...)
		}
		// Members that are not ordered After= their target stop behind its back.
		_ = pause(ctx, unitEvery) // ctx says the same
	}
	return timeIsUp(ctx, units, name, watched)
}

// A look is what became of units that were to stop.
type look struct {
	running []string
	failed  []error
}

func inspect(ctx context.Context, units Units, names []string) look {
	var l look
	for _, name := range names {
		s, err := units.UnitState(ctx, name)
		switch {
		case err != nil:
			l.failed = append(l.failed, fmt.Errorf("look at %s: %w", name, err))
		case !ended(s.Active):
			l.running = append(l.running, name)
		case s.Active == "failed" || (s.Result != "" && s.Result != "success"):
			l.failed = append(l.failed, fmt.Errorf("%s did not stop well: %s, result %s", name, s, s.Result))
		}
	}
	return l
}

func ended(active string) bool { return active == "inactive" || active == "failed" }

// timeIsUp ends what has not ended. When the drain is taken back or the agent
// stops, the units are left to systemd instead.
func timeIsUp(ctx context.Context, units Units, name string, watched []string) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, errLimit) {
		return fmt.Errorf("stop %s: %w", name, cause)
	}
	kctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(killWait, max(BriefFrom(ctx).StopWithin/2, unitEvery)))
	defer cancel()
	l := inspect(kctx, units, watched)
	if len(l.running) == 0 {
		return errors.Join(l.failed...) // the last one stopped just in time
	}
	var errs []error
	for _, unit := range l.running {
		if err := units.KillUnit(kctx, unit, syscall.SIGKILL); err != nil {
			errs = append(errs, err)
		}
	}
	what := "killed"
	if len(errs) > 0 { // as packaged the agent may not: the unit's TimeoutStopSec= ends it
		what = "not all could be killed"
	}
	return errors.Join(append([]error{fmt.Errorf("stop %s: still stopping, %s: %s", name, what, strings.Join(l.running, ", "))}, errs...)...)
}

// A HookConfig configures a HookStep.
type HookConfig struct {
	Units Units // nil: the step fails and says so
	// Name is the NAME of fleet-hook@NAME.service.
	Name string
	// EnvFile is where the unit finds the cause as FLEET_* variables; empty:
	// it is not told. The unit must not use it as an EnvironmentFile=, for whoever
	// may write it would choose LD_PRELOAD too. It is written before each start,
	// with mode 0644.
	EnvFile string
}

type hookStep struct {
	units   Units
	unit    string
	envFile string
}

// HookStep returns a step that starts fleet-hook@NAME.service, a oneshot unit,
// and waits until its process has ended. A hook whose time is up is stopped.
func HookStep(cfg HookConfig) (Step, error) {
	for _, c := range cfg.Name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.-\\", c) {
			return nil, fmt.Errorf("hook %q: a unit's name has letters, digits and : _ . - \\ only", cfg.Name)
		}
	}
	if cfg.Name == "" {
		return nil, errors.New("the hook's name is missing")
	}
	return hookStep{cfg.Units, "fleet-hook@" + cfg.Name + ".service", cfg.EnvFile}, nil
}

func (hookStep) stopping() {}

func (s hookStep) Run(ctx context.Context) error {
	if s.units == nil {
		return fmt.Errorf("start %s: %w", s.unit, errNoUnits)
	}
	if s.envFile != "" {
		if err := writeEnvFile(s.envFile, environment(BriefFrom(ctx))); err != nil {
			return fmt.Errorf("tell %s the cause: %w", s.unit, err)
		}
	}
	err := patiently(ctx, func() error { return s.units.StartUnit(ctx, s.unit) })
	if ctx.Err() != nil {
		sctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(killWait, max(BriefFrom(ctx).StopWithin/2, unitEvery)))
		defer cancel()
		stopped := s.units.StopUnit(sctx, s.unit)
		return errors.Join(fmt.Errorf("%s: %w", s.unit, context.Cause(ctx)), stopped)
	}
	if err == nil {
		return nil
	}
	if state, serr := s.units.UnitState(ctx, s.unit); serr == nil && state.Result != "" {
		return fmt.Errorf("start %s: %w: %s, result %s", s.unit, err, state, state.Result)
	}
	return fmt.Errorf("start %s: %w", s.unit, err)
}

// writeEnvFile writes variables in the syntax of environment files
// (systemd.exec(5)), whole or not at all. A value cannot end its line: a hook may run as root, and what it
// is told comes from outside.
func writeEnvFile(path string, env []string) error {
	var b strings.Builder
	for _, kv := range env {
		key, value, _ := strings.Cut(kv, "=")
		b.WriteString(key + `="`)
		for _, c := range value {
			switch {
			case c < ' ' || c == 0x7f:
				b.WriteByte(' ')
			case strings.ContainsRune("\"\\`$", c):
				b.WriteString(`\` + string(c))
			default:
				b.WriteRune(c)
			}
		}
		b.WriteString("\"\n")
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(b.String())
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // a leftover does no harm
	}
	return err
}
