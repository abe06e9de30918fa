package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A Resource is one as it was read: nothing that Azure said is lost.
type Resource struct {
	Body fleet.Document
	ETag string // "" when Azure gave none
	// After is how long to wait before it makes sense to look again at something that
	// is under way; 0: Azure does not say. A simulator whose time runs faster does.
	After time.Duration
	// At is when Azure answered, by its own clock, which the times in a resource are of;
	// zero when it does not say.
	At time.Time
}

// Resource returns a resource; expand is the query parameter $expand, or "". The error
// is a NotFound when there is none.
func (c *Client) Resource(ctx context.Context, id fleet.ResourceID, expand string) (Resource, error) {
	body, header, err := c.read(ctx, "read "+nameOf(id), id, expand)
	if err != nil {
		return Resource{}, err
	}
	etag, _ := body["etag"].(string)
	if h := header.Get("Etag"); h != "" {
		etag = h
	}
	at, _ := http.ParseTime(header.Get("Date")) // zero when it is odd
	return Resource{Body: body, ETag: etag, After: retryAfter(header, time.Now()), At: at}, nil
}

// read reads a resource, and the headers that it came with. Errors name op.
func (c *Client) read(ctx context.Context, op string, id fleet.ResourceID, expand string) (fleet.Document, http.Header, error) {
	query := make(url.Values)
	if expand != "" {
		query.Set("$expand", expand)
	}
	req, err := c.request(ctx, http.MethodGet, id, "", query)
	if err != nil {
		return nil, nil, explain(op, err)
	}
	var body fleet.Document
	header, err := c.do(req, &body)
	return body, header, explain(op, err)
}

// Resources returns all that a collection has: the id of one is that of a resource
// without its last segment. Filter is the query parameter $filter, or "".
func (c *Client) Resources(ctx context.Context, collection fleet.ResourceID, filter string) ([]fleet.Document, error) {
	query := make(url.Values)
	if filter != "" {
		query.Set("$filter", filter)
	}
	return list(ctx, c, "list "+nameOf(collection), collection, query, func(d fleet.Document) fleet.Document { return d })
}

// list reads all pages of a collection, and makes a T of each value as it comes, so that
// no more than a page is held besides. What stands in the place of a value and is null is
// left out. An error, of any page, is the list's; so is an answer that is no page, and a
// link back: what is shorter or longer than the list is not the list. Errors name op.
func list[T any](ctx context.Context, c *Client, op string, collection fleet.ResourceID, query url.Values, read func(fleet.Document) T) ([]T, error) {
	garbled := func(text string) error {
		return &Error{Kind: Garbled, Op: op, Text: text, Hint: hintProxy}
	}
	var all []T
	seen := make(map[string]bool) // pages, by URL
	req, err := c.request(ctx, http.MethodGet, collection, "", query)
	for range maxPages {
		if err != nil {
			return nil, explain(op, err)
		}
		var page struct {
			Value    json.RawMessage
			NextLink string
		}
		if _, err := c.do(req, &page); err != nil {
			return nil, explain(op, err)
		}
		address := req.Raw().URL.String()
		switch {
		case page.Value == nil:
			return nil, garbled("the answer is no page of a list")
		case seen[address]:
			return nil, garbled("the list leads back to a page that was read")
		}
		seen[address] = true
		var values []fleet.Document
		if err := json.Unmarshal(page.Value, &values); err != nil {
			return nil, explain(op, err)
		}
		for _, v := range values {
			if v != nil {
				all = append(all, read(v))
			}
		}
		if page.NextLink == "" {
			return all, nil
		}
		var next string
		if next, err = runtime.EncodeQueryParams(page.NextLink); err == nil {
			req, err = runtime.NewRequestForNextLink(ctx, http.MethodGet, c.endpoint, next)
		}
	}
	return nil, &Error{Kind: Garbled, Op: op, Text: fmt.Sprintf("the list has no end: %d pages were read", maxPages)}
}
