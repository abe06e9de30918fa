package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
)

// The bounds of operators' requests.
const (
	maxRequest  = 16 << 10 // bytes of one
	maxRequests = 100      // that nobody has taken up
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
	open, err := j.requests(ctx)
	if err != nil {
		return "", err
	}
	if len(open) >= maxRequests {
		return "", fmt.Errorf("%d requests wait already: is anybody at work on this rollout?", len(open))
	}
	name = j.place.now().UTC().Format("20060102T150405.000000000Z") + "-" + draw(4)
	return name, j.store.put(ctx, name, request)
}

// Requests returns what was asked for and is not dropped yet, the oldest first. What is
// no request, by its name, its size or its content, is left out and said.
func (j *Journal) Requests(ctx context.Context) ([]Request, error) {
	names, err := j.requests(ctx)
	if err != nil {
		return nil, err
	}
	var all []Request
	for _, name := range names[:min(len(names), maxRequests)] {
		data, err := j.store.get(ctx, name)
		switch {
		case err != nil:
			return nil, err
		case data == nil: // dropped meanwhile
		case len(data) > maxRequest, !json.Valid(data):
			j.place.tell(fmt.Sprintf("the request %s of %s is left out: it is no JSON of at most %d bytes", name, j.store.name(), maxRequest))
		default:
			all = append(all, Request{Name: name, Data: data})
		}
	}
	return all, nil
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
