package roll

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// maxRequests bounds the requests that are taken up in one tick. What is none does not
// count, and how much of that is read is bounded by the journal.
const maxRequests = 100

// orders are what can be asked for.
var orders = []rollout.Order{rollout.Approve, rollout.Pause, rollout.Resume, rollout.Abort}

// requests returns what operators ask, the oldest first, and of too much the newest.
// What is no request is told, and left where it is.
func (r *Runner) requests(ctx context.Context) ([]rollout.Request, error) {
	all, err := r.Journal.Requests(ctx)
	if err != nil {
		return nil, err
	}
	var list []rollout.Request
	var odd []string
	for _, asked := range all {
		var q rollout.Request
		if err := json.Unmarshal(asked.Data, &q); err != nil || !slices.Contains(orders, q.Do) {
			odd = append(odd, asked.Name)
			continue
		}
		q.ID = asked.Name
		if q.At.IsZero() {
			q.At = r.now()
		}
		list = append(list, q)
	}
	switch {
	case len(odd) == 1:
		r.note("request %s is not understood, and is left where it is", odd[0])
	case len(odd) > 1:
		r.note("%d requests are not understood, %s and others, and are left where they are", len(odd), odd[0])
	}
	return list[max(0, len(list)-maxRequests):], nil
}

// asked returns the requests that nobody has taken up yet.
func (r *Runner) asked(ctx context.Context, l *ledger) ([]rollout.Request, error) {
	list, err := r.requests(ctx)
	return untaken(l, list), err
}

// untaken are the requests of a list that nobody has taken up yet.
func untaken(l *ledger, list []rollout.Request) []rollout.Request {
	return slices.DeleteFunc(slices.Clone(list), func(q rollout.Request) bool { return l.state.Taken[q.ID] })
}

// drop removes the requests that were taken up. That they were is in the journal by
// now; one that stays is dropped in the next tick.
func (r *Runner) drop(ctx context.Context, l *ledger, list []rollout.Request) {
	for i := range list {
		if id := list[i].ID; l.state.Taken[id] {
			if err := r.Journal.Drop(ctx, id); err != nil {
				r.note("request %s was taken up, and cannot be removed: %v", id, err)
			}
		}
	}
}
