package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/adopt"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

const (
	// systemdRuns is there exactly while systemd is the machine's init
	// (sd_booted(3)).
	systemdRuns = "/run/systemd/system"
	// systemctlTimeout bounds a daemon-reload, and the start of a workload.
	systemctlTimeout = 2 * time.Minute
	// showTimeout bounds a look at a unit.
	showTimeout = 5 * time.Second
)

// adoption is the answer to `fleet-agent adopt UNIT` and `release UNIT`.
type adoption struct {
	Version int    `json:"version"`
	Unit    string `json:"unit"`
	// Triggers are the sockets, paths and timers that go with it.
	Triggers []string `json:"triggers,omitempty"`
	// Action is adopted, released or unchanged.
	Action  string         `json:"action"`
	Changes []adopt.Change `json:"changes"`
	stopJSON
	// Systemd is reloaded, unchanged (there was nothing to tell it) or
	// not-running (the files take effect at the next boot).
	Systemd  string          `json:"systemd"`
	Started  bool            `json:"started,omitempty"` // by --now
	Warnings []adopt.Warning `json:"warnings"`
	Notes    []adopt.Warning `json:"notes,omitempty"` // what a drain means for it

	starts []string // by --now, in this order
}

// stopJSON is how a unit stops.
type stopJSON struct {
	StopTimeoutSeconds float64 `json:"stop_timeout_seconds,omitempty"` // -1: no limit
	KillSignal         string  `json:"kill_signal,omitempty"`
}

// workloadList is the answer to `fleet-agent adopt --list`.
type workloadList struct {
	Version   int            `json:"version"`
	Workloads []workloadJSON `json:"workloads"`
}

type workloadJSON struct {
	Unit  string `json:"unit"`
	With  string `json:"with,omitempty"` // the service that a socket, path or timer was adopted with
	State string `json:"state"`          // one of the states of package adopt
	// Missing are what starts the unit and is not adopted, for no-trigger.
	Missing []string `json:"missing,omitempty"`
	Fix     string   `json:"fix,omitempty"` // a command
	stopJSON
	Warnings []adopt.Warning `json:"warnings"`
}

// with says what a socket, path or timer stops with.
func (w *workloadJSON) with() string {
	if w.With == "" {
		return ""
	}
	return "with " + w.With
}

