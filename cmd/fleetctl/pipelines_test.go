package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// pipelineCommand is a call of fleetctl in a script of a pipeline.
var pipelineCommand = regexp.MustCompile(`(?m)^(?: *run:)? *fleetctl ([^\n>]+)(?: >\S+)?$`)

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
