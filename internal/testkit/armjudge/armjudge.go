// Package armjudge answers: did fleetctl send Azure what Azure takes?
//
// A test gets its simulated Azure from Serve, which puts a judge before it: the body of
// each PUT is held to the types that Azure publishes, and that of each PATCH and POST is
// decoded into Microsoft's own types for Go, which must lose nothing of it. A finding
// fails the test that made it. Session counts for a whole package, and wants each type of
// resource that the article writes among what was judged.
//
//	fleetctl ─▶ judgeproxy ─▶ what the test has before the simulator ─▶ simulator
//	                │
//	      findings, and a count
//
// A test of this package finds every test that starts a simulated Azure in another way.
// Where Azure's types are not beside the repository nothing is judged, and Session says
// so; in CI that is an error.
package armjudge

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// TB is what Serve needs of a test: a testing.TB, or a script's.
type TB interface {
	Helper()
	Cleanup(f func())
	Errorf(format string, args ...any)
}

// Serve starts a server of a handler, behind the judge. When the test is over it is
// closed, and each finding fails the test.
func Serve(tb TB, next http.Handler) *httptest.Server {
	tb.Helper()
	types, err := published()
	switch {
	case err != nil:
		tb.Errorf("armjudge: %v", err)
		fallthrough
	case types == nil:
		server := httptest.NewServer(next)
		tb.Cleanup(server.Close)
		return server
	}
	proxy := judgeproxy.New(judgeproxy.Config{Next: next, Types: types, Into: into, Sent: true})
	server := httptest.NewServer(proxy)
	tb.Cleanup(func() {
		server.Close()
		report := proxy.Report()
		findings := expectedOf(tb, server, excuses.without(report.Findings))
		total.add(report.Sent, len(findings))
		complain(tb, findings)
	})
	return server
}

// expected are the places of what servers are sent that Azure would not take.
var expected sync.Map // by *httptest.Server

// Expect says that a server of Serve is sent something on purpose that Azure would not
// take, at a place in a body, such as $.properties.zoneBalance. The judge has to find it.
func Expect(server *httptest.Server, place string) { expected.Store(server, place) }

// expectedOf returns the findings that a test does not expect.
func expectedOf(tb TB, server *httptest.Server, findings []judgeproxy.Finding) []judgeproxy.Finding {
	tb.Helper()
	place, ok := expected.LoadAndDelete(server)
	if !ok {
		return findings
	}
	others := slices.DeleteFunc(slices.Clone(findings), func(f judgeproxy.Finding) bool { return f.Path == place })
	if len(others) == len(findings) {
		tb.Errorf("armjudge: nothing was found at %s", place)
	}
	return others
}

// complain fails a test with each finding once, which may be of many requests.
func complain(tb TB, findings []judgeproxy.Finding) {
	tb.Helper()
	const most = 20
	times := make(map[judgeproxy.Finding]int)
	var distinct []judgeproxy.Finding
	for _, f := range findings {
		if times[f]++; times[f] == 1 {
			distinct = append(distinct, f)
		}
	}
	if len(distinct) == 0 {
		return
	}
	var text strings.Builder
	for _, f := range distinct[:min(most, len(distinct))] {
		fmt.Fprintf(&text, "\n%s (%d times)", f, times[f])
	}
	if more := len(distinct) - most; more > 0 {
		fmt.Fprintf(&text, "\nand %d more", more)
	}
	tb.Errorf("Azure would not take what was sent:%s", &text)
}

// published are Azure's types, read once; nil where they are not.
var published = sync.OnceValues(func() (*armtypes.Types, error) {
	dir, found := testkit.FindPublished("types")
	switch {
	case found:
		return armtypes.Load(dir)
	case os.Getenv("CI") != "":
		return nil, errors.New("shared/azure/types is not beside the repository: what Azure publishes")
	default:
		return nil, nil
	}
})

// An excuse is for a finding at which Microsoft's types are wrong.
type excuse struct {
	kind armtypes.Kind
	path string // in the body
	what string // of what: "PATCH Microsoft.Compute/galleries"
	why  string
}

type excuseList []excuse

// excuses are all there are.
var excuses = excuseList{}

// without returns the findings that nothing excuses, and counts the excuses.
func (list excuseList) without(findings []judgeproxy.Finding) []judgeproxy.Finding {
	return slices.DeleteFunc(findings, func(f judgeproxy.Finding) bool {
		for _, e := range list {
			if e.covers(f) {
				total.excuse(e)
				return true
			}
		}
		return false
	})
}

func (e excuse) covers(f judgeproxy.Finding) bool {
	method, path, _ := strings.Cut(f.Exchange, " ")
	target, _ := armtypes.Locate(path)
	return e.kind == f.Kind && e.path == f.Path && strings.EqualFold(e.what, strings.TrimSpace(method+" "+target.Type+" "+target.Rest))
}
