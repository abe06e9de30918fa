package roll

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

const (
	// lookBack bounds how far back the activity log is read.
	lookBack = 6 * time.Hour
	// logLag is how late an entry of the activity log may come.
	logLag = 20 * time.Minute
	// skew is how far the clocks of this machine and of Azure may differ.
	skew = 2 * time.Minute
)

// departures adds why members left, where that matters: a member that ran the version,
// or was to get it, is not there or does not run. Nothing is asked otherwise. When the
// log cannot be read, no cause is known.
func (r *Runner) departures(ctx context.Context, l *ledger, o *rollout.Observation) {
	logs := make(map[string][]azure.Activity) // by resource group
	for _, name := range slices.Sorted(maps.Keys(o.Sets)) {
		seen := o.Sets[name]
		if seen.Unknown != "" || !left(l, name, &seen, o.At) {
			continue
		}
		id := l.plan.Sets[name].ID
		group, _, _ := strings.Cut(strings.ToLower(string(id)), "/providers/")
		log, ok := logs[group]
		if !ok {
			log = r.activities(ctx, l, id, o.At)
			logs[group] = log
		}
		seen.Gone = departed(log, leavers(&l.state, name, &seen))
		o.Sets[name] = seen
		r.tellUnknown(name, log, seen.Gone)
	}
}

// activities reads the activity log around a set since the rollout began. One that
// cannot be read says nothing.
func (r *Runner) activities(ctx context.Context, l *ledger, id fleet.ResourceID, until time.Time) []azure.Activity {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	since := until.Add(-lookBack)
	if made := l.plan.Made.Add(-logLag); made.After(since) {
		since = made
	}
	log, err := r.Azure.Activities(ctx, id.Subscription(), id.ResourceGroup(), since, until)
	if err != nil {
		r.note("the activity log of %s cannot be read: %v", id.ResourceGroup(), err)
	}
	return log
}

// tellUnknown says, once for each member, what the log has of those that left for a
// cause that is not known.
func (r *Runner) tellUnknown(set string, log []azure.Activity, gone []rollout.Departure) {
	for _, d := range gone {
		key := set + "/" + d.Member
		if d.Cause != rollout.NotKnown || r.unknown[key] {
			continue
		}
		for _, a := range log {
			if a.At.Equal(d.At) && strings.EqualFold(a.Resource.Part("virtualMachines"), d.Member) {
				r.note("%s of %s left: %s by %s, %s; that does not tell whether its health was the reason",
					d.Member, set, line(a.Operation), line(a.Caller), a.At.UTC().Format("2006-01-02 15:04:05 UTC"))
				if r.unknown == nil {
					r.unknown = make(map[string]bool)
				}
				r.unknown[key] = true
				break
			}
		}
	}
}

// tellWriters says who wrote the models of the sets, when the rollout stops because
// somebody did.
func (r *Runner) tellWriters(ctx context.Context, l *ledger, events []rollout.Event) {
	if !slices.ContainsFunc(events, func(e rollout.Event) bool { return e.Kind == rollout.Blocked && e.Class == rollout.NotOurs }) {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(l.plan.Sets)) {
		id := l.plan.Sets[name].ID
		var last azure.Activity
		for _, a := range r.activities(ctx, l, id, r.now()) {
			if a.Resource.Same(id) && strings.EqualFold(a.Operation, "Microsoft.Compute/virtualMachineScaleSets/write") && a.At.After(last.At) {
				last = a
			}
		}
		if last.Caller != "" {
			r.note("%s was last written by %s, %s", name, line(last.Caller), last.At.UTC().Format("2006-01-02 15:04:05 UTC"))
		}
	}
}

