package arm

import (
	"cmp"
	"encoding/base64"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// route finds out what a call asks for and has it answered.
func (s *Server) route(tx *txn, c *call) (answer, error) {
	t := c.Target
	if t.subscription != "" {
		if err := s.checkScope(tx, target{subscription: t.subscription}); err != nil {
			return answer{}, err
		}
	}
	if h := s.fixed(t); h != nil {
		return h(tx, c)
	}
	if err := s.checkScope(tx, t); err != nil {
		return answer{}, err
	}
	if t.namespace == "" || len(t.types) == 0 {
		return answer{}, unknown("%s %s", c.Method, t.id())
	}
	if h, found, err := s.computed(tx, c); err != nil {
		return answer{}, err
	} else if found {
		return h(tx, c)
	}
	k := s.kind(t.kind())
	if k == &plain && s.computedElsewhere(t) {
		return answer{}, unknown("%s %s: Azure computes it", c.Method, t.id())
	}
	c.ID = tx.canonical(t)
	method := c.Method
	if t.collection() {
		if method != http.MethodGet {
			return answer{}, unknown("%s of %s", method, t.id())
		}
		method = "LIST"
	}
	if h := k.methods[method]; h != nil {
		return h(tx, c)
	}
	switch method {
	case "LIST":
		return s.listResources(tx, c, k)
	case http.MethodGet, http.MethodHead:
		return s.getResource(tx, c, k)
	case http.MethodPut:
		return s.putResource(tx, c, k)
	case http.MethodPatch:
		return s.patchResource(tx, c, k)
	case http.MethodDelete:
		return s.deleteResource(tx, c, k)
	}
	return answer{}, unknown("%s of %s", method, t.kind())
}

// computedElsewhere says whether Azure would compute what a target names, rather than
// store it: what is in a region, and lists such as that of all VM sizes. An empty
// list would be a lie.
func (s *Server) computedElsewhere(t target) bool {
	if strings.EqualFold(t.types[0], "locations") {
		return true
	}
	return t.collection() && slices.Contains([]string{"skus", "usages", "operations", "vmsizes", "metrics"}, strings.ToLower(t.types[len(t.types)-1]))
}

// checkScope says whether subscription and resource group are there.
func (s *Server) checkScope(tx *txn, t target) error {
	if t.subscription == "" {
		return unknown("the path %s: only what is in a subscription is simulated", t.id())
	}
	if !strings.EqualFold(t.subscription, s.cfg.Subscription) {
		return errorf(http.StatusNotFound, "SubscriptionNotFound", "The subscription '%s' could not be found.", t.subscription)
	}
	if t.group != "" && tx.get(groupID(t.subscription, t.group)) == nil {
		return errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", t.group)
	}
	return nil
}

// maxTail is how many segments an action's path has at most.
const maxTail = 4

// computed finds the action or the read that a path names: its last segments belong
// to a kind's table.
func (s *Server) computed(tx *txn, c *call) (handler, bool, error) {
	if c.Method != http.MethodGet && c.Method != http.MethodPost {
		return nil, false, nil
	}
	for n := 1; n <= maxTail; n++ {
		up, tail, ok := c.Target.up(n)
		if !ok {
			continue
		}
		k := s.kind(up.kind())
		table := k.reads
		if c.Method == http.MethodPost {
			table = k.actions
		}
		h := table[tail]
		if h == nil {
			continue
		}
		c.Target, c.Sub = up, tail
		c.ID = tx.canonical(up)
		if !k.orphan && tx.get(c.ID) == nil {
			return nil, false, notFound(up)
		}
		return h, true, nil
	}
	if c.Method == http.MethodPost {
		return nil, false, unknown("the action POST %s", c.Target.id())
	}
	return nil, false, nil
}

// canonical is a target's id in the spelling of the store: names of what is there as
// they were first written, types as their kinds spell them.
func (tx *txn) canonical(t target) string {
	if r := tx.get(t.id()); r != nil {
		return r.ID
	}
	if t.namespace == "" || len(t.types) == 0 {
		return t.id()
	}
	spelled := tx.server.kind(t.kind()).name
	types := t.types
	namespace := t.namespace
	if parts := strings.Split(spelled, "/"); len(parts) == len(types)+1 {
		namespace, types = parts[0], parts[1:]
	}
	last := len(types) - 1
	name := ""
	if !t.collection() {
		name = "/" + t.names[last]
	}
	if up, ok := t.parent(); ok {
		return tx.canonical(up) + "/" + types[last] + name
	}
	return tx.canonicalScope(t) + "/providers/" + namespace + "/" + types[last] + name
}

func (tx *txn) canonicalScope(t target) string {
	if r := tx.get(t.scope); r != nil {
		return r.ID
	}
	if key(t.scope) == key("/subscriptions/"+tx.server.cfg.Subscription) {
		return "/subscriptions/" + tx.server.cfg.Subscription
	}
	return t.scope
}

// notFound is the error for a resource that is not there.
func notFound(t target) error {
	short, _ := strings.CutPrefix(t.id(), t.scope+"/providers/")
	return errorf(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix",
		short, cmp.Or(t.group, "<null>"))
}

// view makes the answer of a resource.
func (s *Server) view(tx *txn, c *call, k *kind, r *resource) (object, error) {
	body := clone(r.Body)
	if body == nil {
		body = object{}
	}
	body["id"], body["name"], body["type"] = r.ID, r.name(), r.Type
	if k.bodyETag {
		body["etag"] = r.ETag
	}
	if k.view == nil {
		return body, nil
	}
	return k.view(tx, c, r, body)
}

// viewer is view for lists.
func (s *Server) viewer(tx *txn, c *call) func(*resource) (object, error) {
	return func(r *resource) (object, error) { return s.view(tx, c, s.kind(r.Type), r) }
}

func (s *Server) getResource(tx *txn, c *call, k *kind) (answer, error) {
	r := tx.get(c.ID)
	if r == nil {
		return answer{}, notFound(c.Target)
	}
	if match := c.Header.Get("If-None-Match"); match != "" && matches(match, r) {
		return answer{Status: http.StatusNotModified, Header: etag(r)}, nil
	}
	if c.Method == http.MethodHead {
		return answer{Status: http.StatusNoContent, Header: etag(r)}, nil
	}
	body, err := s.view(tx, c, k, r)
	if err != nil {
		return answer{}, err
	}
	h := etag(r)
	if s.clock.Factor() > 1 {
		retryAfter(h, s.clock.wait(pollEvery)) // Azure says it of operations only
	}
	return answer{Status: http.StatusOK, Body: body, Header: h}, nil
}

func etag(r *resource) http.Header { return http.Header{"Etag": {r.ETag}} }

// matches says whether a condition's value names the resource's ETag.
func matches(value string, r *resource) bool {
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == "*" || strings.Trim(part, `"`) == strings.Trim(r.ETag, `"`) {
			return true
		}
	}
	return false
}

