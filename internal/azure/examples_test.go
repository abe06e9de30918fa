package azure

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// A reader is how a kind of thing is read, and its judge: what the SDK decodes.
type reader struct {
	kind  string // a resource type in lower case, without Microsoft.
	ours  func(fleet.Document) any
	judge func([]byte, fleet.Document) (any, error)
}

// judged makes a reader.
func judged[S, T any](kind string, ours func(fleet.Document) T, judge func(*S, fleet.Document) T) reader {
	return reader{kind, func(d fleet.Document) any { return ours(d) }, func(text []byte, d fleet.Document) (any, error) {
		var v S
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, err
		}
		return judge(&v, d), nil
	}}
}

// plainly is a judge that needs the SDK's type alone.
func plainly[S, T any](judge func(*S) T) func(*S, fleet.Document) T {
	return func(v *S, _ fleet.Document) T { return judge(v) }
}

func readers() []reader {
	return []reader{
		judged("compute/virtualmachinescalesets", fleet.ReadScaleSet, func(v *armcompute.VirtualMachineScaleSet, d fleet.Document) fleet.ScaleSet {
			raw, _ := d["properties"].(fleet.Document)
			return sdkScaleSet(v, raw)
		}),
		judged("compute/virtualmachinescalesets/virtualmachines", fleet.ReadListedMember, plainly(sdkListedMember)),
		judged("compute/virtualmachines", fleet.ReadMachine, plainly(func(v *armcompute.VirtualMachine) fleet.Member {
			m := fleet.Member{Name: get(v.Name)}
			sdkMachine(&m, v)
			return m
		})),
		judged("compute/virtualmachinescalesets/rollingupgrades", fleet.ReadRollingUpgrade, plainly(func(v *armcompute.RollingUpgradeStatusInfo) *fleet.RollingUpgrade {
			return sdkRollingUpgrade(v.Properties)
		})),
		judged("compute/virtualmachinescalesets/osupgradehistory", fleet.ReadPastUpgrade, plainly(sdkPastUpgrade)),
		judged("insights/autoscalesettings", fleet.ReadAutoscale, plainly(sdkAutoscale)),
		judged("compute/galleries", fleet.ReadGallery, plainly(sdkGallery)),
		judged("compute/galleries/images", fleet.ReadDefinition, plainly(sdkDefinition)),
		judged("compute/galleries/images/versions", fleet.ReadVersionEverywhere, plainly(sdkVersion)),
	}
}

// examples are the bodies of Microsoft's examples, by kind: answers, what is in lists, and
// what is written. Numbers are those of JSON. To them comes a set with everything.
func examples(tb testing.TB) map[string][]fleet.Document {
	tb.Helper()
	published, err := armtypes.Examples(testkit.Published(tb, "examples"))
	require.NoError(tb, err)
	all := make(map[string][]fleet.Document)
	for _, e := range published {
		target, ok := armtypes.Locate(e.URL.Path)
		require.True(tb, ok, e.Name)
		kind := strings.TrimPrefix(strings.ToLower(strings.TrimSuffix(target.Type+"/"+target.Rest, "/")), "microsoft.")
		for _, body := range []any{e.Response, e.Body} {
			d, _ := body.(fleet.Document)
			if list, ok := d["value"].([]any); ok {
				for _, one := range list {
					if d, ok := one.(fleet.Document); ok {
						all[kind] = append(all[kind], document(tb, string(encoded(tb, d))))
					}
				}
			} else if d != nil {
				all[kind] = append(all[kind], document(tb, string(encoded(tb, d))))
			}
		}
	}
	all["compute/virtualmachinescalesets"] = append(all["compute/virtualmachinescalesets"], document(tb, wholeSet))
	return all
}

func encoded(tb testing.TB, d fleet.Document) []byte {
	tb.Helper()
	text, err := json.Marshal(d)
	require.NoError(tb, err)
	return text
}

