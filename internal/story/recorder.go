package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// A write is a request of fleetctl that changes something, and how it was answered.
type write struct {
	method, path string
	ifNew        bool // If-None-Match: *
	body         map[string]any
	status       int
	members      []stage.Member // of the scale set, right before it was changed
}

// at is a value of the body.
func (w *write) at(path string) any {
	var v any = w.body
	for key := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// A recorder stands between fleetctl and Azure, and keeps what is written.
type recorder struct {
	address string
	look    func(ctx context.Context, set string) ([]stage.Member, error) // nil: nobody looks
	server  *http.Server
	ended   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	writes []write
}

// newRecorder starts a recorder.
func newRecorder(ctx context.Context, azure string) (*recorder, error) {
	to, err := url.Parse(azure)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{address: "http://" + listener.Addr().String()}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // links in answers lead back here
		},
		ModifyResponse: func(resp *http.Response) error {
			if w, ok := resp.Request.Context().Value(writeKey{}).(*write); ok {
				w.status = resp.StatusCode
				r.mu.Lock()
				defer r.mu.Unlock()
				r.writes = append(r.writes, *w)
			}
			return nil
		},
	}
	r.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead && !strings.HasPrefix(req.URL.Path, "/blob/") {
			req = r.recorded(req)
		}
		proxy.ServeHTTP(w, req)
	})}
	r.ended.Go(func() { _ = r.server.Serve(listener) }) // until it is closed
	return r, nil
}

type writeKey struct{}

// recorded is a request with what it writes.
func (r *recorder) recorded(req *http.Request) *http.Request {
	const most = 4 << 20
	text, err := io.ReadAll(io.LimitReader(req.Body, most))
	if err != nil {
		panic(http.ErrAbortHandler) // the client is gone
	}
	req.Body = io.NopCloser(bytes.NewReader(text))
	w := &write{method: req.Method, path: req.URL.Path, ifNew: req.Header.Get("If-None-Match") == "*"}
	_ = json.Unmarshal(text, &w.body) // an action may have no body
	if dir, set := path.Split(w.path); r.look != nil && w.method == http.MethodPatch && strings.EqualFold(dir, sets) {
		w.members, _ = r.look(req.Context(), set) // without members there is no evidence
	}
	return req.WithContext(context.WithValue(req.Context(), writeKey{}, w))
}

// all are the writes so far that were answered, in the order of their answers.
func (r *recorder) all() []write {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.writes)
}

func (r *recorder) close() {
	_ = r.server.Close()
	r.ended.Wait()
}
