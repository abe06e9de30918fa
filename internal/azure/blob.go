package azure

import (
	"bytes"
	"context"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

const (
	// storageScope is whom a token for Azure Storage is for, in every cloud.
	storageScope = "https://storage.azure.com/.default"
	// storageVersion is the x-ms-version of requests.
	storageVersion = "2024-11-04"
	// maxBlob bounds what is read of a blob at once.
	maxBlob = 8 << 20
	// maxBlobs bounds the blobs of a list.
	maxBlobs = 100_000
)

// blobHosts are what the names of blob services end in, behind that of the account.
var blobHosts = []string{".blob.core.windows.net", ".blob.core.usgovcloudapi.net", ".blob.core.chinacloudapi.cn", ".blob.storage.azure.net"}

// A Blob is a blob of a list.
type Blob struct {
	Name     string // within its container
	Size     int64
	Created  time.Time
	Modified time.Time
}

// BlobAccount returns the storage account of a blob's or a container's URL. The error
// says what a URL has to look like.
func BlobAccount(address string) (string, error) {
	u, err := url.Parse(address)
	if err == nil && u.Scheme == "https" && u.User == nil && u.RawQuery == "" && u.Fragment == "" && u.Port() == "" {
		host := strings.ToLower(u.Hostname())
		for _, suffix := range blobHosts {
			if account, _, ok := strings.Cut(host, "."); ok && strings.HasSuffix(host, suffix) && account != "" {
				return account, nil
			}
		}
	}
	return "", usageError(fmt.Errorf("%q is not the URL of a blob", address), "write https://ACCOUNT.blob.core.windows.net/CONTAINER/NAME, without a signature")
}

// ReadBlob returns what a blob holds from an offset on, at most limit bytes of it, and
// the size of the whole. Behind the end there is nothing, which is no error.
func (c *Client) ReadBlob(ctx context.Context, address string, from int64, limit int) (text []byte, size int64, err error) {
	op := "read blob " + blobName(address)
	req, err := c.blobRequest(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, explain(op, err)
	}
	limit = min(max(limit, 1), maxBlob)
	req.Raw().Header.Set("X-Ms-Range", fmt.Sprintf("bytes=%d-%d", from, from+int64(limit)-1))
	resp, err := c.blobs.Do(req)
	if err != nil {
		return nil, 0, explain(op, err)
	}
	defer resp.Body.Close()
	_, total, _ := strings.Cut(resp.Header.Get("Content-Range"), "/")
	size, _ = strconv.ParseInt(total, 10, 64) // of an answer without one: below
	switch resp.StatusCode {
	case http.StatusOK, http.StatusPartialContent:
	case http.StatusRequestedRangeNotSatisfiable:
		return nil, max(size, 0), nil
	default:
		return nil, 0, explain(op, runtime.NewResponseError(resp))
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, int64(limit)))
	if err != nil {
		return nil, 0, explain(op, err)
	}
	return text, max(size, from+int64(len(text))), nil
}

// WriteBlob makes a block blob, unless there is one of the name: that is left as it
// is, and no error.
func (c *Client) WriteBlob(ctx context.Context, address string, content []byte) error {
	op := "write blob " + blobName(address)
	req, err := c.blobRequest(ctx, http.MethodPut, address, nil)
	if err != nil {
		return explain(op, err)
	}
	req.Raw().Header.Set("X-Ms-Blob-Type", "BlockBlob")
	req.Raw().Header.Set("If-None-Match", "*")
	if err := req.SetBody(streaming.NopCloser(bytes.NewReader(content)), "application/octet-stream"); err != nil {
		return explain(op, err)
	}
	resp, err := c.blobs.Do(req)
	if err != nil {
		return explain(op, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusCreated:
		return nil
	case resp.StatusCode == http.StatusConflict && resp.Header.Get("X-Ms-Error-Code") == "BlobAlreadyExists":
		return nil
	}
	return explain(op, runtime.NewResponseError(resp))
}

// ListBlobs returns the blobs of a container whose names begin with prefix.
func (c *Client) ListBlobs(ctx context.Context, container, prefix string) ([]Blob, error) {
	op := "list the blobs of " + blobName(container)
	var all []Blob
	marker := ""
	for range maxPages {
		query := url.Values{"restype": {"container"}, "comp": {"list"}}
		if prefix != "" {
			query.Set("prefix", prefix)
		}
		if marker != "" {
			query.Set("marker", marker)
		}
		page, err := c.blobPage(ctx, container, query)
		if err != nil {
			return nil, explain(op, err)
		}
		for _, b := range page.Blobs {
			modified, _ := http.ParseTime(b.Properties.LastModified) // zero when it is odd
			created, _ := http.ParseTime(b.Properties.Created)
			all = append(all, Blob{Name: b.Name, Size: b.Properties.ContentLength, Created: created, Modified: modified})
		}
		if marker = page.NextMarker; marker == "" {
			return all, nil
		}
		if len(all) > maxBlobs {
			break
		}
	}
	return nil, &Error{Kind: Garbled, Op: op, Text: fmt.Sprintf("the list has no end: %d blobs were read", len(all))}
}

// A blobPage is a page of List Blobs.
type blobPage struct {
	Blobs []struct {
		Name       string
		Properties struct {
			Created       string `xml:"Creation-Time"`
			LastModified  string `xml:"Last-Modified"`
			ContentLength int64  `xml:"Content-Length"`
		}
	} `xml:"Blobs>Blob"`
	NextMarker string
}

func (c *Client) blobPage(ctx context.Context, container string, query url.Values) (blobPage, error) {
	var page blobPage
	req, err := c.blobRequest(ctx, http.MethodGet, container, query)
	if err != nil {
		return page, err
	}
	resp, err := c.blobs.Do(req)
	if err != nil {
		return page, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return page, runtime.NewResponseError(resp)
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return page, err
	}
	if err := xml.Unmarshal(body, &page); err != nil {
		return page, &Error{Kind: Garbled, Text: "the answer is no list of blobs", Hint: hintProxy}
	}
	return page, nil
}

// blobRequest is a request for a blob or a container. Its token goes to hosts of Azure
// Storage only.
func (c *Client) blobRequest(ctx context.Context, method, address string, query url.Values) (*policy.Request, error) {
	account, err := BlobAccount(address)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	if c.simulator {
		at, err := url.Parse(c.endpoint)
		if err != nil {
			return nil, err
		}
		u = at.JoinPath("blob", account, u.Path)
	}
	u.RawQuery = query.Encode()
	req, err := runtime.NewRequest(ctx, method, u.String())
	if err != nil {
		return nil, err
	}
	req.Raw().Header.Set("X-Ms-Version", storageVersion)
	return req, nil
}

// blobName is a blob as errors name it: without what may be secret.
func blobName(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "of an odd URL"
	}
	account, _, _ := strings.Cut(u.Hostname(), ".")
	return path.Join(account, u.Path)
}
