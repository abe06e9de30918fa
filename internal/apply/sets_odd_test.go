package apply_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// editing makes a client whose GET answers are changed on their way.
func (w *setWorld) editing(edit func(path string, text []byte) (edited []byte, there bool)) *azure.Client {
	next := w.next
	w.next = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			next.ServeHTTP(rw, r)
			return
		}
		answer := httptest.NewRecorder()
		next.ServeHTTP(answer, r)
		maps.Copy(rw.Header(), answer.Header())
		rw.Header().Del("Content-Length")
		text, there := edit(r.URL.Path, answer.Body.Bytes())
		if !there {
			rw.WriteHeader(http.StatusNotFound)
			_, _ = rw.Write([]byte(`{"error":{"code":"NotFound","message":"not there"}}`))
			return
		}
		rw.WriteHeader(answer.Code)
		_, _ = rw.Write(text)
	})
	w.t.Cleanup(func() { w.next = next })
	return w.client(nil)
}

// Who is in the way for a while is waited for, and not for ever; a refusal for want of
// quota is one at once.
func TestSetsInTheWay(t *testing.T) {
	for name, tt := range map[string]struct {
		fault arm.Fault
		again int
		err   string
	}{
		"the platform's own upgrade": {arm.Fault{Status: 409, Code: "OperationNotAllowed", Message: "The platform is at work.", Count: 3}, 3, ""},
		"for ever":                   {arm.Fault{Status: 409, Code: "OperationNotAllowed", Message: "The platform is at work."}, 5, "The platform is at work"},
		"changed in between":         {arm.Fault{Status: 412, Code: "PreconditionFailed", Message: "not met", Count: 1}, 1, ""},
		"a quota":                    {arm.Fault{Status: 409, Code: "OperationNotAllowed", Message: "Operation results in exceeding approved Total Regional Cores quota."}, 0, "quota"},
		"a policy":                   {arm.Fault{Status: 403, Code: "RequestDisallowedByPolicy", Message: "no"}, 0, "RequestDisallowedByPolicy"},
	} {
		t.Run(name, func(t *testing.T) {
			w := begun(t, one, setSetup{})
			tt.fault.Kind, tt.fault.Method, tt.fault.Path = arm.FaultError, http.MethodPatch, "vmss-authz"
			require.NoError(t, w.SetFault(tt.fault))
			spec := setSpec(t, edited(one, "owner: payments", "owner: cards"))
			out, err := w.applySets(t.Context(), w.client(nil), spec)
			require.Equal(t, tt.again, strings.Count(out.log(), "vmss-authz again model"), out.log())
			if tt.err == "" {
				require.NoError(t, err)
				w.requireSetsDone(spec)
				return
			}
			require.ErrorContains(t, err, tt.err)
		})
	}
}

// A set that is being written without end is not waited for without end.
func TestSetsBusy(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, edited(one, "owner: payments", "owner: cards"))
	began := w.clock.Now()
	out, err := w.applySets(t.Context(), w.editing(func(path string, text []byte) ([]byte, bool) {
		if strings.HasSuffix(path, "/vmss-authz") {
			text = bytes.Replace(text, []byte(`"provisioningState":"Succeeded","sin`), []byte(`"provisioningState":"Updating","sin`), 1)
			require.Contains(t, string(text), "Updating")
		}
		return text, true
	}), spec)
	require.ErrorContains(t, err, "vmss-authz: it is updating now, for 30m0s now: it was not waited for any longer")
	require.Equal(t, []string{
		"vmss-authz waiting platform it is updating now",
		"vmss-authz stopped it is updating now, for 30m0s now: it was not waited for any longer",
	}, out.told)
	require.InDelta(t, 30, w.clock.Now().Sub(began).Minutes(), 1)
}

