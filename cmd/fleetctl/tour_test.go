package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

// serveScenario serves a scenario of the simulator, and returns it with its endpoint.
func serveScenario(t *testing.T, name string, pageSize int) (*arm.Server, string) {
	t.Helper()
	scenario, err := arm.Example(name)
	require.NoError(t, err)
	server, err := arm.New(arm.Config{PageSize: pageSize})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	require.NoError(t, server.Apply(scenario))
	return server, armjudge.Serve(t, server).URL
}

// fleetctl runs a command line in front of a simulator.
func fleetctl(t *testing.T, endpoint string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, talk bytes.Buffer
	env := map[string]string{
		azure.EndpointVariable: endpoint, subscriptionVariable: fleettest.Subscription,
		"COLUMNS": "80", "LANG": "C.UTF-8", "ROLLOUT_WEBHOOK": "https://hooks.example/rollout",
	}
	code = run(args, &out, &talk, func(name string) string { return env[name] })
	return out.String(), talk.String(), code
}

// TestTour runs every command that docs/fleetctl.md shows, and compares what it says.
// A line of three dots stands for any number of lines.
func TestTour(t *testing.T) {
	text, err := os.ReadFile("../../docs/fleetctl.md")
	require.NoError(t, err)
	_, endpoint := serveScenario(t, "article", 0)
	clock := regexp.MustCompile(`read \d\d:\d\d:\d\d \S+`)
	looking, _, found := strings.Cut(string(text), bakeTour)
	require.True(t, found)
	blocks := consoleBlocks.FindAllStringSubmatch(looking, -1)
	require.Len(t, blocks, 6)
	for _, block := range blocks {
		command, want, _ := strings.Cut(block[1], "\n")
		args := strings.Fields(strings.TrimPrefix(command, "$ fleetctl "))
		stdout, stderr, _ := fleetctl(t, endpoint, args...)
		got := clock.ReplaceAllString(stdout+stderr, "read 09:00:00 UTC")
		pattern := strings.ReplaceAll(regexp.QuoteMeta(want), `\.\.\.`+"\n", `(?s:.*)`)
		require.Regexp(t, "^"+pattern+"$", got, command)
	}
}

// consoleBlocks are the commands of a document, with what they print.
var consoleBlocks = regexp.MustCompile("(?ms)^```console\n(.*?)^```$")

// The headings of the tour's parts that begin with an Azure of their own.
const (
	bakeTour    = "## A new image\n"
	rolloutTour = "## A rollout\n"
	setsTour    = "## Scale sets in the file\n"
)

func TestBakeTour(t *testing.T) { tour(t, "fleetctl.md", bakeTour, "bake", 5) }

func TestRolloutTour(t *testing.T) { tour(t, "fleetctl.md", rolloutTour, "rollout", 7) }

func TestSetsTour(t *testing.T) { tour(t, "fleetctl.md", setsTour, "article", 3) }

func TestRolloutSteps(t *testing.T) { tour(t, "rollouts.md", "## Step by step\n", "rollout", 7) }

// tour runs every command of a part of a document, one after the other, in front of a
// scenario and with the file that the part shows, or that of the pipelines. With -update
// it writes what they print into the document.
func tour(t *testing.T, doc, heading, scenario string, commands int) {
	t.Helper()
	doc = "../../docs/" + doc
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	before, part, found := strings.Cut(string(text), heading)
	require.True(t, found)
	part, after, _ := strings.Cut(part, "\n## ")
	s, err := arm.Example(scenario)
	require.NoError(t, err)
	b := newBakingOf(t, s)
	file, err := os.ReadFile("testdata/rollout/pipeline.yaml")
	require.NoError(t, err)
	if shown := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindStringSubmatch(part); shown != nil {
		file = []byte(shown[1])
	}
	require.NoError(t, os.WriteFile(b.file, file, 0o600))
	key, err := os.ReadFile("testdata/own/pay.pub")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(b.file), "pay.pub"), key, 0o600))

	ran := 0
	got := consoleBlocks.ReplaceAllStringFunc(part, func(block string) string {
		ran++
		return "```console\n" + b.console(t, consoleBlocks.FindStringSubmatch(block)[1]) + "```"
	})
	require.Equal(t, commands, ran)
	if *update {
		require.NoError(t, os.WriteFile(doc, []byte(before+heading+got+"\n## "+after), 0o644))
		return
	}
	require.Equal(t, part, got)
}

