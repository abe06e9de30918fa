package azure

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// maxLine bounds a line of debug.
const maxLine = 2000

// debug writes a line for each request, without what may be a secret: of the query
// only what is known to be none, and neither headers nor bodies.
type debug struct {
	mu sync.Mutex
	w  io.Writer
}

// Do sends the request and writes about it.
func (d *debug) Do(req *policy.Request) (*http.Response, error) {
	start := time.Now()
	resp, err := req.Next()
	line := req.Raw().Method + " " + publicURL(req.Raw().URL)
	took := time.Since(start).Round(time.Millisecond)
	if err != nil {
		line += fmt.Sprintf(" failed %s", took)
	} else {
		line += fmt.Sprintf(" %d %s", resp.StatusCode, took)
		for _, h := range []string{"X-Ms-Request-Id", "X-Ms-Ratelimit-Remaining-Resource", "Retry-After"} {
			if v := resp.Header.Get(h); v != "" {
				line += " " + strings.ToLower(h) + "=" + v
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = io.WriteString(d.w, safetext.Line(line, maxLine)+"\n") // nobody to tell
	return resp, err
}

// publicParameters are those of a query that are never secrets. A continuation or a
// signature may be one.
var publicParameters = []string{"$expand", "$filter", "$select", "$top", "api-version", "resource", "serviceconnectionid"}

// publicURL is a URL as it may be shown.
func publicURL(u *url.URL) string {
	text := u.Scheme + "://" + u.Host + u.EscapedPath()
	query := u.Query()
	names := make([]string, 0, len(query))
	for name := range query {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		value := "..."
		if slices.Contains(publicParameters, strings.ToLower(name)) {
			value = query.Get(name)
		}
		text += []string{"?", "&"}[min(i, 1)] + name + "=" + value
	}
	return text
}
