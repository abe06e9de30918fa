package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
)

// askExits are the exit codes of the commands that ask something of a rollout.
const askExits = `
The request lies beside the journal until the next tick takes it up: within
seconds while a run is at work, else with the next fleetctl rollout advance.
The output says who that is, and when. No lock is needed.

Exit codes: 0 asked, or it was asked already; 3 it makes no sense as the
rollout stands; 1 error, 2 wrong usage, 4 not authorised, 130 interrupted.`

func newRolloutApproveCommand(g *globals) *cobra.Command {
	q := rollout.Request{Do: rollout.Approve}
	cmd := &cobra.Command{
		Use:   "approve [WAVE]",
		Short: "let the wave begin that waits for an approval",
		Long: `Approve the wave that waits for it, which is one with approve: true. With WAVE,
only if it is that one which waits. Who approved, when and why is in the
journal.
` + askExits,
		Example: `  fleetctl rollout approve
  fleetctl rollout approve west --why "CAB-1207"`,
		Args: atMostOne,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				q.Wave = args[0]
			}
			return g.askRollout(cmd, &q)
		},
	}
	whyFlag(cmd, &q)
	return cmd
}

func newRolloutPauseCommand(g *globals) *cobra.Command {
	q := rollout.Request{Do: rollout.Pause}
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "let the rollout begin nothing new",
		Long: `Pause the rollout: it watches, judges, and takes failing members back, and
begins nothing new until fleetctl rollout resume. What is under way comes to
its end. A pause of a day ends as held: models point at the last good version
then, and members stay as they are.
` + askExits,
		Example: `  fleetctl rollout pause --why "incident 4711"`,
		Args:    usage.Arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return g.askRollout(cmd, &q) },
	}
	whyFlag(cmd, &q)
	return cmd
}

func newRolloutResumeCommand(g *globals) *cobra.Command {
	q := rollout.Request{Do: rollout.Resume}
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "let a rollout go on that is paused or held",
		Long: `Let a rollout go on that was paused by an operator or by itself, or is held.
The models of its scale sets are accepted as they are then, also where another
tool has changed them, and what was refused is tried anew: look at fleetctl
rollout status first.
` + askExits,
		Example: `  fleetctl rollout resume
  fleetctl rollout resume --why "quota was raised"`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.askRollout(cmd, &q) },
	}
	whyFlag(cmd, &q)
	return cmd
}

func newRolloutAbortCommand(g *globals) *cobra.Command {
	q := rollout.Request{Do: rollout.Abort}
	cmd := &cobra.Command{
		Use:   "abort",
		Short: "end the rollout, and take its members back",
		Long: `End the rollout: models point at the last good version first, then every member
that runs the new one is taken back, in batches. With --keep members stay as
they are. The version stays excluded from latest, and is not marked as failed:
that it was aborted says nothing of it.

A rollout that is held is ended, too. One that is halted-incomplete is ended
for good: what can be reached by then is taken back, with --keep nobody is, and
what is left stays listed and is taken up no more.
` + askExits,
		Example: `  fleetctl rollout abort
  fleetctl rollout abort --keep --why "1.8.4 follows"`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error { return g.askRollout(cmd, &q) },
	}
	cmd.Flags().BoolVar(&q.Keep, "keep", false, "leave members on the version as they are")
	whyFlag(cmd, &q)
	return cmd
}

func whyFlag(cmd *cobra.Command, q *rollout.Request) {
	cmd.Flags().StringVar(&q.Why, "why", "", "the `REASON`, for the journal and for others")
}

// maxWhy bounds a reason.
const maxWhy = 500

// askRollout asks something of the newest rollout, if that makes sense as it stands.
func (g *globals) askRollout(cmd *cobra.Command, q *rollout.Request) error {
	if len(q.Why) > maxWhy {
		return usage.Error(cmd, fmt.Errorf("--why has %d bytes, and at most %d are kept", len(q.Why), maxWhy))
	}
	ctx, cancel := g.within(cmd.Context())
	defer cancel()
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	last, _, err := r.newest(ctx)
	switch {
	case err != nil:
		return err
	case last == nil:
		return &cli.Error{Code: exitRefused, Err: fmt.Errorf("there is no rollout to %s", q.Do), Hint: "fleetctl rollout run VERSION begins one"}
	}
	if err := r.ours(last); err != nil {
		return err
	}
	if no, hint := refusal(last, q); no != "" {
		return &cli.Error{Code: exitRefused, Err: fmt.Errorf("%s %s", last.title(), no), Hint: hint}
	}
	answer := askView{Version: 1, ID: last.id, ImageVersion: last.Plan.Version}
	if n := len(last.Asked); n > 0 && last.Asked[n-1].Do == q.Do && last.Asked[n-1].Wave == q.Wave && last.Asked[n-1].Keep == q.Keep {
		answer.Request, answer.Already = last.Asked[n-1], true // the last word counts, so one before another is asked again
	} else {
		if err := r.ask(ctx, last.id, q); err != nil {
			return err
		}
		answer.Request = *q
	}
	return r.asked(ctx, last, &answer)
}

