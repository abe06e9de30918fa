// Command docs writes the generated documents: docs/config.md from the table of
// configuration keys, docs/metrics.md from the metrics that an agent registers.
// `make docs` runs it and .ci/run fails when its output differs.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/fleet-agent/fleet-agent/internal/agent"
	"github.com/fleet-agent/fleet-agent/internal/config"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "docs: error:", err)
		os.Exit(1)
	}
}

func run() error {
	var b bytes.Buffer
	if err := config.WriteReference(&b); err != nil {
		return err
	}
	if err := os.WriteFile("docs/config.md", b.Bytes(), 0o644); err != nil {
		return err
	}
	b.Reset()
	if err := agent.WriteMetricsReference(&b); err != nil {
		return err
	}
	return os.WriteFile("docs/metrics.md", b.Bytes(), 0o644)
}
