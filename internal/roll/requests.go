package roll

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// maxRequests bounds the requests that are looked at in one tick.
const maxRequests = 100

// orders are what can be asked for.
var orders = []rollout.Order{rollout.Approve, rollout.Pause, rollout.Resume, rollout.Abort}

// requests returns what operators ask. What is no request is told, and left where it
// is.
func (r *Runner) requests(ctx context.Context) ([]rollout.Request, error) {
	all, err := r.Journal.Requests(ctx)
	if err != nil {
		return nil, err
	}
	var list []rollout.Request
	for _, asked := range all[:min(len(all), maxRequests)] {
		var q rollout.Request
		if err := json.Unmarshal(asked.Data, &q); err != nil || !slices.Contains(orders, q.Do) {
			r.note("request %s is not understood, and is left where it is", asked.Name)
			continue
		}
		q.ID = asked.Name
		if q.At.IsZero() {
			q.At = r.now()
		}
		list = append(list, q)
	}
	return list, nil
}

// asked returns the requests that nobody has taken up yet.
func (r *Runner) asked(ctx context.Context, l *ledger) ([]rollout.Request, error) {
	list, err := r.requests(ctx)
	return slices.DeleteFunc(list, func(q rollout.Request) bool { return l.state.Taken[q.ID] }), err
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
