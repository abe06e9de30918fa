package release_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/release"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

const (
	group      = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	definition = group + "/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app"
	version    = fleet.ResourceID(definition + "/versions/1.7.1")
)

// A world is a simulated Azure behind a judge, with an editor in front of it.
type world struct {
	clock  *arm.Clock
	server *arm.Server
	client *azure.Client
	editor *release.Editor

	odd bool // what is answered is not Azure's

	// before and after are called around each request of the editor, with its number.
	before, after func(n int, r *http.Request)
	// instead answers in the place of Azure, and says whether it did.
	instead func(rw http.ResponseWriter, r *http.Request) bool

	mu    sync.Mutex // guards what follows
	asked int
	told  []string
}

// published loads the types of Azure once.
var published = func() func(string) (*armtypes.Types, error) {
	var once sync.Once
	var types *armtypes.Types
	var err error
	return func(dir string) (*armtypes.Types, error) {
		once.Do(func() { types, err = armtypes.Load(dir) })
		return types, err
	}
}()

// judged counts what all tests had judged.
var judged judgement

type judgement struct {
	mu       sync.Mutex
	requests int
	bodies   map[string]int
}

func (j *judgement) add(r judgeproxy.Report) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.bodies == nil {
		j.bodies = make(map[string]int)
	}
	j.requests += r.Requests
	for what, n := range r.Judged {
		j.bodies[what] += n
	}
}

func TestMain(m *testing.M) {
	code := m.Run()
	fmt.Println("judged", judged.requests, "requests:", judged.bodies)
	os.Exit(code)
}

// newWorld starts one whose time runs a thousand times as fast. At the end everything
// that was sent must have kept to what Azure publishes.
func newWorld(t *testing.T) *world {
	t.Helper()
	types, err := published(testkit.Published(t, "types"))
	require.NoError(t, err)
	w := &world{clock: arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 1000)}
	w.server, err = arm.New(arm.Config{Clock: w.clock, Unthrottled: true})
	require.NoError(t, err)
	scenario, err := arm.Example("article")
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(scenario))
	proxy := judgeproxy.New(judgeproxy.Config{Next: w.server, Types: types})
	endpoint := armjudge.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked++
		n := w.asked
		w.mu.Unlock()
		if w.before != nil {
			w.before(n, r)
		}
		if w.instead == nil || !w.instead(rw, r) {
			proxy.ServeHTTP(rw, r)
		}
		if w.after != nil {
			w.after(n, r)
		}
	}))
	t.Cleanup(func() {
		w.server.ClearFaults()
		endpoint.Close()
		report := proxy.Report()
		if !w.odd {
			require.Empty(t, report.Findings)
		}
		judged.add(report)
	})
	w.client, err = azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		if name == azure.EndpointVariable {
			return endpoint.URL
		}
		return ""
	}})
	require.NoError(t, err)
	w.editor = release.NewEditor(w.client, release.Sleep, func(text string) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !strings.Contains(text, "is being written") { // each write tells that
			w.told = append(w.told, text)
		}
	})
	return w
}

// other is another tool's PATCH, and waits until what it began has ended if it shall.
func (w *world) other(t *testing.T, body fleet.Document, settle bool) int {
	t.Helper()
	text, err := json.Marshal(map[string]any{"id": string(version), "body": body})
	require.NoError(t, err)
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/v1/patch", strings.NewReader(string(text)))
	r.Header.Set("Content-Type", "application/json")
	w.server.Control().ServeHTTP(rec, r)
	if settle {
		w.server.Advance(time.Hour)
	}
	return rec.Code
}

// read is the version as it is, read past the editor.
func (w *world) read(t *testing.T) fleet.Document {
	t.Helper()
	w.server.Advance(time.Hour)
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+string(version)+"?api-version=2025-12-03&$expand=ReplicationStatus", nil))
	require.Equal(t, http.StatusOK, rec.Code, rec.Body.String())
	var body fleet.Document
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &body))
	return body
}