// Every example that Microsoft publishes says the same to us as to the SDK, field by
// field; so does every one read as another kind, where the SDK can.
func TestExamplesAreReadAsTheSDKReadsThem(t *testing.T) {
	all := examples(t)
	own, foreign := make(map[string]int), 0
	for kind, documents := range all {
		for _, d := range documents {
			for _, r := range readers() {
				want, err := r.judge(encoded(t, d), d)
				got := r.ours(d)
				if r.kind != kind {
					if err == nil {
						foreign++
						require.Equal(t, want, got, "%s read as %s", kind, r.kind)
					}
					continue
				}
				require.NoError(t, err, kind)
				require.Equal(t, want, got, kind)
				own[kind]++
			}
		}
	}
	t.Logf("as what they are: %v; as others: %d", own, foreign)
	for kind, atLeast := range map[string]int{
		"compute/virtualmachinescalesets": 100, "compute/virtualmachinescalesets/virtualmachines": 8, "compute/virtualmachines": 70,
		"compute/virtualmachinescalesets/rollingupgrades": 2, "compute/virtualmachinescalesets/osupgradehistory": 2, "insights/autoscalesettings": 5,
		"compute/galleries": 8, "compute/galleries/images": 5, "compute/galleries/images/versions": 10,
	} {
		require.GreaterOrEqual(t, own[kind], atLeast, kind)
	}
}

// A member is made of both lists as it was with the SDK's types.
func TestExamplesOfMembersAreJoined(t *testing.T) {
	all := examples(t)
	for _, l := range all["compute/virtualmachinescalesets/virtualmachines"] {
		l["name"] = "vm-1"
		listed := decoded[armcompute.VirtualMachineScaleSetVM](t, l)
		for _, m := range all["compute/virtualmachines"] {
			m["name"] = "VM-1"
			vm := decoded[armcompute.VirtualMachine](t, m)
			require.Equal(t, sdkJoin([]*armcompute.VirtualMachineScaleSetVM{listed}, []*armcompute.VirtualMachine{vm}),
				fleet.JoinMembers([]fleet.Member{fleet.ReadListedMember(l)}, []fleet.Member{fleet.ReadMachine(m)}))
		}
	}
}

// decoded is a document as the SDK reads it.
func decoded[S any](t *testing.T, d fleet.Document) *S {
	t.Helper()
	var v S
	require.NoError(t, json.Unmarshal(encoded(t, d), &v))
	return &v
}

// A position is where a value stands, and what puts another there; absent takes it away.
type position struct {
	path string
	was  any
	put  func(v any)
	key  string         // of an object, else ""
	in   fleet.Document // that object
}

type absent struct{}

// places visits all places below v.
func places(v any, path string, visit func(position)) {
	switch v := v.(type) {
	case fleet.Document:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			visit(position{path: path + "." + key, was: v[key], key: key, in: v, put: func(value any) {
				if value == (absent{}) {
					delete(v, key)
				} else {
					v[key] = value
				}
			}})
			places(v[key], path+"."+key, visit)
		}
	case []any:
		for i := range v {
			visit(position{path: path + "[" + strconv.Itoa(i) + "]", was: v[i], put: func(value any) {
				if value == (absent{}) {
					value = nil // which is no element
				}
				v[i] = value
			}})
			places(v[i], path+"[]", visit)
		}
	}
}

var (
	// free is where keys are not of Azure's making.
	free = regexp.MustCompile(`^\.tags\.|settings\.`)
	// element is the number of one in a list.
	element = regexp.MustCompile(`\[\d+\]`)
)

