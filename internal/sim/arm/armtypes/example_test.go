package armtypes

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// Where Microsoft's own examples do not keep to Microsoft's own types. A line is
// "file: way: finding"; an entry that matches none has to go.
var deviations = []struct{ line, why string }{
	{`_MinimumSet_Gen.json: response: .*\.name: missing`, "a generated example with as little as the specification allows"},
	{`_MaximumSet_Gen.json: response: \$\.(name|type): value: "a+"`, "a generated example with letters for words"},
	{`: response: .*\.protectedSettings: write-only`, "generated from the request's type; Azure never answers it"},
	{`VirtualMachine_List.*\.networkApiVersion: unlisted: "2022-05-01"`, "a version of the network API that the list does not have"},
	{`GalleryImageVersion_Create_WithTargetExtendedLocations.json: response: .*unlisted: "StandardSSD_LRS\(default\)"`, "a remark in a value"},
	{`VirtualMachineScaleSetVM_.*: response: \$\.type: value: "Microsoft.Compute/virtualMachines"`, "a member named as the VM that it is"},
	{`VirtualMachineScaleSetVM_Update_MaximumSet_Gen.json: request: \$\.(sku|properties\.instanceView.*): read-only`, "what was read is sent back"},
	{`LifeCycleHookEvent_Update.json: patch: \$\.properties: read-only`, "the type is one that can only be read; the PATCH has its own"},
	{`utoscaleSetting.*: response: \$\.type: case`, "autoscalesettings and autoscaleSettings are one"},
}

// What the published types say nothing about, by type and last part.
var untyped = regexp.MustCompile(`instanceView|predictiveMetrics|vmSizes|osUpgradeHistory|skus|softdeletedartifacttypes|locations/(virtualMachines|virtualMachineScaleSets)`)

func TestExamplesKeepToTheTypes(t *testing.T) {
	types := load(t)
	examples, err := Examples(testkit.Published(t, "examples"))
	require.NoError(t, err)

	used := make([]bool, len(deviations))
	counts := map[string]int{}
	for _, e := range examples {
		for way, found := range judgeExample(t, types, e, counts) {
			for _, f := range found {
				line := e.Name + ": " + way + ": " + f.String()
				i := slices.IndexFunc(deviations, func(d struct{ line, why string }) bool { return regexp.MustCompile(d.line).MatchString(line) })
				require.GreaterOrEqual(t, i, 0, line)
				used[i] = true
			}
		}
	}
	for i, d := range deviations {
		require.True(t, used[i], "no example deviates so any more: %s", d.line)
	}
	t.Logf("judged of %d examples: %v", len(examples), counts)
	require.GreaterOrEqual(t, len(examples), 318)
	require.GreaterOrEqual(t, counts["request"], 136)
	require.GreaterOrEqual(t, counts["response"], 190)
	require.GreaterOrEqual(t, counts["patch"], 14)
	require.GreaterOrEqual(t, counts["action"], 10)
	require.LessOrEqual(t, counts["not judged"], 90)
}

// judgeExample judges what an example has of bodies, and counts them.
func judgeExample(t *testing.T, types *Types, e Example, counts map[string]int) map[string][]Finding {
	t.Helper()
	target, ok := Locate(e.URL.Path)
	require.True(t, ok, e.URL)
	version := e.URL.Query().Get("api-version")
	found := map[string][]Finding{}
	add := func(way string, list []Finding) {
		counts[way]++
		found[way] = append(found[way], list...)
	}
	switch {
	case e.Method == http.MethodDelete:
	case e.Method == http.MethodPost:
		list := types.CheckAction(target.Type, version, target.Rest, e.Body, Request)
		if len(list) == 1 && list[0].Kind == Untyped {
			counts["not judged"]++
			return nil
		}
		add("action", list)
		if e.Response != nil {
			add("action", types.CheckAction(target.Type, version, target.Rest, e.Response, Response))
		}
	case untyped.MatchString(target.Type + "/" + target.Rest):
		counts["not judged"]++
		require.NotEmpty(t, types.Check(target.Type+"/"+target.Rest, version, nil, Response), "a type file knows it now")
	case target.Rest != "":
		items, ok := e.Response.(map[string]any)["value"].([]any)
		require.True(t, ok, e.Name)
		for _, item := range items {
			add("response", types.Check(target.Type+"/"+target.Rest, version, item, Response))
		}
	default:
		if e.Method == http.MethodPut {
			add("request", types.Check(target.Type, version, e.Body, Request))
		}
		if e.Method == http.MethodPatch {
			add("patch", types.Check(target.Type, version, e.Body, Patch))
		}
		if e.Response != nil {
			add("response", types.Check(target.Type, version, e.Response, Response))
		}
	}
	return found
}

// TestSpoiltExamplesAreFound spoils every place of every PUT: a key that nobody knows
// in each object, an object for each value, each value away. What is said must be said
// at that place, but in settings, which are free.
func TestSpoiltExamplesAreFound(t *testing.T) {
	types := load(t)
	examples, err := Examples(testkit.Published(t, "examples"))
	require.NoError(t, err)
	mistakes, free := 0, 0
	for _, e := range examples {
		target, _ := Locate(e.URL.Path)
		if e.Method != http.MethodPut {
			continue
		}
		check := func(path string, undo func()) {
			found := types.Check(target.Type, e.URL.Query().Get("api-version"), e.Body, Request)
			undo()
			if strings.Contains(strings.ToLower(path), "settings") && freeSettings.MatchString(path) {
				free++
				return
			}
			mistakes++
			require.True(t, slices.ContainsFunc(found, func(f Finding) bool {
				return strings.HasPrefix(f.Path, path) || f.Kind == ReadOnly && strings.HasPrefix(path, f.Path)
			}), "%s: %s: %v", e.Name, path, found)
		}
		walk(e.Body, "$", func(path string, v any, put func(any)) {
			if object, ok := v.(map[string]any); ok {
				check(path+".surprise", set(object, "surprise", []any{}))
				return
			}
			if _, list := v.([]any); !list {
				put(map[string]any{"surprise": 1.0})
				check(path, func() { put(v) })
			}
		})
	}
	t.Logf("found all of %d mistakes; %d places are free", mistakes, free)
	require.Greater(t, mistakes, 4000)
	require.Less(t, free, 50)
}

// freeSettings are of type "any".
var freeSettings = regexp.MustCompile(`(?:^\$|extensions\[\d+\])\.properties\.(?:settings|protectedSettings)(?:$|\.)`)

// walk visits every value below v with a way to put another in its place.
func walk(v any, path string, visit func(path string, v any, put func(any))) {
	switch v := v.(type) {
	case map[string]any:
		visit(path, v, nil)
		for name, item := range v {
			if _, nested := item.(map[string]any); !nested {
				visit(member(path, name), item, func(other any) { v[name] = other })
			}
			walk(item, member(path, name), visit)
		}
	case []any:
		for i, item := range v {
			at := path + "[" + strconv.Itoa(i) + "]"
			if _, nested := item.(map[string]any); !nested {
				visit(at, item, func(other any) { v[i] = other })
			}
			walk(item, at, visit)
		}
	}
}
