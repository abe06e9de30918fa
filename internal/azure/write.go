package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// An Operation is a write that Azure has accepted. It may go on for a long time, and
// goes on also when nobody waits for it.
type Operation struct {
	// Accepted is what Azure answered at once: the resource as it will be, or nil.
	Accepted fleet.Document

	op     string
	id     fleet.ResourceID
	poller *runtime.Poller[fleet.Document] // nil: it was over with the answer
}

// Wait returns when the operation has ended, with the resource, or the output of an
// action; nil when Azure returns nothing. It polls as often as Azure asks for.
func (o *Operation) Wait(ctx context.Context) (fleet.Document, error) {
	if o.poller == nil {
		return o.Accepted, nil
	}
	body, err := o.poller.PollUntilDone(ctx, nil)
	if errors.Is(err, errEmpty) && o.poller.Done() {
		return nil, nil // it has ended, and an action may have nothing to say
	}
	return body, explain(o.op, refused(o.id, err))
}

// Over says whether the operation is known to have ended.
func (o *Operation) Over() bool { return o.poller == nil || o.poller.Done() }

// Poll asks once whether the operation has ended, and with which error.
func (o *Operation) Poll(ctx context.Context) (over bool, err error) {
	if o.poller == nil {
		return true, nil
	}
	if _, err := o.poller.Poll(ctx); err != nil { //nolint:bodyclose // azcore has read it
		return false, explain(o.op, refused(o.id, err))
	}
	if !o.poller.Done() {
		return false, nil
	}
	_, err = o.Wait(ctx)
	return true, err
}

// Send sends a write, and returns when Azure has accepted it. A PUT, PATCH or DELETE
// whose answer was lost is sent again; so whoever asks with IfNew and is told that the
// resource is there may have made it. A POST is never sent again when it may have been
// taken: its caller has to look.
func (c *Client) Send(ctx context.Context, w fleet.Write) (*Operation, error) {
	op := w.String()
	req, err := c.request(ctx, w.Method, w.ID, w.Action, nil)
	if err != nil {
		return nil, explain(op, err)
	}
	if w.Body != nil {
		text, err := json.Marshal(w.Body)
		if err != nil {
			return nil, fmt.Errorf("%s: encode the body: %w", op, err)
		}
		if err := req.SetBody(streaming.NopCloser(bytes.NewReader(text)), "application/json"); err != nil {
			return nil, explain(op, err)
		}
	}
	if w.IfMatch != "" {
		req.Raw().Header.Set("If-Match", w.IfMatch)
	}
	if w.IfNew {
		req.Raw().Header.Set("If-None-Match", "*")
	}
	var tried lostTry
	req.SetOperationValue(&tried)
	resp, err := c.pipeline.Do(req)
	if err != nil {
		return nil, explain(op, err)
	}
	defer resp.Body.Close()
	if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
		err := explain(op, refused(w.ID, runtime.NewResponseError(resp)))
		if e, ok := errors.AsType[*Error](err); ok {
			e.Resent = tried.lost
		}
		return nil, err
	}
	return c.operation(op, w.Method, w.ID, resp)
}

// operation is what an accepted write goes on as.
func (c *Client) operation(op, method string, id fleet.ResourceID, resp *http.Response) (*Operation, error) {
	o := &Operation{op: op, id: id}
	body, err := runtime.Payload(resp)
	if err != nil {
		return nil, explain(op, err)
	}
	if len(bytes.TrimSpace(body)) > 0 {
		if err := json.Unmarshal(body, &o.Accepted); err != nil {
			return nil, explain(op, err)
		}
	}
	if resp.Header.Get("Azure-Asyncoperation") == "" && resp.Header.Get("Location") == "" {
		return o, nil
	}
	options := &runtime.NewPollerOptions[fleet.Document]{}
	if method == http.MethodPost {
		options.FinalStateVia = runtime.FinalStateViaLocation
	}
	o.poller, err = runtime.NewPoller(resp, c.pipeline, options)
	return o, explain(op, err)
}

// request is a request for a resource, or an action of it.
func (c *Client) request(ctx context.Context, method string, id fleet.ResourceID, action string, query url.Values) (*policy.Request, error) {
	version := fleet.APIVersion(id)
	if version == "" || !plain(id) {
		return nil, usageError(fmt.Errorf("%q is not the id of a resource that fleetctl knows", string(id)), "an id begins with /subscriptions/ID/resourceGroups/NAME/providers/")
	}
	asked := url.Values{"api-version": {version}}
	maps.Copy(asked, query)
	address := runtime.JoinPaths(c.endpoint, (&url.URL{Path: string(id)}).EscapedPath(), action) + "?" + strings.ReplaceAll(asked.Encode(), "+", "%20")
	req, err := runtime.NewRequest(ctx, method, address)
	if err == nil {
		req.Raw().Header.Set("Accept", "application/json")
	}
	return req, err
}

// plain says whether an id is the path of a request as it is.
func plain(id fleet.ResourceID) bool {
	return !strings.Contains(string(id), "//") && !strings.ContainsAny(string(id), "?#%\\")
}

// do sends a request whose answer is JSON, and reads it into v. It returns the headers.
func (c *Client) do(req *policy.Request, v any) (http.Header, error) {
	resp, err := c.pipeline.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, runtime.NewResponseError(resp)
	}
	return resp.Header, runtime.UnmarshalAsJSON(resp, v)
}

// nameOf is a resource as errors name it: "imageTemplates/ubuntu-app-1.8.3".
func nameOf(id fleet.ResourceID) string {
	typ := id.Type()
	kind := typ[strings.LastIndexByte(typ, '/')+1:]
	if strings.EqualFold(kind, id.Name()) {
		return kind
	}
	return kind + "/" + id.Name()
}
