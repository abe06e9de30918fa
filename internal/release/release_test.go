package release_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
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
)

const (
	group      = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	definition = group + "/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app"
	version    = fleet.ResourceID(definition + "/versions/1.7.1")
)

// A world is a simulated Azure behind a judge, with an editor in front of it.
type world struct {
	server *arm.Server
	client *azure.Client
	editor *release.Editor

	// before and after are called around each request of the editor, with its number.
	before, after func(n int, r *http.Request)

	mu    sync.Mutex // guards what follows
	asked int
	told  []string
}

// newWorld starts one whose time runs a thousand times as fast. At the end everything
// that was sent must have kept to what Azure publishes.
func newWorld(t *testing.T) *world {
	t.Helper()
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	w := &world{}
	w.server, err = arm.New(arm.Config{Clock: arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 1000)})
	require.NoError(t, err)
	scenario, err := arm.Example("article")
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(scenario))
	proxy := judgeproxy.New(judgeproxy.Config{Next: w.server, Types: types})
	endpoint := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.asked++
		n := w.asked
		w.mu.Unlock()
		if w.before != nil {
			w.before(n, r)
		}
		proxy.ServeHTTP(rw, r)
		if w.after != nil {
			w.after(n, r)
		}
	}))
	t.Cleanup(func() {
		w.server.ClearFaults()
		endpoint.Close()
		require.Empty(t, proxy.Report().Findings)
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
		w.told = append(w.told, text)
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
	text := fmt.Sprint("whole ", profile["excludeFromLatest"])
	for _, r := range profile["targetRegions"].([]any) {
		target := r.(fleet.Document)
		text += fmt.Sprintf(", %s %v", fleet.NormalLocation(target["name"].(string)), target["excludeFromLatest"])
	}
	return text
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
