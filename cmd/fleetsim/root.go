package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/prometheus/common/version"
	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// controlVariable names the control API for the commands that speak to it.
const controlVariable = "FLEETSIM_CONTROL"

// exitUsage is the code for a command line that makes no sense.
const exitUsage = 2

// globals is what every command is given.
type globals struct {
	control string // address of the control API
	json    bool   // form of what goes to standard output
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
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(g.out.Out)
	root.SetErr(g.out.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(usageError)
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
	cmd.PersistentFlags().VarP((*format)(&g.json), "output", "o", "`text` or json")
}

// format is the value of --output: whether it is JSON.
type format bool

func (f *format) Type() string { return "format" }

func (f *format) String() string {
	if *f {
		return "json"
	}
	return "text"
}

func (f *format) Set(s string) error {
	if s != "text" && s != "json" {
		return errors.New("must be text or json")
	}
	*f = s == "json"
	return nil
}

// usageError is err with a hint at the command's help.
func usageError(cmd *cobra.Command, err error) error {
	return &cli.Error{Code: exitUsage, Err: err, Hint: cmd.CommandPath() + " --help shows how it is used"}
}

// arguments is the Args of commands that take exactly the named ones.
func arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usageError(cmd, fmt.Errorf("%s: %s is missing", cmd.CommandPath(), names[len(args)]))
		case len(args) > len(names):
			return usageError(cmd, fmt.Errorf("%s: unexpected argument %q", cmd.CommandPath(), args[len(names)]))
		}
		return nil
	}
}

// knownCommand is the Args of commands that only have subcommands: it is asked
// when the first argument named none of them.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return &cli.Error{Code: exitUsage, Err: err, Hint: "did you mean " + cmd.CommandPath() + " " + strings.Join(near, " or ") + "?"}
	}
	return usageError(cmd, err)
}

func newVersionCommand(g *globals) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "say which release this is",
		Args:  arguments(),
		RunE: func(*cobra.Command, []string) error {
			release := version.Version
			if release == "" {
				release = "devel"
			}
			if g.json {
				return g.out.JSON(map[string]any{
					"version": 1, "release": release, "commit": version.GetRevision(),
					"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
			}
			_, err := fmt.Fprintf(g.out.Out, "fleetsim %s %s %s/%s\n", release, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
	g.outputFlag(cmd)
	return cmd
}

func newCompletionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "completion bash|zsh|fish",
		Short: "print a script that completes commands in your shell",
		Example: `  source <(fleetsim completion bash)
  fleetsim completion zsh > "${fpath[1]}/_fleetsim"
  fleetsim completion fish > ~/.config/fish/completions/fleetsim.fish`,
		Args:      arguments("the name of a shell"),
		ValidArgs: []string{"bash", "zsh", "fish"},
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			}
			return usageError(cmd, fmt.Errorf("%s: %q is none of bash, zsh, fish", cmd.CommandPath(), args[0]))
		},
	}
}
