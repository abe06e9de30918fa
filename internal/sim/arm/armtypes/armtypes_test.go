package armtypes

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

func load(t *testing.T) *Types {
	t.Helper()
	types, err := Load(testkit.Published(t, "types"))
	require.NoError(t, err)
	return types
}

// A full body holds all that its type has: each property, an item in each array, a key
// in each map. Every spoiling of it is found where it is.
func TestEveryTypeIsJudgedWhole(t *testing.T) {
	types := load(t)
	bodies, spoilt := 0, 0
	done := map[string]bool{}
	for _, r := range types.resources {
		for _, mode := range []Mode{Request, Patch, Response} {
			g := generator{file: r.file, mode: mode, done: done}
			for _, variant := range g.variants(r.body) {
				g.variant = variant
				bodies++
				body := g.value(r.body, "$", 0)
				require.Empty(t, types.Check(r.ID.Type, r.ID.APIVersion, body, mode), "%v", r.ID)

				for _, s := range g.spoilers {
					undo := s.spoil()
					found := types.Check(r.ID.Type, r.ID.APIVersion, body, mode)
					require.True(t, slices.ContainsFunc(found, func(f Finding) bool { return f.Kind == s.kind && f.Path == s.path }),
						"%v: %s %s is not found, but %v", r.ID, s.kind, s.path, found)
					undo()
					spoilt++
				}
				require.Empty(t, types.Check(r.ID.Type, r.ID.APIVersion, body, mode), "the test put everything back")
				g.spoilers = nil
			}
		}
	}
	require.Greater(t, len(types.resources), 40)
	require.Greater(t, spoilt, 5_000)
	t.Logf("judged %d bodies of %d types, and found all of %d mistakes", bodies, len(types.resources), spoilt)
}

// A generator makes the fullest body of a type, and ways to spoil it.
type generator struct {
	file     file
	mode     Mode
	variant  int // of each discriminated object
	spoilers []spoiler
	done     map[string]bool // what was spoilt of a type in an earlier place
}

// add takes a way to spoil a type, once.
func (g *generator) add(n *node, s spoiler) {
	mode := Mode(0) // the way matters to what may be there and what has to be
	if s.kind == Missing || s.kind == ReadOnly || s.kind == WriteOnly {
		mode = g.mode
	}
	key := fmt.Sprintf("%p %d %s %s", n, mode, s.kind, s.path[strings.LastIndexByte(s.path, '.')+1:])
	if !g.done[key] {
		g.done[key] = true
		g.spoilers = append(g.spoilers, s)
	}
}

type spoiler struct {
	kind  Kind
	path  string
	spoil func() (undo func())
}

// variants counts the elements of the discriminated object that has the most, below a type.
func (g *generator) variants(at ref) []int {
	most, seen := 1, map[ref]bool{}
	var visit func(ref)
	visit = func(at ref) {
		if seen[at] {
			return
		}
		seen[at] = true
		most = max(most, len(g.file[at].Elements.named))
		for _, r := range g.file[at].refs() {
			visit(r)
		}
	}
	visit(at)
	var list []int
	for i := range most {
		list = append(list, i)
	}
	return list
}