// precondition checks If-Match and If-None-Match of a write.
func precondition(c *call, old *resource) error {
	if v := c.Header.Get("If-Match"); v != "" && (old == nil || !matches(v, old)) {
		return errorf(http.StatusPreconditionFailed, "PreconditionFailed",
			"The condition specified by the If-Match header is not met: the resource's ETag is %s.", tagOf(old))
	}
	if v := c.Header.Get("If-None-Match"); v != "" && old != nil && matches(v, old) {
		return errorf(http.StatusPreconditionFailed, "PreconditionFailed",
			"The condition specified by the If-None-Match header is not met: the resource exists.")
	}
	return nil
}

func tagOf(r *resource) string {
	if r == nil {
		return "none: it does not exist"
	}
	return r.ETag
}

func (s *Server) putResource(tx *txn, c *call, k *kind) (answer, error) {
	if c.Body == nil {
		return answer{}, errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content is empty: a resource is expected.")
	}
	old := tx.get(c.ID)
	w := &write{call: c, Old: old, Body: clone(c.Body)}
	for _, name := range []string{"id", "name", "type", "etag"} {
		delete(w.Body, name)
	}
	if !k.orphan {
		if err := checkParent(tx, c.Target); err != nil {
			return answer{}, err
		}
	}
	return s.save(tx, w, k)
}

