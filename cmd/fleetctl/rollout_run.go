package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

// A running is a rollout that run was asked for.
type running struct {
	version   string
	supersede bool
	options   rollout.Options
	report    string
	once      bool // one tick, in place of all
}

func newRolloutRunCommand(g *globals) *cobra.Command {
	var f running
	cmd := &cobra.Command{
		Use:   "run VERSION",
		Short: "begin a rollout, and stay with it to its end",
		Long: `Bring an image version to the scale sets of the file, wave by wave, and stay
with it until it has succeeded, or has gone back by itself. The plan is shown,
and asked about, before anything is written; fleetctl rollout plan shows all of
it.

A rollout of the same version that is unfinished is gone on with, wherever it
was left. One of another version refuses the call: --supersede aborts that one,
takes its members back, and begins the new one then. When it was
halted-incomplete, what could not be taken back stays as it is.

An interrupt ends in order: what was begun gets a moment to end, the lock is
given back, and the rollout stands as it is until the next fleetctl rollout
advance, or the same run again. A second interrupt ends the command at once,
which is safe, too. Nobody watches the members meanwhile: go on soon. With
--no-wait the command begins the rollout, does what is due, and leaves the rest
to fleetctl rollout advance.

What an operator asks by fleetctl rollout pause, approve or abort is taken up
within seconds.

Exit codes: 0 succeeded, or begun with --no-wait; 3 refused: by the plan, by a
rollout that is unfinished, or by who is at work on it; 5 it did not get to its
goal: halted, halted-incomplete, held, or aborted; 1 error, 2 wrong usage, 4
not authorised, 130 interrupted.`,
		Example: `  fleetctl rollout run 1.8.3
  fleetctl rollout run 1.8.3 --yes --report rollout.html
  fleetctl rollout run 1.8.4 --supersede
  fleetctl rollout run 1.8.3 --yes --no-wait`,
		Args: usage.Arguments("VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.version = args[0]; !fleet.IsVersion(f.version) {
				return usage.Error(cmd, fmt.Errorf("%q is not the number of an image version, which is like 1.8.3", f.version))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			f.once = g.noWait
			return g.runRollout(ctx, cmd, &f)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.supersede, "supersede", false, "abort an unfinished rollout of another version first")
	planFlags(cmd, &f.options)
	reportFlag(cmd, &f.report)
	return cmd
}

// planFlags adds the flags that plan and run share.
func planFlags(cmd *cobra.Command, o *rollout.Options) {
	flags := cmd.Flags()
	flags.BoolVar(&o.NoReturn, "no-return", false, "begin although a scale set has no version to go back to")
	flags.BoolVar(&o.WithModel, "with-model", false, "bring other pending changes of the models along")
}

// runRollout begins a rollout, or goes on with it, and tells how it has ended.
func (g *globals) runRollout(ctx context.Context, cmd *cobra.Command, f *running) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	last, next, first, err := r.newestOrFirst(ctx)
	if first && !g.yes { // before it is asked whether to begin
		g.out.Say("fleetctl: %s is not there yet: it is made by the first rollout", cli.Clean(r.spec.Rollout.Journal))
	}
	if err == nil && last != nil && unfinished(last.State.Phase) {
		err = r.ours(last)
	}
	switch {
	case err != nil:
		return err
	case last == nil || !unfinished(last.State.Phase):
		last, err = r.begin(ctx, cmd, f, next)
	case last.Plan.Version == f.version:
		g.out.Say("fleetctl: %s, begun %s, is gone on with", last.title(), cli.Relative(last.Plan.Made, r.now()))
		err = r.staying(ctx, f, last, func(*journal.Lock) error { return r.stillNewest(ctx, next) })
	case f.supersede:
		last, err = r.replace(ctx, cmd, f, last, next)
	default:
		return r.inTheWay(ctx, last, f.version)
	}
	if err != nil {
		return err
	}
	return r.ended(ctx, last, f.report, false)
}

