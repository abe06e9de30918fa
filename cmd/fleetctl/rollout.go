package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/roll"
)

func newRolloutCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rollout",
		Short: "bring an image version to the scale sets, wave by wave",
		Long: `Bring an image version to the scale sets of the file in waves that stop
themselves, take back what they did, and keep a bad version from everybody
else.

A fleet has one unfinished rollout. All that is known of it is in its journal:
a directory, or a path in a container of Azure Storage, that the file names.
Any call goes on where the last one ended, wherever that was, but only one at a
time has the lock: the others say who does.

run stays with a rollout to its end; or a schedule calls advance, which does
what is due and exits. What operators ask by approve, pause, resume and abort
is taken up by whoever works on it.

Exit codes: 0 done, or nothing due; 3 refused; 5 a rollout was halted, aborted,
or is held; 8 with --exit-code while it is unfinished; 1 error, 2 wrong usage,
4 not authorised, 130 interrupted.`,
		Example: `  fleetctl rollout plan 1.8.3
  fleetctl rollout run 1.8.3
  fleetctl rollout status`,
		Args: usage.Known,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newRolloutPlanCommand(g), newRolloutRunCommand(g), newRolloutAdvanceCommand(g), newRolloutStatusCommand(g), newRolloutWatchCommand(g),
		newRolloutApproveCommand(g), newRolloutPauseCommand(g), newRolloutResumeCommand(g), newRolloutAbortCommand(g), newRolloutUnlockCommand(g),
		newRolloutHistoryCommand(g), newRolloutShowCommand(g),
	)
	return cmd
}

// atMostOne refuses more than one argument.
func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usage.Error(cmd, fmt.Errorf("unexpected argument %q", args[1]))
	}
	return nil
}

// rollouts are those of a fleet, in the place that its file names.
type rollouts struct {
	g     *globals
	spec  *fleet.Spec
	azure *azure.Client
	place *journal.Place
	now   func() time.Time
	sleep func(context.Context, time.Duration) error // the error is that of the context
}

// A found is a rollout with how it stands.
type found struct {
	id string
	roll.Status
}

// loadRollouts opens the journals of the file.
func (g *globals) loadRollouts() (*rollouts, error) {
	spec, err := g.load()
	if err != nil {
		return nil, err
	}
	return g.rolloutsOf(spec)
}

// errNoRollout is the error of a file that says nothing of rollouts.
var errNoRollout = errors.New("the file has no section rollout")

func (g *globals) rolloutsOf(spec *fleet.Spec) (*rollouts, error) {
	if spec.Rollout == nil {
		return nil, cli.Hint(errNoRollout, "add one, such as: rollout: {waves: [{name: all, scale_sets: [SET], soak: 1h}], journal: rollouts}")
	}
	client, err := g.client()
	if err != nil {
		return nil, err
	}
	said := ""
	place, err := journal.At(spec.Rollout.Journal, client, func(text string) {
		if text != said { // a run reads the same again and again
			g.out.Say("fleetctl: %s", cli.Clean(text))
		}
		said = text
	})
	if err != nil {
		return nil, err
	}
	if g.passed != nil {
		place.Passes(g.passed)
	}
	r := &rollouts{g: g, spec: spec, azure: client, place: place}
	r.now, r.sleep = g.times(client)
	return r, nil
}

// runner makes a runner of a journal, or of a lock on one.
func (r *rollouts) runner(j roll.Journal) *roll.Runner {
	return &roll.Runner{Azure: r.azure, Spec: r.spec, Journal: j, Now: r.now, Wait: r.sleep}
}

// list returns the rollouts of the place, the newest first. A place that is not there is
// an error, a journal.ErrNoPlace: it may be lost, or mistyped, and a rollout under way.
func (r *rollouts) list(ctx context.Context) ([]journal.Listed, error) {
	all, err := r.place.List(ctx)
	if e, ok := errors.AsType[*azure.Error](err); ok {
		err = journalError(err, e)
	} else if errors.Is(err, journal.ErrNoPlace) {
		err = cli.Hint(err, "fleetctl rollout run VERSION makes it for the first rollout; if there was one, correct rollout.journal, or bring its directory back: a rollout may be under way")
	}
	all = slices.DeleteFunc(all, func(l journal.Listed) bool { return number(l.ID) == 0 })
	slices.SortFunc(all, func(a, b journal.Listed) int { return cmp.Compare(number(b.ID), number(a.ID)) })
	return all, err
}

