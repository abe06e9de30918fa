package arm

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestScenarioErrors(t *testing.T) {
	const set = "galleries: [{name: g, definitions: [{name: d, publisher: p, offer: o, sku: s, versions: [{name: 1.0.0}]}]}]\nscale_sets:\n  - name: a\n    image: g/d\n"
	tests := map[string]struct{ text, want string }{
		"unknown key":        {"galeries: []\n", `s.yaml:1: unknown key "galeries"; known are description, subscription, clock`},
		"unknown member key": {set + "    members:\n      - {helth: Healthy}\n", `s.yaml:6: unknown key "helth"; known are name, count, zone`},
		"inlined keys":       {"galleries: [{nam: g}]\n", `known are name, resource_group, location, tags, definitions, body`},
		"bare number":        {set + "    terminate_notice: 5\n", `s.yaml:5: "5" is not a duration`},
		"days":               {set + "    terminate_notice: xd\n", `s.yaml:5: "xd" is not a duration`},
		"enum":               {set + "    mode: rolling\n", `s.yaml:5: scale_sets[0].mode: "rolling" is not one of Manual, Automatic, Rolling`},
		"enum of a list":     {set + "    members:\n      - protect: [scalein]\n", `s.yaml:6: scale_sets[0].members[0].protect: "scalein" is not one of scale-in, scale-set-actions`},
		"enum of a map":      {"providers:\n  Microsoft.Compute: yes!\n", `s.yaml:1: providers: "yes!" is not one of Registered`},
		"missing":            {"galleries: [{definitions: []}]\n", `s.yaml:1: galleries[0]: name is missing`},
		"missing image":      {"scale_sets:\n  - name: a\n", `s.yaml:2: scale_sets[0]: image is missing`},
		"no such image":      {"scale_sets:\n  - name: a\n    image: g/d\n", `s.yaml:3: scale_sets[0].image: there is no image "g/d" in this file`},
		"no such version":    {set + "    members:\n      - image: g/d/1.0.1\n", `s.yaml:6: scale_sets[0].members[0].image: there is no image "g/d/1.0.1"`},
		"version":            {set + "    members:\n      - version: latest\n", `"latest" is no version: write it like 1.7.1`},
		"twins":              {set + "  - name: A\n    image: g/d\n", `s.yaml:5: scale_sets[1]: there are two named "A"`},
		"twin members":       {set + "    members:\n      - name: x\n      - name: X\n", `s.yaml:7: scale_sets[0].members[1].name: there are two members named "X"`},
		"named crowd":        {set + "    members:\n      - {name: x, count: 2}\n", `members with a name are one each`},
		"too many":           {set + "    members:\n      - count: 1001\n", `a scale set has at most 1000 members`},
		"capacity":           {set + "    capacity: -1\n", `s.yaml:5: scale_sets[0].capacity: it is 0 to 1000`},
		"autoscale":          {"autoscale:\n  - {name: x, scale_set: y, rules: [{by: 1}]}\n", "s.yaml:2: autoscale[0].scale_set: there is no scale set \"y\" in this file\ns.yaml:2: autoscale[0].rules[0]: a rule has one of above and below"},
		"speed":              {"clock:\n  speed: 1001\n", `s.yaml:2: clock.speed: it is 0 to 1000`},
		"no speed":           {"clock:\n  speed: .nan\n", `s.yaml:2: clock.speed: it is 0 to 1000`},
		"fault":              {"faults:\n  - {kind: error, status: 42}\n", `s.yaml:2: faults[0]: status 42 is not between 200 and 599`},
		"build":              {"builds:\n  - {template: x}\n", "s.yaml:2: builds[0]: a rule has fails, or takes, or both"},
		"build fails":        {"builds:\n  - {fails: customiser}\n", `s.yaml:2: builds[0].fails: "customiser" is not one of submission`},
		"build pattern":      {"builds:\n  - {fails: quota, template: '[x'}\n", `s.yaml:2: builds[0].template: "[x" is no pattern`},
		"build count":        {"builds:\n  - {fails: quota, count: -1}\n", `builds[0]: count and for are not negative`},
		"build regions":      {"builds:\n  - {fails: region}\n", `builds[0]: regions is missing`},
		"account":            {"storage_accounts:\n  - {name: st-pay}\n", `s.yaml:2: storage_accounts[0].name: "st-pay" is no name of a storage account`},
		"container":          {"storage_accounts:\n  - {name: stpay, containers: [B]}\n", `s.yaml:2: storage_accounts[0].containers[0]: "B" is no name of a container`},
		"role":               {"roles:\n  assignments:\n    - {identity: id-aib, role: Cook}\n", `s.yaml:3: roles.assignments[0].role: there is no role "Cook" in this file`},
		"resource":           {"resources:\n  - {id: vnet, body: {location: eastus}}\n", `s.yaml:2: resources[0].id: an id begins with`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseScenario("s.yaml", []byte(tt.text))
			require.ErrorContains(t, err, tt.want)
		})
	}
	_, err := ParseScenario("s.yaml", []byte(set+"    capacity: 3\n"))
	require.NoError(t, err)
	_, err = ParseScenario("s.yaml", nil)
	require.NoError(t, err, "an empty file is an empty subscription")
}