// inTheWay is the error of a rollout that another one refuses.
func (r *rollouts) inTheWay(ctx context.Context, last *found, version string) error {
	who := "nobody is at work on it"
	by, err := r.holder(ctx, last.id)
	switch {
	case err != nil:
		return err
	case by != nil:
		who = by.Error()
	}
	return &cli.Error{
		Code: exitRefused,
		Err:  fmt.Errorf("%s is %s, begun %s, and a fleet has one unfinished rollout; %s", last.title(), last.State.Phase, cli.Relative(last.Plan.Made, r.now()), who),
		Hint: "fleetctl rollout advance goes on with it; fleetctl rollout run " + version + " --supersede aborts it first",
	}
}

// begin begins a rollout with an id, if its plan is good and is confirmed, and stays
// with it.
func (r *rollouts) begin(ctx context.Context, cmd *cobra.Command, f *running, id string) (*found, error) {
	if err := r.g.mayAsk(cmd, "look at fleetctl rollout plan "+f.version+", and say --yes"); err != nil {
		return nil, err
	}
	plan, refusals, err := r.runner(nil).Plan(ctx, f.version, f.options)
	switch {
	case err != nil:
		return nil, err
	case len(refusals) > 0:
		return nil, refused(f.version, refusals)
	}
	if !r.g.json() {
		p := r.planPage(&plan)
		p.Blank()
		if err := r.g.print(p); err != nil {
			return nil, err
		}
	}
	if err := r.g.confirm(ctx, "Begin this rollout?"); err != nil {
		return nil, err
	}
	begun := &found{id: id, Status: roll.Status{Plan: plan}}
	err = r.staying(ctx, f, begun, func(lock *journal.Lock) error { return r.start(ctx, f, begun, lock) })
	return begun, err
}

// refused are the errors of a plan that something speaks against.
func refused(version string, refusals []rollout.Refusal) error {
	var all []error
	for _, no := range refusals {
		text := no.Text
		if no.Set != "" {
			text = no.Set + ": " + text
		}
		all = append(all, &cli.Error{Code: exitRefused, Err: fmt.Errorf("no rollout of %s: %s", version, text), Hint: no.Hint})
	}
	return errors.Join(all...)
}

// start writes the first entry of a rollout, unless somebody else has begun one since
// this call looked.
func (r *rollouts) start(ctx context.Context, f *running, begun *found, lock *journal.Lock) error {
	if err := r.stillNewest(ctx, begun.id); err != nil {
		return err
	}
	plan, refusals, err := r.runner(lock).Start(ctx, f.version, f.options)
	switch {
	case err != nil:
		return err
	case len(refusals) > 0:
		return refused(f.version, refusals)
	}
	begun.Plan = plan
	r.g.out.Say("fleetctl: %s is begun", begun.title())
	return nil
}

// stillNewest refuses to go on when somebody has begun the rollout with the id next since
// this call looked. Who has the lock of one rollout asks it before anything else: the
// next one is begun under its own lock.
func (r *rollouts) stillNewest(ctx context.Context, next string) error {
	newer, err := r.newer(ctx, next)
	if err != nil || newer == nil {
		return err
	}
	return &cli.Error{Code: exitRefused, Err: errors.New(newer.title() + " was begun by somebody else just now"), Hint: "fleetctl rollout status shows it"}
}

// newer returns the rollout with the id next; nil: nobody has begun it yet.
func (r *rollouts) newer(ctx context.Context, next string) (*found, error) {
	s, err := r.read(ctx, next)
	if errors.Is(err, roll.ErrNone) {
		return nil, nil
	}
	return &found{next, s}, err
}

