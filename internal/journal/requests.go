package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The bounds of operators' requests.
const (
	maxRequest = 16 << 10 // bytes of one
	maxReads   = 1000     // that are read at a time: 16 MiB
	// maxWaiting is how many may lie there, with what is none: far more than are read, so
	// that litter keeps nobody from asking for an abort.
	maxWaiting = 10_000
	// maxAhead is how far the clock of whoever asks may be ahead of that of whoever reads.
	maxAhead = 24 * time.Hour
)

// A Request is what an operator asks for, in the journal's words one JSON document.
type Request struct {
	Name string
	Data json.RawMessage
}

// requestName is what the name of a request looks like: names sort by time. Whatever
// has another is left alone.
var requestName = regexp.MustCompile(`^\d{8}T\d{6}\.\d{9}Z-[0-9a-f]{8}$`)

// Ask keeps a request, which is one JSON document, until whoever works on the rollout
// takes it up. It needs no lock. Name is that of the request.
func (j *Journal) Ask(ctx context.Context, request []byte) (name string, err error) {
	switch {
	case !json.Valid(request):
		return "", errors.New("the request is not JSON")
	case len(request) > maxRequest:
		return "", fmt.Errorf("the request has %d bytes, and a journal takes at most %d", len(request), maxRequest)
	}
	waiting, err := j.requests(ctx)
	if err != nil {
		return "", err
	}
	if len(waiting) >= maxWaiting {
		return "", fmt.Errorf("%d requests wait beside %s: is anybody at work on this rollout? If so, remove what is none", len(waiting), j.store.name())
	}
	name = requestAt(after(waiting, j.place.now())) + "-" + draw(4)
	return name, j.store.put(ctx, name, request)
}

// nameTime is how the name of a request begins.
const nameTime = "20060102T150405.000000000Z"

// requestAt is how the name begins of a request that is made at a time.
func requestAt(at time.Time) string { return at.UTC().Format(nameTime) }

// after is the time that a request gets which is made now, while others wait, whose names
// are in order: one from behind them, as whoever asks last has the last word, and the clock
// of somebody who asked before may be ahead.
func after(waiting []string, now time.Time) time.Time {
	n, _ := slices.BinarySearch(waiting, requestAt(now.Add(maxAhead)))
	if n == 0 {
		return now
	}
	last, err := time.Parse(nameTime, waiting[n-1][:len(nameTime)])
	if err != nil || last.Before(now) {
		return now
	}
	return last.Add(time.Nanosecond)
}

// Requests returns what was asked for and is not dropped yet, the oldest first. What is
// no request, by its name, its size or its content, is left out and said once. Where there
// are more than are read at a time, the newest are read: the last word of an operator
// counts.
func (j *Journal) Requests(ctx context.Context) ([]Request, error) {
	names, err := j.requests(ctx)
	if err != nil {
		return nil, err
	}
	var all []Request
	var litter []string
	for _, name := range j.worthReading(names) {
		data, err := j.store.get(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case data == nil: // dropped meanwhile
		case len(data) > maxRequest, !json.Valid(data):
			litter = append(litter, name)
		default:
			all = append(all, Request{Name: name, Data: data})
		}
	}
	j.leaveOut(litter)
	slices.SortFunc(all, func(a, b Request) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// worthReading are those of the names, which are in order, that are read this time, the
// newest first. Nobody has asked tomorrow: what says so comes last.
func (j *Journal) worthReading(names []string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	names = slices.DeleteFunc(names, func(n string) bool { return j.litter[n] })
	ahead, _ := slices.BinarySearch(names, requestAt(j.place.now().Add(maxAhead)))
	order := slices.Concat(names[ahead:], names[:ahead])
	slices.Reverse(order)
	return order[:min(len(order), maxReads)]
}

// leaveOut says what is no request, and remembers it: a request is written once and
// whole, so that it will never be one.
func (j *Journal) leaveOut(litter []string) {
	if len(litter) == 0 {
		return
	}
	j.mu.Lock()
	if j.litter == nil {
		j.litter = make(map[string]bool)
	}
	for _, name := range litter {
		j.litter[name] = true
	}
	j.mu.Unlock()
	if len(litter) == 1 {
		j.place.tell(fmt.Sprintf("the request %s of %s is left out: it is no JSON of at most %d bytes", litter[0], j.store.name(), maxRequest))
		return
	}
	j.place.tell(fmt.Sprintf("%d requests of %s are left out, %s and others: they are no JSON of at most %d bytes", len(litter), j.store.name(), litter[0], maxRequest))
}

// Drop removes a request that was taken up. That there is none is no error.
func (j *Journal) Drop(ctx context.Context, name string) error {
	if !requestName.MatchString(name) {
		return fmt.Errorf("%.80q is no name of a request", name)
	}
	return j.store.remove(ctx, name)
}

// requests are the names of the requests, in order.
func (j *Journal) requests(ctx context.Context) ([]string, error) {
	names, err := j.store.names(ctx)
	names = slices.DeleteFunc(names, func(n string) bool { return !requestName.MatchString(n) })
	slices.Sort(names)
	return names, err
}
