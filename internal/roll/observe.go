package roll

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

const (
	// readWithin bounds the reading of everything for one observation.
	readWithin = 2 * time.Minute
	// showsWithin is how long Azure may take to show that it is at work on what it has
	// accepted.
	showsWithin = time.Minute
)

// observe reads everything that the machine decides by. What cannot be read says so in
// the observation; the error is that of ctx, or of the journal.
func (r *Runner) observe(ctx context.Context, l *ledger) (rollout.Observation, error) {
	requests, err := r.requests(ctx)
	if err != nil {
		return rollout.Observation{}, err
	}
	o := rollout.Observation{At: r.now(), Epoch: l.state.Epoch, Sets: make(map[string]rollout.SetSeen, len(l.plan.Sets)), Requests: requests}
	o.WindowOpen, o.Opens = true, time.Time{}
	if l.plan.Window {
		o.WindowOpen, o.Opens = windowAt(r.Spec, o.At)
	}
	reading, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	var all errgroup.Group
	var mu sync.Mutex
	for name, set := range l.plan.Sets {
		all.Go(func() error {
			seen := r.set(reading, set.ID)
			mu.Lock()
			defer mu.Unlock()
			o.Sets[name] = seen
			return nil
		})
	}
	all.Go(func() error {
		o.Version = r.version(reading, &l.plan)
		return nil
	})
	_ = all.Wait() // each tells its error in what it has read
	if err := ctx.Err(); err != nil {
		return rollout.Observation{}, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Sets)) {
		seen := o.Sets[name]
		if seen.Unknown != "" {
			r.note("%s cannot be read: %s", name, seen.Unknown)
			continue
		}
		seen.Busy = busyWith(&l.plan, &l.state, name, &seen)
		seen.Faults = faults(seen.Members)
		o.Sets[name] = seen
	}
	if o.Version.Unknown != "" {
		r.note("version %s cannot be read: %s", l.plan.Version, o.Version.Unknown)
	}
	r.departures(ctx, l, &o)
	o.Operations = r.operations(ctx, l, &o)
	return o, nil
}

// set reads one set. It costs what status costs for one.
func (r *Runner) set(ctx context.Context, id fleet.ResourceID) rollout.SetSeen {
	read, err := r.Azure.Fleet(ctx, azure.Scope{Sets: []fleet.ResourceID{id}, Members: true, Upgrades: true})
	switch {
	case err != nil:
		return rollout.SetSeen{Unknown: unread(ctx, err)}
	case len(read.Sets) != 1:
		return rollout.SetSeen{Unknown: "it is not there"}
	}
	return rollout.SetSeen{Set: read.Sets[0]}
}

// version reads the version of the rollout.
func (r *Runner) version(ctx context.Context, p *rollout.Plan) rollout.VersionSeen {
	read, err := r.Azure.Resource(ctx, versionID(p), "ReplicationStatus")
	if err != nil {
		return rollout.VersionSeen{Unknown: unread(ctx, err)}
	}
	return rollout.VersionSeen{Version: fleet.ReadVersion(read.Body)}
}

// unread says why something could not be read; never nothing.
func unread(ctx context.Context, err error) string {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", readWithin)
	}
	return line(err.Error())
}

func versionID(p *rollout.Plan) fleet.ResourceID {
	return p.Definition + fleet.ResourceID("/versions/"+p.Version)
}

// busyWith says what somebody else does with a set: a rolling upgrade that no step of
// this rollout has begun.
func busyWith(p *rollout.Plan, s *rollout.State, name string, seen *rollout.SetSeen) string {
	u := seen.Rolling
	if !u.Active() {
		return ""
	}
	if p.Sets[name].Driver.Platform() && !s.Sets[name].Pointed.IsZero() {
		return "" // it is what this rollout waits for, or cancels
	}
	text := "a rolling upgrade is under way since " + u.Start.UTC().Format("2006-01-02 15:04") + " UTC"
	if u.StartedBy != "" {
		text += ", begun by " + strings.ToLower(u.StartedBy)
	}
	return text
}

