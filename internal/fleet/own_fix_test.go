package fleet_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// An ownWorld is one scale set in an Azure that merges what it gets.
type ownWorld struct {
	t         *testing.T
	types     *armtypes.Types
	seen      fleet.OwnedSet
	writes    []fleet.Write
	inRolling int // members that the platform brought
}

func newOwnWorld(t *testing.T) *ownWorld {
	t.Helper()
	types, err := armtypes.Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	return &ownWorld{t: t, types: types}
}

// promoted is the image definition, whose one version everybody runs.
func promoted(s *fleet.Spec, version string) *fleet.Definition {
	return &fleet.Definition{ID: s.DefinitionID(), Versions: []fleet.Version{{
		Name: version, Provisioning: fleet.Succeeded, Regions: []fleet.Region{{Name: "eastus", State: fleet.Replicated}, {Name: "westus3", State: fleet.Replicated}},
	}}}
}

func ownOptions(s *fleet.Spec) *fleet.OwnOptions {
	keys := map[string]string{}
	for name := range s.ScaleSets {
		keys[name] = publicKey
	}
	return &fleet.OwnOptions{Definition: promoted(s, "1.8.3"), SSHKeys: keys}
}

func get(v any, keys ...string) any {
	for _, key := range keys {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// merged is a JSON merge patch.
func merged(target, patch fleet.Document) fleet.Document {
	target = maps.Clone(target)
	if target == nil {
		target = fleet.Document{}
	}
	for key, value := range patch {
		inner, ok := value.(map[string]any)
		switch {
		case value == nil:
			delete(target, key)
		case ok && key != "tags":
			old, _ := target[key].(map[string]any)
			target[key] = merged(old, inner)
		default:
			target[key] = value
		}
	}
	return target
}

// put makes the set from a body.
func (w *ownWorld) put(body fleet.Document, members int) {
	w.seen.Seen = fleet.Seen{Body: decoded(w.t, body), ETag: `"1"`}
	w.seen.Set = &fleet.Set{}
	for i := range members {
		w.seen.Set.Members = append(w.seen.Set.Members, member(fmt.Sprintf("vm_%d", i), i))
	}
	w.model()
}

// model reads the set's model from its body.
func (w *ownWorld) model() {
	m := &w.seen.Set.Model
	id, _ := get(w.seen.Seen.Body, "properties", "virtualMachineProfile", "storageProfile", "imageReference", "id").(string)
	mode, _ := get(w.seen.Seen.Body, "properties", "upgradePolicy", "mode").(string)
	m.Image, m.Upgrade.Mode, m.Location, m.Capacity = fleet.ImageReference{ID: id}, fleet.UpgradeMode(mode), "eastus", 3
}

func member(name string, i int) fleet.Member {
	return fleet.Member{
		Name: name, Zone: strconv.Itoa(i%3 + 1), Provisioning: fleet.Succeeded, Power: fleet.Running, LatestModel: new(true), Health: fleet.Healthy,
		Image: fleet.ImageReference{ID: string(version), ExactVersion: "1.8.3"}, Extensions: map[string]string{fleet.HealthTypeLinux: "2.0.1"},
	}
}

// stale makes all members so, or lets the platform bring them.
func (w *ownWorld) stale() {
	if w.seen.Set.Model.Upgrade.Mode != fleet.Manual {
		w.inRolling++
		return
	}
	for i := range w.seen.Set.Members {
		w.seen.Set.Members[i].LatestModel = new(false)
	}
}

// do carries a step out as Azure would, and judges what it writes.
func (w *ownWorld) do(step *fleet.SetStep) {
	t := w.t
	if step.Kind == fleet.StepMembers {
		for i := range w.seen.Set.Members {
			if m := &w.seen.Set.Members[i]; slices.Contains(step.Members, m.Name) {
				m.LatestModel = new(true)
			}
		}
		return
	}
	write := step.Change.Write
	require.NotNil(t, write, "%s", step.Kind)
	w.writes = append(w.writes, *write)
	body := decoded(t, write.Body)
	text, err := json.Marshal(write.Body)
	require.NoError(t, err)
	if write.Method == http.MethodPut {
		whole, err := armtypes.Decode(text)
		require.NoError(t, err)
		for _, f := range w.types.Check(write.ID.Type(), fleet.APIVersion(write.ID), whole, armtypes.Request) {
			if !strings.Contains(f.Path, "ofAnotherDay") {
				t.Fatalf("%s: %s\n%s", step.Kind, f, text)
			}
		}
	} else {
		into := any(&armcompute.VirtualMachineScaleSetUpdate{})
		if step.Kind == fleet.StepExtension {
			into = &armcompute.VirtualMachineScaleSetExtensionUpdate{}
		}
		require.NoError(t, json.Unmarshal(text, into))
		again, err := json.Marshal(into)
		require.NoError(t, err)
		kept, err := armtypes.Decode(again)
		require.NoError(t, err)
		sent, err := armtypes.Decode(text)
		require.NoError(t, err)
		require.Empty(t, judgeproxy.Missing(sent, kept), "%s: %s", step.Kind, text)
		require.NotContains(t, string(text), "imageReference")
		require.NotContains(t, string(text), `"capacity"`)
	}
	switch step.Kind {
	case fleet.StepCreate:
		require.True(t, write.IfNew)
		require.Equal(t, fleet.Document{"mode": "Manual"}, get(body, "properties", "upgradePolicy"))
		w.put(body, 3)
	case fleet.StepExtension:
		profile := get(w.seen.Seen.Body, "properties", "virtualMachineProfile").(fleet.Document)
		exts, _ := profile["extensionProfile"].(fleet.Document)
		exts = maps.Clone(exts)
		if exts == nil {
			exts = fleet.Document{}
		}
		list, _ := exts["extensions"].([]any)
		list = slices.Clone(list)
		i := slices.IndexFunc(list, func(e any) bool { return get(e, "name") == write.ID.Name() })
		if i < 0 {
			require.Equal(t, http.MethodPut, write.Method)
			body["name"] = write.ID.Name()
			list = append(list, body)
		} else {
			require.Equal(t, http.MethodPatch, write.Method)
			list[i] = merged(list[i].(fleet.Document), body)
		}
		exts["extensions"], profile["extensionProfile"] = list, exts
		w.stale()
	case fleet.StepModel, fleet.StepPolicy:
		require.Equal(t, http.MethodPatch, write.Method)
		require.Equal(t, w.seen.Seen.ETag, write.IfMatch)
		if step.Kind == fleet.StepPolicy {
			for _, m := range w.seen.Set.Members {
				require.True(t, *m.LatestModel, "behind the gate everybody has the latest model")
			}
		}
		if w.seen.Set.Model.Upgrade.Mode == fleet.Automatic && get(body, "properties", "virtualMachineProfile") != nil {
			require.Equal(t, "Manual", get(body, "properties", "upgradePolicy", "mode"), "no model reaches all members at once")
		}
		repairs, _ := get(body, "properties", "automaticRepairsPolicy", "repairAction").(string)
		if get(w.seen.Seen.Body, "properties", "automaticRepairsPolicy", "enabled") == true && repairs != "" {
			require.Equal(t, get(w.seen.Seen.Body, "properties", "automaticRepairsPolicy", "repairAction"), repairs, "the action of a policy that is on stays")
		}
		w.seen.Seen.Body = merged(w.seen.Seen.Body, body)
		w.seen.Seen.ETag = fmt.Sprintf(`"%d"`, len(w.writes)+1)
		w.model()
		if get(body, "properties", "virtualMachineProfile") != nil {
			w.stale()
		}
	case fleet.StepAutoscale:
		require.Equal(t, http.MethodPut, write.Method)
		w.seen.AutoscaleID, w.seen.Autoscale = write.ID, fleet.Seen{Body: body}
	case fleet.StepPlatform, fleet.StepMembers: // writes nothing
	}
}

// settle carries out all steps, and returns their kinds.
func (w *ownWorld) settle(s *fleet.Spec, name string, o *fleet.OwnOptions) []fleet.StepKind {
	t := w.t
	var kinds []fleet.StepKind
	for range 10 {
		plan := fleet.PlanSet(s, name, &w.seen, o)
		due := 0
		for _, step := range plan.Steps {
			if step.State == fleet.StepDue {
				due++
			}
		}
		require.LessOrEqual(t, due, 1)
		step := plan.Next()
		if step == nil {
			require.Empty(t, plan.Steps)
			return kinds
		}
		require.Equal(t, fleet.StepDue, step.State, "%s %s", step.Kind, step.Why)
		kinds = append(kinds, step.Kind)
		w.do(step)
	}
	t.Fatalf("no end: %v", kinds)
	return nil
}

// randomSet changes what the file says of a set.
func randomSet(r *rand.Rand, set fleet.SetSpec) fleet.SetSpec {
	coin := func() bool { return r.IntN(2) == 0 }
	set.Health = &fleet.HealthSpec{Extension: "2.0", Protocol: "http", Port: 8080 + r.IntN(2), Path: "/healthz", Interval: time.Duration(5+r.IntN(2)) * time.Second, Probes: 1 + r.IntN(2)}
	if coin() {
		set.Health.Grace = 5 * time.Minute
	}
	if coin() {
		set.Health.Protocol, set.Health.Path = "tcp", ""
	}
	if set.Repairs = nil; coin() {
		set.Repairs = &fleet.RepairsSpec{After: []time.Duration{10 * time.Minute, 90 * time.Minute}[r.IntN(2)], Action: []string{"replace", "reimage", "restart"}[r.IntN(3)]}
	}
	if set.TerminateNotice = 0; set.Spot == nil && coin() {
		set.TerminateNotice = time.Duration(5+r.IntN(2)) * time.Minute
	}
	set.OSImageNotification = coin()
	set.Tags = []map[string]string{nil, {"team": "a"}, {"team": "b", "tier": "1"}}[r.IntN(3)]
	if set.Spot != nil {
		spot := *set.Spot
		spot.RegularBase, spot.Restore = r.IntN(3), []time.Duration{0, time.Hour}[r.IntN(2)]
		set.Spot = &spot
	}
	set.Tracks = fleet.TracksPinned
	on := coin()
	switch r.IntN(3) {
	case 0:
		set.Upgrade = fleet.UpgradeSpec{Driver: fleet.DriverBatches, Batch: 20, MaxUnhealthy: 35, Pause: 2 * time.Minute}
	case 1:
		set.Upgrade = fleet.UpgradeSpec{Driver: fleet.DriverPlatformRolling, Batch: 20, MaxUnhealthy: fleet.Percent(20 + r.IntN(2)), Pause: 90 * time.Minute, MaxSurge: &on}
	case 2:
		set.Upgrade = fleet.UpgradeSpec{Driver: fleet.DriverPlatformAutoOS, Batch: 20, MaxUnhealthy: 20, AutoOSRollback: &on}
	}
	if set.Autoscale = nil; coin() {
		set.Autoscale = &fleet.AutoscaleSpec{
			Min: 1 + r.IntN(2), Max: 10, Default: 3,
			Out: &fleet.ScaleOutSpec{Metric: "Percentage CPU", Above: 70, Over: 5 * time.Minute, By: 2, Cooldown: 5 * time.Minute},
			In:  &fleet.ScaleInSpec{Metric: "Percentage CPU", Below: float64(30 + r.IntN(2)), Over: 90 * time.Minute, By: 1, Cooldown: 10 * time.Minute},
		}
		if coin() {
			set.Autoscale.Predictive = &fleet.PredictiveSpec{Mode: []string{"off", "forecast-only", "enabled"}[r.IntN(3)], LookAhead: 15 * time.Minute}
		}
	}
	return set
}

// odd adds to every object of a document what no type knows, but for tags and settings.
func odd(d fleet.Document) fleet.Document {
	out := fleet.Document{}
	for key, value := range d {
		switch inner := value.(type) {
		case fleet.Document:
			if key != "tags" && key != "userAssignedIdentities" {
				value = odd(inner)
			}
		case []any:
			list := []any{}
			for _, e := range inner {
				if o, ok := e.(fleet.Document); ok {
					e = odd(o)
				}
				list = append(list, e)
			}
			value = list
		}
		out[key] = value
	}
	out["ofAnotherDay"] = fleet.Document{"x": "y"}
	return out
}

// countOdd counts them.
func countOdd(v any) int {
	n := 0
	switch v := v.(type) {
	case fleet.Document:
		for key, inner := range v {
			if key == "ofAnotherDay" {
				n++
				continue
			}
			n += countOdd(inner)
		}
	case []any:
		for _, e := range v {
			n += countOdd(e)
		}
	}
	return n
}

// A set of any file is brought to any other file of the same shape in a few steps, each
// of which Azure's types take, after which nothing is left; what nobody knows survives.
func TestPlanSetFixpoint(t *testing.T) {
	kinds := map[fleet.StepKind]int{}
	most, writes := 0, 0
	types := newOwnWorld(t).types
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 12))
		spec := contract(t)
		name := []string{"vmss-authz", "vmss-batch", "vmss-authz-west"}[r.IntN(3)]
		w := &ownWorld{t: t, types: types}
		before := randomSet(r, spec.ScaleSets[name])
		spec.ScaleSets[name] = before
		if r.IntN(4) > 0 { // what another tool made from another file, with what nobody knows
			w.put(odd(decoded(t, fleet.SetBody(spec, name, version, publicKey))), 3)
			if r.IntN(3) == 0 {
				get(w.seen.Seen.Body, "properties").(fleet.Document)["upgradePolicy"] = fleet.Document{"mode": "Automatic", "ofAnotherDay": fleet.Document{}}
				w.model()
			}
			if before.Autoscale != nil {
				w.settle(spec, name, ownOptions(spec))
				w.seen.Autoscale.Body = odd(w.seen.Autoscale.Body)
			}
		}
		unknown := countOdd(w.seen.Seen.Body) + countOdd(w.seen.Autoscale.Body)
		spec.ScaleSets[name] = randomSet(r, spec.ScaleSets[name])
		steps := w.settle(spec, name, ownOptions(spec))
		require.GreaterOrEqual(t, countOdd(w.seen.Seen.Body)+countOdd(w.seen.Autoscale.Body), unknown, "seed %d", seed)
		most = max(most, len(steps))
		for _, kind := range steps {
			kinds[kind]++
		}
		writes += len(w.writes)
	}
	t.Logf("%d writes, at most %d steps: %v", writes, most, kinds)
	require.Len(t, kinds, 6)
}
