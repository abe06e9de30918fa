package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

// A baking is a simulated Azure for bakes, whose time passes only while somebody waits.
type baking struct {
	server   *arm.Server
	clock    *arm.Clock
	endpoint *httptest.Server
	file     string
}

// newBaking makes one from testdata/bake/ground.yaml and fleet.yaml: words in
// percent signs stand for what a test has of its own.
func newBaking(t *testing.T, builds, version, within string) *baking {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "bake", "ground.yaml"))
	require.NoError(t, err)
	scenario, err := arm.ParseScenario("ground.yaml", bytes.ReplaceAll(text, []byte("# %BUILDS%"), []byte(builds)))
	require.NoError(t, err)
	b := newBakingOf(t, scenario)
	text, err = os.ReadFile(filepath.Join("testdata", "bake", "fleet.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(b.file, []byte(strings.NewReplacer("%VERSION%", version, "%WITHIN%", within).Replace(string(text))), 0o644))
	return b
}

// newBakingOf makes one from a scenario, without a fleet.yaml.
func newBakingOf(t *testing.T, scenario *arm.Scenario) *baking {
	t.Helper()
	b := &baking{clock: arm.NewClock(simStart(), 0)}
	var err error
	b.server, err = arm.New(arm.Config{Clock: b.clock, Unthrottled: true, Rules: scenario.Rules()})
	require.NoError(t, err)
	require.NoError(t, b.server.Apply(scenario))
	b.endpoint = armjudge.Serve(t, standstill.Handler(b.server, b.server))

	dir := t.TempDir()
	b.file = filepath.Join(dir, "fleet.yaml")
	for _, name := range []string{"install.sh", "validate.sh"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("echo "+name+"\n"), 0o644))
	}
	return b
}

// globals are those of a call of fleetctl, and what it prints.
func (b *baking) globals() (g *globals, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	env := map[string]string{azure.EndpointVariable: b.endpoint.URL, "COLUMNS": "80", "LANG": "C.UTF-8", subscriptionVariable: arm.DefaultSubscription}
	g = newGlobals(stdout, stderr, func(name string) string { return env[name] })
	g.now, g.zone = b.clock.Now, time.UTC
	g.sleep = func(ctx context.Context, d time.Duration) error {
		b.server.Advance(d)
		return ctx.Err()
	}
	g.times = func(*azure.Client) (func() time.Time, func(context.Context, time.Duration) error) {
		return g.now, g.sleep
	}
	return g, stdout, stderr
}

// fleetctl runs the command, and returns all that it shows.
func (b *baking) fleetctl(args ...string) (text string, code int) {
	g, stdout, stderr := b.globals()
	code = g.run(append(args, "--file", b.file))
	return fmt.Sprintf("$ fleetctl %s\n%s[exit %d]\n", strings.Join(args, " "), b.shown(stderr.String()+stdout.String()), code), code
}

// shown is a text without what is different in every test.
func (b *baking) shown(text string) string {
	text = strings.NewReplacer(b.file, "fleet.yaml", filepath.Dir(b.file)+"/", "").Replace(text)
	return regexp.MustCompile(`\(request\s+[0-9a-f-]{36}\)`).ReplaceAllString(text, "(request ID)")
}

// goldenBake compares a text with a file of testdata.
func goldenBake(t *testing.T, name, text string) {
	t.Helper()
	golden(t, "bake/"+name, text)
	for line := range strings.Lines(text) {
		if !strings.Contains(text, "json") && !strings.Contains(line, "https://") && !strings.Contains(line, "/subscriptions/") && !strings.HasPrefix(line, "1") && !strings.HasPrefix(line, "fleetctl: ") {
			require.LessOrEqual(t, len([]rune(strings.TrimRight(line, "\n"))), 80, line)
		}
	}
}

const notAuthorized = "The client '3f' with object id '3f' does not have authorization to perform action 'Microsoft.Compute/galleries/images/versions/write' over scope " +
	"'/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg-pay-prod' or the scope is invalid. If access was recently granted, please refresh your credentials."