// classes say what a cause of Azure's makes of a rollout. What is not in it is not known
// to be about the image, and is not held against it.
var classes = map[fleet.Cause]rollout.Class{
	fleet.CauseImage:     rollout.Bad,
	fleet.CauseCapacity:  rollout.NoCapacity,
	fleet.CauseQuota:     rollout.NoCapacity,
	fleet.CauseThrottled: rollout.NoCapacity,
}

// faults says why members failed to provision.
func faults(members []fleet.Member) map[string]rollout.Fault {
	found := make(map[string]rollout.Fault)
	for i := range members {
		m := &members[i]
		if m.Provisioning != fleet.Failed {
			continue
		}
		class := cmp.Or(classes[fleet.CauseOf(m.Failure.Code, m.Failure.Message)], rollout.Inconclusive)
		found[m.Name] = rollout.Fault{Class: class, Text: line(m.Failure.String())}
	}
	return found
}

// operations says what became of the actions that Azure accepted, as far as what was
// read tells it.
func (r *Runner) operations(ctx context.Context, l *ledger, o *rollout.Observation) map[int]rollout.Result {
	found := make(map[int]rollout.Result)
	for n, op := range l.state.Ops {
		seen, ok := o.Sets[op.Action.Set]
		if op.Result == nil || op.Result.Outcome != rollout.Underway || !ok || seen.Unknown != "" {
			continue
		}
		if text, ended := endOf(l, &op, &seen, o.At); ended {
			found[n] = rollout.Result{Outcome: rollout.Done, Text: text}
			if upgrade := r.upgrades[n]; upgrade != nil && text == atRest {
				found[n] = failure(ctx, upgrade, found[n])
			}
			delete(r.upgrades, n)
		}
	}
	return found
}

// failure is how an upgrade ended whose members do not run what they were to: what Azure
// says of it, or else what is said without.
func failure(ctx context.Context, upgrade *azure.Operation, unsaid rollout.Result) rollout.Result {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	_, err := upgrade.Poll(ctx)
	if said := outcome(err); said.Outcome != rollout.Done && said.Outcome != rollout.Lost {
		return said
	}
	return unsaid
}

// atRest is the end of an upgrade that did not do what was asked.
const atRest = "no member that was named is at work any more"

// endOf says whether what Azure accepted has ended, and how that is known.
func endOf(l *ledger, op *rollout.Op, seen *rollout.SetSeen, at time.Time) (text string, ended bool) {
	rests := !fleet.AtWork(seen.Model.Provisioning) || seen.Busy != "" // what somebody else does there is not this
	quiet := rests && !at.Before(op.Began.Add(showsWithin))
	switch op.Action.Do {
	case rollout.ManualUpgrade:
		done := true
		for i := range seen.Members {
			m := &seen.Members[i]
			if !slices.Contains(op.Action.Members, m.Name) {
				continue
			}
			if fleet.AtWork(m.Provisioning) {
				return "", false
			}
			done = done && runs(l, m, op.Action.Version)
		}
		if done && rests {
			return "every member that was named runs " + op.Action.Version, true
		}
		return atRest, quiet
	case rollout.CancelRolling:
		return "no rolling upgrade is under way", !seen.Rolling.Active()
	case rollout.PatchModel:
		// Under Rolling it lasts as long as the upgrade that it began, which is to be
		// watched, and cancelled: the write itself was over before that.
		upgrades := seen.Rolling.Active() && seen.Rolling.Start.After(op.Began.Add(-showsWithin))
		return "the model was written", quiet || upgrades
	default:
		return "nothing is at work there any more", quiet
	}
}

// runs says whether a member's disk is of a version of the rollout's image.
func runs(l *ledger, m *fleet.Member, version string) bool {
	if m.Image.ExactVersion != version {
		return false
	}
	id, err := m.Image.Gallery()
	return err == nil && id.Definition.Same(l.plan.Definition)
}