func TestLoadScenario(t *testing.T) {
	sc, err := Example("article")
	require.NoError(t, err)
	require.Equal(t, "article", sc.Name)
	require.NotEmpty(t, sc.Description)
	_, err = Example("artikel")
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.Equal(t, []string{"article", "bake", "empty-group", "platform", "thousand", "traps"}, Examples())

	file := filepath.Join(t.TempDir(), "mine.yaml")
	_, err = LoadScenario(file)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte("subscription: 33333333-3333-3333-3333-333333333333\nclock: {start: 2026-03-02T09:00:00Z, speed: 100}\n"), 0o600))
	sc, err = LoadScenario(file)
	require.NoError(t, err)
	require.Equal(t, file, sc.Name)
	require.Equal(t, "33333333-3333-3333-3333-333333333333", sc.Subscription())
	require.Equal(t, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC), sc.Start())
	require.InDelta(t, 100, sc.Speed(), 0)
}

// TestExamplesFitTheSchema: the schema that is made from the structs lets through
// what the strict loader lets through, and stops what it stops.
func TestExamplesFitTheSchema(t *testing.T) {
	schema := plainJSON(t, ScenarioSchema())
	for _, name := range Examples() {
		text, err := ExampleText(name)
		require.NoError(t, err)
		require.Empty(t, fits(schema, yamlValue(t, text), name))
		_, err = Example(name)
		require.NoError(t, err)
	}
	for _, text := range []string{
		"galeries: []", "galleries: [{location: eastus}]", "scale_sets: [{name: a, mode: rolling}]", "scale_sets: [{name: a, terminate_notice: 5}]",
		"scale_sets: [{name: a, terminate_notice: 5 minutes}]", "scale_sets: {}", "scale_sets: [{name: a, members: [{protect: [x]}]}]", "clock: {speed: fast}",
		"providers: {Microsoft.Compute: x}",
	} {
		require.NotEmpty(t, fits(schema, yamlValue(t, []byte(text)), "s"), text)
	}
}

func plainJSON(t *testing.T, v any) any {
	t.Helper()
	data, err := json.Marshal(v)
	require.NoError(t, err)
	var plain any
	require.NoError(t, json.Unmarshal(data, &plain))
	return plain
}

func yamlValue(t *testing.T, text []byte) any {
	t.Helper()
	var v any
	require.NoError(t, yaml.Unmarshal(text, &v))
	return plainJSON(t, v)
}

