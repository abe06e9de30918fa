package roll_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// A webhook keeps what it is told.
type webhook struct {
	mu    sync.Mutex
	fails int  // answers with an error so often
	down  bool // answers with an error until it is mended
	texts []string
}

func (h *webhook) start(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.down || h.fails > 0 {
			h.fails--
			rw.WriteHeader(http.StatusBadGateway)
			return
		}
		h.texts = append(h.texts, string(body))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func (h *webhook) told() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.texts
}

func (h *webhook) mend() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = false
}