// TestBakeEnds: each end that a bake can come to, as it is shown.
func TestBakeEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		builds  string // entries of the scenario
		version string
		within  string
		args    string
		before  func(t *testing.T, b *baking)
		code    int
	}{
		"proven":     {},
		"untested":   {args: "--no-boot-test"},
		"follow":     {args: "--follow"},
		"no-wait":    {args: "--no-wait --exit-code", code: exitChanges},
		"json":       {args: "-o json"},
		"customizer": {builds: `- {fails: customizer, customizer: install, exit_code: 3, output: ["+ dpkg -i /tmp/fleet-agent.deb", "dpkg: dependency problems prevent configuration of fleet-agent"]}`, code: 1},
		"customizer-json": {
			builds: `- {fails: customizer, customizer: install, exit_code: 3, output: ["dpkg: error"]}`, args: "-o json", code: 1,
		},
		"validator":      {builds: `- {fails: validator, exit_code: 7, output: ["fleet-agent.service is not enabled"]}`, code: 1},
		"quota":          {builds: `- {fails: quota}`, code: 1},
		"partially":      {builds: `- {fails: region, regions: [westus3]}`, code: 1},
		"stuck-creating": {builds: `- {fails: stuck-creating, count: 1}`},
		"stuck-running":  {builds: `- {fails: stuck-running, state: Customizing, count: 1}`, code: 1},
		"internal-error": {builds: `- {fails: internal-error}`, code: 1},
		"distribution":   {builds: `- {fails: distribution, message: "` + notAuthorized + `"}`, code: 1},
		"policy":         {builds: `- {fails: policy}`, code: 1},
		"shared-key":     {builds: `- {fails: shared-key}`, code: 1},
		"refused":        {builds: `- {fails: submission, code: Other, message: "The subscription is not registered to use namespace 'Microsoft.ContainerInstance'."}`, code: 1},
		"role-late":      {builds: `- {fails: submission, count: 2, code: BadSharedImageDistribute, message: "` + notAuthorized + `"}`},
		"role-never":     {builds: `- {fails: submission, code: BadSharedImageDistribute, message: "` + notAuthorized + `"}`, code: 1},
		"log-unreadable": {
			builds: `- {fails: customizer, customizer: install, exit_code: 3}`, code: 1,
			before: func(t *testing.T, b *baking) {
				t.Helper()
				require.NoError(t, b.server.SetFault(arm.Fault{Kind: arm.FaultError, Path: "/blob/", Status: 403, Code: "AuthorizationFailure", Message: "This request is not authorized to perform this operation."}))
			},
		},
		"provider": {
			code: exitRefused,
			before: func(t *testing.T, b *baking) {
				t.Helper()
				b.unregister(t)
			},
		},
		"running": {
			before: func(t *testing.T, b *baking) {
				t.Helper()
				_, code := b.fleetctl("bake", "--no-wait")
				require.Zero(t, code)
			},
		},
		"stuck-canceling": {
			builds: `- {fails: stuck-canceling}`,
			before: func(t *testing.T, b *baking) {
				t.Helper()
				_, code := b.fleetctl("bake", "--no-wait")
				require.Zero(t, code)
				b.cancel(t, "1.8.0")
			},
		},
		"exists": {
			version: "1.8.0", code: 1,
			before: func(t *testing.T, b *baking) {
				t.Helper()
				_, code := b.fleetctl("bake")
				require.Zero(t, code)
			},
		},
		"boot-slow": {within: "10s", code: exitRefused},
	} {
		t.Run(name, func(t *testing.T) {
			tc.version, tc.within = cmp.Or(tc.version, "1.8.{n}"), cmp.Or(tc.within, "5m")
			b := newBaking(t, tc.builds, tc.version, tc.within)
			if tc.before != nil {
				tc.before(t, b)
			}
			text, code := b.fleetctl(append([]string{"bake"}, strings.Fields(tc.args)...)...)
			goldenBake(t, name, text)
			require.Equal(t, tc.code, code, text)
			if strings.Contains(tc.args, "json") {
				var view bakeView
				_, document, _ := strings.Cut(text, "\n{")
				document, _, _ = strings.Cut(document, "\n[exit")
				require.NoError(t, json.Unmarshal([]byte("{"+document), &view))
				require.Equal(t, 1, view.Version)
			}
		})
	}
}

