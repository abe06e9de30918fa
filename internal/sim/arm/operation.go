package arm

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// The states of an operation.
const (
	statusInProgress = "InProgress"
	statusSucceeded  = "Succeeded"
	statusFailed     = "Failed"
	statusCanceled   = "Canceled"
)

// operationKind is the kind of what the agenda holds for operations.
const operationKind = "operation"

// An operation is a write or an action that goes on after its answer.
type operation struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`     // the resource's type
	Resource string    `json:"resource"` // its id
	Location string    `json:"location"`
	Name     string    `json:"name"`             // PUT, PATCH, DELETE or the action's
	Method   string    `json:"method"`           // of the request
	Args     object    `json:"args,omitempty"`   // for the kind
	Output   object    `json:"output,omitempty"` // of an action: what Location returns at the end
	Status   string    `json:"status"`
	Error    *armError `json:"error,omitempty"`
	Fails    *armError `json:"fails,omitempty"` // how it ends, because of a fault
	Due      time.Time `json:"due,omitzero"`    // when it ends by time
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Event    *event    `json:"event,omitempty"` // of a client's call, for the activity log
}

// end is the transition that ends an operation: its kind says how.
func (tx *txn) endOperation(id string) {
	o := tx.store.Operations[id]
	if o == nil || o.Status != statusInProgress {
		return
	}
	failure := o.Fails
	if failure != nil {
		members, _ := o.Args["members"].([]any)
		for _, v := range members { // none is at work for ever
			if id, _ := v.(string); tx.get(id) != nil {
				tx.failMember(id, failure)
			}
		}
	}
	if k := tx.server.kind(o.Kind); k.end != nil && failure == nil {
		if err := k.end(tx, *o); err != nil {
			failure = asARM(err)
		}
	}
	tx.finish(id, failure)
}

// settleResource brings the resource of an operation that has ended to rest.
func (tx *txn) settleResource(o *operation) {
	r := tx.get(o.Resource)
	if r == nil || r.Busy != o.ID {
		return
	}
	if o.Method == http.MethodDelete && o.Status == statusSucceeded {
		tx.delete(o.Resource)
		return
	}
	tx.edit(o.Resource, func(r *resource) {
		r.Busy = ""
		set(r.Body, "properties.provisioningState", o.Status)
	})
}

// begun adds to an answer what a client needs to follow an operation.
func (s *Server) begun(tx *txn, c *call, a answer) answer {
	o := a.Operation
	if a.Status == 0 {
		a.Status = http.StatusAccepted
	}
	namespace, _, _ := strings.Cut(o.Kind, "/")
	at := c.base + "/subscriptions/" + s.cfg.Subscription + "/providers/" + namespace + "/locations/" + cmp.Or(o.Location, "global")
	h := a.Header.Clone()
	if h == nil {
		h = http.Header{}
	}
	version := "?api-version=" + url.QueryEscape(c.APIVersion)
	h.Set("Azure-Asyncoperation", at+"/operations/"+o.ID+version)
	if a.Status == http.StatusAccepted {
		h.Set("Location", at+"/operationResults/"+o.ID+version+"&monitor=true")
	}
	retryAfter(h, s.clock.wait(o.nextPoll(tx.now)))
	a.Header = h
	return a
}

// pollEvery is how often Azure asks to be polled.
const pollEvery = 10 * time.Second

// nextPoll is when to ask again: Azure's usual span, or less when the operation ends
// before.
func (o *operation) nextPoll(now time.Time) time.Duration {
	if left := o.Due.Sub(now); left > 0 {
		return min(left, pollEvery)
	}
	return pollEvery
}

// operationAnswer answers a poll: by Azure-AsyncOperation with the status, by
// Location with 202 until the operation has ended and then with its outcome, which
// is a resource, the output of an action, or nothing.
func (s *Server) operationAnswer(tx *txn, c *call, id string, status bool) (answer, error) {
	o := tx.store.Operations[id]
	if o == nil {
		return answer{}, errorf(http.StatusNotFound, "NotFound", "The entity was not found: operation %s.", id)
	}
	h := http.Header{}
	running := o.Status == statusInProgress
	if running {
		retryAfter(h, s.clock.wait(o.nextPoll(tx.now)))
	}
	switch {
	case status:
		return answer{Status: http.StatusOK, Body: o.body(), Header: h}, nil
	case running:
		h.Set("Location", c.base+c.path+"?"+c.Query.Encode())
		return answer{Status: http.StatusAccepted, Header: h}, nil
	case o.Error != nil:
		return answer{}, o.Error
	case o.Output != nil:
		return ok(o.Output), nil
	}
	if r := tx.get(o.Resource); r != nil && (o.Method == http.MethodPut || o.Method == http.MethodPatch) {
		body, err := s.view(tx, c, s.kind(r.Type), r)
		return ok(body), err
	}
	if o.Method == http.MethodDelete {
		return answer{Status: http.StatusNoContent}, nil
	}
	return answer{Status: http.StatusOK}, nil // clients take no other for the end of an action
}

// status is the body that Azure-AsyncOperation returns.
func (o *operation) body() object {
	b := object{"name": o.ID, "status": o.Status, "startTime": stamp(o.Start)}
	if !o.End.IsZero() {
		b["endTime"] = stamp(o.End)
	}
	if o.Error != nil {
		b["error"] = o.Error.object()
	}
	if o.Output != nil && o.Status == statusSucceeded {
		b["properties"] = object{"output": o.Output}
	}
	return b
}

// stamp writes an instant as Azure does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.0000000-07:00") }
