package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/health"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// fileCheck is a check that passes while a file is there.
func fileCheck(name, path string) config.Check {
	return config.Check{
		Name: name, Interval: config.Duration(time.Second), Timeout: config.Duration(time.Second),
		FailAfter: 1, PassAfter: 1, Severity: "critical", Gates: []string{"health", "ready"},
		File: &config.FileCheck{Path: path, Present: true},
	}
}

func TestReload(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		there := filepath.Join(w.dir, "there")
		require.NoError(t, os.WriteFile(there, nil, 0o600))
		w.conf.Checks = []config.Check{fileCheck("one", there)}
		w.serving()

		next := *w.conf
		next.Checks = []config.Check{fileCheck("one", there), fileCheck("two", filepath.Join(w.dir, "missing"))}
		next.ScheduledEvents.Events = map[string]config.EventPolicy{"Reboot": {Action: "ignore", Ack: "never"}}
		w.load = func() (*config.Config, error) { return &next, nil }
		require.NoError(t, w.agent.Reload(t.Context()))
		w.awaitState(control.StateUnhealthy, 5*time.Second)
		require.Equal(t, []string{"two"}, w.status().Health.Roots)
		require.Equal(t, http.StatusAccepted, w.code("/healthz"))

		w.sim.Publish(simimds.EventSpec{Type: simimds.Reboot, Resources: []string{self}})
		w.pass(10 * time.Second)
		require.Equal(t, "ignore", w.status().Events[0].Action, "the new policy is in force")
		require.Nil(t, w.status().Drain)
	})
}

// TestRefusedReload: the old configuration goes on, and operators are told.
func TestRefusedReload(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		there := filepath.Join(w.dir, "there")
		require.NoError(t, os.WriteFile(there, nil, 0o600))
		w.conf.Checks = []config.Check{fileCheck("one", there)}
		w.serving()

		cyclic := *w.conf
		cyclic.Checks = []config.Check{fileCheck("a", there), fileCheck("b", there)}
		cyclic.Checks[0].DependsOn, cyclic.Checks[1].DependsOn = []string{"b"}, []string{"a"}
		for name, load := range map[string]func() (*config.Config, error){
			"unreadable":  func() (*config.Config, error) { return nil, errors.New("config.yaml:3:1: unknown key") },
			"impossible":  func() (*config.Config, error) { return &cyclic, nil },
			"half broken": func() (*config.Config, error) { return &config.Config{Checks: []config.Check{{Name: "none"}}}, nil },
		} {
			w.load = load
			require.Error(t, w.agent.Reload(t.Context()), name)
			w.pass(3 * time.Second)
			s := w.status()
			require.Equal(t, control.StateServing, s.State, name)
			require.Len(t, s.Health.Checks, 1, name)
			require.Equal(t, "one", s.Health.Checks[0].Name, name)
			require.Len(t, s.Warnings, 1, name)
			require.Contains(t, s.Warnings[0], "the old configuration goes on", name)
		}
		w.load = nil
		require.NoError(t, w.agent.Reload(t.Context()))
		require.Empty(t, w.status().Warnings)
	})
}

// TestReloadWithoutTheFile: a node whose file is lost must not be healthy for want
// of checks; a drop-in may go, and that is said.
func TestReloadWithoutTheFile(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		etc := filepath.Join(w.dir, "etc/fleet-agent")
		main, dropIn := filepath.Join(etc, "config.yaml"), filepath.Join(etc, "conf.d/two.yaml")
		require.NoError(t, os.MkdirAll(filepath.Dir(dropIn), 0o700))
		text := func(name string) []byte {
			return []byte("checks: [{name: " + name + ", interval: 1s, fail_after: 1, file: {path: /, present: true}}]\n")
		}
		require.NoError(t, os.WriteFile(main, text("one"), 0o600))
		require.NoError(t, os.WriteFile(dropIn, text("two"), 0o600))
		base := *w.conf
		w.load = func() (*config.Config, error) {
			conf, err := config.Load(w.dir + config.DefaultPath)
			if err == nil {
				conf.Listen, conf.IMDS, conf.ScheduledEvents, conf.Drain = base.Listen, base.IMDS, base.ScheduledEvents, base.Drain
				conf.StateDir, conf.RunDir = base.StateDir, base.RunDir
			}
			return conf, err
		}
		var err error
		w.conf, err = w.load()
		require.NoError(t, err)
		w.serving()
		require.Len(t, w.status().Health.Checks, 2)

		require.NoError(t, os.Remove(dropIn))
		require.NoError(t, w.agent.Reload(t.Context()))
		require.Len(t, w.status().Health.Checks, 1)
		require.Contains(t, w.log.String(), "file="+dropIn)

		require.NoError(t, os.Remove(main))
		err = w.agent.Reload(t.Context())
		require.EqualError(t, err, "reload configuration: "+main+" is gone: put it back, or restart the agent to run without it")
		require.Len(t, w.status().Health.Checks, 1)
		require.Contains(t, w.status().Warnings[0], "is gone")
	})
}

// TestReloadKeepsWhatHangs: a check that waits for a file system costs one thread,
// however often the configuration is reloaded meanwhile.
func TestReloadKeepsWhatHangs(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo") // to open it waits for a writer
	require.NoError(t, unix.Mkfifo(fifo, 0o600))
	t.Cleanup(func() {
		if fd, err := unix.Open(fifo, unix.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			_ = unix.Close(fd)
		}
	})
	conf := config.Default()
	conf.Checks = []config.Check{{Name: "a", Certificate: &config.CertificateCheck{File: fifo}}}
	run := func(cfg health.Config, timeout time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		defer cancel()
		return cfg.Checks[0].Probe(ctx)
	}
	cfg, sources, err := healthConfig(conf, nil, nil)
	require.NoError(t, err)
	require.Eventually(t, func() bool { // the time may be up before it begins
		return strings.Contains(run(cfg, 10*time.Millisecond).Error(), "hangs since ")
	}, time.Minute, time.Millisecond)
	for range 3 {
		cfg, sources, err = healthConfig(conf, nil, sources)
		require.NoError(t, err)
		require.ErrorContains(t, run(cfg, time.Minute), "hangs since ")
	}
}

// TestReasonOfAnUnhealthyNode names what makes it so: no warnings, and not a
// hundred names.
func TestReasonOfAnUnhealthyNode(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		warning := fileCheck("soft", filepath.Join(w.dir, "absent"))
		warning.Severity = "warning"
		w.conf.Checks = []config.Check{warning}
		w.start()
		w.awaitState(control.StateDegraded, 5*time.Second)
		require.Equal(t, "check soft fails", w.status().Reason)
		w.kill()
		for i := range 9 {
			w.conf.Checks = append(w.conf.Checks, fileCheck(fmt.Sprintf("hard-%d", i), filepath.Join(w.dir, "absent")))
		}
		w.start()
		w.awaitState(control.StateUnhealthy, 10*time.Second)
		w.pass(10 * time.Second)
		require.Equal(t, "checks hard-0, hard-1, hard-2, hard-3, hard-4 and 4 more fail", w.status().Reason)
	})
}
