package arm

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A kind is what the simulator knows of one resource type. Every function may be
// nil; then what the comment says happens. A type without a kind is stored and
// returned as it is.
type kind struct {
	name string // such as "Microsoft.Compute/galleries/images"

	// complete checks a body that is about to be stored and adds what Azure adds;
	// w.Body may be changed in place. Nil: whatever was put.
	complete func(tx *txn, w *write) error
	// patch makes the new body of a PATCH. Nil: a JSON merge patch. Then comes
	// complete.
	patch func(tx *txn, w *write, patch object) (object, error)
	// takes is how long a PUT, PATCH or DELETE takes after its answer. Nil or zero:
	// it is done with the answer.
	takes func(tx *txn, w *write) time.Duration
	// stored is told after a resource was put, before the answer: for what follows
	// from it. w.Operation is the operation that began, or nil.
	stored func(tx *txn, w *write, r *resource) error
	// remove says whether a resource may be deleted. Nil: it may. What is below it
	// goes with it.
	remove func(tx *txn, w *write) error
	// end is called when an operation on a resource of this kind is over by time;
	// its error makes the operation fail. Nil: it succeeds.
	end func(tx *txn, o operation) error

	// view makes the answer of a resource; body is a copy with id, name and type.
	// Nil: body.
	view func(tx *txn, c *call, r *resource, body object) (object, error)
	// match says which resources a list has, by the call's query. Nil: all.
	match func(tx *txn, c *call) (func(*resource) bool, error)

	// actions are the POSTs below a resource, by path in lower case
	// ("rollingupgrades/cancel"), and reads the GETs of what is computed
	// ("rollingupgrades/latest", "instanceview").
	actions, reads map[string]handler
	// methods take the place of everything above for a method, for a type that is
	// not stored as it is seen: "GET", "LIST", "PUT", "PATCH", "DELETE", "HEAD".
	methods map[string]handler
	// transitions are what can be scheduled for a resource of the kind.
	transitions map[string]transition

	// preempts: a PUT or PATCH takes the place of the operation that is under way.
	// Otherwise it is refused; a DELETE never is.
	preempts bool
	// bare: bodies have no properties.provisioningState of the simulator's.
	bare bool
	// bodyETag: bodies have the property etag.
	bodyETag bool
	// orphan: no parent has to exist.
	orphan bool
}

// A handler answers a call.
type handler func(tx *txn, c *call) (answer, error)

// A transition is something that happens to a resource later. The resource may be
// gone by then. tx.now is the instant that it was scheduled for.
type transition func(tx *txn, id string, args object)

// A call is a request that was read and understood.
type call struct {
	Method     string
	Target     target // of an action or a read: the resource that it belongs to
	ID         string // of the target, in the spelling of the store
	Sub        string // path of the action or the read, in lower case
	APIVersion string
	Query      url.Values // keys in lower case
	Body       object     // nil when there was none
	Header     http.Header
	base       string // such as https://127.0.0.1:8443, for links
	path       string // of the request, escaped
}

// query returns a parameter of the query without regard to the case of its name.
func (c *call) query(name string) string { return c.Query.Get(strings.ToLower(name)) }

// nextLink is the call's own URL with another skip token.
func (c *call) nextLink(token string) string {
	q := url.Values{}
	for name, values := range c.Query {
		if name != "$skiptoken" {
			q[name] = values
		}
	}
	q.Set("$skiptoken", token)
	return c.base + c.path + "?" + q.Encode()
}

// A write is a PUT, a PATCH or a DELETE on its way into the store.
type write struct {
	*call

	Old  *resource // nil when it is new
	Body object    // what will be stored
	// Hidden will be stored beside it. It begins as a copy of the old one.
	Hidden    object
	Operation *operation // for stored: what began, or nil
}

// create says whether the resource is new.
func (w *write) create() bool { return w.Old == nil }

// An answer is what a client gets.
type answer struct {
	Status int
	Body   any         // nil: none
	Header http.Header // nil: none
	// Operation makes the answer one of a long-running operation, with 202 when
	// there is no status.
	Operation *operation

	HTML string // in place of Body
	Raw  []byte // in place of Body, with a Content-Type in Header
	half bool   // only the first half of the body is sent
}

// ok is an answer with a body.
func ok(body any) answer { return answer{Status: http.StatusOK, Body: body} }

// accepted is the answer of an action that goes on.
func accepted(o *operation) answer { return answer{Status: http.StatusAccepted, Operation: o} }

// plain is the kind of types that are not known.
var plain = kind{bare: true}

// kind returns what is known of a type.
func (s *Server) kind(name string) *kind {
	if k, ok := s.kinds[strings.ToLower(name)]; ok {
		return k
	}
	return &plain
}
