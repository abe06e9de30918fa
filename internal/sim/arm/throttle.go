package arm

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A limit is one of the documented limits of requests: a bucket of tokens that is
// filled up again at a steady rate. The numbers are those of Microsoft's page on
// Compute's throttling.
type limit struct {
	name    string
	methods []string
	kind    string   // resource type in lower case
	tails   []string // what of the resource, in lower case; "" is the resource itself, "list" a list
	refill  float64  // tokens a minute
	burst   float64
	// shared buckets are of the subscription; others of each resource.
	shared bool
}

const (
	scaleSets = "microsoft.compute/virtualmachinescalesets"
	machines  = "microsoft.compute/virtualmachines"
)

// limits is the table. A request takes a token of every limit that it meets.
var limits = []limit{
	{name: "GetVMScaleSet", methods: reading, kind: scaleSets, tails: []string{"", "rollingupgrades/latest", "osupgradehistory"}, refill: 12, burst: 36},
	{name: "GetVMScaleSetInstanceView", methods: reading, kind: scaleSets, tails: []string{"instanceview"}, refill: 10, burst: 30},
	{name: "UpdateVMScaleSet", methods: writing, kind: scaleSets, tails: []string{"", "*"}, refill: 4, burst: 12},
	{name: "UpdateVMScaleSetExtension", methods: writing, kind: scaleSets + "/extensions", tails: []string{""}, refill: 4, burst: 12},
	{name: "GetVM", methods: reading, kind: machines, tails: []string{"", "instanceview"}, refill: 12, burst: 36},
	{name: "GetVMSubscription", methods: reading, kind: machines, tails: []string{"", "instanceview"}, refill: 8000, burst: 24000, shared: true},
	{name: "UpdateVM", methods: writing, kind: machines, tails: []string{"", "*"}, refill: 4, burst: 12},
	{name: "ListVM", methods: reading, kind: machines, tails: []string{"list"}, refill: 300, burst: 900, shared: true},
	{name: "GetOperation", methods: reading, kind: "operation", tails: []string{""}, refill: 15, burst: 45},
}

var (
	reading = []string{http.MethodGet, http.MethodHead}
	writing = []string{http.MethodPut, http.MethodPatch, http.MethodPost, http.MethodDelete}
)

// maxBuckets bounds how many buckets are kept; full ones need not be.
const maxBuckets = 50_000

// A bucket holds the tokens of one limit for one resource.
type bucket struct {
	tokens float64
	at     time.Time
}

// A throttle counts requests. The server's mutex guards it.
type throttle struct {
	buckets map[string]*bucket
}

// take takes a token of every bucket that a request meets, or says why it may not.
// The headers tell what is left.
func (t *throttle) take(now time.Time, method string, target target, h http.Header) *armError {
	var left []string
	for _, l := range limits {
		id, meets := l.meets(method, target)
		if !meets {
			continue
		}
		b := t.bucket(now, l, id)
		if b.tokens < 1 {
			return l.refuse(now, b)
		}
		b.tokens--
		left = append(left, "Microsoft.Compute/"+l.name+";"+strconv.Itoa(int(b.tokens)))
	}
	if len(left) > 0 {
		h.Set("X-Ms-Ratelimit-Remaining-Resource", strings.Join(left, ","))
	}
	return nil
}

// bucket is the bucket of a limit, filled up to now.
func (t *throttle) bucket(now time.Time, l limit, id string) *bucket {
	name := l.name + " " + id
	b := t.buckets[name]
	if b == nil {
		if len(t.buckets) >= maxBuckets {
			clear(t.buckets)
		}
		b = &bucket{tokens: l.burst, at: now}
		t.buckets[name] = b
	}
	b.tokens = min(l.burst, b.tokens+l.refill*now.Sub(b.at).Minutes())
	b.at = now
	return b
}

// meets says whether a limit counts a request, and of what.
func (l *limit) meets(method string, t target) (id string, meets bool) {
	if !slices.Contains(l.methods, method) {
		return "", false
	}
	id, tail, ok := t.below(l.kind)
	if !ok || !slices.Contains(l.tails, tail) && (tail == "list" || !slices.Contains(l.tails, "*")) {
		return "", false
	}
	if l.shared {
		return "", true
	}
	return id, true
}

// below splits a target at a type: the id of the resource of that type, and what of
// it is meant: "" for itself, "list" for a list of the type.
func (t target) below(kind string) (id, tail string, ok bool) {
	if kind == "operation" {
		last := len(t.types) - 1
		ok = len(t.types) == 2 && len(t.names) == 2 && strings.EqualFold(t.types[0], "locations") && strings.HasPrefix(strings.ToLower(t.types[1]), "operation")
		if !ok {
			return "", "", false
		}
		return t.names[last], "", true
	}
	depth := strings.Count(kind, "/")
	if len(t.types) < depth || !strings.EqualFold(t.namespace+"/"+strings.Join(t.types[:depth], "/"), kind) {
		return "", "", false
	}
	if len(t.names) < depth {
		return t.scope, "list", true
	}
	resource, tail, ok := t.up(len(t.types) + len(t.names) - 2*depth)
	return key(resource.id()), tail, ok
}

// refuse is Azure's 429.
func (l *limit) refuse(now time.Time, b *bucket) *armError {
	wait := time.Duration(math.Ceil((1-b.tokens)/l.refill*60)) * time.Second
	return throttled(l.name, now, wait, int(l.burst), int(l.burst)+1)
}

// throttled is the error of a request too many, as Compute words it.
func throttled(group string, now time.Time, wait time.Duration, allowed, measured int) *armError {
	message, _ := json.Marshal(map[string]any{ // text and numbers encode
		"operationGroup": group, "startTime": stamp(now), "endTime": stamp(now.Add(wait)),
		"allowedRequestCount": allowed, "measuredRequestCount": measured,
	})
	return &armError{
		Status: http.StatusTooManyRequests, Code: "OperationNotAllowed", RetryAfter: wait,
		Message: "The server rejected the request because too many requests have been received for this subscription.",
		Details: []armError{{Code: "TooManyRequests", Target: group, Message: string(message)}},
		Inner:   "TooManyRequestsReceived",
	}
}

// subscriptionHeader says what is left of a subscription's requests: this simulator
// never takes any.
func subscriptionHeader(method string) (name, value string) {
	switch method {
	case http.MethodGet, http.MethodHead:
		return "X-Ms-Ratelimit-Remaining-Subscription-Reads", "11999"
	case http.MethodDelete:
		return "X-Ms-Ratelimit-Remaining-Subscription-Deletes", "14999"
	}
	return "X-Ms-Ratelimit-Remaining-Subscription-Writes", "1199"
}
