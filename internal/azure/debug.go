package azure

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
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
	words := []string{req.Raw().Method, publicURL(req.Raw().URL), "failed", time.Since(start).Round(time.Millisecond).String()}
	if err == nil {
		words[2] = strconv.Itoa(resp.StatusCode)
		for _, h := range []string{"X-Ms-Request-Id", "X-Ms-Ratelimit-Remaining-Resource", "Retry-After"} {
			if v := resp.Header.Get(h); v != "" {
				words = append(words, strings.ToLower(h)+"="+v)
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, _ = io.WriteString(d.w, safetext.Line(strings.Join(words, " "), maxLine)+"\n") // nobody to tell
	return resp, err
}

// publicParameters are those of a query that are never secrets. A continuation or a
// signature may be one.
var publicParameters = []string{"$expand", "$filter", "$select", "$top", "api-version", "resource", "serviceconnectionid"}

// publicURL is a URL as it may be shown.
func publicURL(u *url.URL) string {
	var parameters []string
	for name, values := range u.Query() {
		value := "..."
		if slices.Contains(publicParameters, strings.ToLower(name)) {
			value = strings.Join(values, ",")
		}
		parameters = append(parameters, name+"="+value)
	}
	slices.Sort(parameters)
	text := u.Scheme + "://" + u.Host + u.EscapedPath()
	if len(parameters) > 0 {
		text += "?" + strings.Join(parameters, "&")
	}
	return text
}