// Azure may be at work on a set before a write and after it: each time as long as it is
// worth waiting for.
func TestSetsBusyAgain(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, edited(one, "owner: payments", "owner: cards"))
	until := w.clock.Now().Add(20 * time.Minute)
	wrote := false
	var mu sync.Mutex
	out, err := w.applySets(t.Context(), w.editing(func(path string, text []byte) ([]byte, bool) {
		mu.Lock()
		defer mu.Unlock()
		if !wrote && bytes.Contains(text, []byte("cards")) {
			wrote, until = true, w.clock.Now().Add(20*time.Minute)
		}
		if strings.HasSuffix(path, "/vmss-authz") && w.clock.Now().Before(until) {
			text = bytes.Replace(text, []byte(`"provisioningState":"Succeeded","sin`), []byte(`"provisioningState":"Updating","sin`), 1)
		}
		return text, true
	}), spec)
	require.NoError(t, err, out.log())
	require.True(t, wrote)
	require.Equal(t, 2, strings.Count(out.log(), "waiting platform it is updating now"), out.log())
}

// What Azure makes something else of is written once, and told.
func TestSetsKept(t *testing.T) {
	w := begun(t, one, setSetup{})
	spec := setSpec(t, edited(one, "owner: payments", "owner: cards"))
	before := len(w.took(0))
	out, err := w.applySets(t.Context(), w.editing(func(_ string, text []byte) ([]byte, bool) {
		return bytes.ReplaceAll(text, []byte("cards"), []byte("payments")), true // a policy's tag
	}), spec)
	require.NoError(t, err)
	require.Contains(t, out.told, "vmss-authz kept model")
	require.Len(t, w.took(before), 2, "the set once, and its autoscale setting not before it is right: %v", w.took(before))
	require.NotEmpty(t, out.Left[0].Steps)
}

// A rolling upgrade that the platform begins some time after the write is waited for.
func TestSetsRollingBeginsLate(t *testing.T) {
	w := begun(t, setFile, setSetup{})
	spec := setSpec(t, edited(setFile, "terminate_notice: 5m", "terminate_notice: 6m"))
	next := w.next
	w.next = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(rw, r)
		if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/vmss-rolling") {
			rw.Header().Del("Azure-Asyncoperation") // the write is over before the upgrade begins
		}
	})
	late := 0
	var mu sync.Mutex
	out, err := w.applySets(t.Context(), w.editing(func(path string, text []byte) ([]byte, bool) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(path, "vmss-rolling/rollingUpgrades/latest") && strings.Contains(string(text), "RollingForward") && late < 3 {
			late++
			return nil, false
		}
		if strings.HasSuffix(path, "/vmss-rolling") {
			text = bytes.ReplaceAll(text, []byte(`"provisioningState":"Updating"`), []byte(`"provisioningState":"Succeeded"`))
		}
		return text, true
	}), spec)
	require.NoError(t, err, out.log())
	require.Equal(t, 3, late)
	require.Contains(t, out.log(), "vmss-rolling waiting members the platform begins its rolling upgrade")
	w.requireSetsDone(spec)
}

// So is one that a write began whose answer was lost: the same write is refused when it is
// sent again.
func TestSetsRollingBeginsLost(t *testing.T) {
	text := edited(one, "driver: batches", "driver: platform-rolling")
	w := begun(t, text, setSetup{})
	require.NoError(t, w.SetFault(arm.Fault{Kind: arm.FaultLost, Method: http.MethodPatch, Path: "vmss-authz", Count: 1}))
	spec := setSpec(t, edited(text, "terminate_notice: 5m", "terminate_notice: 6m"))
	late := 0
	var mu sync.Mutex
	out, err := w.applySets(t.Context(), w.editing(func(path string, text []byte) ([]byte, bool) {
		mu.Lock()
		defer mu.Unlock()
		if strings.HasSuffix(path, "vmss-authz/rollingUpgrades/latest") && strings.Contains(string(text), "RollingForward") && late < 3 {
			late++
			return nil, false
		}
		if strings.HasSuffix(path, "/vmss-authz") && late < 3 {
			text = bytes.ReplaceAll(text, []byte(`"provisioningState":"Updating"`), []byte(`"provisioningState":"Succeeded"`))
		}
		return text, true
	}), spec)
	require.NoError(t, err, out.log())
	require.Contains(t, out.log(), "vmss-authz again model")
	require.Contains(t, out.log(), "vmss-authz waiting members the platform begins its rolling upgrade")
	w.requireSetsDone(spec)
}