func (g *generator) value(at ref, path string, depth int) any {
	n := g.file[at]
	switch n.Kind {
	case anyType:
		return map[string]any{"free": 1.0}
	case booleanType:
		return true
	case integerType:
		switch {
		case n.MinValue != nil:
			return float64(*n.MinValue)
		case n.MaxValue != nil:
			return float64(*n.MaxValue)
		}
		return 1.0
	case stringType:
		for _, s := range []string{"words", "1.0.0", "11111111-1111-1111-1111-111111111111"} {
			if n.pattern == nil || n.pattern.match(s) {
				return s
			}
		}
		panic("a pattern that the test does not know: " + n.Pattern)
	case literalType:
		return n.Value
	case unionType:
		values, _ := (&judge{file: g.file}).literals(at)
		return values[0]
	case arrayType:
		list := []any{}
		if depth < 14 {
			list = append(list, g.value(*n.ItemType, path+"[0]", depth+1))
			g.leaf(n, *n.ItemType, path+"[0]", func(v any) func() {
				old := list[0]
				list[0] = v
				return func() { list[0] = old }
			})
		}
		return list
	case objectType:
		return g.object(n, n.Properties, path, depth)
	case discriminatedType:
		kinds := slices.Sorted(maps.Keys(n.Elements.named))
		kind := kinds[g.variant%len(kinds)]
		properties := maps.Clone(n.BaseProperties)
		maps.Copy(properties, g.file[n.Elements.named[kind]].Properties)
		body := g.object(g.file[n.Elements.named[kind]], properties, path, depth)
		element := g.file[n.Elements.named[kind]]
		g.add(element, spoiler{Missing, path + "." + n.Discriminator, func() func() { return remove(body, n.Discriminator) }})
		g.add(element, spoiler{Value, path + "." + n.Discriminator, func() func() { return set(body, n.Discriminator, "none such") }})
		g.add(element, spoiler{Case, path + "." + n.Discriminator, func() func() { return set(body, n.Discriminator, strings.ToLower(kind)) }})
		return body
	}
	panic("a value of " + n.Kind)
}

func (g *generator) object(n *node, properties map[string]property, path string, depth int) map[string]any {
	body := map[string]any{}
	for name, p := range properties {
		mayStay := g.mode == Response || p.Flags&readOnly == 0
		at := member(path, name)
		switch {
		case !mayStay:
			g.add(n, spoiler{ReadOnly, at, func() func() { return set(body, name, "sent") }})
			continue
		case slices.Contains(secret, n.Name+"."+name), g.file[p.Type].Sensitive:
			if g.mode == Response {
				g.add(n, spoiler{WriteOnly, at, func() func() { return set(body, name, "a secret") }})
				continue
			}
		}
		if depth > 14 && p.Flags&required == 0 {
			continue
		}
		body[name] = g.value(p.Type, at, depth+1)
		if p.Flags&required != 0 && (p.Flags&fromURL == 0 || g.mode == Response) && g.mode != Patch {
			g.add(n, spoiler{Missing, at, func() func() { return remove(body, name) }})
		}
		if upper := strings.ToUpper(name); upper != name && n.Additional == nil {
			g.add(n, spoiler{Case, member(path, upper), func() func() {
				old := body[name]
				back := remove(body, name)
				body[upper] = old
				return func() { delete(body, upper); back() }
			}})
		}
		if !slices.Contains(stale, n.Name+"."+name) && !slices.Contains(fractions, n.Name+"."+name) {
			g.leaf(n, p.Type, at, func(v any) func() { return set(body, name, v) })
		}
	}
	surprise := spoiler{Unknown, path + ".surprise", func() func() { return set(body, "surprise", 1.0) }}
	if n.Additional != nil {
		body["key"] = g.value(*n.Additional, path+".key", depth+1)
		g.leaf(n, *n.Additional, path+".key", func(v any) func() { return set(body, "key", v) })
		surprise.kind = WrongType
		surprise.spoil = func() func() { return set(body, "surprise", []any{}) }
	}
	g.add(n, surprise)
	return body
}

// leaf adds the ways to spoil a value of a type in its place.
func (g *generator) leaf(owner *node, at ref, path string, put func(any) func()) {
	n := g.file[at]
	add := func(kind Kind, v any) {
		g.add(owner, spoiler{kind, path, func() func() { return put(v) }})
	}
	switch n.Kind {
	case booleanType:
		add(WrongType, "true")
	case integerType:
		add(WrongType, "1")
		add(WrongType, 1.5)
		if n.MinValue != nil {
			add(Range, float64(*n.MinValue-1))
		}
		if n.MaxValue != nil {
			add(Range, float64(*n.MaxValue+1))
		}
	case stringType:
		add(WrongType, 1.0)
		if n.pattern != nil {
			add(Pattern, "not / this")
		}
		if n.MaxLength != nil {
			add(Length, strings.Repeat("1", *n.MaxLength+1))
		}
	case literalType, unionType:
		values, open := (&judge{file: g.file}).literals(at)
		kind := Value
		if open {
			kind = Unlisted
		}
		add(kind, "none such")
		add(WrongType, true)
		if upper := strings.ToUpper(values[0]); upper != values[0] && !slices.Contains(values, upper) {
			add(Case, upper)
		}
	case arrayType:
		add(WrongType, map[string]any{})
		if n.MinLength != nil {
			add(Length, []any{})
		}
	case objectType, discriminatedType:
		add(WrongType, []any{})
	}
}

