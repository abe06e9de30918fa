package roll

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

const (
	// maxRounds bounds the rounds of one tick.
	maxRounds = 60
	// quick is the time between two ticks while something is under way.
	quick = 20 * time.Second
	// listenEvery is the time between two looks for requests of operators.
	listenEvery = 15 * time.Second
	// listenTries is how often in a row they may be unreadable.
	listenTries = 5
	// grace is what an action that was begun gets to come to its end when the runner is
	// to stop.
	grace = 10 * time.Second
	// freshFor is how long an observation serves when nothing was changed since.
	freshFor = 30 * time.Second
	// fullAt is how much of the journal is used, of 1, when a rollout is paused, once: a halt
	// or an abort needs some to go back.
	fullAt = 0.8
	// maxNodes bounds the actions on nodes, and questions, that are under way at once. It
	// has room for batches of several sets: a tick should last no longer than one drain.
	// Azure takes 500 Run Commands a minute in a region.
	maxNodes = 100
)

// Advance does all that is due, and returns when only waiting is left: what is waited
// for is in the status, and when to come again. A read of Azure that fails is no error:
// the rollout waits, and pauses by itself. An error is one of the journal, or the end
// of ctx; the rollout can be gone on with after each.
func (r *Runner) Advance(ctx context.Context) (Status, error) {
	l, err := r.open(ctx)
	if err != nil {
		return Status{}, err
	}
	s := &Status{}
	if idle(&l.plan, &l.state, r.now()) {
		*s = l.status()
	} else if s, err = r.tick(ctx, l); err != nil {
		r.ledger = nil // it is read anew
		return l.status(), err
	}
	s.Asked, err = r.asked(ctx, l)
	if err == nil {
		r.tell(Event{Look: s})
	}
	return *s, err
}

// open returns the ledger, and notes what was begun and has no end: whoever did it is
// gone, and so is the answer.
func (r *Runner) open(ctx context.Context) (*ledger, error) {
	if r.ledger != nil {
		return r.ledger, nil
	}
	l, err := r.replay(ctx)
	if err != nil {
		return nil, err
	}
	for _, n := range slices.Sorted(maps.Keys(l.state.Ops)) {
		op := l.state.Ops[n]
		if op.Result != nil {
			continue
		}
		lost := rollout.Result{Outcome: rollout.Lost, Text: "the program ended before the answer came"}
		if err := l.append(ctx, r.event(rollout.Ended, &op.Action, &lost)); err != nil {
			return nil, err
		}
	}
	r.ledger = l
	return l, nil
}

func (r *Runner) event(kind rollout.Kind, a *rollout.Action, result *rollout.Result) rollout.Event {
	return rollout.Event{Format: rollout.Format, At: r.now(), Kind: kind, Action: a, Result: result}
}

// idle says whether a rollout has ended and owes nothing: nothing of Azure is asked for
// it.
func idle(p *rollout.Plan, s *rollout.State, now time.Time) bool {
	return s.Phase.Over() && s.Phase != rollout.Held && s.Phase != rollout.Incomplete && s.Settled() && (!p.Notify || s.Noticed(p, string(s.Phase), s.Since, now))
}

// tick goes round until there is no action left.
func (r *Runner) tick(ctx context.Context, l *ledger) (*Status, error) {
	var o rollout.Observation
	var move rollout.Move
	read := true
	for range maxRounds {
		var err error
		if read || r.now().Sub(o.At) > freshFor {
			o, err = r.observe(ctx, l)
			for try := 1; err != nil; try++ { // what operators ask: without it nothing is decided
				if try == listenTries || r.Wait(ctx, listenEvery) != nil {
					return nil, err
				}
				r.note("what operators ask cannot be read: %v", err)
				o, err = r.observe(ctx, l)
			}
		}
		asked := o.Requests
		if used := l.journal.Used(); used >= fullAt {
			o.Requests = slices.Concat(asked, []rollout.Request{{
				ID: "full", Do: rollout.Pause, By: "fleetctl", At: o.At,
				Why: fmt.Sprintf("%.0f%% of the journal are used, and the rest is kept for the way back: abort this rollout and begin it anew", 100*used),
			}})
		}
		move = rollout.Next(l.plan, l.state, o, r.now())
		o.Requests = asked
		if err := l.append(ctx, move.Events...); err != nil {
			return nil, err
		}
		r.drop(ctx, l, asked)
		r.tellWriters(ctx, l, move.Events)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !due(&move) {
			break
		}
		if err := r.act(ctx, l, move.Actions); err != nil {
			return nil, err
		}
		// What was decided may lead on at once; what was done, or has ended, is to be read
		// first.
		read = slices.ContainsFunc(move.Actions, func(a rollout.Action) bool { return a.Effect() }) ||
			slices.ContainsFunc(move.Events, func(e rollout.Event) bool { return e.Kind == rollout.Ended })
	}
	if due(&move) {
		r.note("the tick has no end: %d rounds, and there is more to do", maxRounds)
	}
	s := l.status()
	s.Observation, s.Waits, s.Due = &o, move.Waits, due(&move)
	s.Again = again(l, &move, r.now())
	return &s, nil
}

