// Command docs writes the generated documents: docs/config.md and docs/fleet-yaml.md
// from the tables of their keys, docs/metrics.md from the metrics that an agent
// registers, docs/traps.md from the table of traps.
// `make docs` runs it and .ci/run fails when its output differs.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"

	"github.com/fleet-agent/fleet-agent/internal/agent"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "docs: error:", err)
		os.Exit(1)
	}
}

func run() error {
	for _, document := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{"docs/config.md", config.WriteReference},
		{"docs/fleet-yaml.md", fleetfile.WriteReference},
		{"docs/metrics.md", agent.WriteMetricsReference},
		{"docs/traps.md", fleet.WriteTraps},
	} {
		var b bytes.Buffer
		if err := document.write(&b); err != nil {
			return err
		}
		if err := os.WriteFile(document.path, b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}
