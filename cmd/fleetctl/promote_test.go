package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm/armtypes"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

// A releaseWorld is a simulated Azure with an image that has a history, and a judge of
// what goes over the wire.
type releaseWorld struct {
	server  *arm.Server
	url     string
	file    string
	answers io.Reader                                  // of somebody at a terminal; nil: nobody is there
	before  func(r *http.Request)                      // each request; one call at a time
	cancel  func()                                     // interrupts the command that runs
	sleep   func(context.Context, time.Duration) error // of a world whose time is the simulation's alone; nil: it passes
}

// loadTypes loads the types that Azure publishes once.
var loadTypes = func() func(dir string) (*armtypes.Types, error) {
	var once sync.Once
	var types *armtypes.Types
	var err error
	return func(dir string) (*armtypes.Types, error) {
		once.Do(func() { types, err = armtypes.Load(dir) })
		return types, err
	}
}()

func newReleaseWorld(t *testing.T) *releaseWorld {
	t.Helper()
	return newWorldOf(t, "testdata/release/", 1000)
}

// newWorldOf is the world of a directory with a scenario.yaml and a fleet.yaml, in which
// time passes so many times as fast.
func newWorldOf(t *testing.T, dir string, speed float64) *releaseWorld {
	t.Helper()
	scenario, err := arm.LoadScenario(dir + "scenario.yaml")
	require.NoError(t, err)
	types, err := loadTypes(testkit.Published(t, "types"))
	require.NoError(t, err)
	w := &releaseWorld{file: dir + "fleet.yaml"}
	clock := arm.NewClock(simStart(), 0)
	w.server, err = arm.New(arm.Config{Clock: clock, Unthrottled: true, Rules: scenario.Rules()})
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(scenario)) // all its ages count from the start
	clock.SetFactor(speed)
	judge := judgeproxy.New(judgeproxy.Config{Next: w.server, Types: types})
	var one sync.Mutex
	web := armjudge.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.before != nil {
			one.Lock()
			w.before(r)
			one.Unlock()
		}
		if w.sleep != nil {
			rw = hurried{rw}
		}
		judge.ServeHTTP(rw, r)
	}))
	w.url = web.URL
	t.Cleanup(func() {
		web.Close()
		require.Empty(t, judge.Report().Findings)
		t.Log(judge.Report())
	})
	return w
}

// hurried has clients poll at once, where the time of a simulation does not pass by
// itself.
type hurried struct{ http.ResponseWriter }

func (h hurried) WriteHeader(status int) {
	if h.Header().Get("Retry-After") != "" {
		h.Header().Set("Retry-After-Ms", "1")
	}
	h.ResponseWriter.WriteHeader(status)
}

// run runs a command line at the time of the simulation.
func (w *releaseWorld) run(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk bytes.Buffer
	env := map[string]string{azure.EndpointVariable: w.url, "COLUMNS": "80", "LANG": "C.UTF-8"}
	g := newGlobals(&out, &talk, func(name string) string { return env[name] })
	g.now, g.zone, g.answers = simStart, time.UTC, nil
	if w.answers != nil {
		g.answers = answersFrom(w.answers)
	}
	if w.sleep != nil {
		g.times = func(*azure.Client) (func() time.Time, func(context.Context, time.Duration) error) {
			return w.server.Clock().Now, w.sleep
		}
	}
	root := newRootCommand(g)
	if !slices.Contains(args, "-g") {
		args = append(args, "-f", w.file)
	}
	root.SetArgs(args)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.cancel = cancel
	err := explained(root.ExecuteContext(ctx))
	code = cli.Report(&talk, g.out.ErrStyle, "fleetctl", err)
	return out.String(), talk.String(), code
}

// flags are the exclusions of a version as Azure has them.
func (w *releaseWorld) flags(t *testing.T, version string) string {
	t.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "http://127.0.0.1/subscriptions/"+arm.DefaultSubscription+
		"/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions/"+version+"?api-version=2025-12-03", nil))
	require.Equal(t, http.StatusOK, rec.Code, rec.Body.String())
	var v struct {
		Properties struct {
			PublishingProfile struct {
				ExcludeFromLatest bool
				TargetRegions     []struct {
					Name              string
					ExcludeFromLatest bool
				}
			}
		}
	}
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &v))
	list := []string{strconv.FormatBool(v.Properties.PublishingProfile.ExcludeFromLatest)}
	for _, r := range v.Properties.PublishingProfile.TargetRegions {
		list = append(list, fmt.Sprintf("%s %v", r.Name, r.ExcludeFromLatest))
	}
	return strings.Join(list, ", ")
}

