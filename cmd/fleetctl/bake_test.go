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
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
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
	b := &baking{clock: arm.NewClock(simStart(), 0)}
	b.server, err = arm.New(arm.Config{Clock: b.clock, Unthrottled: true, Rules: scenario.Rules()})
	require.NoError(t, err)
	require.NoError(t, b.server.Apply(scenario))
	b.endpoint = httptest.NewServer(standstill.Handler(b.server, b.server))
	t.Cleanup(b.endpoint.Close)

	dir := t.TempDir()
	text, err = os.ReadFile(filepath.Join("testdata", "bake", "fleet.yaml"))
	require.NoError(t, err)
	b.file = filepath.Join(dir, "fleet.yaml")
	require.NoError(t, os.WriteFile(b.file, []byte(strings.NewReplacer("%VERSION%", version, "%WITHIN%", within).Replace(string(text))), 0o644))
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
	return g, stdout, stderr
}

// fleetctl runs the command, and returns all that it shows.
func (b *baking) fleetctl(args ...string) (text string, code int) {
	g, stdout, stderr := b.globals()
	code = g.run(append(args, "--file", b.file))
	shown := strings.NewReplacer(b.file, "fleet.yaml", filepath.Dir(b.file)+"/", "").Replace
	return fmt.Sprintf("$ fleetctl %s\n%s%s[exit %d]\n", strings.Join(args, " "), shown(stderr.String()), shown(stdout.String()), code), code
}

// golden compares a text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", "bake", name+".txt")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
	for line := range strings.Lines(text) {
		if !strings.Contains(text, "json") && !strings.Contains(line, "https://") && !strings.Contains(line, "/subscriptions/") && !strings.HasPrefix(line, "1") {
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
			golden(t, name, text)
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
