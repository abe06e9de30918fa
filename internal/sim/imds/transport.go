package imds

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
)

// Transport returns a way for a client in the same process to talk to the
// metadata service as the machine with that name sees it, without a socket:
// for tests in a testing/synctest bubble. A reset shows as ECONNRESET, a
// client that gives up gets its context's error.
func (s *Server) Transport(vm string) http.RoundTripper {
	return &transport{handler: s.VM(vm)}
}

type transport struct{ handler http.Handler }

// RoundTrip calls the handler in the caller's goroutine.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := r.Context()
	served := r.Clone(ctx)
	if served.Body == nil {
		served.Body = http.NoBody
	}
	defer served.Body.Close()

	w := &recorder{header: http.Header{}}
	t.call(w, served)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if w.status == 0 {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	if r.Method == http.MethodHead {
		w.body.Reset()
	}
	return &http.Response{
		Status:     strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode: w.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        w.header,
		Body:          io.NopCloser(&w.body),
		ContentLength: int64(w.body.Len()),
		Request:       r,
	}, nil
}

// call runs the handler; one that aborts leaves the status at zero.
func (t *transport) call(w *recorder, r *http.Request) {
	defer func() {
		if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic's value, as net/http compares it
			panic(p)
		}
	}()
	t.handler.ServeHTTP(w, r)
}

// A recorder keeps what a handler writes.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *recorder) Header() http.Header         { return w.header }
func (w *recorder) WriteHeader(status int)      { w.status = status }
func (w *recorder) Write(p []byte) (int, error) { return w.body.Write(p) }
