// Package standstill answers: how does a client wait for a simulated Azure whose clock
// stands still? A test moves the clock while its client waits. The SDK waits by itself
// between two looks at an operation: a [Handler] in front of the simulator moves the
// clock then, and tells the SDK not to wait.
//
// It is for tests and starts no goroutines.
package standstill

import (
	"net/http"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// step is how much time passes between two looks at an operation.
const step = 10 * time.Second

// Handler stands in front of next, which leads to the server.
func Handler(server *arm.Server, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		operation := strings.Contains(strings.ToLower(r.URL.Path), "/operations/")
		if operation {
			server.Advance(step)
		}
		next.ServeHTTP(&hurried{ResponseWriter: w, operation: operation}, r)
	})
}

// A hurried answer asks the SDK for no wait. What is read again by the client itself
// keeps its wait: the test's own sleep is told it.
type hurried struct {
	http.ResponseWriter

	operation bool
	wrote     bool
}

// WriteHeader implements http.ResponseWriter.
func (h *hurried) WriteHeader(status int) {
	header := h.Header()
	if !h.wrote && (h.operation || header.Get("Azure-Asyncoperation") != "" || header.Get("Location") != "") {
		for _, name := range []string{"Retry-After", "X-Ms-Retry-After-Ms"} {
			header.Del(name)
		}
		header.Set("Retry-After-Ms", "1")
	}
	h.wrote = true
	h.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (h *hurried) Write(data []byte) (int, error) {
	if !h.wrote {
		h.WriteHeader(http.StatusOK)
	}
	return h.ResponseWriter.Write(data)
}
