package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// A proxy stands between fleetctl and Azure, and knows when an entry is written to a
// journal. What is for a storage account goes to a simulator of its own, in which time
// passes as it really does: so does a lease.
type proxy struct {
	address string
	server  *http.Server
	ended   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	entries int        // written to journals
	at      int        // the entry at which fleetctl is killed; 0: never
	late    bool       // the entry is durable by then
	kill    func()
}

// newProxy starts a proxy.
func newProxy(ctx context.Context, azure, storage string) (*proxy, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{address: "http://" + listener.Addr().String()}
	to := func(address string) (http.Handler, error) {
		u, err := url.Parse(address)
		return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host // links in answers lead back here
		}}, err
	}
	arm, err := to(azure)
	if err != nil {
		return nil, err
	}
	blobs, err := to(storage)
	if err != nil {
		return nil, err
	}
	p.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasPrefix(r.URL.Path, "/blob/"):
			arm.ServeHTTP(w, r)
		case r.Method == http.MethodPut && r.URL.Query().Get("comp") == "appendblock":
			p.append(w, r, blobs)
		default:
			blobs.ServeHTTP(w, r)
		}
	})}
	p.ended.Go(func() { _ = p.server.Serve(listener) }) // until it is closed
	return p, nil
}

// append passes an entry on, unless fleetctl dies at it.
func (p *proxy) append(w http.ResponseWriter, r *http.Request, blobs http.Handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entries++
	dies := p.entries == p.at
	if dies && !p.late {
		p.kill()
		panic(http.ErrAbortHandler)
	}
	if dies {
		blobs.ServeHTTP(&discard{header: http.Header{}}, r)
		p.kill()
		panic(http.ErrAbortHandler)
	}
	blobs.ServeHTTP(w, r)
}

// killAt has a function called at an entry: when it is durable, or before.
func (p *proxy) killAt(entry int, late bool, kill func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.late, p.kill = entry, late, kill
}

// written is how many entries were written.
func (p *proxy) written() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.entries
}

// close ends it.
func (p *proxy) close() {
	_ = p.server.Close()
	p.ended.Wait()
}

// discard takes an answer that nobody gets.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header       { return d.header }
func (*discard) Write(b []byte) (int, error) { return len(b), nil }
func (*discard) WriteHeader(int)             {}