// Under Rolling a write lasts as long as the upgrade that it begins, which may be longer than
// anything else that is waited for: its pauses are no standstill. It is told how far it is.
func TestSetsRollingLasts(t *testing.T) {
	text := edited(one, "driver: batches", "driver: platform-rolling", "pause: 1m", "pause: 6m", "  drain: run-command", "  gates: {stuck: 5m}")
	w := begun(t, text, setSetup{})
	spec := setSpec(t, edited(text, "terminate_notice: 5m", "terminate_notice: 6m"))
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err, out.log())
	for _, done := range []string{"0", "1", "2"} {
		require.Contains(t, out.log(), "vmss-authz waiting platform a rolling upgrade of the platform is under way: "+done+" of 3 members are done")
	}
	require.Contains(t, out.told, "vmss-authz done model")
	w.requireSetsDone(spec)
}

// unpolled answers the first n looks at operations in the place of Azure, and counts all.
func (w *setWorld) unpolled(n int64, answer func(rw http.ResponseWriter)) (polls *atomic.Int64) {
	polls = &atomic.Int64{}
	next := w.next
	w.next = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/operations/") && polls.Add(1) <= n {
			answer(rw)
			return
		}
		next.ServeHTTP(rw, r)
	})
	w.t.Cleanup(func() { w.next = next })
	return polls
}

// The looks at a write that go wrong.
var wrongLooks = map[string]func(http.ResponseWriter){
	"an outage": func(rw http.ResponseWriter) { http.Error(rw, `{"error":{"code":"Outage"}}`, http.StatusNotImplemented) },
	"a proxy":   func(rw http.ResponseWriter) { _, _ = rw.Write([]byte("<html>sign in</html>")) },
}

// A write that Azure has taken goes on when nobody can ask for its end: it is waited for, and
// sent once.
func TestSetsUnpolled(t *testing.T) {
	for name, answer := range wrongLooks {
		t.Run(name, func(t *testing.T) {
			w := newSetWorld(t, setSetup{})
			polls := w.unpolled(4, answer)
			out, err := w.applySets(t.Context(), w.client(nil), setSpec(t, setFile))
			require.NoError(t, err, out.log())
			require.Contains(t, out.log(), "waiting create it goes on in Azure")
			require.Equal(t, "PUT vmss-authz 201", w.writesOf("vmss-authz")[0])

			before := len(w.took(0))
			polls.Store(0)
			spec := setSpec(t, edited(setFile, "terminate_notice: 5m", "terminate_notice: 6m"))
			out, err = w.applySets(t.Context(), w.client(nil), spec)
			require.NoError(t, err, out.log())
			require.Contains(t, out.log(), "waiting model it goes on in Azure")
			patches := 0
			for _, sent := range w.took(before) {
				if sent.method == http.MethodPatch {
					patches++
				}
			}
			require.Equal(t, 2, patches, out.log())
			w.requireSetsDone(spec)
		})
	}
}

// So is one under Rolling, whose end is asked for between looks at the set; and not for ever.
func TestSetsUnpolledRolling(t *testing.T) {
	text := edited(one, "driver: batches", "driver: platform-rolling")
	spec := setSpec(t, edited(text, "terminate_notice: 5m", "terminate_notice: 6m"))
	w := begun(t, text, setSetup{})
	w.unpolled(4, wrongLooks["an outage"])
	out, err := w.applySets(t.Context(), w.client(nil), spec)
	require.NoError(t, err, out.log())
	require.Contains(t, out.log(), "vmss-authz waiting model it goes on in Azure")
	require.Contains(t, out.told, "vmss-authz done model")
	w.requireSetsDone(spec)

	for _, text := range []string{one, text} {
		w = begun(t, text, setSetup{})
		w.unpolled(1000, wrongLooks["a proxy"])
		out, err = w.applySets(t.Context(), w.client(nil), setSpec(t, edited(text, "terminate_notice: 5m", "terminate_notice: 6m")))
		require.ErrorIs(t, err, apply.ErrInDoubt, out.log())
	}
}

