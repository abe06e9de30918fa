package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

const (
	// watchInterval is the time between two looks of --watch.
	watchInterval = time.Second
	// waitInterval is the time between two looks of --wait-for.
	waitInterval = 500 * time.Millisecond
	// defaultWait bounds --wait-for.
	defaultWait = 5 * time.Minute
)

// The exit codes of status, besides those of every command.
const (
	exitDegraded   = 2
	exitNotServing = 3
)

// statusExit returns the code that status exits with for a state.
func statusExit(s control.State) int {
	switch s {
	case control.StateServing:
		return cli.ExitOK
	case control.StateDegraded:
		return exitDegraded
	case control.StateStarting, control.StateUnhealthy, control.StateMaintenance, control.StateDraining, control.StateDrained:
		return exitNotServing
	}
	return cli.ExitError // of a newer agent
}

// statusFlags are the flags of status.
type statusFlags struct {
	verbose bool
	watch   bool
	waitFor string
	timeout time.Duration
}

func newStatusCommand(g *globals) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status",
		Short: "say what this node is doing, and why",
		Long: `Say what this node is doing and why: its state, the checks that fail and what
they block, the event that is coming, how far the drain is, how fresh the
agent's knowledge is, and the command to run next.

It is the first thing to run on a node that misbehaves, and the last thing in a
script that waits for one.

-o brief is for who sees no more than the end of the output, as with Azure's Run
Command: plain lines of one fact each, in UTC, at most 3,000 bytes, within 10 s.
When the agent does not answer, they are what systemd says of its unit.

Exit codes:
  0    serving; with --wait-for: the node got there
  1    error, or wrong usage; with --wait-for: it did not get there
  2    degraded: serving, but a check of severity warning fails, or the agent is
       blind to scheduled events
  3    not serving: starting, unhealthy, maintenance, draining or drained
  4    the agent cannot be reached
  130  interrupted`,
		Example: `  fleet-agent status
  fleet-agent status --watch
  fleet-agent status --wait-for serving --timeout 2m
  fleet-agent status -o json | jq -r '.health.roots[]'
  fleet-agent status -o brief`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.watch && f.waitFor != "":
				return usage.Error(cmd, errors.New("--watch and --wait-for exclude each other"))
			case f.waitFor == "" && cmd.Flags().Changed("timeout"):
				return usage.Error(cmd, errors.New("--timeout is for --wait-for"))
			case g.format == command.Brief && (f.watch || f.verbose):
				return usage.Error(cmd, errors.New("--output brief excludes --watch and --verbose"))
			case f.watch:
				return g.watchStatus(cmd.Context(), f.verbose)
			case f.waitFor != "":
				return g.waitStatus(cmd, f)
			case g.format == command.Brief:
				return g.briefly(cmd.Context())
			}
			status, err := g.client().Status(cmd.Context())
			if err != nil {
				return g.explainError(err)
			}
			if err := g.printStatus(status, f.verbose); err != nil {
				return err
			}
			return cli.Exit(statusExit(status.State))
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "list every check and every transition")
	flags.BoolVarP(&f.watch, "watch", "w", false, "show it again every second")
	flags.StringVar(&f.waitFor, "wait-for", "", "wait for a `STATE`: serving or drained")
	flags.DurationVar(&f.timeout, "timeout", defaultWait, "give up --wait-for after `D`")
	g.format.Flag(cmd, flags, "`FORMAT` to print: text, json or brief", command.Brief)
	_ = cmd.RegisterFlagCompletionFunc("wait-for", cobra.FixedCompletions([]string{"serving", "drained"}, cobra.ShellCompDirectiveNoFileComp)) // the flag exists
	return cmd
}

func (g *globals) printStatus(s *control.Status, verbose bool) error {
	switch g.format {
	case command.JSON:
		return g.out.JSON(s)
	case command.Brief:
		return g.printBrief(g.briefStatus(s))
	case command.Text:
	}
	_, err := g.statusPage(s, verbose).WriteTo(g.out.Out)
	return err
}

