package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// imdsOptions are the flags of `fleetsim imds`.
type imdsOptions struct {
	listen         []string
	control        string
	scenario       string
	vms            []string
	speed          float64
	rateLimit      int
	firstCallDelay time.Duration
	readyFile      string
	allowRemote    bool
	list           bool
	show           string
	verbose        bool
}

func newIMDSCommand(g *globals) *cobra.Command {
	var o imdsOptions
	cmd := &cobra.Command{
		Use:   "imds",
		Short: "serve the Instance Metadata Service of one or several machines",
		Long: `Serve the Instance Metadata Service of one or several machines until
interrupted, and tell on standard error what happens.

Every machine has a listener of its own, since the real service tells machines
apart by where a request comes from. The addresses are printed on standard
output, one a line, and written to --ready-file when all of them listen.

Machines and events come from a scenario, which is a file or one of those that
--list shows, or from the control API: fleetsim event, fault and acks speak to
it. It has no authentication and is for loopback only.

A scenario says which machines there are and what happens to them, one step after
another; --show prints a whole one:

  vms:
    - {name: web_0, zone: "1", priority: Spot}
  timeline:
    - at: 5s
      publish: {id: p1, type: Preempt, resources: [web_0], notice: 30s}
    - when: acked p1          # or started, vanished
      after: 2s
      complete: p1            # or start, cancel
    - fault: {kind: status, status: 410, for: 1m}

With --speed 10 everything lasts a tenth: a notice of 30 s is published with a
NotBefore three seconds ahead, for the clock of the node stays what it is.`,
		Example: `  fleetsim imds --scenario preempt
  fleetsim imds --vm web_0 --vm web_1 --listen 127.0.0.1:9254 --control 127.0.0.1:9300
  fleetsim imds --show preempt > mine.yaml
  fleetsim imds --scenario ./mine.yaml --speed 10 --ready-file /tmp/sim.json
  fleetsim imds --listen 169.254.169.254:80       # in a network namespace of its own`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case o.list:
				return listScenarios(g)
			case o.show != "":
				return showScenario(g, o.show)
			}
			return runIMDS(cmd, g, o)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&o.listen, "listen", []string{"127.0.0.1:0"}, "`HOST:PORT` of a machine's metadata service; once for each machine, or once for all, which then have consecutive ports")
	f.StringVar(&o.control, "control", "127.0.0.1:0", "`HOST:PORT` of the control API")
	f.StringVar(&o.scenario, "scenario", "", "`FILE` or name of a scenario to play")
	f.BoolVar(&o.list, "list", false, "list the scenarios that come with fleetsim, and exit")
	f.StringVar(&o.show, "show", "", "print the file of the scenario `NAME`, a start for one of your own, and exit")
	f.StringArrayVar(&o.vms, "vm", nil, "`NAME` of a machine, such as web_0 of the scale set web; may be repeated")
	f.Float64Var(&o.speed, "speed", 1, "how many times as fast as real things happen")
	f.IntVar(&o.rateLimit, "rate-limit", 0, "requests a second that a machine may make, -1 for any number (default: that of the scenario, or 5)")
	f.DurationVar(&o.firstCallDelay, "first-call-delay", 0, "how long a machine's first request for Scheduled Events takes, up to 2m in Azure")
	f.StringVar(&o.readyFile, "ready-file", "", "`FILE` to write the addresses to, as JSON; it is removed at the end")
	f.BoolVar(&o.allowRemote, "allow-remote", false, "listen where other hosts may reach it")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "tell of every request, not only of those answered otherwise than the one before")
	return cmd
}

func runIMDS(cmd *cobra.Command, g *globals, o imdsOptions) error {
	scenario := &imds.Scenario{}
	if o.scenario != "" {
		var err error
		if scenario, err = findScenario(o.scenario); err != nil {
			return err
		}
		if len(o.vms) > 0 {
			return usage.Error(cmd, errors.New("--vm and --scenario exclude each other: a scenario names its machines"))
		}
	}
	if o.speed <= 0 || o.speed > 10_000 {
		return usage.Error(cmd, errors.New("--speed is above 0 and at most 10000"))
	}
	if o.firstCallDelay < 0 {
		return usage.Error(cmd, errors.New("--first-call-delay is not negative"))
	}

	level := slog.LevelInfo
	if o.verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(g.out.Err, &slog.HandlerOptions{Level: level, ReplaceAttr: narrate}))

	cfg := scenario.Config()
	cfg.Speed, cfg.Logger = o.speed, log
	for i, name := range o.vms {
		if slices.ContainsFunc(o.vms[:i], func(other string) bool { return strings.EqualFold(other, name) }) || name == "" {
			return usage.Error(cmd, fmt.Errorf("--vm %q is empty or given twice", name))
		}
		cfg.VMs = append(cfg.VMs, imds.Instance{Name: name})
	}
	if o.rateLimit != 0 {
		cfg.RateLimit = o.rateLimit
	}
	if cmd.Flags().Changed("first-call-delay") {
		cfg.FirstCallDelay = o.firstCallDelay
	}

	s := simulation{
		server: imds.New(cfg), scenario: scenario, listen: o.listen, control: o.control,
		allowRemote: o.allowRemote, readyFile: o.readyFile, out: g.out.Out, log: log,
	}
	return s.serve(cmd.Context())
}

// findScenario opens a file, or one of the examples when the argument does not
// look like a file.
func findScenario(arg string) (*imds.Scenario, error) {
	if isFile(arg) {
		return imds.LoadScenario(arg)
	}
	scenario, err := imds.Example(arg)
	return scenario, exampleError("imds", arg, err)
}

// isFile says whether a scenario's name is that of a file.
func isFile(arg string) bool {
	return strings.ContainsRune(arg, filepath.Separator) || filepath.Ext(arg) != ""
}

// exampleError explains that there is no example of that name.
func exampleError(command, name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return cli.Hint(fmt.Errorf("find scenario %q: there is none of that name", name),
		"fleetsim %s --list shows them; a file has a name like ./%s.yaml", command, name)
}

func showScenario(g *globals, name string) error {
	text, err := imds.ExampleText(name)
	if err != nil {
		return exampleError("imds", name, err)
	}
	_, err = g.out.Out.Write(text)
	return err
}

func listScenarios(g *globals) error {
	examples, err := imds.Examples()
	if err != nil {
		return err
	}
	columns, _ := g.out.Size()
	page := cli.Page{Style: g.out.Style, Width: columns}
	for _, sc := range examples {
		page.Text(0, cli.Bold, sc.Name, 1)
		page.Text(2, cli.Plain, sc.Description, 10)
	}
	_, err = page.WriteTo(g.out.Out)
	return err
}

// narrate makes a line of the log one for people: the time of day, and no level
// where there is nothing to worry about.
func narrate(_ []string, a slog.Attr) slog.Attr {
	switch {
	case a.Key == slog.TimeKey:
		return slog.String(slog.TimeKey, a.Value.Time().Format("15:04:05.000"))
	case a.Key == slog.LevelKey && a.Value.String() == slog.LevelInfo.String():
		return slog.Attr{}
	}
	return a
}