var killStep = flag.Int64("kill-step", 97, "TestSetsKilledBringing kills at every such request, TestSetsKilled at a 24th of that; 1: at all")

// The same kills while members are brought: whoever comes next brings the rest, and
// nobody stays drained.
func TestSetsKilledBringing(t *testing.T) {
	text := edited(one, "terminate_notice: 5m", "terminate_notice: 6m")
	spec := setSpec(t, text)
	kills := int64(0)
	for _, served := range []bool{false, true} {
		for n := int64(1); ; n += *killStep {
			w := begun(t, one, setSetup{})
			client, ctx, died := w.mortal(n, served)
			ended := make(chan error, 1)
			go func() {
				_, err := w.applySets(ctx, client, spec, func(a *apply.SetApplier, _ *fleet.OwnOptions) {
					wait := a.Wait
					a.Wait = func(ctx context.Context, d time.Duration) error {
						if died() { // what is dead waits for nothing, and pays nothing back
							<-ctx.Done()
							return ctx.Err()
						}
						return wait(ctx, d)
					}
				})
				ended <- err
			}()
			select {
			case err := <-ended:
				require.True(t, died() || err == nil, "%v", err)
			case <-ctx.Done():
			}
			if !died() {
				break
			}
			kills++
			out, err := w.applySets(t.Context(), w.client(nil), spec)
			require.NoError(t, err, "request %d, served: %v\n%s", n, served, out.log())
			w.requireSmall()
			w.requireSetsDone(spec)
			patches, upgraded := 0, make(map[string]int)
			for _, s := range w.took(0) {
				switch {
				case s.method == http.MethodPatch && strings.HasSuffix(s.path, "/vmss-authz"):
					patches++
				case strings.HasSuffix(s.path, "/manualupgrade"):
					upgraded[fmt.Sprint(s.body["instanceIds"])]++
				}
			}
			require.Equal(t, 2, patches, "its policy, and the notice: once each")
			require.Len(t, upgraded, 3)
		}
	}
	require.Greater(t, kills, 105 / *killStep)
	t.Logf("%d kills", kills)
}

// replaying makes a client that is answered from what was answered before.
func (w *setWorld) replaying(t testing.TB) *azure.Client {
	var known sync.Map
	handler := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		text, ok := known.Load(r.URL.String())
		if !ok {
			answer := httptest.NewRecorder()
			w.ServeHTTP(answer, r)
			text = answer.Body.Bytes()
			known.Store(r.URL.String(), text)
		}
		rw.Header().Set("Content-Type", "application/json")
		if bytes.HasPrefix(text.([]byte), []byte(`{"error"`)) {
			rw.WriteHeader(http.StatusNotFound)
		}
		_, _ = rw.Write(text.([]byte))
	})
	endpoint := httptest.NewServer(handler)
	t.Cleanup(endpoint.Close)
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		if name == azure.EndpointVariable {
			return endpoint.URL
		}
		return ""
	}})
	require.NoError(t, err)
	return client
}

// The work of a plan grows with the sets, and no faster.
func TestSetsLinear(t *testing.T) {
	cost := make(map[int]uint64)
	for _, n := range []int{10, 100} {
		text := hundred(n)
		w := begun(t, text, setSetup{})
		spec, client := setSpec(t, text), w.replaying(t)
		plan := func() {
			read, err := apply.ReadSets(context.Background(), client, spec, setOptions(spec), nil)
			require.NoError(t, err)
			require.Len(t, read.Plans(spec), n)
		}
		plan()
		cost[n] = allocated(plan)
		t.Logf("%d sets: %d kB are allocated", n, cost[n]/1024)
	}
	require.Less(t, cost[100], uint64(100<<20))
	require.Less(t, cost[100], 15*cost[10])
}

// allocated is what a function allocates, and its callees elsewhere meanwhile.
func allocated(do func()) uint64 {
	var from, to runtime.MemStats
	runtime.ReadMemStats(&from)
	do()
	runtime.ReadMemStats(&to)
	return to.TotalAlloc - from.TotalAlloc
}