// flags are the exclusions of a version: its own, and those of its regions.
func flags(version fleet.Document) string {
	profile := version["properties"].(fleet.Document)["publishingProfile"].(fleet.Document)
	list := []string{fmt.Sprint("whole ", profile["excludeFromLatest"])}
	for _, r := range profile["targetRegions"].([]any) {
		target := r.(fleet.Document)
		list = append(list, fmt.Sprintf("%s %v", fleet.NormalLocation(target["name"].(string)), target["excludeFromLatest"]))
	}
	return strings.Join(list, ", ")
}

// pace sets how fast time runs.
func (w *world) pace(factor float64) { w.clock.SetFactor(factor) }

// heard is what the editor told.
func (w *world) heard() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.told
}

// targets are the regions of a version for the PATCH of another tool, which has read
// them and excludes some.
func targets(version fleet.Document, excluded ...string) fleet.Document {
	patch, _, err := fleet.Exclude(version, excluded, true)
	if err != nil || patch == nil {
		panic(fmt.Sprintf("%v %v", patch, err))
	}
	return patch
}

func TestEdit(t *testing.T) {
	w := newWorld(t)
	result, err := w.editor.Edit(t.Context(), version, fleet.Demotion([]string{"East US"}), false)
	require.NoError(t, err)
	require.True(t, result.Written)
	require.Equal(t, "whole false, eastus true, westus3 false", flags(result.Version))
	require.Equal(t, flags(w.read(t)), flags(result.Version))

	asked := w.asked
	result, err = w.editor.Edit(t.Context(), version, fleet.Demotion([]string{"eastus"}), false)
	require.NoError(t, err)
	require.False(t, result.Written)
	require.Equal(t, 1, w.asked-asked, "what is so already costs one read")

	_, err = w.editor.Edit(t.Context(), version, fleet.Seal(map[string]string{fleet.TagBooted: "2026-03-05T14:00:00Z"}, time.Date(2026, 9, 1, 0, 0, 0, 0, time.UTC)), false)
	require.NoError(t, err)
	sealed := w.read(t)
	require.Empty(t, fleet.Unlike(sealed, fleet.Document{
		"tags": fleet.Document{"source": "aib", "fleetctl-good": "true", fleet.TagBooted: "2026-03-05T14:00:00Z"},
		"properties": fleet.Document{
			"publishingProfile": fleet.Document{"endOfLifeDate": "2026-09-01T00:00:00Z"}, "safetyProfile": fleet.Document{"blockDeletionBeforeEndOfLife": false},
		},
	}))
	result, err = w.editor.Edit(t.Context(), version, fleet.Promotion(nil, false), false)
	require.NoError(t, err)
	require.True(t, result.Written)
	require.Equal(t, "whole false, eastus false, westus3 false", flags(w.read(t)))
	require.Empty(t, w.told)
}

// Another tool excludes westus3 between any two of our requests: ours and theirs are
// there in the end. Its write is under way while ours comes.
func TestEditWithSecondWriter(t *testing.T) {
	clean := newWorld(t)
	_, err := clean.editor.Edit(t.Context(), version, fleet.Demotion([]string{"eastus"}), false)
	require.NoError(t, err)
	require.GreaterOrEqual(t, clean.asked, 4)
	for n := 1; n <= clean.asked+1; n++ {
		for _, after := range []bool{false, true} {
			w := newWorld(t)
			code := 0
			hook := func(i int, _ *http.Request) {
				if i != n {
					return
				}
				w.pace(10) // until our request is answered, or the next: theirs takes 5 s
				code = w.other(t, targets(w.peek(t), "westus3"), false)
			}
			if after {
				w.after = func(i int, r *http.Request) {
					if hook(i, r); i > n {
						w.pace(1000)
					}
				}
			} else {
				w.before, w.after = hook, func(int, *http.Request) { w.pace(1000) }
			}
			_, err := w.editor.Edit(t.Context(), version, fleet.Demotion([]string{"eastus"}), false)
			require.NoError(t, err)
			if code == http.StatusConflict { // ours was under way; a tool would try again
				w.server.Advance(time.Hour)
				code = w.other(t, targets(w.peek(t), "westus3"), false)
			}
			if code == 0 {
				continue // there was no such request
			}
			require.Less(t, code, 300)
			require.Equal(t, "whole false, eastus true, westus3 true", flags(w.read(t)), "request %d, after %v", n, after)
		}
	}
}

