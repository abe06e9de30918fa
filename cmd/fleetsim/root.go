package main

import (
	"errors"
	"io"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// controlVariable names the control API for the commands that speak to it.
const controlVariable = "FLEETSIM_CONTROL"

// usage is the code for a command line that makes no sense.
const usage = command.Usage(2)

// version is set by the build of a release: -ldflags "-X main.version=1.2.3".
var version string

// globals is what every command is given.
type globals struct {
	control string         // address of the control API
	format  command.Format // form of what goes to standard output
	out     *cli.Output
}

func newGlobals(stdout, stderr io.Writer, getenv func(string) string) *globals {
	return &globals{
		control: getenv(controlVariable),
		out:     cli.NewOutput(cli.OutputConfig{Out: stdout, Err: stderr, Getenv: getenv}),
	}
}

// client returns a client of the simulation that runs.
func (g *globals) client() (*imds.ControlClient, error) {
	if g.control == "" {
		return nil, cli.Hint(errors.New("find the control API: no address given"),
			"pass --control or set %s to the address that fleetsim imds printed", controlVariable)
	}
	return imds.NewControlClient(g.control), nil
}

func newRootCommand(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "fleetsim",
		Short: "a simulated Azure, for trying out how nodes and fleets behave",
		Long: `fleetsim simulates Azure over real HTTP: the metadata service that a node talks to
(fleetsim imds), and Azure Resource Manager, which fleetctl talks to (fleetsim arm).

Try it: in one terminal
  fleetsim imds --listen 127.0.0.1:9254 --control 127.0.0.1:9255
and in another
  curl -H Metadata:true "http://127.0.0.1:9254/metadata/scheduledevents?api-version=2020-07-01"
  export FLEETSIM_CONTROL=http://127.0.0.1:9255
  fleetsim event publish Preempt --notice 30s
  fleetsim acks

Point a fleet-agent at it with imds.endpoint in its configuration, and fleetctl at
fleetsim arm with FLEETCTL_ARM_ENDPOINT.

Exit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage.Known,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(g.out.Out)
	root.SetErr(g.out.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(usage.Error)
	root.AddCommand(
		newARMCommand(g), newIMDSCommand(g), newEventCommand(g), newFaultCommand(g), newAcksCommand(g), newRequestsCommand(g),
		newVersionCommand(g), newCompletionCommand(),
	)
	return root
}

// clientFlags adds the flags of a command that speaks to the control API.
func (g *globals) clientFlags(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&g.control, "control", g.control, "`URL` of the control API; also "+controlVariable)
	g.outputFlag(cmd)
}

func (g *globals) outputFlag(cmd *cobra.Command) {
	g.format.Flag(cmd, cmd.PersistentFlags(), "`text` or json")
}

func newVersionCommand(g *globals) *cobra.Command {
	cmd := command.VersionCommand("fleetsim")
	cmd.Args = usage.Arguments()
	cmd.RunE = func(*cobra.Command, []string) error {
		return command.ReadVersion(version).Write(g.out, g.format, "fleetsim")
	}
	g.outputFlag(cmd)
	return cmd
}

func newCompletionCommand() *cobra.Command {
	return usage.Completion("fleetsim", "Print a script that makes your shell complete fleetsim's commands and flags.")
}