// left says whether a member of a set that ran the version, or was to get it, is not
// there or does not run; or whether some may have come and gone between two looks.
func left(l *ledger, name string, seen *rollout.SetSeen, at time.Time) bool {
	here := make(map[string]bool, len(seen.Members))
	for i := range seen.Members {
		m := &seen.Members[i]
		here[m.Name] = !m.Vanished && m.Power != fleet.Deallocated
	}
	set := l.state.Sets[name]
	known := make(map[string]bool)
	for _, m := range l.state.Runs {
		if m.Set != name {
			continue
		}
		known[m.Name] = true
		if m.Runs[len(m.Runs)-1].To.IsZero() && !here[m.Name] {
			return true
		}
	}
	for asked := range set.Asked {
		if !known[asked] && !here[asked] {
			return true
		}
	}
	// A member that was born on the version may be gone before it was seen. It is looked
	// for where a wave has taken a part of the set, and nobody else was to get it.
	gap := at.Sub(l.state.Observed) > 2*quick
	return gap && !set.Whole && !set.Pointed.IsZero() && (set.Unpointed.IsZero() || set.Unpointed.After(l.state.Observed.Add(-logLag)))
}

// causes say why a member left, by the operation in the log and by who asked for it.
// Each word is a part of what the log says, in lower case; the first row that fits
// counts. The log names a person by an address, and a program by the id of its service
// principal. A person's reason is known to be none of ours. A program may well delete
// what is not healthy: what it took is not known, and a person has to look.
var causes = []struct {
	operation, caller string
	cause             rollout.Cause
}{
	{"evictspotvm", "", rollout.Evicted},
	{"simulateeviction", "", rollout.Evicted},
	{"repair", "", rollout.Repaired},
	{"scaledown", "", rollout.ScaledIn},
	{"virtualmachines/delete", "autoscale", rollout.ScaledIn},
	{"virtualmachines/delete", "@", rollout.Operator},
	{"virtualmachines/deallocate", "@", rollout.Operator},
	{"virtualmachines/poweroff", "@", rollout.Operator},
	{"", "repair", rollout.Repaired},
}

// A leaver is a member that may have left.
type leaver struct {
	name string // as the set and the journal have it: the log may write it in capitals
	here bool   // it is there, and runs
	born time.Time
	from time.Time // since when it has run the version; zero: it is not known
}

// leavers are the members of a set that are there, or that the journal knows, by their
// names in lower case.
func leavers(s *rollout.State, set string, seen *rollout.SetSeen) map[string]leaver {
	all := make(map[string]leaver, len(seen.Members))
	for name := range s.Sets[set].Asked {
		all[strings.ToLower(name)] = leaver{name: name}
	}
	for _, m := range s.Runs {
		if last := &m.Runs[len(m.Runs)-1]; m.Set == set && last.Unseen {
			all[strings.ToLower(m.Name)] = leaver{name: m.Name}
		} else if m.Set == set {
			all[strings.ToLower(m.Name)] = leaver{name: m.Name, from: last.From}
		}
	}
	for i := range seen.Members {
		m := &seen.Members[i]
		key := strings.ToLower(m.Name)
		all[key] = leaver{name: m.Name, here: !m.Vanished && m.Power != fleet.Deallocated, born: m.Created, from: all[key].from}
	}
	return all
}

// departed are the members that the log says something of and that are not there, or do
// not run. What befell a member before it ran the version, as far as two clocks agree,
// does not tell why it left.
func departed(log []azure.Activity, members map[string]leaver) []rollout.Departure {
	found := make(map[string]rollout.Departure)
	for _, a := range log {
		name := a.Resource.Part("virtualMachines")
		key := strings.ToLower(name)
		m := members[key]
		if name == "" || m.here || strings.EqualFold(a.Status, fleet.Failed) || a.At.Before(m.from.Add(-skew)) {
			continue
		}
		d := rollout.Departure{Member: cmp.Or(m.name, name), Born: m.born, At: a.At}
		for _, row := range causes {
			if strings.Contains(strings.ToLower(a.Operation), row.operation) && strings.Contains(strings.ToLower(a.Caller), row.caller) {
				d.Cause = row.cause
				break
			}
		}
		// Of several entries one that tells the cause counts, and the last of these.
		if old, ok := found[key]; !ok || d.Cause != rollout.NotKnown && (old.Cause == rollout.NotKnown || d.At.After(old.At)) {
			found[key] = d
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b rollout.Departure) int { return strings.Compare(a.Member, b.Member) })
}

// line is a text of Azure's or of a node's as a journal has it.
func line(text string) string {
	const most = 400
	return safetext.Line(cmp.Or(strings.Join(strings.Fields(text), " "), "no reason was given"), most)
}
