package report_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/report"
)

// journals are those of rollouts in the simulated Azure: halted by a member's health, by
// a gate of Prometheus, succeeded, and held because an operator's pause had no end. A
// journal is what `fleetctl rollout show -o json` has under events, an event a line.
var journals = []string{"halted", "gate", "succeeded", "paused"}

func journal(tb testing.TB, name string) []rollout.Event {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	require.NoError(tb, err)
	var events []rollout.Event
	for line := range bytes.Lines(text) {
		e, err := rollout.DecodeEvent(line)
		require.NoError(tb, err)
		events = append(events, e)
	}
	return events
}

// look is the view of a journal, with the members as the journal tells them.
func look(tb testing.TB, events []rollout.Event) rollout.View {
	tb.Helper()
	plan, s, err := rollout.Fold(events)
	require.NoError(tb, err)
	now := events[len(events)-1].At
	o := rollout.Observation{At: now, Epoch: s.Epoch, Sets: make(map[string]rollout.SetSeen)}
	for name, set := range plan.Sets {
		image := func(version string) fleet.ImageReference {
			return fleet.ImageReference{ID: string(plan.Definition) + "/versions/" + version, ExactVersion: version}
		}
		seen := rollout.SetSeen{Set: fleet.Set{Model: fleet.ScaleSet{Image: image(s.Sets[name].Model)}}}
		add := func(member, version string) {
			seen.Members = append(seen.Members, fleet.Member{Name: member, Zone: "1", Provisioning: fleet.Succeeded, Health: fleet.Healthy, Image: image(version)})
		}
		for _, r := range s.Runs {
			if r.Set != name {
				continue
			}
			version := plan.Version
			if !r.Runs[len(r.Runs)-1].To.IsZero() {
				version = set.LastGood
			}
			add(r.Name, version)
		}
		for i := len(seen.Members); i < set.Members; i++ {
			add(fmt.Sprintf("%s_%08d", name, i), set.LastGood)
		}
		o.Sets[name] = seen
	}
	v := rollout.Look(plan, s, events, &o, now)
	v.ID = "7"
	return v
}

func page(tb testing.TB, v rollout.View, events []rollout.Event) string {
	tb.Helper()
	var b bytes.Buffer
	require.NoError(tb, report.Write(&b, v, events))
	return b.String()
}

