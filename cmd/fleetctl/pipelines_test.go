package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// pipelineCommand is a call of fleetctl in a script of a pipeline.
var pipelineCommand = regexp.MustCompile(`(?m)^(?: *run:)? *fleetctl ([^\n>]+?)(?: >\S+)?(?: \|\| code=\$\?)?$`)

// TestPipelines runs every call of fleetctl in the examples of pipelines, in order, in
// front of a simulated Azure, and reads of its output what they read of it.
func TestPipelines(t *testing.T) {
	files, err := filepath.Glob("../../examples/pipelines/*-bake.yml")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		scenario, err := arm.Example("bake")
		require.NoError(t, err)
		b := newBakingOf(t, scenario)
		fleet, err := os.ReadFile("testdata/bake/fleet.yaml")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(b.file, []byte(strings.NewReplacer("%VERSION%", "1.7.{n}", "%WITHIN%", "90s").Replace(string(fleet))), 0o644))

		var baked struct {
			ImageVersion string `json:"image_version"` // as jq reads it there
		}
		calls := pipelineCommand.FindAllStringSubmatch(string(text), -1)
		require.Len(t, calls, 3, "%s: preflight, bake, promote", file)
		for _, call := range calls {
			args := strings.Fields(strings.NewReplacer(`"$VERSION"`, baked.ImageVersion).Replace(call[1]))
			out, code := b.fleetctl(args...)
			require.Zero(t, code, "%s: %s", file, out)
			if args[0] == "bake" {
				_, document, _ := strings.Cut(out, "\n{\n")
				require.NoError(t, json.Unmarshal([]byte("{"+document[:strings.LastIndex(document, "[exit")]), &baked), out)
				require.Equal(t, "1.7.0", baked.ImageVersion)
			}
		}
		require.Contains(t, string(text), "jq --raw-output .image_version")
		out, _ := b.fleetctl("images")
		require.Contains(t, out, "latest 1.7.0 in eastus, westus3")
	}
}

// asking is the wave that a pipeline asks for the approval of, as its jq reads it.
var asking = regexp.MustCompile(`(?s)jq --raw-output --arg began "\$began" \\\n *'(.+?)' rollout.json`)

// A pipeline is one of rollouts in front of a simulated Azure.
type pipeline struct {
	*baking

	calls map[string]string // of fleetctl, by the command
	jq    string            // the program that finds the wave to ask about
	dir   string
}

func newPipeline(t *testing.T, example string) *pipeline {
	t.Helper()
	text, err := os.ReadFile(example)
	require.NoError(t, err)
	scenario, err := arm.Example("rollout")
	require.NoError(t, err)
	p := &pipeline{baking: newBakingOf(t, scenario), calls: make(map[string]string), jq: asking.FindStringSubmatch(string(text))[1], dir: t.TempDir()}
	file, err := os.ReadFile("testdata/rollout/pipeline.yaml")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.file, file, 0o600))
	for _, call := range pipelineCommand.FindAllStringSubmatch(string(text), -1) {
		p.calls[strings.Fields(call[1])[1]] = call[1]
	}
	require.Len(t, p.calls, 3, "%s: run, advance, approve", example)
	return p
}

// do runs a call of the pipeline with its variables.
func (p *pipeline) do(t *testing.T, name string, variables ...string) (text string, code int) {
	t.Helper()
	values := strings.NewReplacer(append(variables, "rollout.html", filepath.Join(p.dir, "rollout.html"))...)
	return p.fleetctl(shellWords(t, values.Replace(p.calls[name]))...)
}

// document is what a call prints as JSON.
func document(t *testing.T, text string) string {
	t.Helper()
	i := strings.Index(text, "\n{\n")
	require.GreaterOrEqual(t, i, 0, text)
	return text[i+1 : strings.LastIndex(text, "[exit")]
}

// ticks calls advance until it exits with something else than that the rollout is
// unfinished, and approves each wave that begins to ask in a tick.
func (p *pipeline) ticks(t *testing.T) (code, approved int) {
	t.Helper()
	jq := testkit.Tool(t, "jq", "jq")
	for range 100 {
		began := p.clock.Now().UTC().Format("2006-01-02T15:04:05")
		out, code := p.do(t, "advance")
		if code != exitChanges {
			return code, approved
		}
		cmd := exec.CommandContext(t.Context(), jq, "--raw-output", "--arg", "began", began, p.jq)
		cmd.Stdin = strings.NewReader(document(t, out))
		wave, err := cmd.Output()
		require.NoError(t, err, out)
		if name := strings.TrimSpace(string(wave)); name != "" {
			require.Equal(t, "west", name)
			approved++
			out, code := p.do(t, "approve", "$WAVE", name)
			require.Zero(t, code, out)
		}
		p.server.Advance(5 * time.Minute)
	}
	require.Fail(t, "the rollout does not end")
	return 0, 0
}

// TestRolloutPipelines runs the calls of fleetctl in the pipelines of rollouts as their
// schedules would: a good version comes to its end with one approval, a bad one fails the
// run.
func TestRolloutPipelines(t *testing.T) {
	files, err := filepath.Glob("../../examples/pipelines/*-rollout.yml")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			p := newPipeline(t, file)
			out, code := p.do(t, "advance")
			require.Zero(t, code, "no rollout was begun: %s", out)

			out, code = p.do(t, "run", "$VERSION", "1.7.1")
			require.Zero(t, code, out)
			code, approved := p.ticks(t)
			require.Zero(t, code)
			require.Equal(t, 1, approved)
			out, _ = p.fleetctl("images")
			require.Contains(t, out, "latest 1.7.1 in eastus, westus3")
			report, err := os.Stat(filepath.Join(p.dir, "rollout.html"))
			require.NoError(t, err)
			require.NotZero(t, report.Size())

			p = newPipeline(t, file)
			out, code = p.do(t, "run", "$VERSION", "1.7.0")
			require.Zero(t, code, out)
			code, _ = p.ticks(t)
			require.Equal(t, exitHalted, code)
			out, code = p.do(t, "advance")
			require.Zero(t, code, "somebody was told, and there is nothing to do: %s", out)
		})
	}
}