func set(body map[string]any, name string, v any) func() {
	old, had := body[name]
	body[name] = v
	return func() {
		delete(body, name)
		if had {
			body[name] = old
		}
	}
}

func remove(body map[string]any, name string) func() {
	old := body[name]
	delete(body, name)
	return func() { body[name] = old }
}

// What a file must not hold is refused: what is not read is not judged.
func TestLoadRefusesWhatItDoesNotUnderstand(t *testing.T) {
	for name, text := range map[string]string{
		`unknown field "maxItems"`:            `[{"$type":"StringType","maxItems":3}]`,
		`a "FloatType" is not understood`:     `[{"$type":"FloatType"}]`,
		`reference to type 7 of 1`:            `[{"$type":"ArrayType","itemType":{"$ref":"#/7"}}]`,
		`reference "other.json#/0"`:           `[{"$type":"ArrayType","itemType":{"$ref":"other.json#/0"}}]`,
		`flags 16 are not understood`:         `[{"$type":"ObjectType","name":"X","properties":{"a":{"type":{"$ref":"#/0"},"flags":16}}}]`,
		`a union with a AnyType`:              `[{"$type":"UnionType","elements":[{"$ref":"#/1"}]},{"$type":"AnyType"}]`,
		`compile pattern`:                     `[{"$type":"StringType","pattern":"(?=a)"}]`,
		`is not understood`:                   `[{"$type":"StringType","pattern":"(?<!a)b"}]`,
		`body of a resource is not an object`: `[{"$type":"ResourceType","name":"A/b@1","body":{"$ref":"#/1"}},{"$type":"AnyType"}]`,
		`decode`:                              `{`,
	} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "x.json"), []byte(text), 0o600))
		_, err := Load(dir)
		require.ErrorContains(t, err, name)
	}
	_, err := Load(t.TempDir())
	require.ErrorContains(t, err, "no type files")
}

func TestWhatNoFileKnowsIsAFinding(t *testing.T) {
	types := load(t)
	require.Equal(t, Untyped, types.Check("Microsoft.Compute/virtualMachineScaleSets", "2022-08-01", map[string]any{}, Request)[0].Kind)
	require.Equal(t, Untyped, types.CheckAction("Microsoft.Compute/virtualMachines", "2026-04-01", "simulateEviction", nil, Request)[0].Kind)
	require.False(t, types.HasAction("Microsoft.Compute/virtualMachines", "2026-04-01", "simulateEviction"))
	require.True(t, types.HasAction("microsoft.compute/virtualmachines", "2026-04-01", "runcommand"))
}

func TestNearest(t *testing.T) {
	types := load(t)
	for asked, want := range map[string]string{
		"2022-07-01": "2024-02-01", "2024-02-01": "2024-02-01", "2025-01-01": "2025-10-01", "2025-10-01": "2025-10-01", "2030-01-01": "2025-10-01",
	} {
		require.Equal(t, want, types.Nearest("microsoft.virtualmachineimages/IMAGETEMPLATES", asked), asked)
	}
	require.Empty(t, types.Nearest("Microsoft.Compute/disks", "2025-01-02"))
}