// replace aborts a rollout, goes with it to its end, and begins another one with the id
// next. Its lock is kept until the other one is at its end, so that nobody goes on with it.
func (r *rollouts) replace(ctx context.Context, cmd *cobra.Command, f *running, last *found, next string) (begun *found, err error) {
	if err := r.g.mayAsk(cmd, "look at fleetctl rollout status, and say --yes"); err != nil {
		return nil, err
	}
	if err := r.g.confirm(ctx, fmt.Sprintf("Abort %s, which is %s, and take its members back?", last.title(), last.State.Phase)); err != nil {
		return nil, err
	}
	err = r.locked(ctx, last.id, func(lock *journal.Lock) error {
		if err := r.stillNewest(ctx, next); err != nil {
			return err
		}
		if err := r.ask(ctx, last.id, &rollout.Request{Do: rollout.Abort, Why: "superseded by " + f.version}); err != nil {
			return err
		}
		end := running{version: f.version + " --supersede"}
		if err := r.stay(ctx, &end, last, lock); err != nil {
			return r.left(last.title(), "fleetctl rollout run "+end.version, err)
		}
		if phase := last.State.Phase; !phase.Over() || phase == rollout.Held {
			return fmt.Errorf("%s is %s, and could not be aborted: %s", last.title(), phase, last.State.Why)
		}
		r.g.out.Say("fleetctl: %s is %s", last.title(), last.State.Phase)
		begun, err = r.begin(ctx, cmd, f, next)
		return err
	})
	return begun, err
}

// The times of who stays with a rollout while its lock cannot be had.
const (
	regainEvery  = 15 * time.Second // another try
	regainWithin = 10 * time.Minute // after it was lost
)

// staying takes the lock of a rollout, does first, and stays with it. A lock that is lost
// because Azure Storage is out of reach, or the machine slept, is taken again unless
// somebody else has it by then: the rollout goes on where its journal says. When somebody
// has begun the next one meanwhile, nothing is done for this one any more.
func (r *rollouts) staying(ctx context.Context, f *running, of *found, first func(*journal.Lock) error) error {
	began, lost := false, time.Time{} // since when the lock is lost; zero: it is not
	for {
		outage := false
		err := r.locked(ctx, of.id, func(lock *journal.Lock) error {
			if !began {
				if err := first(lock); err != nil {
					return err
				}
			} else if over, err := r.superseded(ctx, of); over || err != nil {
				return err
			}
			began, lost = true, time.Time{}
			err := r.stay(ctx, f, of, lock)
			if gone := lock.Guard(); err != nil && !f.once && errors.Is(gone, journal.ErrOutage) {
				outage, lost = true, r.now()
				r.g.out.Say("fleetctl: %s: it is taken again when it can be", cli.Clean(gone.Error()))
			}
			return err
		})
		switch {
		case err == nil || !began:
			return err
		case outage:
		case lost.IsZero(), r.now().Sub(lost) >= regainWithin, !r.mayRegain(err):
			return r.left(of.title(), "fleetctl rollout run "+f.version, err)
		}
		if err := r.sleep(ctx, regainEvery); err != nil {
			return r.left(of.title(), "fleetctl rollout run "+f.version, err)
		}
	}
}

// superseded says whether somebody has begun the rollout after this one, and takes in how
// this one has ended.
func (r *rollouts) superseded(ctx context.Context, of *found) (bool, error) {
	newer, err := r.newer(ctx, strconv.Itoa(number(of.id)+1))
	if err != nil || newer == nil {
		return false, err
	}
	of.Status, err = r.read(ctx, of.id)
	return true, err
}

// mayRegain says whether a lock that was lost in an outage may be had after an error: it
// is this call's own that still lasts in Azure, or Azure Storage is still out of reach.
func (r *rollouts) mayRegain(err error) bool {
	if held, ok := errors.AsType[*journal.HeldError](err); ok {
		return held.Owner == r.g.owner()
	}
	return errors.Is(err, journal.ErrOutage) || azure.Doubtful(err)
}

// stay is with a rollout to its end, or for one tick, and shows what happens.
func (r *rollouts) stay(ctx context.Context, f *running, of *found, lock *journal.Lock) error {
	display := r.newRolloutDisplay(of.id, &of.Plan)
	runner := r.runner(lock)
	runner.Tell, runner.Wait = display.take, display.wait
	run := runner.Run
	if f.once {
		run = runner.Advance
	}
	status, err := run(ctx)
	display.end()
	if err != nil {
		return err
	}
	of.Status = status
	return nil
}

// left says how to go on with a rollout that a call leaves before its end.
func (r *rollouts) left(title, again string, err error) error {
	r.g.out.Say("fleetctl: %s is unfinished; fleetctl rollout advance goes on with it, or %s", title, again)
	if errors.Is(err, journal.ErrLost) {
		return cli.Hint(err, "fleetctl rollout status shows who is at work on it now")
	}
	return err
}