// peek is the version as it is, without a moment passing.
func (w *world) peek(t *testing.T) fleet.Document {
	t.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+string(version)+"?api-version=2025-12-03", nil))
	require.Equal(t, http.StatusOK, rec.Code, rec.Body.String())
	var body fleet.Document
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &body))
	return body
}

// Another tool that undoes the change again and again is named for what it does, after
// five writes.
func TestEditGivesUp(t *testing.T) {
	w := newWorld(t)
	patches := 0
	w.after = func(_ int, r *http.Request) {
		if r.Method == http.MethodPatch {
			patches++
		}
	}
	w.before = func(n int, r *http.Request) {
		if n > 1 && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/versions/1.7.1") {
			w.server.Advance(time.Hour)
			w.other(t, fleet.Document{"properties": fleet.Document{"publishingProfile": fleet.Document{"targetRegions": []any{
				fleet.Document{"name": "eastus", "regionalReplicaCount": 3, "storageAccountType": "Standard_ZRS"}, fleet.Document{"name": "westus3", "regionalReplicaCount": 2, "storageAccountType": "Standard_ZRS"},
			}}}}, true)
		}
	}
	_, err := w.editor.Edit(t.Context(), version, fleet.Demotion([]string{"eastus"}), false)
	require.ErrorIs(t, err, &azure.Error{Kind: azure.Conflict})
	require.EqualError(t, err, "change version 1.7.1: something else undid it 5 times: eastus: excludeFromLatest is false, not true")
	require.Equal(t, 5, patches)
}

// Another tool that read before us and writes after us takes our change away, without
// an error for anybody. It is seen, and made again beside theirs.
func TestEditAfterStaleWriter(t *testing.T) {
	w := newWorld(t)
	stale := targets(w.peek(t), "westus3")
	w.before = func(n int, r *http.Request) {
		if n > 1 && stale != nil && strings.HasSuffix(r.URL.Path, "/versions/1.7.1") && r.Method == http.MethodGet {
			w.server.Advance(time.Hour)
			require.Less(t, w.other(t, stale, true), 300)
			stale = nil
		}
	}
	_, err := w.editor.Edit(t.Context(), version, fleet.Demotion([]string{"eastus"}), false)
	require.NoError(t, err)
	require.Equal(t, "whole false, eastus true, westus3 true", flags(w.read(t)))
	require.Equal(t, []string{"something else wrote 1.7.1 meanwhile; once more, from what is there now"}, w.heard())
}

// What Azure shows late is waited for, and not written again.
func TestEditIsSeenLate(t *testing.T) {
	w := newWorld(t)
	old, err := json.Marshal(w.peek(t))
	require.NoError(t, err)
	patches, late := 0, 2
	w.instead = func(rw http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			patches++
		}
		if patches == 0 || late == 0 || r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, "/versions/1.7.1") {
			return false
		}
		late--
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Retry-After-Ms", "10")
		_, _ = rw.Write(old)
		return true
	}
	result, err := w.editor.Edit(t.Context(), version, fleet.Demotion(nil), false)
	require.NoError(t, err)
	require.True(t, result.Written)
	require.Equal(t, 1, patches)
	require.Zero(t, late)
	require.Empty(t, w.heard())
}