// checkParent says whether what a resource belongs to is there.
func checkParent(tx *txn, t target) error {
	parent := t.scope
	if up, ok := t.parent(); ok {
		parent = up.id()
		if tx.server.kind(up.kind()).orphan {
			return nil
		}
	}
	if strings.Count(parent, "/") <= 2 || tx.get(parent) != nil {
		return nil // a subscription is always there
	}
	return errorf(http.StatusNotFound, "ParentResourceNotFound",
		"Failed to perform 'write' on resource(s) of type '%s', because the parent resource '%s' could not be found.",
		strings.Join(t.types, "/"), parent)
}

func (s *Server) patchResource(tx *txn, c *call, k *kind) (answer, error) {
	if c.Body == nil {
		return answer{}, errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content is empty: a patch is expected.")
	}
	old := tx.get(c.ID)
	if old == nil {
		return answer{}, notFound(c.Target)
	}
	w := &write{call: c, Old: old}
	if k.patch == nil {
		w.Body = merge(old.Body, c.Body)
	} else {
		w.Body = clone(old.Body)
		body, err := k.patch(tx, w, clone(c.Body))
		if err != nil {
			return answer{}, err
		}
		w.Body = body
	}
	for _, name := range []string{"id", "name", "type", "etag"} {
		delete(w.Body, name)
	}
	return s.save(tx, w, k)
}

// save completes and stores the body of a write, and answers.
func (s *Server) save(tx *txn, w *write, k *kind) (answer, error) {
	if err := precondition(w.call, w.Old); err != nil {
		return answer{}, err
	}
	if err := preempt(tx, w, k); err != nil {
		return answer{}, err
	}
	if err := tx.disallowed(w); err != nil {
		return answer{}, err
	}
	if where := str(w.Body, "location"); where != "" && !regionName.MatchString(where) {
		return answer{}, invalidRegion(w, where)
	}
	if w.Old != nil {
		w.Hidden = clone(w.Old.Hidden)
	}
	if k.complete != nil {
		if err := k.complete(tx, w); err != nil {
			return answer{}, err
		}
	}
	r := resource{ID: w.ID, Type: cmp.Or(k.name, w.Target.kind()), Body: w.Body, Hidden: w.Hidden}
	if d := takes(tx, w, k); d != 0 {
		w.Operation = tx.start(operation{
			Kind: r.Type, Resource: r.ID, Location: location(str(w.Body, "location")), Name: w.Method, Method: w.Method,
		}, d)
		r.Busy = w.Operation.ID
	}
	if !k.bare {
		set(r.Body, "properties.provisioningState", provisioning(w))
	}
	stored := tx.put(r)
	if k.stored != nil {
		if err := k.stored(tx, w, stored); err != nil {
			return answer{}, err
		}
		stored = tx.get(w.ID) // which stored may have edited
	}
	body, err := s.view(tx, w.call, k, stored)
	if err != nil {
		return answer{}, err
	}
	a := answer{Status: http.StatusOK, Body: body, Header: etag(stored), Operation: w.Operation}
	if w.create() {
		a.Status = http.StatusCreated
	}
	return a, nil
}

// regionName is what the name of a region looks like. It stands in the addresses of
// operations.
var regionName = regexp.MustCompile(`^[A-Za-z0-9 ()-]+$`)

func invalidRegion(w *write, where string) error {
	return errorf(http.StatusBadRequest, "LocationNotAvailableForResourceType",
		"The provided location '%s' is not available for resource type '%s'.", where, w.Target.kind())
}

func takes(tx *txn, w *write, k *kind) time.Duration {
	if k.takes == nil {
		return 0
	}
	return k.takes(tx, w)
}

