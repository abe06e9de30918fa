package azure

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// A Wait is a wait that Azure asked for.
type Wait struct {
	Service string // "Compute"
	Limit   string // which limit was reached, in Azure's words; may be empty
	For     time.Duration
}

func (w Wait) String() string {
	limit := ""
	if w.Limit != "" {
		limit = " (" + w.Limit + ")"
	}
	return fmt.Sprintf("throttled by %s%s: waiting %s", w.Service, limit, w.For.Round(time.Second))
}

// retry tries requests again, and bounds how many are under way. It is there in the
// place of the SDK's, which gives up when it is told to wait longer than a minute,
// and which waits without a word.
type retry struct {
	waiting func(Wait)
	slots   chan struct{}

	mu   sync.Mutex
	said map[string]time.Time // until when it is known that a limit is waited for
}

func newRetry(waiting func(Wait)) *retry {
	return &retry{waiting: waiting, slots: make(chan struct{}, maxRequests), said: make(map[string]time.Time)}
}

// Do sends the request until it is answered, or another try makes no sense.
func (r *retry) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	var t tries
	for {
		if err := req.RewindBody(); err != nil {
			return nil, err
		}
		resp, err := r.try(ctx, req)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		wait, again := t.after(resp, err)
		again = again && (req.Raw().Method != http.MethodPost || notTaken(resp, err))
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < wait {
			again = false // nothing is gained by waiting for the end
		}
		if !again {
			return resp, err
		}
		if l := (*lostTry)(nil); !notTaken(resp, err) && req.OperationValue(&l) {
			l.lost = true
		}
		if resp != nil && resp.StatusCode == http.StatusTooManyRequests {
			r.say(waitOf(resp, wait))
		}
		runtime.Drain(resp)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// A lostTry belongs to a request, and says whether a try of it was lost that Azure may have
// taken.
type lostTry struct{ lost bool }

// try sends the request once, when it is its turn. The answer has been read when it
// returns.
func (r *retry) try(ctx context.Context, req *policy.Request) (*http.Response, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if err := guarded(req); err != nil {
		return nil, unguarded{err}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, tryTimeout, errHangs)
	defer cancel()
	resp, err := req.Clone(ctx).Next()
	if err != nil && errors.Is(context.Cause(ctx), errHangs) {
		return resp, errHangs
	}
	return resp, err
}

// errHangs says that a try took longer than tryTimeout.
var errHangs = fmt.Errorf("no answer within %s", tryTimeout)

// say tells of a wait, once for all requests that wait for the same limit.
func (r *retry) say(w Wait) {
	if r.waiting == nil || w.For < time.Second {
		return
	}
	key, end := w.Service+" "+w.Limit, time.Now().Add(w.For)
	r.mu.Lock()
	known := !end.After(r.said[key].Add(time.Second))
	if !known {
		r.said[key] = end
	}
	r.mu.Unlock()
	if !known {
		r.waiting(w)
	}
}

// tries is what a request has been through.
type tries struct {
	failed    int           // tries that failed
	throttled int           // answers that it is not its turn
	waited    time.Duration // for its turn
}

// after says whether another try makes sense after this outcome, and when.
func (t *tries) after(resp *http.Response, err error) (wait time.Duration, again bool) {
	if err != nil {
		t.failed++
		return backoff(t.failed), !isFinal(err) && !hopeless(err) && t.failed < maxTries
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		t.throttled++
		wait = max(retryAfter(resp.Header, time.Now()), backoff(t.throttled))
		t.waited += wait
		return wait, t.waited <= maxThrottled
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		t.failed++
		wait = max(retryAfter(resp.Header, time.Now()), backoff(t.failed))
		return wait, t.failed < maxTries && wait <= maxThrottled
	}
	return 0, false
}

// notTaken says whether what was sent can be sent again although it is no write of a
// state: Azure refused it, or was not reached. Done twice it would be two deeds.
func notTaken(resp *http.Response, err error) bool {
	if err != nil {
		dial, ok := errors.AsType[*net.OpError](err)
		return ok && dial.Op == "dial"
	}
	return resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable
}

// backoff is the wait after the n-th failure, from 1: 1s, 2s, 4s, up to a minute.
func backoff(n int) time.Duration { return min(time.Second<<min(n-1, 6), time.Minute) }

// hopeless says whether the same will happen again: nobody has that name, or nobody
// trusts that certificate.
func hopeless(err error) bool {
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &dns) && dns.IsNotFound || errors.As(err, &certificate)
}

// retryAfter is what an answer asks for, in any of the three ways; 0 when it does not.
func retryAfter(h http.Header, now time.Time) time.Duration {
	for _, name := range []string{"Retry-After-Ms", "X-Ms-Retry-After-Ms"} {
		if n, err := strconv.Atoi(h.Get(name)); err == nil && n > 0 && n < 1<<40 {
			return time.Duration(n) * time.Millisecond
		}
	}
	value := h.Get("Retry-After")
	if n, err := strconv.Atoi(value); err == nil && n > 0 && n < 1<<30 {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(value); err == nil {
		return max(t.Sub(now), 0)
	}
	return 0
}

// waitOf describes the wait that an answer asks for.
func waitOf(resp *http.Response, wait time.Duration) Wait {
	w := Wait{Service: "Azure Resource Manager", For: wait}
	if resp.Request != nil {
		w.Service = serviceOf(resp.Request.URL.Path)
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return w
	}
	w.Limit = limitOf(body)
	return w
}

// serviceOf names the resource provider that a path leads to: "Compute".
func serviceOf(path string) string {
	parts := strings.Split(path, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if strings.EqualFold(parts[i], "providers") {
			return strings.TrimPrefix(parts[i+1], "Microsoft.")
		}
	}
	return "Azure Resource Manager"
}

// maxLimit bounds the name of a limit.
const maxLimit = 80

// limitOf returns the name of the limit that was reached. It is the target of the
// first detail: HighCostGetVMScaleSet30Min.
func limitOf(body []byte) string {
	var answer struct {
		Error struct {
			Details []struct{ Target string }
		}
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Error.Details) == 0 {
		return ""
	}
	return safetext.Line(answer.Error.Details[0].Target, maxLimit)
}