// refusal says why a request makes no sense as a rollout stands, and what does; empty: it
// does. The approval of no wave in particular becomes that of the one that waits.
func refusal(f *found, q *rollout.Request) (why, hint string) {
	s := &f.State
	stands := "is " + string(s.Phase)
	const look = "fleetctl rollout status shows how it stands"
	forward := !s.Phase.Over() && !goesBack(s.Phase)
	asked := func(o rollout.Order) bool {
		return slices.ContainsFunc(f.Asked, func(p rollout.Request) bool { return p.Do == o })
	}
	switch {
	case q.Do == rollout.Abort && q.Keep && slices.ContainsFunc(f.Asked, func(p rollout.Request) bool { return p.Do == rollout.Abort && !p.Keep }):
		return "is to be aborted, and its members are taken back: somebody has asked for that already", look
	case q.Do == rollout.Abort && (forward || s.Phase == rollout.Held || s.Phase == rollout.Incomplete || s.Phase == rollout.Halting && s.Keep && !q.Keep):
		return "", ""
	case goesBack(s.Phase):
		return stands + ": it goes back already, which nothing stops", look
	case s.Phase == rollout.Held && q.Do == rollout.Resume:
		return "", ""
	case s.Phase == rollout.Held:
		return stands + ": " + s.Why, "fleetctl rollout resume lets it go on, fleetctl rollout abort ends it"
	case s.Phase == rollout.Incomplete:
		return stands + ", and does not go forward any more", "fleetctl rollout advance takes back what can be by now; fleetctl rollout abort does so, too, and leaves the rest as it is"
	case s.Phase.Over():
		return "is over: " + string(s.Phase), "fleetctl rollout show tells how it went"
	case q.Do == rollout.Approve:
		return approval(f, q)
	case q.Do == rollout.Pause && s.Paused != nil && !asked(rollout.Resume):
		return "is paused already, by " + cmp.Or(s.Paused.By, "an operator"), "fleetctl rollout resume lets it go on"
	case q.Do == rollout.Resume && s.Paused == nil && s.Block == nil && !asked(rollout.Pause):
		return stands + ", and is not paused", look
	}
	return "", ""
}

// goesBack says whether a rollout is on its way back.
func goesBack(p rollout.Phase) bool {
	return p == rollout.Halting || p == rollout.Returning || p == rollout.Demoting
}

// approval says why there is nothing to approve, or not this wave, and names the wave in
// the request.
func approval(f *found, q *rollout.Request) (why, hint string) {
	s := &f.State
	if s.Phase != rollout.Rolling || s.Waves[s.Wave].Step != rollout.Asking || !f.Plan.Waves[s.Wave].Approve || s.Waves[s.Wave].Approved {
		for i := range f.Plan.Waves {
			w := &f.Plan.Waves[i]
			if w.Approve && !s.Waves[i].Approved && i >= s.Wave {
				return "does not wait for an approval now", "wave " + w.Name + " will, when the waves before it are done"
			}
		}
		return "does not wait for an approval", "fleetctl rollout status shows what it waits for"
	}
	name := f.Plan.Waves[s.Wave].Name
	if q.Wave != "" && q.Wave != name {
		return "waits for the approval of wave " + name + ", not of " + q.Wave, "fleetctl rollout approve " + name
	}
	q.Wave = name
	return "", ""
}

// An askView is what came of a request.
type askView struct {
	Version      int             `json:"version"`
	ID           string          `json:"id"`
	ImageVersion string          `json:"image_version"`
	Request      rollout.Request `json:"request"`
	Already      bool            `json:"already,omitempty"` // it was there before; nothing was written
	// Lock is who is at work on the rollout, and takes it up; empty: nobody just now.
	Lock string `json:"lock,omitempty"`
	// Due is when the next tick is due where nobody is at work just now.
	Due     time.Time `json:"due,omitzero"`
	Overdue bool      `json:"overdue,omitempty"`
}

// asked tells what came of a request: who takes it up, and when.
func (r *rollouts) asked(ctx context.Context, f *found, a *askView) error {
	by, err := r.holder(ctx, f.id)
	if err != nil {
		return err
	}
	a.Overdue = by == nil && f.Overdue(r.now())
	if by == nil {
		a.Due = f.Events[len(f.Events)-1].At.Add(f.Plan.Limits.ObserveEvery)
	} else {
		a.Lock = by.Error()
	}
	if r.g.json() {
		return r.g.out.JSON(a)
	}
	return r.g.print(r.g.askedPage(a, r.now()))
}