// preempt decides what a write does to the operation that is under way.
func preempt(tx *txn, w *write, k *kind) error {
	if w.Old == nil || w.Old.Busy == "" {
		return nil
	}
	if !k.preempts && w.Method != http.MethodDelete {
		return concurrent()
	}
	tx.cancel(w.Old.Busy, errorf(http.StatusConflict, "OperationPreempted", "The operation has been preempted by a more recent operation."))
	return nil
}

// provisioning is the state of a resource right after a write.
func provisioning(w *write) string {
	switch {
	case w.Operation == nil:
		return statusSucceeded
	case w.create():
		return "Creating"
	}
	return "Updating"
}

func (s *Server) deleteResource(tx *txn, c *call, k *kind) (answer, error) {
	old := tx.get(c.ID)
	if old == nil {
		return answer{Status: http.StatusNoContent}, nil
	}
	w := &write{call: c, Old: old, Body: clone(old.Body), Hidden: clone(old.Hidden)}
	if err := precondition(c, old); err != nil {
		return answer{}, err
	}
	if k.remove != nil {
		if err := k.remove(tx, w); err != nil {
			return answer{}, err
		}
	}
	if err := preempt(tx, w, k); err != nil {
		return answer{}, err
	}
	d := takes(tx, w, k)
	if d == 0 {
		tx.delete(c.ID)
		return answer{Status: http.StatusOK}, nil
	}
	o := tx.start(operation{
		Kind: old.Type, Resource: old.ID, Location: location(str(old.Body, "location")), Name: c.Method, Method: c.Method,
	}, d)
	tx.edit(c.ID, func(r *resource) {
		r.Busy = o.ID
		set(r.Body, "properties.provisioningState", "Deleting")
	})
	return accepted(o), nil
}

// listResources answers with a page of what is below the collection's parent.
func (s *Server) listResources(tx *txn, c *call, k *kind) (answer, error) {
	scope := c.Target.scope
	if up, ok := c.Target.parent(); ok {
		scope = up.id()
		if !s.kind(up.kind()).orphan && tx.get(scope) == nil {
			return answer{}, notFound(up)
		}
	}
	keep := func(*resource) bool { return true }
	if filter := c.query("$filter"); filter != "" && k.match == nil {
		return answer{}, unknown("$filter=%s of %s", filter, c.Target.kind())
	}
	if k.match != nil {
		var err error
		if keep, err = k.match(tx, c); err != nil {
			return answer{}, err
		}
	}
	var all []*resource
	for _, r := range tx.list(c.Target.kind(), scope) {
		if keep(r) {
			all = append(all, r)
		}
	}
	return s.page(c, all, s.viewer(tx, c))
}

// page answers with a page of a list, which is in the order of its ids.
func (s *Server) page(c *call, all []*resource, view func(*resource) (object, error)) (answer, error) {
	start := 0
	if token := c.query("$skiptoken"); token != "" {
		last, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			return answer{}, errorf(http.StatusBadRequest, "InvalidSkipToken", "The provided skip token '%s' is invalid.", token)
		}
		for start < len(all) && key(all[start].ID) <= string(last) {
			start++
		}
	}
	size := s.cfg.PageSize
	if text := c.query("$top"); text != "" {
		top, err := strconv.Atoi(text)
		if err != nil || top < 1 {
			return answer{}, invalid("$top", "The $top option '%s' is not valid. It is a number above 0.", text)
		}
		size = min(size, top)
	}
	end := min(start+size, len(all))
	values := make([]any, 0, end-start)
	for _, r := range all[start:end] {
		o, err := view(r)
		if err != nil {
			return answer{}, err
		}
		values = append(values, o)
	}
	body := object{"value": values}
	if end < len(all) {
		body["nextLink"] = c.nextLink(base64.RawURLEncoding.EncodeToString([]byte(key(all[end-1].ID))))
	}
	return ok(body), nil
}