func newAdoptCommand(g *globals) *cobra.Command {
	var settings adopt.Settings
	var signal, root string
	var list, now, force bool
	cmd := &cobra.Command{
		Use:   "adopt UNIT | --list",
		Short: "let a unit stop when this node drains",
		Long: `Let a unit stop when this node drains, and start again when it returns to
service. A drop-in makes it a part of fleet-serving.target and keeps it down
while the node drains; a link lets it start with the target. What the unit is
enabled for otherwise stays. The same command again changes nothing; with other
flags it replaces the drop-in.

A service brings the sockets, paths and timers that start it. Else the first
connection of a drain would start it against its condition until the socket
fails, and nothing would listen after the drain. One that is not enabled stops
with the target and is not started by it. A service is refused when one of them
also belongs to another service (Service=, Sockets=), or starts a service for
each connection (Accept=yes).

You want it once for each workload, best in the build of the image: --root works
on the tree of an image, and nothing there needs systemd to run.

Units that a drain or a shutdown needs are refused, such as the bus, the
network, ssh and Azure's agent.

Exit codes: those of fleet-agent --help`,
		Example: `  sudo fleet-agent adopt nginx.service --stop-timeout 30s
  sudo fleet-agent adopt haproxy --kill-signal SIGUSR1 --now
  fleet-agent adopt --root ./image app@1.service
  fleet-agent adopt --list`,
		Args: func(cmd *cobra.Command, args []string) error {
			if list {
				return noArguments(cmd, args)
			}
			return usage.Arguments("the name of a unit")(cmd, args)
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if now && root != "" {
				return usage.Error(cmd, errors.New("--now and --root exclude each other: nothing runs in an image"))
			}
			if signal != "" {
				name, err := adopt.ParseSignal(signal)
				if err != nil {
					return usage.Error(cmd, err)
				}
				settings.KillSignal = name
			}
			if cmd.Flags().Changed("stop-timeout") && settings.StopTimeout <= 0 {
				return usage.Error(cmd, errors.New("--stop-timeout must be more than 0"))
			}
			w, err := g.workloads(root)
			if err != nil {
				return err
			}
			if list {
				return g.listWorkloads(w)
			}
			res, err := w.Adopt(args[0], settings, force)
			if err != nil {
				return g.explainAdoption("adopt", args[0], err)
			}
			answer := adoption{
				Version: control.Version, Unit: res.Unit, Triggers: res.Triggers, Action: "adopted", Changes: res.Changes,
				stopJSON: newStopJSON(res.Stop), Warnings: append([]adopt.Warning{}, res.Warnings...), Notes: res.Notes,
				starts: res.Starts,
			}
			return g.finishAdoption(cmd.Context(), answer, res.Changed(), root, now)
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.DurationVar(&settings.StopTimeout, "stop-timeout", 0, "let it take `D` to stop (default what the unit says)")
	flags.StringVar(&signal, "kill-signal", "", "stop it with signal `SIG` (default what the unit says)")
	flags.BoolVar(&now, "now", false, "start it too")
	flags.BoolVar(&force, "force", false, "replace a drop-in that was edited by hand")
	flags.StringVar(&root, "root", "", "work on the image below `DIR`")
	flags.BoolVar(&list, "list", false, "list the units that were adopted")
	_ = cmd.MarkFlagDirname("root") // the flag exists
	noFiles(cmd)
	return cmd
}

func newReleaseCommand(g *globals) *cobra.Command {
	var root string
	var force bool
	cmd := &cobra.Command{
		Use:   "release UNIT",
		Short: "take back an adopt",
		Long: `Take back what adopt did to a unit, and nothing else: its drop-in and its link
are removed, and those of the sockets, paths and timers that were adopted with
it. What runs goes on running, and no drain stops it any more.

Exit codes: those of fleet-agent --help`,
		Example: `  sudo fleet-agent release nginx.service
  fleet-agent release --root ./image nginx.service`,
		Args: usage.Arguments("the name of a unit"),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, err := g.workloads(root)
			if err != nil {
				return err
			}
			res, err := w.Release(args[0], force)
			if err != nil {
				return g.explainAdoption("release", args[0], err)
			}
			answer := adoption{
				Version: control.Version, Unit: res.Unit, Triggers: res.Triggers, Action: "released",
				Changes: append([]adopt.Change{}, res.Changes...), Warnings: []adopt.Warning{},
			}
			return g.finishAdoption(cmd.Context(), answer, res.Changed(), root, false)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove a drop-in that was edited by hand, too")
	cmd.Flags().StringVar(&root, "root", "", "work on the image below `DIR`")
	_ = cmd.MarkFlagDirname("root") // the flag exists
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if w, err := g.workloads(root); err == nil && len(args) == 0 {
			adopted, _ := w.List() // best effort
			for _, one := range adopted {
				names = append(names, one.Unit)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// workloads opens the units of this node, or of the image below root, whose own
// configuration then counts unless --config names another.
func (g *globals) workloads(root string) (*adopt.Workloads, error) {
	if root != "" && g.configPath == config.DefaultPath {
		g.configPath = filepath.Join(root, config.DefaultPath)
	}
	cfg, err := g.loadConfig()
	if err != nil {
		return nil, err
	}
	units := adopt.Config{Root: root, RunDir: cfg.RunDir, TargetMax: targetMax(cfg)}
	if runsHere(root) {
		units.Running = running
	}
	return adopt.New(units)
}

// runsHere says whether systemd runs on the units below root.
func runsHere(root string) bool {
	_, err := os.Stat(systemdRuns)
	return root == "" && err == nil
}

// running says whether systemd has a unit up, or has seen it fail.
func running(unit string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), showTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", "show", "--value", "-p", "ActiveState", "--", unit).Output()
	state := strings.TrimSpace(string(out))
	return err == nil && state != "" && state != "inactive"
}

// targetMax is how long the plan lets the target of the workloads stop; 0 when
// no step stops it.
func targetMax(cfg *config.Config) time.Duration {
	for _, step := range cfg.Drain.Plan {
		if step.Target == adopt.Target {
			return step.Max.D()
		}
	}
	return 0
}

// finishAdoption tells systemd what has changed, and the operator what was done.
func (g *globals) finishAdoption(ctx context.Context, answer adoption, changed bool, root string, now bool) error {
	runs := runsHere(root)
	switch {
	case now && !runs:
		return cli.Hint(errors.New("start "+answer.Unit+": systemd does not run here"), "leave --now out: it starts at the next boot")
	case !changed:
		answer.Action, answer.Systemd = "unchanged", "unchanged"
	case !runs:
		answer.Systemd = "not-running"
	default:
		if err := systemctl(ctx, "daemon-reload"); err != nil {
			return cli.Hint(fmt.Errorf("%s is %s, but systemd was not told: %w", answer.Unit, answer.Action, err), "sudo systemctl daemon-reload")
		}
		answer.Systemd = "reloaded"
	}
	if now {
		for _, unit := range answer.starts {
			if err := systemctl(ctx, "start", "--", unit); err != nil {
				return cli.Hint(fmt.Errorf("%s is adopted, but %s did not start: %w", answer.Unit, unit, err), "systemctl status %s", unit)
			}
		}
		answer.Started = true
	}
	if g.format == command.JSON {
		return g.out.JSON(answer)
	}
	_, err := g.adoptionPage(&answer).WriteTo(g.out.Out)
	return err
}

// systemctl runs systemctl; its complaints become the error.
func systemctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, systemctlTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", append([]string{"--no-ask-password"}, args...)...).CombinedOutput()
	if err == nil {
		return nil
	}
	if said := cli.Clean(string(out)); said != "" {
		return fmt.Errorf("systemctl %s: %s", args[0], said)
	}
	return fmt.Errorf("systemctl %s: %w", args[0], err)
}

func (g *globals) explainAdoption(verb, unit string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return cli.Hint(err, "the files of systemd are root's: sudo %s %s %s", g.self, verb, shellQuote(unit))
	case errors.Is(err, adopt.ErrNoUnit):
		return cli.Hint(err, "systemctl list-unit-files lists what is there")
	case errors.Is(err, adopt.ErrEdited):
		return cli.Hint(err, "look at it, and if nothing in it is worth keeping: %s %s %s --force", g.self, verb, shellQuote(unit))
	}
	return err
}

func newStopJSON(s adopt.Stop) stopJSON {
	if s.Timeout == adopt.Infinite {
		return stopJSON{StopTimeoutSeconds: -1, KillSignal: s.Signal}
	}
	return stopJSON{StopTimeoutSeconds: s.Timeout.Seconds(), KillSignal: s.Signal}
}

// howItStops is empty for a type of unit that has no say in it.
func (s stopJSON) howItStops() string {
	switch {
	case s.KillSignal == "":
		return ""
	case s.StopTimeoutSeconds < 0:
		return s.KillSignal + ", then as long as it takes"
	}
	return s.KillSignal + ", then up to " + cli.Seconds(s.StopTimeoutSeconds)
}

func (g *globals) adoptionPage(a *adoption) *page {
	p := g.newPage(time.Now())
	with := labelled("with ", strings.Join(a.Triggers, ", "))
	switch {
	case a.Action == "released":
		p.Flow(p.leading(0, markGood), 2, painted(cli.Bold, a.Unit), painted(cli.Green, "released"), with, plain("a drain leaves it running"))
	case a.Action == "unchanged" && len(a.Changes) == 0:
		p.Flow(p.leading(0, markGood), 2, painted(cli.Bold, a.Unit), plain("is not adopted: nothing to do"))
		return p
	default:
		verb := "adopted"
		if a.Action == "unchanged" {
			verb = "adopted before, nothing to change"
		}
		p.Flow(p.leading(0, markGood), 2, painted(cli.Bold, a.Unit), painted(cli.Green, verb), with, labelled("stops by ", a.howItStops()))
	}
	for _, c := range a.Changes {
		if c.Action == "unchanged" {
			continue
		}
		p.Flow(cli.Cell{Text: fmt.Sprintf("  %-9s", c.Action), Color: cli.Dim}, 11, plain(c.Path))
	}
	switch a.Systemd {
	case "reloaded":
		p.Flow(cli.Cell{Text: "  reloaded ", Color: cli.Dim}, 11, plain("systemd"))
	case "not-running":
		p.Text(2, cli.Dim, "takes effect at the next boot", 2)
	}
	if a.Started {
		p.Flow(cli.Cell{Text: "  started  ", Color: cli.Dim}, 11, plain(strings.Join(a.starts, ", ")))
	}
	p.adoptWarnings(markWarning, a.Warnings)
	p.adoptWarnings(markNote, a.Notes)
	if a.Action != "released" && a.Systemd != "not-running" {
		p.nextCommand(g.self+" plan --event Preempt --notice 30s", "whether it stops in time")
	}
	return p
}

// markNote is in front of what is good to know.
var markNote = mark{"·", ".", cli.Cyan}

// adoptWarnings lists what will go wrong, or is good to know, each with the
// command that changes it on a line of its own, to be copied.
func (p *page) adoptWarnings(m mark, warnings []adopt.Warning) {
	for _, w := range warnings {
		p.Blank()
		p.Flow(p.leading(0, m), 2, plain(w.Message))
		p.command(2, w.Fix)
	}
}

// command adds a command on a line of its own. It is not wrapped: it is there to
// be copied.
func (p *page) command(indent int, command string) {
	if command != "" {
		p.Raw(strings.Repeat(" ", indent) + p.Style.Paint(cli.Cyan, "$ "+cli.Clean(command)))
	}
}

// nextCommand ends a page with what to run next.
func (p *page) nextCommand(command, why string) {
	p.Blank()
	table := &cli.Table{}
	table.Add(painted(cli.Bold, "next:"), painted(cli.Cyan, command), painted(cli.Dim, why))
	p.Table(table)
}

// workloadState says what is wrong with a workload, and the mark for it.
func workloadState(w *adopt.Workload) (mark, string) {
	switch w.State {
	case adopt.StateAdopted:
		return markGood, ""
	case adopt.StateEdited:
		return markWarning, "the drop-in was edited by hand"
	case adopt.StateOutdated:
		return markWarning, "the drop-in is for another run_dir: adopt it again"
	case adopt.StateOlder:
		return markWarning, "the drop-in is of an older version: adopt it again"
	case adopt.StateNoLink:
		return markBad, "would not start again after a drain: adopt it again"
	case adopt.StateNoDropIn:
		return markBad, "would not stop in a drain: adopt it, or remove the link"
	case adopt.StateNoTrigger:
		return markBad, "what starts it is not adopted"
	default:
		return markBad, "the unit is not installed any more: release it"
	}
}

func (g *globals) listWorkloads(w *adopt.Workloads) error {
	list, err := w.List()
	if err != nil {
		return err
	}
	answer := workloadList{Version: control.Version, Workloads: []workloadJSON{}}
	for _, one := range list {
		answer.Workloads = append(answer.Workloads, workloadJSON{
			Unit: one.Unit, With: one.With, State: one.State, Missing: one.Missing, Fix: one.Fix,
			stopJSON: newStopJSON(one.Stop), Warnings: append([]adopt.Warning{}, one.Warnings...),
		})
	}
	if g.format == command.JSON {
		return g.out.JSON(answer)
	}
	p := g.newPage(time.Now())
	if len(list) == 0 {
		p.Text(0, cli.Plain, "No unit is adopted: a drain stops nothing.", 1)
		p.nextCommand("sudo "+g.self+" adopt UNIT", "let a unit stop in a drain")
	}
	table := &cli.Table{}
	var warnings []adopt.Warning
	for i, one := range answer.Workloads {
		m, note := workloadState(&list[i])
		if note == "" && len(one.Warnings) > 0 {
			m = markWarning
		}
		table.Add(p.glyph(m), plain(one.Unit), painted(cli.Dim, cmp.Or(one.howItStops(), one.with())), painted(m.color, note))
		if len(one.Missing) > 0 {
			warnings = append(warnings, adopt.Warning{
				Message: one.Unit + ": " + strings.Join(one.Missing, ", ") + " would start it in a drain, again and again until it fails, and is not adopted",
				Fix:     one.Fix,
			})
		}
		for _, w := range one.Warnings {
			warnings = append(warnings, adopt.Warning{Message: one.Unit + ": " + w.Message, Fix: w.Fix})
		}
	}
	p.Table(table)
	p.adoptWarnings(markWarning, warnings)
	_, err = p.WriteTo(g.out.Out)
	return err
}
