package agent

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/config"
)

// metricsPreface opens docs/metrics.md.
const metricsPreface = `# Metrics

` + "`listen.metrics`" + ` (default 127.0.0.1:9810) serves these at ` + "`/metrics`" + `. Every series exists
from the start, so that a rate or an alert never waits for the first event, and no
label holds an id, a time or the text of an error. The collectors of the Go runtime
(` + "`go_*`" + `) and of the process (` + "`process_*`" + `) come with them.

This page is generated from the metrics that an agent registers.

| metric | type | labels | meaning |
|---|---|---|---|
`

// WriteMetricsReference writes docs/metrics.md: the metrics that an agent with
// one check of each label registers.
func WriteMetricsReference(w io.Writer) error {
	dir, err := os.MkdirTemp("", "fleet-metrics-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	conf := *config.Default()
	conf.RunDir, conf.StateDir = filepath.Join(dir, "run"), filepath.Join(dir, "state")
	conf.Checks = []config.Check{{
		Name: "example", Interval: config.Duration(1e9), Timeout: config.Duration(1e9), FailAfter: 1, PassAfter: 1,
		Severity: "critical", File: &config.FileCheck{Path: "/", Present: true},
	}}
	a, err := New(Config{Config: &conf, Version: "example"})
	if err != nil {
		return err
	}
	defer a.journal.Close()
	families, err := a.registry.Gather()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, metricsPreface); err != nil {
		return err
	}
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "fleet_agent_") {
			continue
		}
		var labels []string
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if name := "`" + l.GetName() + "`"; !slices.Contains(labels, name) {
					labels = append(labels, name)
				}
			}
		}
		if _, err := fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n",
			f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp()); err != nil {
			return err
		}
	}
	return nil
}
