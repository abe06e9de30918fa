package steer

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestGuard(t *testing.T) {
	for name, tt := range map[string]struct {
		method, host string
		header       http.Header
		want         int
	}{
		"a program":             {"POST", "127.0.0.1:9000", nil, 204},
		"a program by name":     {"POST", "localhost:9000", nil, 204},
		"a program over IPv6":   {"POST", "[::1]:9000", nil, 204},
		"a host without a port": {"POST", "127.0.0.1", nil, 204},
		"a page of another":     {"POST", "127.0.0.1:9000", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		"an older browser":      {"POST", "127.0.0.1:9000", http.Header{"Origin": {"https://portal.example"}}, 403},
		"a delete":              {"DELETE", "127.0.0.1:9000", http.Header{"Origin": {"https://portal.example"}}, 403},
		"a name of its own":     {"GET", "portal.example:9000", nil, 403},
		"no host":               {"GET", "", nil, 403},
	} {
		t.Run(name, func(t *testing.T) {
			passed := false
			h := Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				passed = true
				w.WriteHeader(http.StatusNoContent)
			}))
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/v1/clock", strings.NewReader("{}"))
			r.Host = tt.host
			maps.Copy(r.Header, tt.header)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			require.Equal(t, tt.want, w.Code, w.Body.String())
			require.Equal(t, tt.want == 204, passed)
		})
	}
}
