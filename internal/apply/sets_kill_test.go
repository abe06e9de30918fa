package apply_test

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// mortal makes a client whose process ends at its n-th request, before or after that is
// served: the answer is lost, and nothing that it sends later arrives.
func (w *setWorld) mortal(n int64, served bool) (client *azure.Client, ctx context.Context, died func() bool) {
	ctx, kill := context.WithCancel(w.t.Context())
	w.t.Cleanup(kill)
	var seen atomic.Int64
	client = w.client(func(_ *http.Request, serve func()) {
		switch at := seen.Add(1); {
		case at < n:
			serve()
			return
		case at == n && served:
			serve()
		}
		kill()
		panic(http.ErrAbortHandler)
	})
	return client, ctx, func() bool { return seen.Load() >= n }
}

// ends is what a set and its autoscale setting are in the end, without what is different
// each time.
func (w *setWorld) ends(spec *fleet.Spec) map[string]fleet.Document {
	w.t.Helper()
	all := make(map[string]fleet.Document)
	for name := range spec.ScaleSets {
		for _, id := range []fleet.ResourceID{spec.SetID(name), fleet.AutoscaleID(spec.SetID(name))} {
			read, err := w.reader.Resource(w.t.Context(), id, "")
			if spec.ScaleSets[name].Autoscale == nil && strings.Contains(string(id), "autoscale") {
				require.ErrorIs(w.t, err, &azure.Error{Kind: azure.NotFound})
				continue
			}
			require.NoError(w.t, err)
			for _, path := range []string{"etag", "properties.uniqueId", "properties.timeCreated", "properties.virtualMachineProfile.timeCreated"} {
				remove(read.Body, path)
			}
			all[string(id)] = read.Body
		}
	}
	return all
}

func remove(d fleet.Document, path string) {
	first, rest, deep := strings.Cut(path, ".")
	if !deep {
		delete(d, first)
		return
	}
	if below, ok := d[first].(fleet.Document); ok {
		remove(below, rest)
	}
}

// An apply that is killed at any request, served or not, leaves what the next one takes
// up: all is there in the end as if nothing had happened, and nothing was made twice.
func TestSetsKilled(t *testing.T) {
	spec := setSpec(t, setFile)
	whole := newSetWorld(t, setSetup{})
	_, err := whole.applySets(t.Context(), whole.client(nil), spec)
	require.NoError(t, err)
	want := whole.ends(spec)
	kills, step := int64(0), max(1, *killStep/24) // there are fewer than while members are brought
	for _, served := range []bool{false, true} {
		for n := int64(1); ; n += step {
			w := newSetWorld(t, setSetup{})
			client, ctx, died := w.mortal(n, served)
			_, err := w.applySets(ctx, client, spec)
			if !died() {
				require.NoError(t, err)
				break
			}
			kills++
			if err == nil { // the last answer of all came before the kill
				require.True(t, served, "request %d", n)
				require.Equal(t, want, w.ends(spec), "request %d", n)
			}
			out, err := w.applySets(t.Context(), w.client(nil), spec)
			require.NoError(t, err, "request %d, served: %v\n%s", n, served, out.log())
			require.Equal(t, want, w.ends(spec), "request %d, served: %v", n, served)
			made := make(map[string]int)
			for _, s := range w.took(0) {
				if s.status == http.StatusCreated {
					made[s.path]++
				}
			}
			require.Len(t, made, 4)
			for path, times := range made {
				require.Equal(t, 1, times, "%s, request %d", path, n)
			}
		}
	}
	require.Greater(t, kills, 100/step)
	t.Logf("%d kills", kills)
}
