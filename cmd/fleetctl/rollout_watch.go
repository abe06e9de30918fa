package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

const (
	// journalEvery is the time between two readings of the journal, journalWithin bounds
	// each.
	journalEvery  = 3 * time.Second
	journalWithin = 30 * time.Second
	// liveRows are the rows of cells of a scale set on a live screen.
	liveRows = 2
	// drawEvery bounds how often a live screen is drawn: a rollout of a thousand members
	// has thousands of entries, and the seconds of a simulator may be short.
	drawEvery = 200 * time.Millisecond
)

// A rolloutDisplay shows what happens in a rollout while it happens, on standard error.
type rolloutDisplay interface {
	take(e roll.Event)                               // an event of the runner; what it says is shown at once
	wait(ctx context.Context, d time.Duration) error // sleeps; the error is that of the context
	end()                                            // what is shown stays as it is
}

// newRolloutDisplay returns the display of a rollout with an id: a live screen on a
// terminal, lines elsewhere.
func (r *rollouts) newRolloutDisplay(id string, plan *rollout.Plan) rolloutDisplay {
	out := cli.NewOutput(cli.OutputConfig{Out: r.g.out.Err, Err: r.g.out.Err, Getenv: r.g.getenv, NoColor: r.g.noColor})
	if !out.Terminal() || r.g.debug {
		return r.newRolloutLines(plan)
	}
	return &rolloutScreen{r: r, id: id, plan: plan, screen: &cli.Screen{Output: out}, lines: r.newRolloutLines(plan)}
}

// A rolloutScreen is the live screen of whoever works on a rollout. It is safe for
// concurrent use: an action may wait while others tell that they have ended.
type rolloutScreen struct {
	r      *rollouts
	id     string
	plan   *rollout.Plan
	screen *cli.Screen

	mu    sync.Mutex // guards what follows
	found found      // how it stands; without events: nobody has looked at it yet
	lines *rolloutLines
	notes []string // what happened last
	drawn time.Time
}

func (d *rolloutScreen) take(e roll.Event) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case e.Look != nil:
		d.found = found{d.id, *e.Look}
		d.found.State = e.Look.State.Clone() // whoever told it keeps theirs
	case e.Entry != nil && len(d.found.Events) > 0:
		d.found.State.Apply(&d.found.Plan, e.Entry)
		d.found.Events = append(d.found.Events, *e.Entry)
	}
	if note := d.lines.text(&e); note != "" {
		d.notes = append(d.notes, e.At.In(d.r.g.zone).Format(time.TimeOnly)+" "+note)
	}
	d.notes = d.notes[max(len(d.notes)-shownNotes, 0):]
	d.drawAfter(drawEvery)
}

// wait sleeps. The times on the screen move meanwhile.
func (d *rolloutScreen) wait(ctx context.Context, span time.Duration) error {
	d.redraw(0)
	for span > redrawEvery {
		if err := d.r.sleep(ctx, redrawEvery); err != nil {
			return err
		}
		span -= redrawEvery
		d.redraw(drawEvery)
	}
	return d.r.sleep(ctx, span)
}

func (d *rolloutScreen) end() { d.redraw(0) }

func (d *rolloutScreen) redraw(after time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drawAfter(after)
}

// drawAfter draws, unless that was done less than some time ago.
func (d *rolloutScreen) drawAfter(some time.Duration) {
	if time.Since(d.drawn) < some {
		return
	}
	d.drawn = time.Now()
	_ = d.screen.Show(d.page().Lines()) // when it fails there is nobody to tell
}

// page is the screen: the rollout, or what is known of it before it was looked at.
func (d *rolloutScreen) page() *page {
	columns, _ := d.screen.Output.Size()
	now := d.r.now()
	p := &page{Page: cli.Page{Style: d.r.g.out.ErrStyle, Width: columns}, now: now.In(d.r.g.zone)}
	if len(d.found.Events) == 0 {
		p.Flow(p.leading(0, markRunning), 2, painted(cli.BoldBlue, "rollout "+d.id+" of "+d.plan.Version), dim("it is read"))
		for _, note := range d.notes {
			p.Text(2, cli.Plain, note, 2)
		}
		return p
	}
	v := d.found.seen(d.r.g, now)
	p.liveRollout(&v, liveRows, d.notes)
	return p
}