// What another tool changes beside is told, and left to it.
func TestEditTellsOthers(t *testing.T) {
	w := newWorld(t)
	w.after = func(_ int, r *http.Request) {
		if r.Method == http.MethodPatch {
			w.server.Advance(time.Hour)
			require.Less(t, w.other(t, fleet.Document{"tags": fleet.Document{"source": "packer"}}, true), 300)
		}
	}
	_, err := w.editor.Edit(t.Context(), version, fleet.Demotion([]string{"eastus"}), false)
	require.NoError(t, err)
	require.Equal(t, []string{"something else changed 1.7.1 meanwhile: source is packer, not aib"}, w.heard())
}

// Whoever is killed at any request, before Azure has it or after, and comes again,
// arrives at the same.
func TestEditAfterKill(t *testing.T) {
	clean := newWorld(t)
	_, err := clean.editor.Edit(t.Context(), version, fleet.Demotion(nil), false)
	require.NoError(t, err)
	want := flags(clean.read(t))
	kills := 0
	for n := 1; n <= clean.asked; n++ {
		for _, answered := range []bool{false, true} {
			w := newWorld(t)
			ctx, kill := context.WithCancel(t.Context())
			at := func(i int, _ *http.Request) {
				if i == n {
					kill()
				}
			}
			if answered {
				w.after = at
			} else {
				w.before = at
			}
			_, err := w.editor.Edit(ctx, version, fleet.Demotion(nil), false)
			if err != nil {
				require.ErrorIs(t, err, context.Canceled)
				kills++
			}
			_, err = w.editor.Edit(t.Context(), version, fleet.Demotion(nil), false)
			require.NoError(t, err)
			require.Equal(t, want, flags(w.read(t)), "killed at request %d", n)
			kill()
		}
	}
	require.Greater(t, kills, clean.asked)
}

// An interrupt while Azure works says that Azure goes on.
func TestEditInterrupted(t *testing.T) {
	w := newWorld(t)
	ctx, interrupt := context.WithCancel(t.Context())
	w.after = func(_ int, r *http.Request) {
		if strings.Contains(r.URL.Path, "/operations/") {
			interrupt()
		}
	}
	_, err := w.editor.Edit(ctx, version, fleet.Demotion(nil), false)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"Azure goes on with the write of 1.7.1: fleetctl images shows how it is"}, w.heard())
	require.Equal(t, "whole true, eastus true, westus3 true", flags(w.read(t)))
}

// Azure's moods: throttled, an answer that is lost, and one that never comes.
func TestEditWithFaults(t *testing.T) {
	for name, tt := range map[string]struct {
		fault arm.Fault
		error string
	}{
		"throttled":     {fault: arm.Fault{Kind: arm.FaultThrottle, Method: http.MethodPatch, Count: 2, RetryAfter: time.Second}},
		"answer lost":   {fault: arm.Fault{Kind: arm.FaultLost, Method: http.MethodPatch, Count: 1}},
		"hangs":         {fault: arm.Fault{Kind: arm.FaultHang, Method: http.MethodPatch}, error: "PATCH versions/1.7.1: the time of --timeout is over"},
		"does not read": {fault: arm.Fault{Kind: arm.FaultHTML, Method: http.MethodGet}, error: "web page"},
		"fails": {
			fault: arm.Fault{Kind: arm.FaultOperation, Method: http.MethodPatch, Code: "InternalError", Message: "Try again."},
			error: "the change is there, but the write of version 1.7.1 failed: PATCH versions/1.7.1: InternalError: Try again.",
		},
		"locked": {fault: arm.Fault{Kind: arm.FaultError, Method: http.MethodPatch, Status: 409, Code: "ScopeLocked", Message: "The scope is locked."}, error: "PATCH versions/1.7.1: ScopeLocked: The scope is locked."},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.odd = tt.fault.Kind == arm.FaultHTML
			require.NoError(t, w.server.SetFault(tt.fault))
			ctx, expire := testkit.Expiring(t.Context())
			if tt.fault.Kind == arm.FaultHang {
				w.before = func(_ int, r *http.Request) {
					if r.Method == tt.fault.Method {
						expire()
					}
				}
			}
			result, err := w.editor.Edit(ctx, version, fleet.Demotion(nil), false)
			if tt.error != "" {
				require.ErrorContains(t, err, tt.error)
				return
			}
			require.NoError(t, err)
			require.True(t, result.Written)
			require.Equal(t, "whole true, eastus true, westus3 true", flags(w.read(t)))
		})
	}
}

