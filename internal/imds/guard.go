package imds

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// operation is what a request is for: it labels metrics and decides who goes
// first when requests are short.
type operation string

const (
	opAck      operation = "ack"
	opPoll     operation = "poll"
	opInstance operation = "instance"
	opOther    operation = "other"
)

var operations = []operation{opAck, opPoll, opInstance, opOther}

func operationOf(method, path string) operation {
	path = strings.Trim(strings.ToLower(path), "/")
	switch {
	case path == "metadata/scheduledevents" && method == http.MethodPost:
		return opAck
	case path == "metadata/scheduledevents":
		return opPoll
	case path == "metadata/instance":
		return opInstance
	default:
		return opOther
	}
}

const (
	// In any minute at most guardBurst + 60*guardRate = 72 requests start: 1.2
	// a second of the five that Azure allows to all processes of the VM. The
	// rate is a little more than the one poll a second that Azure recommends,
	// so that polling alone leaves the burst to acks.
	guardRate  = 1.1 // tokens a second
	guardBurst = 6.0 // tokens
	// yieldFor is how soon a request looks again that let another go first.
	yieldFor = 10 * time.Millisecond
)

// guard is a token bucket that every request draws from. Each operation leaves
// a reserve to the ones more urgent: an ack finds a token even behind callers
// that poll in a loop, and a poll behind callers that read anything else. When
// acks and polls are both short, they take turns, so that neither retried acks
// nor frequent polls stop the other.
type guard struct {
	mu      sync.Mutex
	tokens  float64
	updated time.Time
	waiting map[operation]int
	last    operation // of ack and poll, the one that went last
}

var rivals = map[operation]operation{opAck: opPoll, opPoll: opAck}

func newGuard(now time.Time) *guard {
	return &guard{tokens: guardBurst, updated: now, waiting: map[operation]int{}}
}

// reserve is how many tokens an operation leaves in the bucket.
func (op operation) reserve() float64 {
	switch op {
	case opAck:
		return 0
	case opPoll:
		return 1
	default:
		return 3
	}
}

// admit waits until the request may start, or the context ends.
func (g *guard) admit(ctx context.Context, op operation) error {
	wait := g.take(op)
	if wait == 0 {
		return ctx.Err()
	}
	g.queue(op, 1)
	defer g.queue(op, -1)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		if wait = g.take(op); wait == 0 {
			return nil
		}
		timer.Reset(wait)
	}
}

func (g *guard) queue(op operation, n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting[op] += n
}

// take draws a token and returns 0, or returns how long to wait before asking
// again.
func (g *guard) take(op operation) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	g.tokens = min(guardBurst, g.tokens+guardRate*now.Sub(g.updated).Seconds())
	g.updated = now
	if missing := 1 + op.reserve() - g.tokens; missing > 0 {
		return time.Duration(missing/guardRate*float64(time.Second)) + time.Millisecond
	}
	if rival, ok := rivals[op]; ok {
		if g.last == op && g.waiting[rival] > 0 {
			return yieldFor
		}
		g.last = op
	}
	g.tokens--
	return 0
}
