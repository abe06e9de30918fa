package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// configVariable is the environment's way to say --config.
const configVariable = "FLEET_AGENT_CONFIG"

// usage is the code for a command line that makes no sense.
const usage = command.Usage(cli.ExitError)

// The groups that the commands are listed in.
const (
	groupLook = "look"
	groupAct  = "act"
	groupNode = "node"
)

// globals is what every command is given: the global flags and where to write.
type globals struct {
	configPath string         // of the main file; conf.d lies beside it
	socket     string         // as given by --socket; see socketPath
	format     command.Format // of what goes to standard output
	noColor    bool

	out    *cli.Output
	getenv func(string) string
	zone   *time.Location // of the times in text
	// self is how the user called the program, with the global flags that
	// lead to this agent, for commands that are suggested.
	self string
	// lastWords bounds how long it may take to print the error of the command;
	// 0: for ever.
	lastWords time.Duration
}

func newGlobals(stdout, stderr io.Writer, getenv func(string) string) *globals {
	g := &globals{configPath: config.DefaultPath, format: command.Text, getenv: getenv, zone: time.Local, self: "fleet-agent"}
	if path := getenv(configVariable); path != "" {
		g.configPath = path
	}
	g.out = cli.NewOutput(cli.OutputConfig{Out: stdout, Err: stderr, Getenv: getenv})
	return g
}

// client returns a client of this node's agent.
func (g *globals) client() *control.Client { return control.NewClient(g.socketPath()) }

// socketPath returns the path of the control socket. A configuration that
// cannot be read doesn't stop the commands: the daemon may go on with the one
// that it read before, and then its operator has to find out why.
func (g *globals) socketPath() string {
	if g.socket != "" {
		return g.socket
	}
	cfg, err := readConfig(g.configPath, agentUser)
	if err != nil {
		cfg = config.Default()
	}
	return filepath.Join(cfg.RunDir, control.SocketName)
}

func newRootCommand(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "fleet-agent",
		Short: "the node agent for Azure scale sets",
		Long: `fleet-agent tells Azure and load balancers whether this node can serve, and
drains it before Azure takes it away: on Spot evictions, scheduled events,
shutdowns, or when told to.

Start with: fleet-agent status

Exit codes, of every command unless its help says otherwise:
  0    done
  1    error, or wrong usage
  4    the agent cannot be reached
  130  interrupted

Environment:
  FLEET_AGENT_CONFIG  the file of --config
  NO_COLOR            no colours, as --no-color`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          usage.Known,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			g.out = cli.NewOutput(cli.OutputConfig{Out: g.out.Out, Err: g.out.Err, Getenv: g.getenv, NoColor: g.noColor})
			for _, name := range []string{"config", "socket"} {
				if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
					g.self += " --" + name + " " + shellQuote(f.Value.String())
				}
			}
			return nil
		},
	}
	root.SetOut(g.out.Out)
	root.SetErr(g.out.Err)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(usage.Error)

	flags := root.PersistentFlags()
	flags.SortFlags = false
	flags.StringVar(&g.configPath, "config", g.configPath, "`FILE` to read (default "+config.DefaultPath+")")
	flags.Lookup("config").DefValue = "" // the text says it, whatever the environment says
	flags.StringVar(&g.socket, "socket", "", "control socket `PATH` (default "+control.SocketName+" in run_dir)")
	g.format.Flag(root, flags, "`FORMAT` of the output: text or json")
	flags.BoolVar(&g.noColor, "no-color", false, "no colours")
	flags.BoolP("help", "h", false, "show this help")

	root.AddGroup(
		&cobra.Group{ID: groupLook, Title: "Look at the node:"},
		&cobra.Group{ID: groupAct, Title: "Take it out of service and back:"},
		&cobra.Group{ID: groupNode, Title: "Run and set up the agent:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupLook, newStatusCommand(g), newEventsCommand(g), newExplainCommand(g), newCheckCommand(g), newPlanCommand(g), newDoctorCommand(g))
	add(groupAct, newDrainCommand(g), newUndrainCommand(g), newMaintenanceCommand(g))
	add(groupNode, newRunCommand(g), newConfigCommand(g), newAdoptCommand(g), newReleaseCommand(g),
		newReportCommand(g), newVersionCommand(g), newCompletionCommand())
	root.SetUsageFunc(command.WriteUsage)
	cobra.EnableCommandSorting = false // the order above is for readers
	return root
}

// noArguments is the Args of commands that take none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return usage.Error(cmd, fmt.Errorf("%s takes no argument, got %q", cmd.CommandPath(), args[0]))
}

// noFiles keeps the shell from offering file names where none belong.
func noFiles(cmd *cobra.Command) { cmd.ValidArgsFunction = cobra.NoFileCompletions }

// shellQuote quotes a path for a suggested command, if it needs it.
func shellQuote(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@,=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