// again is when to come again; zero: never, it is over.
func again(l *ledger, move *rollout.Move, now time.Time) time.Time {
	s := &l.state
	if idle(&l.plan, s, now) {
		return time.Time{}
	}
	every := max(l.plan.Limits.ObserveEvery*2/3, time.Second) // what counts is at most ObserveEvery apart
	if busy(s) {
		every = min(every, quick)
	}
	// While a person is waited for, gates are asked as often as members are looked at: a
	// wait of days would fill the journal.
	waits := s.Paused != nil || s.Waves[s.Wave].Step == rollout.Asking
	for _, g := range l.plan.Gates {
		if s.Phase == rollout.Rolling && len(s.Runs) > 0 && !waits {
			every = min(every, max(g.Every, listenEvery))
		}
	}
	next := now.Add(every)
	for _, w := range move.Waits {
		if w.Until.After(now) && w.Until.Before(next) {
			next = w.Until
		}
	}
	return next
}

// busy says whether something is under way whose end changes what is to be done.
func busy(s *rollout.State) bool {
	if !s.Phase.Over() && s.Phase != rollout.Rolling {
		return true
	}
	if len(s.Ops) > 0 || len(s.Drains) > 0 {
		return true
	}
	for _, set := range s.Sets {
		if set.Batch != nil {
			return true
		}
	}
	for _, m := range s.Runs {
		if last := &m.Runs[len(m.Runs)-1]; last.To.IsZero() && !m.Verified && m.Failed == "" {
			return true
		}
	}
	return false
}

// Run is [Runner.Advance] again and again until the rollout is over. What an operator
// asks is taken up within seconds. A rollout that is Held, or is Incomplete, is over for
// Run: one that is Held when its models are back, or could not be for too long.
func (r *Runner) Run(ctx context.Context) (Status, error) {
	for {
		s, err := r.Advance(ctx)
		if err != nil || s.Again.IsZero() {
			return s, err
		}
		holding := s.Observation != nil && rollout.Holding(&s.Plan, &s.State, s.Observation, r.now())
		if s.State.Phase.Over() && s.State.Settled() && !holding {
			return s, nil
		}
		var known []rollout.Request
		if s.Observation != nil {
			known = s.Observation.Requests
		}
		if err := r.rest(ctx, s.Again, known); err != nil {
			return s, err
		}
	}
}

// rest waits until a time, or until there is a request that the last tick did not know.
func (r *Runner) rest(ctx context.Context, until time.Time, known []rollout.Request) error {
	for {
		left := until.Sub(r.now())
		if left <= 0 {
			return ctx.Err()
		}
		if err := r.Wait(ctx, min(left, listenEvery)); err != nil {
			return err
		}
		asked, err := r.asked(ctx, r.ledger)
		if err != nil {
			r.note("what operators ask cannot be read: %v", err)
			continue
		}
		if slices.ContainsFunc(asked, func(a rollout.Request) bool {
			return !slices.ContainsFunc(known, func(b rollout.Request) bool { return a.ID == b.ID })
		}) {
			return ctx.Err()
		}
	}
}

// act carries actions out: those that write to Azure one after the other, then those
// that ask nodes and others, several at a time.
func (r *Runner) act(ctx context.Context, l *ledger, actions []rollout.Action) error {
	for i := range actions {
		if !verbs[actions[i].Do].aside {
			if err := r.carryOut(ctx, l, &actions[i]); err != nil {
				return err
			}
		}
	}
	var all errgroup.Group
	all.SetLimit(maxNodes)
	for i := range actions {
		if verbs[actions[i].Do].aside {
			all.Go(func() error { return r.carryOut(ctx, l, &actions[i]) })
		}
	}
	return all.Wait()
}

// carryOut carries one action out, between its Began and its Ended.
func (r *Runner) carryOut(ctx context.Context, l *ledger, a *rollout.Action) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := l.append(ctx, r.event(rollout.Began, a, nil)); err != nil {
		return err
	}
	// The lock is looked at after the entry is durable: who has lost it by then has done
	// nothing, and the next one finds an answer that was lost.
	if err := l.guard(); err != nil {
		return err
	}
	result := r.perform(ctx, l, a)
	return l.append(ctx, r.event(rollout.Ended, a, &result))
}

// perform carries an action out within its bound. When the runner is to stop, it gets a
// moment to come to its end.
func (r *Runner) perform(ctx context.Context, l *ledger, a *rollout.Action) rollout.Result {
	v, ok := verbs[a.Do]
	if !ok {
		return rollout.Result{Outcome: rollout.Denied, Text: "this program does not know how to " + string(a.Do)}
	}
	// What Azure wants to see again later is sent only while the lock is held then.
	acting := azure.Guarded(context.WithoutCancel(ctx), l.guard)
	acting, cancel := context.WithTimeout(acting, v.within)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	defer stop()
	return v.do(acting, r, &l.plan, a)
}