// ended prints how a rollout stands, and returns the code that it comes to, whether it
// could be printed or not.
func (r *rollouts) ended(ctx context.Context, f *found, report string, exitCode bool) error {
	code := endCode(f.State.Phase, exitCode)
	if err := r.show(ctx, f, report); err != nil {
		return &cli.Error{Code: code, Err: err}
	}
	return cli.Exit(code)
}

// show prints how a rollout stands, and writes its report.
func (r *rollouts) show(ctx context.Context, f *found, report string) error {
	view := r.view(ctx, f)
	var err error
	if r.g.json() {
		err = r.g.out.JSON(view)
	} else {
		err = r.g.print(r.g.rolloutPage(&view))
	}
	return errors.Join(err, r.g.writeReport(report, &view, f.Events))
}

// endCode is what a command exits with that has taken a rollout to a phase.
func endCode(p rollout.Phase, exitCode bool) int {
	switch {
	case p == rollout.Succeeded:
		return cli.ExitOK
	case p.Over():
		return exitHalted
	case exitCode:
		return exitChanges
	}
	return cli.ExitOK
}

func newRolloutAdvanceCommand(g *globals) *cobra.Command {
	var exitCode bool
	var report string
	cmd := &cobra.Command{
		Use:   "advance",
		Short: "do what is due in the rollout, and exit: for a schedule",
		Long: `Do all that is due in the unfinished rollout, and exit: look at the fleet,
judge, begin the next batch or the way back, end what has ended. A schedule
that calls it every few minutes is all that a rollout of days needs. It asks
nothing, and takes the lock for as long as it works.

Time counts for a soak only between looks that are at most observe_every apart:
a schedule that is slower makes each look the first one. A rollout that nobody
has looked at for three times observe_every is OVERDUE in fleetctl rollout
status.

Where there is no rollout, or it is over, there is nothing to do. When somebody
else is at work on it, as when one call of the schedule takes longer than the
time between two, the call says who, leaves it to them, and exits as it would
otherwise; with -o json they are in lock.

Exit codes: 0 done, nothing due, or left to who is at work on it; 5 the rollout
came to its end in this call without having succeeded, or it is held or
halted-incomplete and waits for somebody; 8 with --exit-code while it is
unfinished; 1 error, 2 wrong usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl rollout advance
  fleetctl rollout advance --exit-code
  fleetctl rollout advance -o json --report rollout.html`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.advanceRollout(ctx, report, exitCode)
		},
	}
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, "exit with "+strconv.Itoa(exitChanges)+" while the rollout is unfinished")
	reportFlag(cmd, &report)
	return cmd
}

// advanceRollout does what is due.
func (g *globals) advanceRollout(ctx context.Context, report string, exitCode bool) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	last, next, err := r.newest(ctx)
	switch {
	case err != nil:
		return err
	case last == nil:
		return r.noRollouts()
	case last.Idle(r.now()):
		g.out.Say("fleetctl: %s is over: there is nothing to do", last.title())
		return r.show(ctx, last, report)
	}
	if err := r.ours(last); err != nil {
		return err
	}
	err = r.locked(ctx, last.id, func(lock *journal.Lock) error { return r.tick(ctx, last, next, lock) })
	if held, ok := errors.AsType[*journal.HeldError](err); ok {
		g.out.Say("fleetctl: %s", cli.Clean(held.Error()))
	} else if err != nil {
		return err
	}
	return r.ended(ctx, last, report, exitCode)
}

// tick does what is due in a rollout, unless somebody has begun the next one meanwhile.
func (r *rollouts) tick(ctx context.Context, last *found, next string, lock *journal.Lock) error {
	newer, err := r.newer(ctx, next)
	switch {
	case err != nil:
		return err
	case newer != nil:
		*last = *newer
		return nil // whoever began it is at work on it
	}
	runner := r.runner(lock)
	runner.Tell = r.newRolloutLines(&last.Plan).take
	status, err := runner.Advance(ctx)
	if err != nil {
		return r.left(last.title(), "fleetctl rollout run "+last.Plan.Version, err)
	}
	last.Status = status
	return nil
}