// journalError says what to do about an error of Azure Storage, e, that err wraps.
func journalError(err error, e *azure.Error) error {
	hint := e.Hint
	switch e.Kind {
	case azure.NotFound:
		hint = "make the container of rollout.journal first: az storage container create --auth-mode login; if it was deleted, restore it: a rollout may be under way"
	case azure.Denied:
		hint = "the identity needs the role Storage Blob Data Contributor on the container of rollout.journal; a role takes some minutes"
	default:
	}
	return &cli.Error{Code: exitCode(e.Kind), Err: err, Hint: hint}
}

// number is that of a rollout's id; 0: it is none of ours.
func number(id string) int {
	n, err := strconv.Atoi(id)
	if err != nil || n < 1 || strconv.Itoa(n) != id {
		return 0
	}
	return n
}

// newest returns the rollout that was begun last, or nil when there is none; next is the
// id of the one that comes after it.
func (r *rollouts) newest(ctx context.Context) (last *found, next string, err error) {
	all, err := r.list(ctx)
	next = "1"
	for _, l := range all {
		if err != nil {
			break
		}
		var s roll.Status
		if s, err = r.read(ctx, l.ID); err == nil {
			return &found{l.ID, s}, strconv.Itoa(number(l.ID) + 1), nil
		}
		if errors.Is(err, roll.ErrNone) { // somebody was to begin it, and did not
			next, err = l.ID, nil
		}
	}
	return nil, next, err
}

// newestOrFirst is newest for who plans a rollout or begins one: a directory that nobody
// has made yet has none, and is made by the first. A container is made by nobody here, so
// that one is still an error.
func (r *rollouts) newestOrFirst(ctx context.Context) (last *found, next string, first bool, err error) {
	last, next, err = r.newest(ctx)
	if errors.Is(err, journal.ErrNoPlace) && errors.Is(err, fs.ErrNotExist) {
		return nil, next, true, nil
	}
	return last, next, false, err
}

// read returns how a rollout stands, as its journal tells it.
func (r *rollouts) read(ctx context.Context, id string) (roll.Status, error) {
	j, err := r.place.Journal(id)
	if err != nil {
		return roll.Status{}, err
	}
	return r.runner(j).Status(ctx)
}

// look returns how a rollout stands, as its journal and Azure tell it.
func (r *rollouts) look(ctx context.Context, id string) (roll.Status, error) {
	j, err := r.place.Journal(id)
	if err != nil {
		return roll.Status{}, err
	}
	return r.runner(j).Look(ctx)
}

// ours refuses to work on the rollout of another fleet, whose file names the same place: it
// would be judged by the gates and the window of this one.
func (r *rollouts) ours(f *found) error {
	for _, set := range f.Plan.Sets {
		for name := range r.spec.ScaleSets {
			if r.spec.SetID(name).Same(set.ID) {
				return nil
			}
		}
	}
	return cli.Hint(fmt.Errorf("%s is of the fleet %s, and none of its scale sets is in this file", f.title(), f.Plan.Fleet), "give each fleet a place of its own: two files name one rollout.journal")
}

// unfinished says whether a rollout may still do something: it is under way, or held, or
// left something that a later tick may take back.
func unfinished(p rollout.Phase) bool {
	return !p.Over() || p == rollout.Held || p == rollout.Incomplete
}

// runs are the pipelines that are known by their environment: the variable that only they
// set, and the address of a run.
var runs = []struct {
	sign    string
	address func(env func(string) string) string
}{
	{"GITHUB_RUN_ID", func(env func(string) string) string {
		return env("GITHUB_SERVER_URL") + "/" + env("GITHUB_REPOSITORY") + "/actions/runs/" + env("GITHUB_RUN_ID")
	}},
	{"BUILD_BUILDID", func(env func(string) string) string {
		return env("SYSTEM_COLLECTIONURI") + env("SYSTEM_TEAMPROJECT") + "/_build/results?buildId=" + env("BUILD_BUILDID")
	}},
}

