package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

// ErrMoved says that an append blob does not end where it was expected to: something
// else was added to it, or the same was added already and the answer was lost.
var ErrMoved = errors.New("the blob does not end there")

// BlobState is what is known of a blob but its content.
type BlobState struct {
	Size     int64
	Modified time.Time         // content or metadata
	Asked    time.Time         // when this was so, by Azure's clock
	Leased   bool              // others may not write, nor lease it
	Metadata map[string]string // names in lower case
}

// CreateAppendBlob makes an empty append blob, unless there is a blob of the name:
// that is left as it is, and no error.
func (c *Client) CreateAppendBlob(ctx context.Context, address string) error {
	_, err := c.changeBlob(ctx, "make blob", http.MethodPut, address, "", nil, http.Header{"X-Ms-Blob-Type": {"AppendBlob"}, "If-None-Match": {"*"}})
	if code := blobCode(err); code == "BlobAlreadyExists" || code == "UnauthorizedBlobOverwrite" {
		return nil
	}
	return err
}

// AppendBlob adds text to the append blob whose size is at. It is an ErrMoved when that
// is not its size; the text may then be there all the same, because an append whose
// answer was lost is sent again.
func (c *Client) AppendBlob(ctx context.Context, address string, at int64, text []byte) error {
	_, err := c.changeBlob(ctx, "append to blob", http.MethodPut, address, "appendblock", text, http.Header{"X-Ms-Blob-Condition-Appendpos": {strconv.FormatInt(at, 10)}})
	if blobCode(err) == "AppendPositionConditionNotMet" {
		return marked(err, ErrMoved)
	}
	return err
}

// DeleteBlob removes a blob. That there is none is no error.
func (c *Client) DeleteBlob(ctx context.Context, address string) error {
	_, err := c.changeBlob(ctx, "delete blob", http.MethodDelete, address, "", nil, nil)
	if blobCode(err) == "BlobNotFound" {
		return nil
	}
	return err
}

// BlobState returns what is known of a blob.
func (c *Client) BlobState(ctx context.Context, address string) (BlobState, error) {
	h, err := c.changeBlob(ctx, "look at blob", http.MethodHead, address, "", nil, nil)
	if err != nil {
		return BlobState{}, err
	}
	s := BlobState{Leased: h.Get("X-Ms-Lease-Status") == "locked", Metadata: map[string]string{}}
	s.Size, _ = strconv.ParseInt(h.Get("Content-Length"), 10, 64) // 0 when it is odd
	s.Modified, _ = http.ParseTime(h.Get("Last-Modified"))        // zero when it is odd
	s.Asked, _ = http.ParseTime(h.Get("Date"))
	for name := range h {
		if meta, ok := strings.CutPrefix(name, metaHeader); ok {
			s.Metadata[strings.ToLower(meta)] = h.Get(name)
		}
	}
	return s, nil
}

// metaHeader begins the headers of metadata.
const metaHeader = "X-Ms-Meta-"

// SetBlobMetadata replaces the metadata of a blob. Names are those of identifiers, and
// values are ASCII. Lease is the id of the blob's lease.
func (c *Client) SetBlobMetadata(ctx context.Context, address, lease string, metadata map[string]string) error {
	h := http.Header{"X-Ms-Lease-Id": {lease}}
	for name, value := range metadata {
		h.Set(metaHeader+name, value)
	}
	_, err := c.changeBlob(ctx, "write the metadata of blob", http.MethodPut, address, "metadata", nil, h)
	return leaseError(err)
}

// changeBlob sends a request whose answer is in the headers, and returns those.
func (c *Client) changeBlob(ctx context.Context, what, method, address, comp string, body []byte, headers http.Header) (http.Header, error) {
	op := what + " " + blobName(address)
	query := url.Values{}
	if comp != "" {
		query.Set("comp", comp)
	}
	req, err := c.blobRequest(ctx, method, address, query)
	if err != nil {
		return nil, explain(op, err)
	}
	maps.Copy(req.Raw().Header, headers)
	if len(body) > 0 {
		if err := req.SetBody(streaming.NopCloser(bytes.NewReader(body)), "application/octet-stream"); err != nil {
			return nil, explain(op, err)
		}
	}
	resp, err := c.blobs.Do(req)
	if err != nil {
		return nil, explain(op, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, explain(op, runtime.NewResponseError(resp))
	}
	return resp.Header, nil
}

// marked is the error with what it means, for errors.Is.
func marked(err, meaning error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	e.Err = fmt.Errorf("%w: %w", meaning, e.Err)
	return e
}
