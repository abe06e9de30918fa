package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/release"
)

// The codes that fleetctl exits with, besides those of internal/cli.
const (
	exitUsage        = 2 // a command line that makes no sense
	exitRefused      = 3 // a gate, preflight or verify says no
	exitUnauthorised = 4 // no credential, or one that may not
	exitHalted       = 5 // a rollout was halted, or is held
	exitChanges      = 8 // with --exit-code: there is something to do, or it is unfinished
)

// usage is the code for a command line that makes no sense.
const usage = command.Usage(exitUsage)

const (
	// defaultFile is the file of --file.
	defaultFile = "fleet.yaml"
	// subscriptionVariable is the environment's way to say --subscription.
	subscriptionVariable = "AZURE_SUBSCRIPTION_ID"
)

// The groups that the commands are listed in.
const (
	groupSee  = "see"
	groupBake = "bake"
	groupRoll = "roll"
	groupNode = "node"
	groupFile = "file"
	groupTool = "tool"
)

// globals is what every command is given: the global flags and where to write.
type globals struct {
	file          string // that declares the fleet
	resourceGroup string // in place of a file; see scopeFlags
	fileless      bool   // the command takes resourceGroup
	subscription  string // of resourceGroup
	format        command.Format
	yes           bool // nothing is asked
	auth          string
	timeout       time.Duration // of the whole command; 0: none
	noWait        bool          // what Azure goes on with alone is not waited for
	debug         bool          // requests are shown on standard error
	noColor       bool

	declared *fleetfile.File // what the file says, when it was read
	reader   reader          // of fleets; nil: Azure
	answers  *bufio.Reader   // of somebody who is asked; nil: nobody is there
	out      *cli.Output
	getenv   func(string) string
	now      func() time.Time
	sleep    func(context.Context, time.Duration) error // the error is that of the context
	zone     *time.Location                             // of the times in text
	// times are those that rollouts and evictions go by: their Azure's, which pass faster in a simulator.
	times func(*azure.Client) (now func() time.Time, sleep func(context.Context, time.Duration) error)
	// passed is the clock that locks of rollouts last by; nil: the machine's.
	passed func() time.Duration
}

func newGlobals(stdout, stderr io.Writer, getenv func(string) string) *globals {
	return &globals{
		subscription: getenv(subscriptionVariable),
		out:          cli.NewOutput(cli.OutputConfig{Out: stdout, Err: stderr, Getenv: getenv}),
		getenv:       getenv, now: time.Now, sleep: release.Sleep, zone: time.Local, answers: terminalInput(),
		times: func(c *azure.Client) (func() time.Time, func(context.Context, time.Duration) error) {
			return c.Now, c.Wait
		},
	}
}

// json says whether standard output is for a program.
func (g *globals) json() bool { return g.format == command.JSON }

