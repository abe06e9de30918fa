package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

var update = flag.Bool("update", false, "write the golden files")

// sgr matches the colours that text is painted with.
var sgr = regexp.MustCompile("\x1b\\[[0-9;]*m")

// testGlobals renders for a reader of the given width and abilities, in UTC.
func testGlobals(t *testing.T, style cli.Style, columns string) *globals {
	t.Helper()
	getenv := func(name string) string {
		if name == "COLUMNS" {
			return columns
		}
		return ""
	}
	g := newGlobals(new(bytes.Buffer), new(bytes.Buffer), getenv)
	g.out.Style, g.zone = style, time.UTC
	return g
}

// decode reads a document of the wire.
func decode[T any](t *testing.T, path string) *T {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	v := new(T)
	require.NoError(t, dec.Decode(v), path)
	return v
}

// golden compares text with a file, or writes the file.
func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text, path)
}

func text(p *page) string {
	var b bytes.Buffer
	_, _ = p.WriteTo(&b) // a buffer takes everything
	return b.String()
}

// pages returns, for every document in testdata, what renders it.
func pages(t *testing.T) map[string]func(*globals) *page {
	t.Helper()
	renders := make(map[string]func(*globals) *page)
	files, err := filepath.Glob("testdata/status/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		s := decode[control.Status](t, file)
		name := strings.TrimSuffix(file, ".json")
		renders[name] = func(g *globals) *page { return g.statusPage(s, false) }
		if strings.HasSuffix(name, "unhealthy") {
			renders[name+"-verbose"] = func(g *globals) *page { return g.statusPage(s, true) }
		}
	}
	for _, name := range []string{"events", "events-blind"} {
		e := decode[control.Events](t, "testdata/wire/"+name+".json")
		renders["testdata/wire/"+name] = func(g *globals) *page { return g.eventsPage(e, false) }
		renders["testdata/wire/"+name+"-verbose"] = func(g *globals) *page { return g.eventsPage(e, true) }
	}
	for _, name := range []string{"explain-failing", "explain-blocked"} {
		e := decode[control.Explanation](t, "testdata/wire/"+name+".json")
		renders["testdata/wire/"+name] = func(g *globals) *page { return g.explanationPage(e) }
	}
	for _, name := range []string{"plan-preempt", "plan-freeze", "plan-short"} {
		pv := decode[control.PlanPreview](t, "testdata/wire/"+name+".json")
		renders["testdata/wire/"+name] = func(g *globals) *page { return g.planPage(pv) }
	}
	return renders
}

func TestPages(t *testing.T) {
	for name, render := range pages(t) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			g := testGlobals(t, cli.Style{Unicode: true}, "80")
			golden(t, name+".txt", text(render(g)))
		})
	}
}

// Whatever the width, no line is wider, so that no terminal breaks one.
func TestPagesKeepTheirWidth(t *testing.T) {
	for name, render := range pages(t) {
		for _, columns := range []string{"20", "40", "60", "80", "100", "200"} {
			for _, style := range []cli.Style{{}, {Unicode: true}} {
				g := testGlobals(t, style, columns)
				width, _ := g.out.Size()
				for _, line := range render(g).Lines() {
					require.LessOrEqual(t, utf8.RuneCountInString(line), width, "%s at %s: %q", name, columns, line)
					require.NotContains(t, line, "\x1b", name)
				}
			}
		}
	}
}

// Colours change nothing but colours, and without Unicode all is ASCII.
func TestPagesStyles(t *testing.T) {
	for name, render := range pages(t) {
		plain := text(render(testGlobals(t, cli.Style{}, "80")))
		colored := text(render(testGlobals(t, cli.Style{Color: true}, "80")))
		require.NotEqual(t, plain, colored, name)
		require.Equal(t, plain, sgr.ReplaceAllString(colored, ""), name)
		for _, r := range plain {
			require.Less(t, r, rune(utf8.RuneSelf), "%s: %q", name, r)
		}
	}
}

// Every state has a mark and a suggestion, and every code is the documented one.
func TestStatusExit(t *testing.T) {
	for state, want := range map[control.State]int{
		control.StateServing:     0,
		control.StateDegraded:    2,
		control.StateStarting:    3,
		control.StateUnhealthy:   3,
		control.StateMaintenance: 3,
		control.StateDraining:    3,
		control.StateDrained:     3,
		"unheard-of":             1,
	} {
		require.Equal(t, want, statusExit(state), state)
		require.NotEmpty(t, suggestions("fleet-agent", &control.Status{State: state}), state)
	}
	for action, want := range map[string]string{"": "fleet-agent events", "drain": "fleet-agent plan --event Rebalance"} {
		s := &control.Status{State: control.StateServing, Events: []control.Event{{Type: "Preempt"}, {Type: "Rebalance", Mine: true, Action: action}}}
		require.Equal(t, want, suggestions("fleet-agent", s)[0].command, "the plan of an unknown event would be an error")
	}
}

func TestDrainEnd(t *testing.T) {
	serving := &control.Status{State: control.StateServing}
	running := &control.Status{State: control.StateDraining, Drain: &control.Drain{Phase: phaseRunning}}
	failed := &control.Status{State: control.StateDraining, Drain: &control.Drain{Phase: phaseFailed, Error: "step x timed out"}}
	undraining := &control.Status{State: control.StateDraining, Drain: &control.Drain{Phase: phaseUndraining}}
	drained := &control.Status{State: control.StateDrained, Drain: &control.Drain{Phase: "finished"}}
	slow := make([]*control.Status, 11)
	for i := range slow {
		slow[i] = serving
	}
	for name, tc := range map[string]struct {
		looks []*control.Status
		done  bool
		err   string
	}{
		"ends well":      {[]*control.Status{serving, running, running, drained}, true, ""},
		"fails":          {[]*control.Status{running, failed}, false, "the drain failed: step x timed out"},
		"is undone":      {[]*control.Status{running, undraining}, false, "the drain was undone before it ended"},
		"is gone":        {[]*control.Status{running, serving}, false, "the drain was undone before it ended"},
		"does not begin": {slow, false, "the drain was undone before it ended"},
	} {
		t.Run(name, func(t *testing.T) {
			end := testGlobals(t, cli.Style{}, "").drainEnd()
			for i, s := range tc.looks {
				done, err := end(s)
				if i < len(tc.looks)-1 {
					require.NoError(t, err)
					require.False(t, done)
					continue
				}
				require.Equal(t, tc.done, done)
				if tc.err == "" {
					require.NoError(t, err)
				} else {
					require.EqualError(t, err, tc.err)
				}
			}
		})
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/fleet-agent/config.yaml": "/etc/fleet-agent/config.yaml",
		"my config.yaml":               "'my config.yaml'",
		"it's":                         `'it'\''s'`,
		"$(reboot)":                    "'$(reboot)'",
		"":                             "''",
	} {
		require.Equal(t, want, shellQuote(in))
	}
}