// fits checks a value against the keywords of JSON Schema that ScenarioSchema uses.
func fits(schema, v any, at string) (faults []string) {
	s, _ := schema.(map[string]any)
	kind, known := map[string]string{
		"map[string]interface {}": "object", "[]interface {}": "array", "string": "string", "bool": "boolean", "float64": "number",
	}[fmt.Sprintf("%T", v)]
	if want := s["type"]; want != nil && (!known || want != kind && (want != "integer" || kind != "number")) {
		return []string{fmt.Sprintf("%s: %v is no %v", at, v, want)}
	}
	if values, ok := s["enum"].([]any); ok && !slices.Contains(values, v) {
		faults = append(faults, fmt.Sprintf("%s: %v is not one of %v", at, v, values))
	}
	switch v := v.(type) {
	case string:
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			faults = append(faults, at+": "+v+" does not match "+pattern)
		}
	case []any:
		for i, item := range v {
			faults = append(faults, fits(s["items"], item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for name, value := range v {
			inner, known := properties[name]
			if !known {
				inner = s["additionalProperties"]
			}
			if inner == false {
				faults = append(faults, at+": unknown key "+name)
			} else {
				faults = append(faults, fits(inner, value, at+"."+name)...)
			}
		}
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, given := v[name.(string)]; !given {
				faults = append(faults, at+": missing "+name.(string))
			}
		}
	}
	return faults
}

// applied is a world with a scenario in it.
func applied(t *testing.T, text string, change ...func(*Config)) *world {
	t.Helper()
	w := newWorld(t, change...)
	sc, err := ParseScenario("s.yaml", []byte(text))
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(sc))
	return w
}

// example is a world with one of the scenarios that come with the package.
func example(t *testing.T, name string, change ...func(*Config)) *world {
	t.Helper()
	text, err := ExampleText(name)
	require.NoError(t, err)
	return applied(t, string(text), change...)
}

// all reads a list to its end.
func (w *world) all(path string) []object {
	w.Helper()
	var list []object
	for range 10_000 {
		r := w.get(path).want(200)
		list = append(list, items(r.body, "value")...)
		if path = str(r.body, "nextLink"); path == "" {
			return list
		}
	}
	require.FailNow(w, "the list does not end")
	return nil
}

// byName finds one of a list.
func byName(list []object, name string) object {
	for _, o := range list {
		if strings.EqualFold(str(o, "name"), name) {
			return o
		}
	}
	return nil
}

func TestScenarioOfThePlatform(t *testing.T) {
	const set = "galleries: [{name: g, definitions: [{name: d, publisher: p, offer: o, sku: s}]}]\nscale_sets: [{name: vmss-authz, image: g/d}]\n"
	for text, want := range map[string]string{
		"load: [{cpu: 5}]":                               "scale_set is missing",
		"load: [{scale_set: vmss-other, cpu: 5}]":        `there is no scale set "vmss-other" in this file`,
		"load: [{scale_set: vmss-authz, cpu: 101}]":      "cpu is 0 to 100",
		"load: [{scale_set: vmss-authz, cpu: .nan}]":     "cpu is 0 to 100",
		"load: [{scale_set: vmss-authz, at: -5m}]":       "at is not negative",
		"reclaims: [{scale_set: vmss-authz}]":            "count is missing",
		"reclaims: [{scale_set: vmss-authz, count: -1}]": "at and count are not negative",
		"platform_upgrades: [{at: 5m}]":                  "for is missing",
		"platform_upgrades: [{for: -5m}]":                "at and for are not negative",
		`platform_upgrades: [{for: 5m, scale_set: "["}]`: "is no pattern of names",
		"auto_os_delay: -5m":                             "it is not negative",
	} {
		_, err := ParseScenario("s.yaml", []byte(set+text))
		require.ErrorContains(t, err, want, text)
	}
	sc, err := ParseScenario("s.yaml", []byte(set+"platform_upgrades: [{at: 5m, for: 1m, scale_set: vmss-*}]"))
	require.NoError(t, err)
	require.Equal(t, []UpgradeWindow{{Set: "vmss-*", After: 5 * time.Minute, For: time.Minute}}, sc.Rules().Platform.Upgrades)
}