// At every place of the examples stands something else once: nothing, null, or a value of
// another type. Where the SDK can still read it, we read the same; where it gives up, that
// value is as good as absent. Keys in other letters are the same keys.
func TestSpoiltExamplesAreReadAsFarAsTheyGo(t *testing.T) {
	all := examples(t)
	seen := make(map[string]bool)
	counts := make(map[string]int)
	for _, r := range readers() {
		sizes := make(map[int][]fleet.Document)
		for _, d := range all[r.kind] {
			n := len(encoded(t, d))
			sizes[n] = append(sizes[n], d)
		}
		for _, n := range slices.Sorted(maps.Keys(sizes)) { // short ones are quick
			for _, d := range sizes[n] {
				var list []position // that are new
				places(d, "", func(p position) {
					pattern := r.kind + element.ReplaceAllString(p.path, "[]")
					if !seen[pattern] {
						seen[pattern] = true
						list = append(list, p)
					}
				})
				for _, p := range list {
					spoilAt(t, r, d, p, counts)
				}
			}
		}
	}
	t.Logf("places: %d, %v", len(seen), counts)
	require.GreaterOrEqual(t, counts["the SDK reads it"], 4000)
	require.GreaterOrEqual(t, counts["the SDK gives up"], 2500)
	require.GreaterOrEqual(t, counts["in other letters"], 700)
}

// spoilAt spoils one place of an example in every way, and leaves it as it was.
func spoilAt(t *testing.T, r reader, d fleet.Document, p position, counts map[string]int) {
	t.Helper()
	whole := bare(r.ours(copied(d).(fleet.Document)))
	p.put(absent{})
	without := bare(r.ours(copied(d).(fleet.Document)))
	for _, value := range []any{absent{}, nil, 7.0, 1.5, 1e300, "x", true, []any{nil, 7.0, "x"}, fleet.Document{}} {
		p.put(value)
		got := r.ours(d)
		want, err := r.judge(encoded(t, d), d)
		if err == nil {
			counts["the SDK reads it"]++
			same(t, want, got, "%s: %v at %s", r.kind, value, p.path)
			continue
		}
		counts["the SDK gives up"]++
		if _, ok := value.([]any); ok {
			continue // a part of it may be what it should be
		}
		same(t, without, bare(got), "%s: %v at %s", r.kind, value, p.path)
	}
	if p.key != "" && !free.MatchString(p.path) {
		counts["in other letters"]++
		p.put(absent{})
		p.in[strings.ToUpper(p.key)] = p.was
		same(t, whole, bare(r.ours(d)), "%s: %s in other letters", r.kind, p.path)
		delete(p.in, strings.ToUpper(p.key))
	}
	p.put(p.was)
}

// same is require.Equal, which formats what it is told each time.
func same(t *testing.T, want, got any, format string, args ...any) {
	t.Helper()
	if !reflect.DeepEqual(want, got) {
		require.Equalf(t, want, got, format, args...)
	}
}

// copied is a copy to change.
func copied(v any) any {
	switch v := v.(type) {
	case fleet.Document:
		fresh := make(fleet.Document, len(v))
		for key, value := range v {
			fresh[key] = copied(value)
		}
		return fresh
	case []any:
		fresh := make([]any, len(v))
		for i, value := range v {
			fresh[i] = copied(value)
		}
		return fresh
	}
	return v
}

// bare is what was read without the text of it.
func bare(v any) any {
	if set, ok := v.(fleet.ScaleSet); ok {
		set.Properties = nil
		return set
	}
	return v
}

// FuzzReading reads any JSON as any kind. It ends, says the same twice, and says what the
// SDK says where that can read it.
func FuzzReading(f *testing.F) {
	known := make(map[string]string) // keys by their lower case
	for kind, documents := range examples(f) {
		for i, d := range documents {
			places(d, "", func(p position) { known[strings.ToLower(p.key)] = p.key })
			if slices.ContainsFunc(readers(), func(r reader) bool { return r.kind == kind }) && i < 3 {
				f.Add(encoded(f, d))
			}
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var d fleet.Document
		if json.Unmarshal(text, &d) != nil || d == nil {
			return
		}
		odd := false // the SDK takes a key in other letters for another key
		places(d, "", func(p position) {
			if exact, ok := known[strings.ToLower(p.key)]; ok && exact != p.key {
				odd = true
			}
		})
		for _, r := range readers() {
			got := r.ours(d)
			require.Equal(t, got, r.ours(d))
			if want, err := r.judge(encoded(t, d), d); err == nil && !odd {
				require.Equal(t, want, got, r.kind)
			}
		}
	})
}