func newRolloutWatchCommand(g *globals) *cobra.Command {
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "show how the rollout stands, again and again",
		Long: `Show how the rollout stands until it is over: its waves and batches, each
member as a character by its health and version, the gates with their evidence,
and what is due next and when. It writes nothing, and needs no lock.

The journal is read every few seconds, and Azure at the interval. Without a
terminal there is a line for each thing that happens; --output json is one
document a line for each change. What cannot be read leaves what was shown,
with its age.

Exit codes: 0 it succeeded, 5 it was halted, aborted, or is held, 1 error, 2
wrong usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl rollout watch
  fleetctl rollout watch --interval 1m
  fleetctl rollout watch -o json`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if interval < minInterval {
				return usage.Error(cmd, fmt.Errorf("--interval must be at least %s: Azure allows twelve looks a minute", cli.Duration(minInterval)))
			}
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.watchRollout(ctx, interval)
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", 2*defaultInterval, "the `TIME` between two looks at Azure")
	return cmd
}

// watchRollout shows the newest rollout until it is over.
func (g *globals) watchRollout(ctx context.Context, interval time.Duration) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	last, _, err := r.newest(ctx)
	if err != nil {
		return explained(err)
	}
	if last == nil {
		return r.noRollouts()
	}
	w, err := r.newWatch(last, interval)
	if err != nil {
		return err
	}
	return w.run(ctx)
}

// newWatch returns what watches a rollout. Each source goes on from what it has read
// before.
func (r *rollouts) newWatch(last *found, interval time.Duration) (*rolloutWatch, error) {
	j, err := r.place.Journal(last.id)
	if err != nil {
		return nil, err
	}
	reads, looks := r.runner(j), r.runner(j)
	return &rolloutWatch{
		g: r.g, now: r.now, interval: interval, found: *last, screen: &cli.Screen{Output: r.g.out}, lines: r.newRolloutLines(&last.Plan),
		journal: func(ctx context.Context) (roll.Status, string, error) { return readWithHolder(ctx, reads, j) },
		azure:   looks.Look,
	}, nil
}

// readWithHolder returns how a rollout stands, as its journal tells it, and who works on
// it; nobody: "".
func readWithHolder(ctx context.Context, r *roll.Runner, j *journal.Journal) (s roll.Status, lock string, err error) {
	if s, err = r.Status(ctx); err != nil {
		return s, "", err
	}
	by, err := j.Holder(ctx)
	if by == nil {
		return s, "", err
	}
	return s, by.Error(), err
}

// A rolloutWatch shows a rollout that somebody else works on.
type rolloutWatch struct {
	g        *globals
	now      func() time.Time
	interval time.Duration
	screen   *cli.Screen
	journal  func(context.Context) (roll.Status, string, error)
	azure    func(context.Context) (roll.Status, error)

	found    found                // as the journal told it last
	began    time.Time            // when the reading of it began
	at       time.Time            // when the journal was read last
	lock     string               // who works on it
	observed *rollout.Observation // what was read of Azure last
	again    time.Time
	failures [2]error // why the last reading of each source failed
	lines    *rolloutLines
	told     int      // entries of the journal that were told
	notes    []string // what they said last
	shown    bool
	failing  string // the failure that was told last
}

// The sources of a watch.
const (
	fromJournal = iota
	fromAzure
)

// A reading is what was read from a source.
type reading struct {
	source int
	began  time.Time
	status roll.Status
	lock   string
	err    error
	last   bool // it began when the rollout was over
}

// run reads and shows until the rollout is over, and once more then. What hangs does not
// keep the clock on the screen from moving.
func (w *rolloutWatch) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.at = w.now()
	var due [2]time.Time
	var busy [2]bool
	readings := make(chan reading, len(due)) // whoever reads does not wait for us
	for change := true; ; {
		if err := w.show(change); err != nil {
			return err
		}
		over := w.found.State.Phase.Over()
		for source := range due {
			if !busy[source] && !time.Now().Before(due[source]) {
				busy[source] = true
				go func() { readings <- w.read(ctx, source, over) }()
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(redrawEvery):
			change = false
		case r := <-readings:
			change = true
			busy[r.source], due[r.source] = false, time.Now().Add(w.pause(r))
			w.take(&r)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case r.last && r.source == fromAzure:
				return w.end()
			case w.found.State.Phase.Over() && !r.last:
				due[fromAzure] = time.Time{} // how it ended
			}
		}
	}
}

// pause is the time until a source is read again.
func (w *rolloutWatch) pause(r reading) time.Duration {
	if r.source == fromJournal {
		return pauseAfter(r.err, journalEvery)
	}
	return pauseAfter(r.err, w.interval)
}