func newRootCommand(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "fleetctl",
		Short: "scale sets of Azure and the images that they run",
		Long: `fleetctl shows what a fleet of Azure scale sets runs, tells what is wrong with
it, and brings new images to it.

Start with: fleetctl status --resource-group RG --subscription ID

Exit codes, of every command unless its help says otherwise:
  0    done, or nothing to do
  1    error
  2    wrong usage
  3    refused by a gate, by preflight or by verify
  4    not authorised
  5    a rollout was halted, or is held
  8    with --exit-code: there are changes, or it is unfinished
  130  interrupted

Environment:
  AZURE_SUBSCRIPTION_ID  the subscription of --subscription
  AZURE_...              credentials, as the Azure SDKs know them; see --auth
  FLEETCTL_ARM_ENDPOINT  a simulator in the place of Azure, on loopback only
  NO_COLOR               no colours, as --no-color`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage.Known,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			g.out = cli.NewOutput(cli.OutputConfig{Out: g.out.Out, Err: g.out.Err, Getenv: g.getenv, NoColor: g.noColor})
			return g.check(cmd)
		},
	}
	root.SetOut(g.out.Out)
	root.SetErr(g.out.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(usage.Error)
	g.globalFlags(root)

	root.AddGroup(
		&cobra.Group{ID: groupSee, Title: "See:"},
		&cobra.Group{ID: groupBake, Title: "Bake:"},
		&cobra.Group{ID: groupRoll, Title: "Roll:"},
		&cobra.Group{ID: groupNode, Title: "Members:"},
		&cobra.Group{ID: groupFile, Title: "Declare:"},
		&cobra.Group{ID: groupTool, Title: "More:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupSee, newStatusCommand(g), newImagesCommand(g), newVerifyCommand(g), newPreflightCommand(g))
	add(groupFile, newInitCommand(g), newPlanCommand(g), newApplyCommand(g), newSchemaCommand(g))
	add(groupBake, newBakeCommand(g), newPromoteCommand(g), newDemoteCommand(g))
	add(groupRoll, newRolloutCommand(g))
	add(groupNode, newProtectCommand(g), newUnprotectCommand(g), newEvictCommand(g))
	add(groupTool, newVersionCommand(g), newCompletionCommand())
	root.SetHelpCommandGroupID(groupTool)
	root.SetUsageFunc(command.WriteUsage)
	cobra.EnableCommandSorting = false // the order above is for readers
	return root
}

func (g *globals) globalFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVarP(&g.file, "file", "f", defaultFile, "`FILE` that declares the fleet")
	g.format.Flag(root, flags, "`FORMAT` of the output: text or json")
	flags.BoolVarP(&g.yes, "yes", "y", false, "ask nothing, do it")
	flags.StringVar(&g.auth, "auth", "default", "the `WAY` to sign in: default, cli, env, workload,\nmanaged-identity, github or azure-pipelines\n")
	flags.DurationVar(&g.timeout, "timeout", 0, "give up after this `TIME`")
	flags.BoolVar(&g.noWait, "no-wait", false, "do not wait for what Azure goes on with alone")
	flags.BoolVar(&g.debug, "debug", false, "show every request on standard error, without secrets")
	flags.BoolVar(&g.noColor, "no-color", false, "no colours")
	flags.BoolP("help", "h", false, "show this help")
}

// groupFlag is the name of the flag that names a resource group.
func groupFlag(cmd *cobra.Command) string {
	if cmd.Flags().Lookup("resource-group") != nil {
		return "resource-group"
	}
	return "from"
}

// scopeFlags adds the flags of a command that looks at a resource group where there
// is no file.
func (g *globals) scopeFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&g.resourceGroup, "resource-group", "g", "", "the resource `GROUP` to look at, in place of a file")
	g.subscriptionFlag(cmd)
}

func (g *globals) subscriptionFlag(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&g.subscription, "subscription", g.subscription, "the `ID` of its subscription; also\n"+subscriptionVariable)
	flags.Lookup("subscription").DefValue = "" // the text says it, whatever the environment says
}

// check refuses global flags that make no sense, alone or together.
func (g *globals) check(cmd *cobra.Command) error {
	given := func(name string) bool {
		f := cmd.Flags().Lookup(name)
		return f != nil && f.Changed
	}
	g.fileless = cmd.Flags().Lookup("resource-group") != nil
	switch {
	case g.timeout < 0:
		return usage.Error(cmd, errors.New("--timeout must not be negative"))
	case given("resource-group") && given("file"):
		return usage.Error(cmd, errors.New("--file and --resource-group exclude each other: a file says where its scale sets are"))
	case given(groupFlag(cmd)) && g.resourceGroup == "":
		return usage.Error(cmd, errors.New("--"+groupFlag(cmd)+" is empty"))
	case given("subscription") && !given(groupFlag(cmd)):
		return usage.Error(cmd, errors.New("--subscription belongs to --"+groupFlag(cmd)+": a file names its own"))
	case g.resourceGroup != "" && g.subscription == "":
		return usage.Error(cmd, fmt.Errorf("--subscription is missing, and %s is not set", subscriptionVariable))
	}
	return nil
}