// text is what a page says, without its markup.
func text(tb testing.TB, page string) string {
	tb.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	require.NoError(tb, err)
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode && n.Parent.Data != "style" {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestPages(t *testing.T) {
	for name, says := range map[string][]string{
		"halted": {
			"Rollout 7 of fleet pay ubuntu-app 1.7.1 ✗ halted",
			"Begun 2026-03-05 14:00:00 Ended 2026-03-05 14:05:40 Duration 5m40s Members that ran it 1 Members that run it now 0",
			"1 member ever ran the version; 1 failed.",
			"upgraded by wave canary; runs 1.7.0 ✗ it is Unhealthy 2m0s after its upgrade unhealthy: hsm: connection refused",
			"canary 2 1 ✓ within what was foreseen vmss-authz : 1 taken, 1 made anew",
			"all 6 not begun",
			"Slowest reaction, from a member that is not well to the halt 7m 2m10s",
			"1 of vmss-authz canary → to the version ✗ given up vmss-authz_80e6d22f",
			"2 of vmss-authz canary ↩ back ✓ done vmss-authz_80e6d22f",
			"↩ ran the version, and runs another one again, Healthy: 1",
			"14:03:50 ✗ vmss-authz_80e6d22f failed: it is Unhealthy 2m0s after its upgrade",
			"drain vmss-authz_80e6d22f — done after 20s : drained",
			"Azure is read at least every 5m",
		},
		"gate": {
			"gate errors: 0.2 is above 0.01, 3 times in a row",
			"0.2 is above 0.01, 3 times in a row 23 × pass, 1 × fail, 1 × no data",
			"approval ✓ pass – wave all was approved by ops",
			"14:23:55 ☞ approved wave all by ops: the canary looks well",
			"no member’s health halted it",
		},
		"succeeded": {
			"✓ succeeded", "6 members ever ran the version; none failed.", "runs it", "all 6 6 ✓ within what was foreseen",
			"Shortest time, when nothing waits 34m 47m50s", "✓ on the version, verified: 6",
		},
		"paused": {
			"‖ held paused by ops: a change freeze begins", "Just now", "fleetctl rollout resume", "☞ paused by ops: a change freeze begins",
			"■ stopped: in its batches",
		},
	} {
		t.Run(name, func(t *testing.T) {
			events := journal(t, name)
			v := look(t, events)
			first := page(t, v, events)
			told := text(t, first)
			for _, s := range says {
				require.Contains(t, told, s)
			}
			require.Equal(t, first, page(t, look(t, events), events), "the same page each time")
		})
	}
}

// A page is bare of all that asks for something elsewhere, and of duplicate ids.
func TestNothingFromElsewhere(t *testing.T) {
	for _, name := range journals {
		events := journal(t, name)
		text := page(t, look(t, events), events)
		doc, err := html.Parse(strings.NewReader(text))
		require.NoError(t, err)
		ids := make(map[string]bool)
		var links []string
		for n := range doc.Descendants() {
			require.NotContains(t, []string{"script", "link", "img", "iframe", "object", "base", "form"}, n.Data)
			for _, a := range n.Attr {
				switch a.Key {
				case "id":
					require.False(t, ids[a.Val], a.Val)
					ids[a.Val] = true
				case "href":
					links = append(links, a.Val)
				case "src", "style":
					t.Errorf("%s has %s", n.Data, a.Key)
				}
			}
		}
		require.NotEmpty(t, links)
		for _, l := range links {
			require.True(t, ids[strings.TrimPrefix(l, "#")], l)
		}
		require.NotContains(t, text, "url(")
		require.NotContains(t, text, "@import")
	}
}

// hostile are texts that would be more than text, if they were let.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onmouseover='x`, `</style><script>x</script>`, `</title><base href="//x">`,
	`<!--`, `-->`, `]]>`, `&lt;b&gt;&#60;b>`, "a\x00b", "\xff\xfe<b>", "line\nline\n<b>", "‮<b>‬", strings.Repeat("<", 1100), strings.Repeat("x", 5000),
	"`${x}`", "{{.}}", `\u003cscript>`, "+ADw-script+AD4-", "javascript:alert(1)", " \t", "",
}

func FuzzHostile(f *testing.F) {
	for i, s := range hostile {
		f.Add(s, uint8(i))
	}
	f.Fuzz(func(t *testing.T, s string, seed uint8) {
		require.Equal(t, skeleton(t, everywhere("x", seed)), skeleton(t, everywhere(s, seed)), "a text became markup: %q", s)
	})
}

// everywhere is a page with a text in every string of a view and of events.
func everywhere(s string, seed uint8) string {
	n := 0
	word := func() string {
		n++
		return s + " " + strconv.Itoa(n)
	}
	var v rollout.View
	fill(reflect.ValueOf(&v).Elem(), word, 1)
	var events []rollout.Event
	kinds := []rollout.Kind{
		rollout.Planned, rollout.Began, rollout.Ended, rollout.Requested, rollout.Observed, rollout.PhaseTo, rollout.WaveTo, rollout.BatchTo, rollout.Touched,
		rollout.Well, rollout.Ill, rollout.Verified, rollout.Failing, rollout.Departed, rollout.Returned, rollout.ModelSeen, rollout.PolicySet, rollout.Blocked, rollout.Given,
	}
	verbs := []rollout.Verb{rollout.PatchModel, rollout.ManualUpgrade, rollout.QueryGate, rollout.AskAgent, rollout.Diagnose, rollout.Replicate, rollout.Exclude, rollout.Notify}
	for i := range 2 * len(kinds) {
		var e rollout.Event
		fill(reflect.ValueOf(&e).Elem(), word, 1)
		e.Kind = kinds[(i+int(seed))%len(kinds)]
		e.Action.Op, e.Wave = i/2, i%2
		if i%3 > 0 {
			e.Action.Do = verbs[i%len(verbs)]
			e.Result.Outcome = []rollout.Outcome{rollout.Done, rollout.Lost}[i%2]
		}
		events = append(events, e)
	}
	events[0].Kind = rollout.Planned
	known := map[string]rollout.Set{}
	for i := range v.Sets { // what the view names, the plan has
		known[v.Sets[i].Name] = events[0].Plan.Sets[fillKey]
	}
	events[0].Plan.Sets = known
	if seed%2 == 0 {
		v.Phase, v.Gates[0].Verdict, v.Waves[0].Step = rollout.Rolling, rollout.Fail, rollout.Soaking
	}
	var b bytes.Buffer
	if err := report.Write(&b, v, events); err != nil {
		panic(err)
	}
	return b.String()
}

const fillKey = "key"

// fill puts a value into everything that v has.
func fill(v reflect.Value, word func() string, n int64) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(word())
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(n)
	case reflect.Float64:
		v.SetFloat(float64(n))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), word, n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), word, int64(i+1))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, word, n)
		v.SetMapIndex(reflect.ValueOf(fillKey).Convert(v.Type().Key()), value)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 3, 5, 14, int(n), 0, 0, time.UTC)))
			return
		}
		for _, field := range v.Fields() {
			fill(field, word, n)
		}
	default:
		panic("fill " + v.Kind().String())
	}
}

