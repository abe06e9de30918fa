package health

import (
	"context"
	"errors"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with the file, or rewrites it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// A target is what a test's probe measures.
type target struct {
	mu     sync.Mutex
	err    error
	takes  time.Duration
	starts []time.Time
	active int
	most   int // highest number of runs at once
}

func (g *target) set(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
}

func (g *target) slow(takes time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.takes = takes
}

func (g *target) forgetMost() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.most = g.active
}

func (g *target) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.starts)
}

func (g *target) started() []time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]time.Time(nil), g.starts...)
}

func (g *target) probe(ctx context.Context) error {
	g.mu.Lock()
	g.starts = append(g.starts, time.Now())
	g.active++
	g.most = max(g.most, g.active)
	err, takes := g.err, g.takes
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.active--
		g.mu.Unlock()
	}()
	if takes > 0 {
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return err
}

const forever = 1000 * time.Hour

var errDown = errors.New("down")

// check returns a critical check of g that gates both endpoints, every 5 s.
func check(name string, g *target, dependsOn ...string) Check {
	return Check{
		Name: name, Kind: "test", Probe: g.probe,
		Interval: 5 * time.Second, Timeout: 2 * time.Second, FailAfter: 2, PassAfter: 1,
		Gates: Gates{Health: true, Ready: true}, DependsOn: dependsOn, Fingerprint: "1",
	}
}

// node is a monitor with its answers, running in a bubble.
type node struct {
	*Monitor
	answers *Answers
	stop    func() error // ends Run and returns its error
}

// launch runs a monitor until the end of the test.
func launch(t *testing.T, cfg Config) *node {
	t.Helper()
	n := &node{answers: NewAnswers(AnswersConfig{})}
	cfg.Answers = n.answers
	m, err := New(cfg)
	require.NoError(t, err)
	n.Monitor = m
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	n.stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = n.stop() })
	return n
}

// after lets virtual time pass and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// get asks a handler directly, without a socket.
func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w
}

// codes are the answers of /healthz and /readyz.
func (n *node) codes() [2]int {
	h := n.answers.Handler()
	return [2]int{get(h, "/healthz").Code, get(h, "/readyz").Code}
}

// status is one check's status.
func (n *node) status(t *testing.T, name string) Status {
	t.Helper()
	return n.check(t, name).Status
}

func (n *node) check(t *testing.T, name string) CheckReport {
	t.Helper()
	for _, c := range n.Report().Checks {
		if c.Name == name {
			return c
		}
	}
	require.Fail(t, "no such check", name)
	return CheckReport{}
}
