package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
)

// fakeReader reads what it is given, one after the other, and then the last again.
type fakeReader []func() (fleet.Fleet, error)

func (r *fakeReader) Fleet(ctx context.Context, _ azure.Scope) (fleet.Fleet, error) {
	if err := ctx.Err(); err != nil {
		return fleet.Fleet{}, err
	}
	next := (*r)[0]
	if len(*r) > 1 {
		*r = (*r)[1:]
	}
	return next()
}

func reads(f fleet.Fleet) func() (fleet.Fleet, error) {
	return func() (fleet.Fleet, error) { return f, nil }
}

// seeing returns globals that read f at its moment, for a reader of the given width
// and abilities, in UTC, and what the commands write.
func seeing(t *testing.T, style cli.Style, columns int, looks ...func() (fleet.Fleet, error)) (g *globals, stdout *bytes.Buffer) {
	t.Helper()
	stdout = new(bytes.Buffer)
	g = newGlobals(stdout, new(bytes.Buffer), func(name string) string {
		if name == "COLUMNS" {
			return strconv.Itoa(columns)
		}
		return ""
	})
	r := fakeReader(looks)
	g.reader, g.resourceGroup, g.subscription = &r, fleettest.Group, fleettest.Subscription
	g.out.Style, g.zone = style, time.UTC
	g.now = func() time.Time { return fleettest.Now.Add(2 * time.Second) }
	return g, stdout
}

// seePages are what the commands show of a fleet, by the name of the golden file.
func seePages(f fleet.Fleet) map[string]func(*globals) *page {
	o := fleet.StatusOptions{Now: fleettest.Now.Add(2 * time.Second), HealthAge: 10 * time.Minute}
	return map[string]func(*globals) *page{
		"status":  func(g *globals) *page { return g.statusPage(fleet.Status(f, o), false) },
		"members": func(g *globals) *page { return g.statusPage(fleet.Status(f, o), true) },
		"images":  func(g *globals) *page { return g.imagesPage(fleet.Images(f, o.Now)) },
		"verify":  func(g *globals) *page { return g.verifyPage(fleet.Verify(f, nil, o)) },
	}
}

// eachSeePage calls f for every page of every fleet.
func eachSeePage(t *testing.T, f func(t *testing.T, name string, render func(*globals) *page)) {
	t.Helper()
	fleets := fleettest.Fleets()
	for _, name := range slices.Sorted(maps.Keys(fleets)) {
		pages := seePages(fleets[name])
		for _, command := range slices.Sorted(maps.Keys(pages)) {
			t.Run(command+"-"+name, func(t *testing.T) { f(t, command+"-"+name, pages[command]) })
		}
	}
}

func pageText(p *page) string {
	var b bytes.Buffer
	_, _ = p.WriteTo(&b) // a buffer takes everything
	return b.String()
}

// TestSee: the pages as they are, narrow and wide, with Unicode and without.
func TestSee(t *testing.T) {
	eachSeePage(t, func(t *testing.T, name string, render func(*globals) *page) {
		var text strings.Builder
		for _, columns := range []int{80, 100} {
			for _, style := range []cli.Style{{Unicode: true}, {}} {
				if columns == 100 && style.Unicode {
					continue // says nothing that the two others do not
				}
				g, _ := seeing(t, style, columns, nil)
				charset := map[bool]string{true: "Unicode", false: "ASCII"}[style.Unicode]
				fmt.Fprintf(&text, "== %d columns, %s\n%s", columns, charset, pageText(render(g)))
			}
		}
		golden(t, "see/"+name, text.String())
	})
}

// TestSeeKeepsItsWidth: no line is wider than the terminal, whatever a name is, and
// nothing but colours moves one.
func TestSeeKeepsItsWidth(t *testing.T) {
	sgr := regexp.MustCompile("\x1b\\[[0-9;]*m")
	eachSeePage(t, func(t *testing.T, name string, render func(*globals) *page) {
		for _, columns := range []int{40, 60, 80, 100, 200} {
			for _, unicode := range []bool{false, true} {
				g, _ := seeing(t, cli.Style{Unicode: unicode}, columns, nil)
				plain := pageText(render(g))
				for line := range strings.Lines(plain) {
					require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, "%s at %d: %s", name, columns, line)
				}
				require.Equal(t, -1, strings.IndexFunc(plain, func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e) }))
				if !unicode {
					require.Equal(t, -1, strings.IndexFunc(plain, func(r rune) bool { return r >= utf8.RuneSelf }), plain)
				}
				g.out.Style.Color = true
				colored := pageText(render(g))
				require.NotEqual(t, plain, colored)
				require.Equal(t, plain, sgr.ReplaceAllString(colored, ""))
			}
		}
	})
}

// TestSeeJSON: the documents have the version and names that scripts may rely on.
func TestSeeJSON(t *testing.T) {
	key := regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	var keys func(t *testing.T, v any)
	keys = func(t *testing.T, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, v := range v {
				require.Regexp(t, key, k)
				keys(t, v)
			}
		case []any:
			for _, v := range v {
				keys(t, v)
			}
		}
	}
	for name, f := range fleettest.Fleets() {
		for _, command := range []string{"status", "images", "verify"} {
			t.Run(command+"-"+name, func(t *testing.T) {
				g, stdout := seeing(t, cli.Style{}, 80, reads(f))
				root := newRootCommand(g)
				root.SetArgs([]string{command, "-g", fleettest.Group, "--subscription", fleettest.Subscription, "-o", "json"})
				err := root.ExecuteContext(t.Context())
				if command != "verify" {
					require.NoError(t, err)
				}
				var document map[string]any
				require.NoError(t, json.Unmarshal(stdout.Bytes(), &document))
				require.EqualValues(t, 1, document["version"])
				keys(t, document)
				require.NotContains(t, stdout.String(), "\x1b")
			})
		}
	}
}