// read reads from a source, bounded.
func (w *rolloutWatch) read(ctx context.Context, source int, over bool) reading {
	within := journalWithin
	if source == fromAzure {
		within = watchTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	r := reading{source: source, began: time.Now(), last: over}
	if source == fromJournal {
		r.status, r.lock, r.err = w.journal(bounded)
	} else {
		r.status, r.err = w.azure(bounded)
	}
	if r.err != nil && bounded.Err() != nil && ctx.Err() == nil {
		r.err = fmt.Errorf("no answer within %s", cli.Duration(within))
	}
	return r
}

// take takes in what was read. The journal is read by both sources: what one began to
// read before the other is not taken.
func (w *rolloutWatch) take(r *reading) {
	w.failures[r.source] = r.err
	if r.err != nil {
		return
	}
	if !r.began.Before(w.began) {
		if !goesOn(w.found.Events, r.status.Events) {
			w.told, w.notes, w.shown = 0, nil, false
			w.lines = w.lines.r.newRolloutLines(&r.status.Plan)
		}
		w.began = r.began
		w.found.Plan, w.found.State, w.found.Events, w.found.Asked = r.status.Plan, r.status.State, r.status.Events, r.status.Asked
	}
	if r.source == fromJournal {
		w.at, w.lock = w.now(), r.lock
		return
	}
	w.observed, w.again = r.status.Observation, r.status.Again
}

// goesOn says whether the events of a journal go on with those that are known of it. If
// they do not, somebody has put another journal in its place.
func goesOn(known, events []rollout.Event) bool {
	n := len(known)
	return n == 0 || len(events) >= n && events[0].At.Equal(known[0].At) && events[n-1].At.Equal(known[n-1].At)
}

// view is what is shown now.
func (w *rolloutWatch) view() rollout.View {
	f := w.found
	f.Observation, f.Again = w.observed, w.again
	v := f.seen(w.g, w.now())
	v.Lock = w.lock
	return v
}

// show shows the rollout: on a terminal all of it, elsewhere what changed.
func (w *rolloutWatch) show(change bool) error {
	switch {
	case w.g.json() && !change, !w.screen.Output.Terminal() && !change:
		return nil
	case w.g.json():
		v := w.view()
		if err := errors.Join(w.failures[:]...); err != nil {
			return w.g.out.JSONLine(watchError{fleet.ViewVersion, w.now(), err.Error(), w.at})
		}
		return w.g.out.JSONLine(&v)
	case !w.screen.Output.Terminal():
		return w.tell()
	}
	w.news()
	return w.screen.Show(w.page().Lines())
}

// page is the screen.
func (w *rolloutWatch) page() *page {
	p := w.g.newPage(w.now())
	v := w.view()
	if err := errors.Join(w.failures[:]...); err != nil {
		text := "the last reading failed"
		if w.failures[fromJournal] != nil {
			text = "the journal is " + cli.Countdown(p.now.Sub(w.at)) + " old: " + text
		}
		p.Flow(p.leading(0, markWarning), 2, painted(cli.BoldAmber, text))
		p.Text(2, cli.Yellow, err.Error(), 3)
		p.Blank()
	}
	p.liveRollout(&v, liveRows, w.notes)
	return p
}

// news are the lines of the entries that were not told yet.
func (w *rolloutWatch) news() []string {
	var list []string
	for ; w.told < len(w.found.Events); w.told++ {
		e := &w.found.Events[w.told]
		if text := w.lines.text(&roll.Event{Entry: e}); text != "" {
			list = append(list, e.At.In(w.g.zone).Format(time.TimeOnly)+" "+cli.Clean(text))
		}
	}
	w.notes = append(w.notes, list...)
	w.notes = w.notes[max(len(w.notes)-shownNotes, 0):]
	return list
}

// tell writes a line for each thing that happened since the last time, and for a reading
// that fails, once.
func (w *rolloutWatch) tell() error {
	p := w.g.newPage(w.now())
	if !w.shown {
		v := w.view()
		p.rolloutHeadline(&v)
		w.shown = true
		w.news() // of before
	}
	for _, line := range w.news() {
		p.Raw(line)
	}
	failing := ""
	if err := errors.Join(w.failures[:]...); err != nil {
		failing = err.Error()
	}
	switch failing {
	case w.failing:
	case "":
		p.Raw(p.now.Format(time.TimeOnly) + " it can be read again")
	default:
		p.Raw(p.now.Format(time.TimeOnly) + " it cannot be read: " + cli.Clean(failing))
	}
	w.failing = failing
	return w.g.print(p)
}

// end shows how it ended, and returns the code to exit with.
func (w *rolloutWatch) end() error {
	if err := w.show(true); err != nil {
		return err
	}
	if !w.g.json() && !w.screen.Output.Terminal() {
		v := w.view()
		p := w.g.newPage(w.now())
		p.rollout(&v)
		if err := w.g.print(p); err != nil {
			return err
		}
	}
	return cli.Exit(endCode(w.found.State.Phase, false))
}