// Nothing is written while another write is under way: that is waited for and told,
// and not for ever.
func TestEditWaits(t *testing.T) {
	w := newWorld(t)
	w.pace(0)
	require.Less(t, w.other(t, fleet.Document{"tags": fleet.Document{"other": "x"}}, false), 300)
	var waits []time.Duration
	editor := release.NewEditor(w.client, func(_ context.Context, d time.Duration) error {
		waits = append(waits, d)
		if len(waits) == 3 {
			w.server.Advance(time.Hour)
			w.pace(1000)
		}
		return nil
	}, func(text string) { w.told = append(w.told, text) })
	patched := -1
	w.before = func(_ int, r *http.Request) {
		if r.Method == http.MethodPatch {
			patched = len(waits)
		}
	}
	result, err := editor.Edit(t.Context(), version, fleet.Mark(map[string]string{"ours": "y"}), false)
	require.NoError(t, err)
	require.Equal(t, 3, patched)
	require.Equal(t, []string{"version 1.7.1 is Updating: waiting until that is over", "version 1.7.1 is being written: waiting until Azure has done it"}, w.told)
	require.Empty(t, fleet.Unlike(result.Version, fleet.Document{"tags": fleet.Document{"other": "x", "ours": "y", "source": "aib"}}))

	w.pace(0)
	require.Less(t, w.other(t, fleet.Document{"tags": fleet.Document{"other": "z"}}, false), 300)
	waited, patched := time.Duration(0), -1
	w.told = nil
	editor = release.NewEditor(w.client, func(_ context.Context, d time.Duration) error {
		waited += d
		return nil
	}, func(text string) { w.told = append(w.told, text) })
	_, err = editor.Edit(t.Context(), version, fleet.Mark(map[string]string{"ours": "z"}), false)
	require.ErrorIs(t, err, &azure.Error{Kind: azure.Conflict})
	require.ErrorContains(t, err, "it is Updating, for 30m")
	require.InDelta(t, 30*time.Minute, waited, float64(time.Minute))
	require.Len(t, w.told, 6, "once every five minutes")
	require.Equal(t, -1, patched)
}

// Two editors and two regions at the same time: both are done, and the same editor
// takes one after the other.
func TestEditTwice(t *testing.T) {
	w := newWorld(t)
	second := release.NewEditor(w.client, release.Sleep, func(string) {})
	for _, editors := range [][2]*release.Editor{{w.editor, second}, {w.editor, w.editor}} {
		_, err := w.editor.Edit(t.Context(), version, fleet.Promotion(nil, true), false)
		require.NoError(t, err)
		w.pace(20) // so that a write takes longer than a round trip
		errs := make(chan error, 2)
		for i, region := range []string{"eastus", "westus3"} {
			go func() {
				_, err := editors[i].Edit(t.Context(), version, fleet.Demotion([]string{region}), false)
				errs <- err
			}()
		}
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
		w.pace(1000)
		require.Equal(t, "whole false, eastus true, westus3 true", flags(w.read(t)))
	}
}

// Without waiting the write is sent, and that is all.
func TestEditWithoutWaiting(t *testing.T) {
	w := newWorld(t)
	result, err := w.editor.Edit(t.Context(), version, fleet.Demotion(nil), true)
	require.NoError(t, err)
	require.True(t, result.Written && result.Pending)
	require.Equal(t, 2, w.asked)
	require.Equal(t, "whole true, eastus true, westus3 true", flags(w.read(t)))
}
