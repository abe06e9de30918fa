package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// load reads the scenario, and takes from it what the flags leave open. Without one
// it returns nil.
func (o *armOptions) load(cmd *cobra.Command, cfg *arm.Config) (*arm.Scenario, error) {
	if o.scenario == "" {
		return nil, nil //nolint:nilnil // no scenario and no error are a proper pair
	}
	sc, err := findARMScenario(o.scenario)
	if err != nil {
		return nil, err
	}
	if !cmd.Flags().Changed("subscription") {
		cfg.Subscription = cmp.Or(sc.Subscription(), cfg.Subscription)
	}
	speed := o.clock
	if !cmd.Flags().Changed("clock") {
		speed = cmp.Or(sc.Speed(), speed)
	}
	start := sc.Start()
	if start.IsZero() {
		start = time.Now()
	}
	cfg.Clock = arm.NewClock(start, speed)
	cfg.Rules = sc.Rules()
	return sc, nil
}

// findARMScenario opens a file, or one of the examples when the argument does not
// look like a file.
func findARMScenario(arg string) (*arm.Scenario, error) {
	if isFile(arg) {
		return arm.LoadScenario(arg)
	}
	sc, err := arm.Example(arg)
	return sc, exampleError("arm", arg, err)
}

func listARMScenarios(g *globals) error {
	columns, _ := g.out.Size()
	page := cli.Page{Style: g.out.Style, Width: columns}
	for _, name := range arm.Examples() {
		sc, err := arm.Example(name)
		if err != nil {
			return err
		}
		page.Text(0, cli.Bold, sc.Name, 1)
		page.Text(2, cli.Plain, sc.Description, 10)
	}
	_, err := page.WriteTo(g.out.Out)
	return err
}

func showARMScenario(g *globals, name string) error {
	text, err := arm.ExampleText(name)
	if err != nil {
		return exampleError("arm", name, err)
	}
	_, err = g.out.Out.Write(text)
	return err
}

func showARMSchema(g *globals) error {
	data, err := json.MarshalIndent(arm.ScenarioSchema(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode the schema: %w", err)
	}
	_, err = fmt.Fprintln(g.out.Out, string(data))
	return err
}