// goldenRelease compares a text with the one that is kept.
func goldenRelease(t *testing.T, name, text string) {
	t.Helper()
	goldenIn(t, "release", name, text)
}

func goldenIn(t *testing.T, dir, name, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(name, ".json") && !strings.HasPrefix(line, "fleetctl: ") && !strings.HasPrefix(line, "$ ") && !strings.HasPrefix(line, "delete ") {
			require.LessOrEqual(t, len([]rune(strings.TrimSuffix(line, "\n"))), 80, line)
		}
	}
	golden(t, dir+"/"+name, text)
}

// TestRelease runs promote and demote one after the other and keeps what they say.
func TestRelease(t *testing.T) {
	for _, tt := range []struct {
		name     string
		commands []string
		flags    string // of the version of the last command
	}{
		{"promote", []string{"promote 1.8.2 --dry-run", "promote 1.8.2", "promote 1.8.2"}, "false, East US false, West US 3 false"},
		{"promote-region", []string{"promote 1.8.2 --region eastus", "demote 1.8.2 --region eastus"}, "false, East US true, West US 3 true"},
		{"promote-refused", []string{
			"promote 1.7.0", "promote 1.8.1", "promote 1.8.3", "promote 1.8.3 --region westus3", "promote 1.8.3 --region mars", "promote 1.9.9", "promote latest",
		}, "true, East US false, West US 3 false"},
		{"promote-untested", []string{"promote 1.8.1 --untested"}, "false, East US false, West US 3 false"},
		{"promote-old", []string{"demote 1.6.2", "promote 1.6.2 --untested"}, "false, East US false, West US 3 false"},
		{"promote-pinned", []string{"promote 1.7.1 --untested"}, "false, East US false, West US 3 false"},
		{"demote", []string{"demote 1.7.1 --dry-run", "demote 1.7.1", "demote 1.7.1"}, "true, East US true, West US 3 true"},
		{"demote-region", []string{"demote 1.7.1 --region westus3"}, "false, East US false, West US 3 true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newReleaseWorld(t)
			var text strings.Builder
			version := ""
			for _, command := range tt.commands {
				stdout, stderr, code := w.run(t, strings.Fields(command)...)
				fmt.Fprintf(&text, "$ fleetctl %s\n%s%s", command, stdout, stderr)
				if code != 0 {
					fmt.Fprintf(&text, "(exit %d)\n", code)
				}
				text.WriteString("\n")
				if v := regexp.MustCompile(`1\.[678]\.\d`).FindString(command); v != "" {
					version = v
				}
			}
			goldenRelease(t, tt.name, text.String())
			if tt.name != "promote-refused" {
				require.Equal(t, tt.flags, w.flags(t, version))
			}
		})
	}
}

// TestDemoteTheLast: the last version of a region that others track.
func TestDemoteTheLast(t *testing.T) {
	w := newReleaseWorld(t)
	var text strings.Builder
	for _, version := range []string{"1.5.0", "1.6.0", "1.6.1", "1.6.2", "1.7.1"} {
		stdout, stderr, code := w.run(t, "demote", version, "--region", "westus3")
		require.Zero(t, code, stderr)
		text.Reset()
		text.WriteString(stdout)
	}
	goldenRelease(t, "demote-last", text.String())
}

func TestReleaseJSON(t *testing.T) {
	w := newReleaseWorld(t)
	stdout, stderr, code := w.run(t, "promote", "1.8.2", "-o", "json")
	require.Zero(t, code, stderr)
	goldenRelease(t, "promote.json", regexp.MustCompile(`"at": "[^"]+"`).ReplaceAllString(stdout, `"at": "NOW"`))
	stdout, stderr, code = w.run(t, "promote", "1.7.0", "-o", "json")
	require.Equal(t, exitRefused, code)
	require.Empty(t, stdout)
	require.Contains(t, stderr, "marked failed")
}

// A file without a gallery, and what is not asked properly.
func TestReleaseUsage(t *testing.T) {
	w := newReleaseWorld(t)
	for _, args := range []string{"promote", "promote 1.8", "promote ../../x", "demote 1.8.2 --region=", "promote 1.8.2 1.8.3", "images prune", "images prune --keep 0", "images prune --keep 3", "images prun"} {
		stdout, stderr, code := w.run(t, strings.Fields(args)...)
		require.Equal(t, exitUsage, code, args+stderr)
		require.Empty(t, stdout, args)
	}
}