// watchStatus shows the status every second until it is interrupted. An agent
// that goes away is shown as such, and again when it is back.
func (g *globals) watchStatus(ctx context.Context, verbose bool) error {
	client := g.client()
	screen := &cli.Screen{Output: g.out}
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		status, err := client.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && g.format == command.JSON:
			err = g.out.JSONLine(status)
		case err == nil:
			err = screen.Show(g.statusPage(status, verbose).Lines())
		default:
			unreachable, ok := errors.AsType[*control.UnreachableError](err)
			if !ok || errors.Is(err, fs.ErrPermission) {
				return g.explainError(err)
			}
			err = nil
			if g.format == command.Text {
				err = screen.Show(g.unreachablePage(unreachable).Lines())
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// unreachablePage is what --watch shows while nobody answers.
func (g *globals) unreachablePage(e *control.UnreachableError) *page {
	p := g.newPage(time.Now())
	p.Flow(p.leading(0, mark{"✗", "x", cli.BoldRed}), 2, painted(cli.BoldRed, "UNREACHABLE"), plain(e.Socket+": "+e.Reason))
	p.Text(2, cli.Dim, g.unreachableHint(e), 3)
	return p
}

// waitStatus waits for a state and shows the status once it is there.
func (g *globals) waitStatus(cmd *cobra.Command, f statusFlags) error {
	var reached func(*control.Status) (bool, error)
	switch f.waitFor {
	case "serving":
		reached = func(s *control.Status) (bool, error) {
			return s.State == control.StateServing || s.State == control.StateDegraded, nil
		}
	case "drained":
		reached = func(s *control.Status) (bool, error) {
			return s.State == control.StateDrained, g.drainFailure(s)
		}
	default:
		return usage.Error(cmd, fmt.Errorf("--wait-for %q: can wait for serving or drained", f.waitFor))
	}
	if f.timeout <= 0 {
		return usage.Error(cmd, errors.New("--timeout must be more than 0"))
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	status, err := g.waitUntil(ctx, reached)
	if errors.Is(err, context.DeadlineExceeded) {
		return cli.Hint(fmt.Errorf("not %s after %s: %s", f.waitFor, cli.Duration(f.timeout), lastSeen(status)), "%s status says why", g.self)
	}
	if err != nil {
		return err
	}
	return g.printStatus(status, f.verbose)
}

// waitUntil looks at the status until reached says so or fails, and tells about
// every change meanwhile. An agent that doesn't answer is waited for: it may be
// restarting. The last status, if there was any, is returned in any case.
func (g *globals) waitUntil(ctx context.Context, reached func(*control.Status) (bool, error)) (*control.Status, error) {
	client := g.client()
	ticker := time.NewTicker(waitInterval)
	defer ticker.Stop()
	var last *control.Status
	var told string
	for {
		status, err := client.Status(ctx)
		if ctx.Err() != nil {
			return last, ctx.Err()
		}
		unreachable, isUnreachable := errors.AsType[*control.UnreachableError](err)
		var news string
		switch {
		case err == nil:
			last = status
			news = lastSeen(status)
		case isUnreachable && !errors.Is(err, fs.ErrPermission):
			last = nil
			news = "the agent does not answer: " + unreachable.Reason
		default:
			return last, g.explainError(err)
		}
		if news != told {
			g.out.Say("%s  %s", time.Now().In(g.zone).Format("15:04:05"), cli.Clean(news))
			told = news
		}
		if status != nil {
			done, err := reached(status)
			if done || err != nil {
				return status, err
			}
		}
		select {
		case <-ctx.Done():
			return last, ctx.Err()
		case <-ticker.C:
		}
	}
}

// lastSeen says in one line what a node does, in words that change only when
// something happens.
func lastSeen(s *control.Status) string {
	if s == nil {
		return "the agent does not answer"
	}
	text := string(s.State)
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return text
}

// drainFailure returns the error of a drain that failed, for those who wait for
// its end: it will not go on by itself.
func (g *globals) drainFailure(s *control.Status) error {
	if s.Drain == nil || s.Drain.Phase != phaseFailed {
		return nil
	}
	err := errors.New("the drain failed")
	if s.Drain.Error != "" {
		err = fmt.Errorf("the drain failed: %s", s.Drain.Error)
	}
	return cli.Hint(err, "%s status says which step; undrain returns to service", g.self)
}