func (g *globals) askedPage(a *askView, now time.Time) *page {
	p := g.newPage(now)
	what := string(a.Request.Do)
	if a.Request.Wave != "" {
		what += " wave " + a.Request.Wave
	}
	if a.Request.Keep {
		what += ", members stay as they are"
	}
	text := "asked: " + what
	if a.Already {
		text = "asked already, by " + cmp.Or(a.Request.By, "somebody") + " " + cli.Relative(a.Request.At, p.now) + ": " + what
	}
	p.Flow(p.leading(0, markGood), 2, painted(cli.Bold, "rollout "+a.ID+" of "+a.ImageVersion), plain(text))
	switch {
	case a.Lock != "":
		p.Text(2, cli.Plain, a.Lock+"; it is taken up in the next tick there.", problemLines)
	case a.Overdue || a.Due.Before(p.now):
		p.Text(2, cli.Yellow, "Nobody is at work on it, and a look was due at "+cli.Clock(a.Due, p.now)+": run fleetctl rollout advance.", problemLines)
	default:
		p.Text(2, cli.Plain, "Nobody is at work on it just now; it is taken up by the next fleetctl rollout advance, which is due at "+cli.Clock(a.Due, p.now)+".", problemLines)
	}
	return p
}

func newRolloutUnlockCommand(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "unlock",
		Short: "take the lock from somebody who is not there any more",
		Long: `Show who has the lock of the rollout, on which machine and for how long, and
take it from them. It is rarely needed: in Azure Storage a lock ends within a
minute after its process, on a disk with its process. Whoever still is at work
notices at the next entry of the journal, writes nothing more, and ends; what
was begun is looked for in Azure by the next call.

Exit codes: 0 unlocked, or nobody had it; 1 error, or not confirmed, 2 wrong
usage, 4 not authorised, 130 interrupted.`,
		Example: `  fleetctl rollout unlock
  fleetctl rollout unlock --yes -o json`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := g.within(cmd.Context())
			defer cancel()
			return g.unlockRollout(ctx, cmd)
		},
	}
}

// An unlockView is what came of an unlock.
type unlockView struct {
	Version  int       `json:"version"`
	ID       string    `json:"id,omitempty"`
	Unlocked bool      `json:"unlocked"` // false: nobody had the lock
	Owner    string    `json:"owner,omitempty"`
	Host     string    `json:"host,omitempty"`
	Since    time.Time `json:"since,omitzero"`
}

// unlockRollout takes the lock from who has it.
func (g *globals) unlockRollout(ctx context.Context, cmd *cobra.Command) error {
	r, err := g.loadRollouts()
	if err != nil {
		return err
	}
	id, by, err := r.lockedBy(ctx)
	if err != nil {
		return err
	}
	if by == nil {
		return g.unlocked(&unlockView{Version: 1}, "nobody has a lock")
	}
	g.out.Say("fleetctl: %s", cli.Clean(by.Error()))
	if err := g.mayAsk(cmd, "make sure that nobody is there any more, and say --yes"); err != nil {
		return err
	}
	if err := g.confirm(ctx, "Take the lock of rollout "+id+" from them?"); err != nil {
		return err
	}
	j, err := r.place.Journal(id)
	if err != nil {
		return err
	}
	if err := j.Unlock(ctx, by); err != nil {
		return err
	}
	return g.unlocked(&unlockView{1, id, true, by.Name, by.Host, by.Since}, "rollout "+id+" is unlocked; fleetctl rollout advance goes on with it")
}

// lockedBy finds the lock that is held: that of the newest rollout, or of one that
// somebody is about to begin.
func (r *rollouts) lockedBy(ctx context.Context) (id string, by *journal.HeldError, err error) {
	last, next, err := r.newest(ctx)
	if err != nil {
		return "", nil, err
	}
	ids := []string{next}
	if last != nil {
		if err := r.ours(last); err != nil {
			return "", nil, err
		}
		ids = []string{last.id, next}
	}
	for _, id := range ids {
		if by, err := r.holder(ctx, id); by != nil || err != nil {
			return id, by, err
		}
	}
	return "", nil, nil
}

func (g *globals) unlocked(v *unlockView, text string) error {
	if g.json() {
		return g.out.JSON(v)
	}
	p := g.newPage(g.now())
	p.Flow(p.leading(0, markGood), 2, plain(text))
	return g.print(p)
}
