package main

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/command"

	"github.com/fleet-agent/fleet-agent/internal/agent"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/logqueue"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

func newRunCommand(g *globals) *cobra.Command {
	var debug bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run the daemon",
		Long: `Run the daemon: serve the probe endpoints, run the checks, follow scheduled
events and drain the node when one is about to take it away.

systemd starts it; by hand it works as any user, with a configuration whose
run_dir and state_dir that user can write. SIGHUP applies a changed
configuration, whole or not at all. SIGTERM stops the daemon and drains nothing;
a drain under way goes on when it starts again.

Exit codes:
  0    stopped by a signal
  1    error; every mistake of the configuration is told, with its place`,
		Example: `  fleet-agent run
  fleet-agent --config ./config.yaml run --debug`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if debug {
				level = slog.LevelDebug
			}
			g.lastWords = lastWordsBound
			return runDaemon(cmd.Context(), g, logqueue.New(systemd.LogHandler(g.out.Err, level)))
		},
	}
	cmd.Flags().BoolVar(&debug, "debug", false, "log every poll and every probe")
	return cmd
}

// lastWordsBound is how long the daemon waits to say on stderr why it ends:
// nothing starts it again before it has.
const lastWordsBound = time.Second

// runDaemon runs the agent until ctx is done, and reloads it on SIGHUP. Whatever
// it logs goes through the queue, which is written out before runDaemon returns.
func runDaemon(ctx context.Context, g *globals, logs *logqueue.Queue) error {
	logger := slog.New(logs.Handler())
	logging, endOfLog := context.WithCancel(context.WithoutCancel(ctx))
	var writing sync.WaitGroup
	writing.Go(func() { logs.Run(logging) })
	defer writing.Wait()
	defer endOfLog() // after all that is deferred below

	// What net/http says of peers that misbehave goes through package log.
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(logger.Handler(), slog.LevelDebug).Writer())

	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP) // first of all: unhandled it ends the process
	defer signal.Stop(hangups)

	notifier := systemd.FromEnvironment(logger)
	listeners, err := systemd.Listeners()
	if err != nil {
		return err
	}
	conf, err := explained(config.Load(g.configPath))
	if err != nil {
		return err
	}
	a, err := agent.New(agent.Config{
		Config:    conf,
		Load:      func() (*config.Config, error) { return config.Load(g.configPath) },
		Version:   command.ReadVersion(version).Release,
		Notifier:  notifier,
		Listeners: listeners,
		Logger:    logger,

		LogDropped: logs.Dropped,
	})
	if err != nil {
		return err
	}

	ctx, stop := context.WithCancel(ctx)
	var reloads sync.WaitGroup
	defer reloads.Wait()
	defer stop()
	reloads.Go(func() {
		for {
			select {
			case <-hangups:
				if err := a.Reload(ctx); err != nil {
					logger.Error("configuration not reloaded, the old one goes on", "err", err)
				}
			case <-ctx.Done():
				return
			}
		}
	})
	return a.Run(ctx)
}