// null stands for a property that is not there.
func TestNullIsAbsent(t *testing.T) {
	types := load(t)
	check := func(body map[string]any) []Finding {
		return types.Check("Microsoft.Compute/galleries", "2025-12-03", body, Request)
	}
	require.Empty(t, check(map[string]any{"location": "eastus", "tags": nil, "properties": nil}))
	require.Equal(t, []Finding{{Missing, "$.location", "Microsoft.Compute/galleries requires it"}}, check(map[string]any{"location": nil}))
	require.Equal(t, Unknown, check(map[string]any{"location": "eastus", "surprise": nil})[0].Kind)
	require.Equal(t, []Finding{{WrongType, "$", "null for an object Microsoft.Compute/galleries"}}, types.Check("Microsoft.Compute/galleries", "2025-12-03", nil, Request))
}

func TestCheckAction(t *testing.T) {
	types := load(t)
	check := func(body any, mode Mode) []string {
		var list []string
		for _, f := range types.CheckAction("Microsoft.Compute/virtualMachines", "2026-04-01", "runCommand", body, mode) {
			list = append(list, string(f.Kind)+" "+f.Path)
		}
		return list
	}
	require.Empty(t, check(map[string]any{"commandId": "RunShellScript", "script": []any{"true"}}, Request))
	require.Equal(t, []string{"unknown $.scripts", "missing $.commandId"}, check(map[string]any{"scripts": []any{"true"}}, Request))
	require.Equal(t, []string{"type $"}, check(nil, Request))
	require.Equal(t, []string{"type $.value"}, check(map[string]any{"value": "done"}, Response))
	require.Empty(t, types.CheckAction("Microsoft.Compute/virtualMachines", "2026-04-01", "assessPatches", nil, Request))
	require.Len(t, types.CheckAction("Microsoft.Compute/virtualMachines", "2026-04-01", "assessPatches", map[string]any{}, Request), 1)
}

func TestPatterns(t *testing.T) {
	p, err := compile(`^[^_\W][\w-._]{0,79}(?<![-.])$`)
	require.NoError(t, err)
	for name, right := range map[string]bool{"galProd": true, "gal-prod.1": true, "g_": true, "gal-": false, "gal.": false, "_gal": false, "": false, "g/l": false, "g": true} {
		require.Equal(t, right, p.match(name), name)
	}
}

func TestLocate(t *testing.T) {
	const group = "/subscriptions/1/resourceGroups/rg-pay-prod/providers/"
	for path, want := range map[string]Target{
		group + "Microsoft.Compute/galleries/galProd":                                        {"Microsoft.Compute/galleries", ""},
		group + "Microsoft.Compute/galleries":                                                {"Microsoft.Compute", "galleries"},
		group + "Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions/1.8.0":       {"Microsoft.Compute/galleries/images/versions", ""},
		group + "Microsoft.Compute/virtualMachines/vmss-authz_1/runCommand/":                 {"Microsoft.Compute/virtualMachines", "runCommand"},
		group + "A/b/c/providers/Microsoft.Authorization/roleAssignments/1":                  {"Microsoft.Authorization/roleAssignments", ""},
		strings.ToUpper(group) + "Microsoft.Compute/virtualMachineScaleSets/vmss-authz/skus": {"Microsoft.Compute/virtualMachineScaleSets", "skus"},
		"/subscriptions/1/resourceGroups/rg-pay-prod":                                        {"Microsoft.Resources/resourceGroups", ""},
		"/SUBSCRIPTIONS/1/resourcegroups/rg-pay-prod/":                                       {"Microsoft.Resources/resourceGroups", ""},
	} {
		got, ok := Locate(path)
		require.True(t, ok, path)
		require.Equal(t, want, got, path)
	}
	for _, path := range []string{"", "/", "/subscriptions/1", "/subscriptions/1/resourceGroups", "/x/subscriptions/1/resourceGroups/rg", group, group + "Microsoft.Compute"} {
		_, ok := Locate(path)
		require.False(t, ok, path)
	}
}

func TestDecode(t *testing.T) {
	v, err := Decode([]byte(`{"n": 12345678901234567890}`))
	require.NoError(t, err)
	require.Equal(t, "12345678901234567890", fmt.Sprint(v.(map[string]any)["n"]))
	for _, text := range []string{"", "{", "{} {}", "<html>"} {
		_, err := Decode([]byte(text))
		require.Error(t, err, text)
	}
}