// skeleton is a page without its texts: its elements, each with its depth and its
// attributes. Titles, which are text, are left out.
func skeleton(tb testing.TB, page string) string {
	tb.Helper()
	doc, err := html.Parse(strings.NewReader(page))
	require.NoError(tb, err)
	var b strings.Builder
	var walk func(n *html.Node, depth int)
	walk = func(n *html.Node, depth int) {
		for ; n != nil; n = n.NextSibling {
			switch {
			case n.Type == html.TextNode && n.Parent.Data != "style":
			case n.Type == html.TextNode:
				fmt.Fprintf(&b, "%d %s\n", depth, n.Data)
			default:
				fmt.Fprintf(&b, "%d %d %s", depth, n.Type, n.Data)
				for _, a := range n.Attr {
					if a.Key == "title" {
						a.Val = ""
					}
					fmt.Fprintf(&b, " %s=%q", a.Key, a.Val)
				}
				b.WriteByte('\n')
			}
			walk(n.FirstChild, depth+1)
		}
	}
	walk(doc.FirstChild, 0)
	return b.String()
}

// What is not said is not in the way: an empty view has a page, too.
func TestEmpty(t *testing.T) {
	told := text(t, page(t, rollout.View{}, nil))
	require.Contains(t, told, "No member ever ran the version.")
	require.Contains(t, told, "Nothing was asked.")
	require.NotContains(t, told, "Timeline")
}

// A thousand members and a hundred thousand events make a page that a browser can show,
// which says what it does not show, and shows what matters.
func TestBounds(t *testing.T) {
	events := journal(t, "halted")
	v := look(t, events)
	at := events[0].At
	for i := range 10 {
		s := rollout.SetView{Name: fmt.Sprintf("vmss-%d", i), Location: "eastus"}
		for j := range 1000 {
			m := fmt.Sprintf("%s_%08x", s.Name, j)
			s.Members = append(s.Members, rollout.MemberView{Name: m, Cell: rollout.CellVerified, Version: "1.7.1", Why: strings.Repeat("why ", 1000)})
			v.Ran = append(v.Ran, rollout.Ran{Set: s.Name, Member: m, From: at, Why: "upgraded by wave all"})
		}
		v.Sets = append(v.Sets, s)
	}
	v.Ran[len(v.Ran)-1].Failed = "the last of them"
	for i := range 100_000 {
		events = append(events, rollout.Event{At: at.Add(time.Duration(i) * time.Second), Kind: rollout.Verified, Set: "vmss-1", Member: "vmss-1_" + strconv.Itoa(i)})
		if i == 50_000 {
			events = append(events, rollout.Event{At: at.Add(50_000 * time.Second), Kind: rollout.Requested, Request: &rollout.Request{Do: rollout.Pause, By: "ops"}})
		}
	}
	began := time.Now()
	first := page(t, v, events)
	t.Logf("%d KB in %s", len(first)>>10, time.Since(began))
	require.Less(t, len(first), 2<<20)
	told := text(t, first)
	require.Contains(t, told, "1000 of 10001 rows are shown")
	require.Contains(t, told, "the last of them", "a member that failed")
	require.Contains(t, told, "400 of 100029 entries are shown")
	require.Contains(t, told, "☞ paused by ops", "in the middle of what is left out")
	require.Contains(t, told, "The first 2000 of 10006 members are shown")
	require.Contains(t, told, "The first 100 of 10001 remarks are shown")
	require.Equal(t, 400+2, strings.Count(first, "<li class=\"")-strings.Count(first, "<li class=\"cell"), "and two gaps")
}

// Of two things that are told by sight, one tells them apart without its colour.
func TestCellsDifferWithoutColour(t *testing.T) {
	v := rollout.View{Sets: []rollout.SetView{{Name: "a"}}}
	for _, c := range rollout.Cells {
		v.Sets[0].Members = append(v.Sets[0].Members, rollout.MemberView{Name: string(c), Cell: c})
	}
	doc, err := html.Parse(strings.NewReader(page(t, v, nil)))
	require.NoError(t, err)
	var legend, glyphs []string
	for n := range doc.Descendants() {
		class := slices.IndexFunc(n.Attr, func(a html.Attribute) bool { return a.Key == "class" && strings.HasPrefix(a.Val, "cell ") })
		if class < 0 {
			continue
		}
		if n.Data == "span" {
			legend = append(legend, n.FirstChild.Data)
		} else {
			glyphs = append(glyphs, n.FirstChild.FirstChild.Data)
		}
	}
	require.Len(t, glyphs, len(rollout.Cells))
	require.Equal(t, glyphs, legend, "the legend has each, in the same order")
	slices.Sort(glyphs)
	require.Len(t, slices.Compact(glyphs), len(rollout.Cells))
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestWriterThatFails(t *testing.T) {
	events := journal(t, "succeeded")
	require.EqualError(t, report.Write(full{}, look(t, events), events), "no space left on device")
}

func BenchmarkWrite(b *testing.B) {
	events := journal(b, "paused")
	v := look(b, events)
	for b.Loop() {
		require.NoError(b, report.Write(io.Discard, v, events))
	}
}
