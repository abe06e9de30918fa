package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// TestFile: the file that init writes, filled in, is one that the story is about.
func TestFile(t *testing.T) {
	text, err := fill(fleetfile.Example)
	require.NoError(t, err)
	f, err := fleetfile.Read("fleet.yaml", []byte(text), func(string) (string, bool) { return arm.DefaultSubscription, true })
	require.NoError(t, err)
	require.Len(t, f.Spec.ScaleSets, len(counts))
	for name, set := range f.Spec.ScaleSets {
		require.Equal(t, counts[name], set.Create.Capacity, name)
		require.Equal(t, name == rolling, set.Upgrade.Driver == fleet.DriverPlatformRolling, name)
	}
	for _, w := range f.Spec.Rollout.Waves {
		require.False(t, w.Approve, "nobody is there to approve it")
	}
	require.Nil(t, f.Spec.Rollout.Gates.Window, "it is told at any hour")

	_, err = fill("scale_sets: {}\n")
	require.ErrorContains(t, err, "has no", "a filling that is of no use is noticed")
}

// TestScenario: the subscription is empty.
func TestScenario(t *testing.T) {
	sc, err := arm.ParseScenario("scenario.yaml", []byte(scenario))
	require.NoError(t, err)
	server, err := arm.New(arm.Config{Rules: sc.Rules()})
	require.NoError(t, err)
	require.NoError(t, server.Apply(sc))
	web := httptest.NewServer(server)
	defer web.Close()
	var list struct {
		Value []any `json:"value"`
	}
	require.NoError(t, stage.Ask(t.Context(), http.MethodGet, web.URL+subscription+"/resources?api-version=2021-04-01", nil, &list))
	require.Empty(t, list.Value)
}

// TestRecorder: what is written is kept, with its answer, and reads are not.
func TestRecorder(t *testing.T) {
	azure := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("If-None-Match") == "*" {
			w.WriteHeader(http.StatusPreconditionFailed)
		}
	}))
	defer azure.Close()
	r, err := newRecorder(t.Context(), azure.URL)
	require.NoError(t, err)
	defer r.close()
	r.look = func(_ context.Context, set string) ([]stage.Member, error) {
		return []stage.Member{{Name: set + "_1"}}, nil
	}
	require.NoError(t, stage.Ask(t.Context(), http.MethodGet, r.address+"/a", nil, nil))
	require.NoError(t, stage.Ask(t.Context(), http.MethodPatch, r.address+strings.ToLower(sets)+"b", map[string]any{"properties": map[string]any{"mode": "Rolling"}}, nil))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, r.address+"/c", strings.NewReader("{}"))
	require.NoError(t, err)
	req.Header.Set("If-None-Match", "*")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())

	writes := r.all()
	require.Len(t, writes, 2)
	require.Equal(t, http.MethodPatch, writes[0].method)
	require.Equal(t, "Rolling", writes[0].at("properties.mode"))
	require.Nil(t, writes[0].at("properties.mode.deeper"))
	require.Equal(t, http.StatusOK, writes[0].status)
	require.Equal(t, []stage.Member{{Name: "b_1"}}, writes[0].members, "who was there right before")
	require.True(t, writes[1].ifNew)
	require.Equal(t, http.StatusPreconditionFailed, writes[1].status)
}

// TestCreation: each way in which a set must not be made is noticed.
func TestCreation(t *testing.T) {
	object := func(keys ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(keys); i += 2 {
			m[keys[i].(string)] = keys[i+1] //nolint:forcetypeassert // of this test
		}
		return m
	}
	manual, repairs := object("mode", "Manual"), object("enabled", true)
	well := make([]stage.Member, 3)
	for i := range well {
		well[i].Properties.Storage.Image.Exact = "1.8.0"
		well[i].Properties.View.Health.Status.Code = "HealthState/healthy"
	}
	ill := slices.Clone(well)
	ill[1].Properties.View.Health.Status.Code = "HealthState/unknown"
	put := write{method: http.MethodPut, path: sets + "vmss-authz", status: 201, ifNew: true, body: object("properties", object("upgradePolicy", manual))}
	patch := write{method: http.MethodPatch, path: strings.ToLower(sets) + "vmss-authz", status: 200, members: well, body: object("properties", object("automaticRepairsPolicy", repairs))}
	for name, tc := range map[string]struct {
		writes []write
		wrong  string
	}{
		"right":            {writes: []write{put, patch}},
		"of another set":   {writes: []write{put, patch, {method: http.MethodPut, path: sets + "vmss-batch", status: 201}}},
		"a refused one":    {writes: []write{put, {method: http.MethodPatch, path: patch.path, status: 412}, patch}},
		"two puts":         {writes: []write{put, put, patch}, wrong: "one PUT, one PATCH: 2, 1"},
		"over another":     {writes: []write{{method: put.method, path: put.path, status: 200, body: put.body}, patch}, wrong: "if there was none"},
		"with repairs":     {writes: []write{{method: put.method, path: put.path, ifNew: true, body: object("properties", object("upgradePolicy", manual, "automaticRepairsPolicy", repairs))}, patch}, wrong: "without repairs"},
		"with a capacity":  {writes: []write{put, {method: patch.method, path: patch.path, body: object("sku", object("capacity", 3.0), "properties", object("automaticRepairsPolicy", repairs))}}, wrong: "neither a capacity nor an image"},
		"without evidence": {writes: []write{put, {method: patch.method, path: patch.path, body: patch.body}}, wrong: "it has 3 members: 0"},
		"too early":        {writes: []write{put, {method: patch.method, path: patch.path, members: ill, body: patch.body}}, wrong: "is Healthy on 1.8.0"},
		"switched":         {writes: []write{put, {method: patch.method, path: patch.path, members: well, body: object("properties", object("automaticRepairsPolicy", repairs, "upgradePolicy", object("mode", "Rolling")))}}, wrong: "where the file says so"},
	} {
		s := &story{recorder: &recorder{writes: append([]write{{method: http.MethodPut, path: put.path}}, tc.writes...)}, since: 1}
		err := s.writesOf("vmss-authz")
		if tc.wrong == "" {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorContains(t, err, tc.wrong, name)
	}
}

func TestOffered(t *testing.T) {
	var v version
	require.Empty(t, v.offered())
	v.Properties.Publishing.Regions = append(v.Properties.Publishing.Regions, struct {
		Name     string `json:"name"`
		Excluded bool   `json:"excludeFromLatest"`
	}{"West US 3", false}, struct {
		Name     string `json:"name"`
		Excluded bool   `json:"excludeFromLatest"`
	}{"eastus", true})
	require.Equal(t, []string{"westus3"}, v.offered())
	v.Properties.Publishing.Excluded = true
	require.Empty(t, v.offered())
}

func TestShort(t *testing.T) {
	lines := func(n int) string { return strings.Repeat("line\n", n) }
	require.Equal(t, lines(39), short(lines(39)))
	require.Equal(t, lines(12)+"… 2 lines …\n"+lines(26), short(lines(40)))
}