// console runs the command of a block, and returns the block with what it prints. A sleep
// lets the time of the simulation pass.
func (b *baking) console(t *testing.T, block string) string {
	t.Helper()
	command, _, _ := strings.Cut(block, "\n")
	if seconds, ok := strings.CutPrefix(command, "$ sleep "); ok {
		span, err := time.ParseDuration(seconds + "s")
		require.NoError(t, err)
		b.server.Advance(span)
		return block
	}
	call, silent := strings.CutSuffix(strings.TrimPrefix(command, "$ fleetctl "), " >/dev/null 2>&1")
	var screen bytes.Buffer // both streams, in order
	g, _, _ := b.globals()
	env := g.getenv
	g.getenv = func(name string) string {
		if name == "USER" {
			return "corp/ana" // of a directory, so that the machine does not matter
		}
		return env(name)
	}
	g.out = cli.NewOutput(cli.OutputConfig{Out: &screen, Err: &screen, Getenv: g.getenv})
	args := shellWords(t, call)
	if !slices.Contains(args, "--template") { // which looks at no other file
		args = append(args, "--file", b.file)
	}
	g.run(args)
	if silent {
		screen.Reset()
	}
	return command + "\n" + b.shown(screen.String())
}

// TestRequests holds the requests of status and verify for a thousand members to their
// bound: the pages of the lists, five a scale set and three a version.
func TestRequests(t *testing.T) {
	const sets, members, versions, lists = 10, 1000, 2, 5 // of groups, galleries, definitions, versions, autoscale
	for _, pageSize := range []int{50, 200} {
		perSet := (members/sets + pageSize - 1) / pageSize
		bound := 1 + sets*perSet + lists + 5*sets + 3*versions
		server, endpoint := serveScenario(t, "thousand", pageSize)
		before := 0
		for _, command := range []string{"status", "verify"} {
			_, stderr, code := fleetctl(t, endpoint, command, "-g", fleettest.Group)
			require.Zero(t, code, stderr)
			requests := -before
			for _, c := range server.Counts() {
				requests += c.Count
			}
			before += requests
			t.Logf("%s, pages of %d: %d requests of at most %d", command, pageSize, requests, bound)
			require.LessOrEqual(t, requests, bound, "%s with pages of %d: %v", command, pageSize, server.Counts())
		}
	}
}

// TestEveryPage: a list goes on behind its first page, however short pages are.
func TestEveryPage(t *testing.T) {
	_, short := serveScenario(t, "article", 1)
	_, long := serveScenario(t, "article", 0)
	clock := regexp.MustCompile(`read \d\d:\d\d:\d\d \S+`)
	for _, command := range []string{"status", "images", "verify"} {
		a, _, code := fleetctl(t, short, command, "-g", fleettest.Group)
		require.Zero(t, code)
		b, _, _ := fleetctl(t, long, command, "-g", fleettest.Group)
		require.Equal(t, clock.ReplaceAllString(b, ""), clock.ReplaceAllString(a, ""))
	}
}

// TestVerifyFile: the file that init writes is what the article's fleet is, and a set
// that it declares and that is not there is told.
func TestVerifyFile(t *testing.T) {
	_, endpoint := serveScenario(t, "article", 0)
	file := filepath.Join(t.TempDir(), "fleet.yaml")
	_, stderr, code := fleetctl(t, endpoint, "init", "-f", file)
	require.Zero(t, code, stderr)
	stdout, stderr, code := fleetctl(t, endpoint, "verify", "-f", file)
	require.Zero(t, code, stdout+stderr)
	require.Contains(t, stdout, "vmss-authz        policy")
	require.NotContains(t, stdout, "vmss-legacy", "the file does not declare it")

	text, err := os.ReadFile(file)
	require.NoError(t, err)
	text = bytes.ReplaceAll(text, []byte("vmss-batch"), []byte("vmss-bulk"))
	require.NoError(t, os.WriteFile(file, text, 0o600))
	stdout, _, code = fleetctl(t, endpoint, "verify", "-f", file)
	require.Equal(t, exitRefused, code)
	require.Contains(t, stdout, "failed   vmss-bulk         scale-set")
	stdout, _, code = fleetctl(t, endpoint, "status", "-f", file)
	require.Zero(t, code)
	require.Contains(t, stdout, "✗ 1 of 3 scale sets failing")
	require.Contains(t, stdout, "the file declares vmss-bulk, and it is not there")

	_, stderr, code = fleetctl(t, endpoint, "status", "-f", filepath.Join(t.TempDir(), "none.yaml"))
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "look without one: --resource-group RG")
}
