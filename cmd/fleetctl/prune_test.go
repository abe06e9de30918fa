package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// left are the versions and the templates that are there.
func (w *releaseWorld) left(t *testing.T) (versions, templates []string) {
	t.Helper()
	const group = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/"
	return w.names(t, group+"Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions?api-version=2025-12-03"),
		w.names(t, group+"Microsoft.VirtualMachineImages/imageTemplates?api-version=2024-02-01")
}

func (w *releaseWorld) names(t *testing.T, path string) (names []string) {
	t.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://127.0.0.1"+path, nil))
	require.Equal(t, http.StatusOK, rec.Code, rec.Body.String())
	var list struct{ Value []struct{ Name string } }
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &list))
	for _, v := range list.Value {
		names = append(names, v.Name)
	}
	return names
}

// TestPrune: what is shown, asked and deleted.
func TestPrune(t *testing.T) {
	for _, tt := range []struct {
		name, command, answers string
		code                   int
		gone                   string // versions
	}{
		{"prune-dry-run", "images prune --keep 3 --dry-run", "", 0, ""},
		{"prune-dialogue", "images prune --keep 3", "no\nwhat?\n\nYES\nq\n", 0, "1.6.2"},
		{"prune-all", "images prune --keep 3", "n\na\n", 1, "1.5.0 1.6.2"},
		{"prune-yes", "images prune --keep 3 -y", "", 1, "1.5.0 1.6.2 1.7.0"},
		{"prune-end-of-input", "images prune --keep 3", "", 0, ""},
		{"prune-nothing", "images prune --keep 9 -y", "", 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newReleaseWorld(t)
			before, _ := w.left(t)
			w.answers = strings.NewReader(tt.answers)
			stdout, stderr, code := w.run(t, strings.Fields(tt.command)...)
			text := fmt.Sprintf("$ fleetctl %s\n%s---\n%s", tt.command, stdout, strings.ReplaceAll(stderr, "quit: ", "quit: \n"))
			goldenRelease(t, tt.name, text)
			require.Equal(t, tt.code, code)
			after, _ := w.left(t)
			gone := []string{}
			for _, v := range before {
				if !strings.Contains(strings.Join(after, " "), v) {
					gone = append(gone, v)
				}
			}
			require.Equal(t, tt.gone, strings.Join(gone, " "))
		})
	}
}

// A read that fails, whichever it is, deletes nothing.
func TestPruneNeedsEveryRead(t *testing.T) {
	var paths []string
	clean := newReleaseWorld(t)
	clean.before = func(r *http.Request) {
		if r.Method == http.MethodGet {
			paths = append(paths, r.URL.Path)
		}
	}
	_, stderr, code := clean.run(t, "images", "prune", "--keep", "3", "--dry-run")
	require.Zero(t, code, stderr)
	require.Greater(t, len(paths), 15)
	seen := make(map[string]bool)
	for _, path := range paths {
		if seen[path] {
			continue
		}
		seen[path] = true
		w := newReleaseWorld(t)
		versions, templates := w.left(t)
		require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Status: http.StatusForbidden, Method: http.MethodGet, Path: path}))
		stdout, stderr, code := w.run(t, "images", "prune", "--keep", "3", "-y")
		require.Equal(t, exitUnauthorised, code, path+stdout+stderr)
		w.server.ClearFaults()
		after, afterTemplates := w.left(t)
		require.Equal(t, versions, after, path)
		require.Equal(t, templates, afterTemplates, path)
	}
}

// A scale set that asks for a version between the plan and its deletion keeps it.
func TestPruneLooksAgain(t *testing.T) {
	w := newReleaseWorld(t)
	asked := 0
	pipe, answer := io.Pipe()
	w.answers = pipe
	go func() {
		_, _ = io.WriteString(answer, "y\n") // for the first template or version
		_ = answer.Close()
	}()
	w.before = func(r *http.Request) {
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/virtualMachineScaleSets") {
			if asked++; asked == 2 { // the look before the deletion
				const set = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-other-team/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-old"
				body, err := json.Marshal(map[string]any{"id": set, "body": fleet.Document{"properties": fleet.Document{"virtualMachineProfile": fleet.Document{"storageProfile": fleet.Document{
					"imageReference": fleet.Document{"id": "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions/1.7.0"},
				}}}}})
				require.NoError(t, err)
				rec := httptest.NewRecorder()
				control := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/v1/patch", strings.NewReader(string(body)))
				control.Header.Set("Content-Type", "application/json")
				w.server.Control().ServeHTTP(rec, control)
				require.Less(t, rec.Code, 300, rec.Body.String())
			}
		}
	}
	stdout, stderr, code := w.run(t, "images", "prune", "--keep", "3")
	require.Zero(t, code, stderr)
	require.Contains(t, strings.Join(strings.Fields(stdout), " "), "image version 1.7.0 is left alone: the model of vmss-old asks for it")
	versions, _ := w.left(t)
	require.Contains(t, versions, "1.7.0")
}

func TestPruneJSON(t *testing.T) {
	w := newReleaseWorld(t)
	stdout, _, code := w.run(t, "images", "prune", "--keep", "3", "-y", "-o", "json")
	require.Equal(t, 1, code)
	var view fleet.PruneView
	require.NoError(t, json.Unmarshal([]byte(stdout), &view))
	ends := map[string]fleet.PruneEnd{}
	for _, item := range view.Delete {
		ends[item.Name] = item.Outcome
	}
	require.Equal(t, map[string]fleet.PruneEnd{
		"1.5.0": fleet.PruneDeleted, "1.6.2": fleet.PruneDeleted, "1.6.0": fleet.PruneRefused, "1.7.0": fleet.PruneDeleted,
		"ubuntu-app-1.8.0": fleet.PruneDeleted, "ubuntu-app-1.8.2": fleet.PruneDeleted,
	}, ends)
	_, templates := w.left(t)
	require.Equal(t, []string{"ubuntu-app-1.8.3", "ubuntu-app-1.8.4"}, templates)
}

// A prune that is interrupted while Azure deletes says so, and does not take it for done.
func TestPruneInterrupted(t *testing.T) {
	w := newReleaseWorld(t)
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultHang, Path: "/operations/"}))
	defer w.server.ClearFaults()
	w.before = func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/operations/") {
			w.cancel()
		}
	}
	stdout, stderr, code := w.run(t, "images", "prune", "--keep", "3", "-y", "-o", "json")
	require.NotZero(t, code)
	require.Contains(t, stderr, "fleetctl: interrupted: image version 1.7.0 is being deleted, and Azure goes on with that; what follows was not deleted\n")
	var view fleet.PruneView
	require.NoError(t, json.Unmarshal([]byte(stdout), &view))
	require.Equal(t, fleet.PruneDeleting, view.Delete[0].Outcome)
	require.Empty(t, view.Delete[1].Outcome)
}

// Whoever wants JSON is not asked.
func TestPruneAsksNoProgram(t *testing.T) {
	w := newReleaseWorld(t)
	w.answers = strings.NewReader("all\n")
	stdout, stderr, code := w.run(t, "images", "prune", "--keep", "3", "-o", "json")
	require.Equal(t, exitUsage, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "say --yes")
}