// owner is who this call works for: a run of a pipeline, or a person.
func (g *globals) owner() journal.Owner {
	host, _ := os.Hostname() // unknown is a name that nobody has
	o := journal.Owner{Name: cmp.Or(g.getenv("USER"), g.getenv("LOGNAME"), "uid "+strconv.Itoa(os.Getuid())), Host: host, PID: os.Getpid()}
	for _, run := range runs {
		if g.getenv(run.sign) != "" {
			o.Name = run.address(g.getenv)
		}
	}
	return o
}

// locked does some work while this call has the lock of a rollout. When somebody else has
// it, the error is a *journal.HeldError.
func (r *rollouts) locked(ctx context.Context, id string, work func(*journal.Lock) error) error {
	j, err := r.place.Journal(id)
	if err != nil {
		return err
	}
	lock, err := j.Acquire(ctx, r.g.owner())
	if err != nil {
		return heldHint(err)
	}
	defer func() {
		if err := lock.Release(ctx); err != nil {
			r.g.out.Say("fleetctl: the lock could not be given back, and is free within a minute: %s", cli.Clean(err.Error()))
		}
	}()
	return work(lock)
}

// heldHint says what to do about a lock that somebody else has.
func heldHint(err error) error {
	if _, held := errors.AsType[*journal.HeldError](err); !held {
		return err
	}
	return &cli.Error{Code: exitRefused, Err: err, Hint: "fleetctl rollout status shows how far it is; when nobody is there any more, fleetctl rollout unlock takes the lock from them"}
}

// holder returns who has the lock of a rollout; nil: nobody has.
func (r *rollouts) holder(ctx context.Context, id string) (*journal.HeldError, error) {
	j, err := r.place.Journal(id)
	if err != nil {
		return nil, err
	}
	return j.Holder(ctx)
}

// ask leaves a request for whoever works on a rollout.
func (r *rollouts) ask(ctx context.Context, id string, q *rollout.Request) error {
	q.By, q.At = nameOf(r.g.owner()), r.now()
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	j, err := r.place.Journal(id)
	if err != nil {
		return err
	}
	q.ID, err = j.Ask(ctx, text)
	return err
}

// nameOf is an owner as others know them: a run by its address, a person by name and host.
func nameOf(o journal.Owner) string {
	if o.Host == "" || strings.Contains(o.Name, "/") {
		return o.Name
	}
	return o.Name + "@" + o.Host
}

// seen is a rollout as it is shown, without who works on it.
func (f *found) seen(g *globals, now time.Time) rollout.View {
	v := rollout.Look(f.Plan, f.State, f.Events, f.Observation, now)
	v.ID, v.Next, v.Overdue, v.Asked = f.id, f.Again, f.Overdue(now), f.Asked
	v.Causes = g.rolloutCauses(&v)
	return v
}

// view is a rollout as it is shown. Who has its lock is asked for.
func (r *rollouts) view(ctx context.Context, f *found) rollout.View {
	v := f.seen(r.g, r.now())
	by, err := r.holder(ctx, f.id)
	switch {
	case err != nil:
		r.g.out.Say("fleetctl: who is at work on it cannot be read: %s", cli.Clean(err.Error()))
	case by != nil:
		v.Lock = by.Error()
	}
	return v
}

// title names a rollout.
func (f *found) title() string { return "rollout " + f.id + " of " + f.Plan.Version }

// noRollouts tells that there is no rollout. As JSON, it is one without an id.
func (r *rollouts) noRollouts() error {
	if r.g.json() {
		return r.g.out.JSON(rollout.View{
			Version: rollout.ViewVersion, At: r.now(), Waves: []rollout.WaveView{}, Sets: []rollout.SetView{}, Gates: []rollout.GateView{}, Ran: []rollout.Ran{},
		})
	}
	r.g.out.Say("fleetctl: there is no rollout; fleetctl rollout run VERSION begins one")
	return nil
}
