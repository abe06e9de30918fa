package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fleet-agent/fleet-agent/internal/config"
)

// Reload applies a configuration that was changed on disk, whole or not at all.
// What listens and where state is kept is not changed by a reload; that such a
// change waits for a restart is logged. A configuration whose main file has gone
// since the last one was read is refused: the defaults have no checks, so that a
// file that was lost, or is being replaced, would make every node healthy. A
// drop-in may go.
func (a *Agent) Reload(ctx context.Context) error {
	if a.cfg.Load == nil {
		return errors.New("reload: there is no configuration to read")
	}
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if a.ready.Load() { // else READY=1 would say that the agent has started
		a.cfg.Notifier.Reloading()
		defer a.cfg.Notifier.Ready()
	}
	old := a.conf.Load()
	conf, err := a.cfg.Load()
	if err == nil && old.MainFile() != "" && conf.MainFile() == "" {
		err = fmt.Errorf("%s is gone: put it back, or restart the agent to run without it", old.MainFile())
	}
	if err == nil {
		err = a.apply(ctx, conf)
	}
	a.metrics.reloaded(err == nil)
	if err != nil {
		reason := err.Error()
		a.reload.Store(&reason)
		a.observer.poke()
		return fmt.Errorf("reload configuration: %w", err)
	}
	a.reload.Store(nil)
	a.observer.poke()
	for _, file := range old.Files() {
		if !slices.Contains(conf.Files(), file) {
			a.logger.Warn("configuration file is gone, and what it said", "file", file)
		}
	}
	a.logger.Info("configuration reloaded", "config_files", conf.Files())
	return nil
}

func (a *Agent) apply(ctx context.Context, conf *config.Config) error {
	plan, err := a.cfg.Plan(conf)
	if err != nil {
		return err
	}
	oldSources := a.sources.Load()
	checks, newSources, err := healthConfig(conf, probeUnits{a.manager}, oldSources)
	if err != nil {
		return err
	}
	if err := a.monitor.Apply(checks); err != nil {
		newSources.closeExcept(oldSources)
		return err
	}
	a.sources.Store(newSources)
	oldSources.closeExcept(newSources)
	if err := a.client.SetEndpoint(conf.IMDS.Endpoint); err != nil { // checked by config
		return err
	}
	if err := a.poller.Apply(pollerConfig(conf)); err != nil { // checked by config
		return err
	}
	a.runner.SetPlan(plan, conf.Drain.Settle.D())
	a.conf.Store(conf)
	for _, field := range a.needsRestart() {
		a.logger.Warn("change waits for a restart", "field", field)
	}
	return a.coordinator.do(ctx, func(context.Context) { a.coordinator.policy = eventPolicy(conf) })
}

// needsRestart names the fields whose change a reload does not apply.
func (a *Agent) needsRestart() []string {
	old, conf := a.cfg.Config, a.conf.Load()
	var fields []string
	for _, f := range []struct {
		name    string
		changed bool
	}{
		{"listen", old.Listen != conf.Listen},
		{"state_dir", old.StateDir != conf.StateDir},
		{"run_dir", old.RunDir != conf.RunDir},
	} {
		if f.changed {
			fields = append(fields, f.name)
		}
	}
	return fields
}