// unregister makes a resource provider one that is not registered.
func (b *baking) unregister(t *testing.T) {
	t.Helper()
	b.post(t, "/subscriptions/"+arm.DefaultSubscription+"/providers/Microsoft.ContainerInstance/unregister?api-version=2021-04-01")
}

// cancel cancels the build of a version.
func (b *baking) cancel(t *testing.T, version string) {
	t.Helper()
	b.post(t, "/subscriptions/"+arm.DefaultSubscription+"/resourceGroups/rg-pay-prod/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-"+version+"/cancel?api-version=2024-02-01")
}

func (b *baking) post(t *testing.T, path string) {
	t.Helper()
	resp, err := http.Post(b.endpoint.URL+path, "application/json", nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Less(t, resp.StatusCode, 300)
}

// TestBakeInterrupted: an interrupt leaves the build to Azure, or cancels it; either way
// it says how to go on, and the next call does.
func TestBakeInterrupted(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		next string // outcome of the next call
	}{
		"detached": {args: []string{"bake"}, next: "ubuntu-app 1.8.0 is proven"},
		"canceled": {args: []string{"bake", "--cancel"}, next: "ubuntu-app 1.8.1 is proven"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBaking(t, "", "1.8.{n}", "5m")
			g, _, stderr := b.globals()
			sleep := g.sleep
			g.sleep = func(ctx context.Context, d time.Duration) error {
				if strings.Contains(stderr.String(), "Customizing") && ctx.Err() == nil && !strings.Contains(stderr.String(), "fleetctl: ") {
					require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
					<-ctx.Done()
				}
				return sleep(ctx, d)
			}
			code := g.run(append(tc.args, "--file", b.file))
			require.Equal(t, cli.ExitInterrupted, code, stderr.String())
			goldenBake(t, name, "$ fleetctl "+strings.Join(tc.args, " ")+"\n"+stderr.String())
			text, code := b.fleetctl("bake")
			require.Zero(t, code, text)
			require.Contains(t, text, tc.next)
		})
	}
}

// TestBakeScreen: what a terminal shows while it goes on, at 80 columns.
func TestBakeScreen(t *testing.T) {
	b := newBaking(t, "", "1.8.{n}", "5m")
	g, _, _ := b.globals()
	f, err := fleetfile.Load(b.file, func(name string) (string, bool) { return g.getenv(name), g.getenv(name) != "" })
	require.NoError(t, err)
	g.out.ErrStyle = cli.Style{Unicode: true}
	d := g.newBakeDisplay(f.Spec, false)
	var text strings.Builder
	at := func(after time.Duration, kind bake.EventKind, words string) {
		b.server.Advance(after)
		d.take(bake.Event{Kind: kind, At: b.clock.Now(), Version: "1.8.4", Text: words})
	}
	show := func(after time.Duration) {
		b.server.Advance(after)
		fmt.Fprintf(&text, "== after %s\n%s\n", cli.Countdown(b.clock.Now().Sub(simStart())), strings.Join(d.lines(b.clock.Now()), "\n"))
	}
	at(0, bake.Note, "ubuntu-app-1.8.3 is left behind: Creating since 2026-03-05 13:20 UTC. It may still publish 1.8.3, which is never used")
	at(0, bake.Stage, bake.StageCreating)
	show(20 * time.Second)
	at(130*time.Second, bake.Stage, "Queued")
	at(20*time.Second, bake.Stage, "Building")
	at(70*time.Second, bake.Stage, "Customizing")
	at(10*time.Second, bake.Customizer, "install")
	show(15 * time.Second)
	at(60*time.Second, bake.Stage, "Distributing")
	at(120*time.Second, bake.Stage, bake.StageReplicating)
	d.take(bake.Event{Kind: bake.Regions, At: b.clock.Now(), Version: "1.8.4", Regions: []fleet.Region{{Name: "eastus", State: fleet.Replicated}, {Name: "westus3", State: fleet.Replicating, Progress: 40}}})
	show(25 * time.Second)
	at(60*time.Second, bake.Stage, bake.StageBootTest)
	at(30*time.Second, bake.Boot, "the instance runs, health: Initializing")
	show(12 * time.Second)
	at(30*time.Second, bake.Stage, bake.StageDone)
	show(0)
	goldenBake(t, "screen", text.String())
}
