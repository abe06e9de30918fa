package systemd

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRealSystemd proves against the machine's own systemd what the fakes of
// systemdtest claim. It makes units under /run and restarts the bus, so it runs
// only where it is asked to: as root, with FLEET_TEST_SYSTEMD=1.
func TestRealSystemd(t *testing.T) {
	if os.Getenv("FLEET_TEST_SYSTEMD") == "" {
		t.Skip("changes the machine: set FLEET_TEST_SYSTEMD=1 on one that may be changed")
	}
	const target = "fleet-test.target"
	trapped := filepath.Join(t.TempDir(), "trapped")
	member := func(exec string) string {
		return "[Unit]\nPartOf=" + target + "\nAfter=" + target + "\n[Service]\nTimeoutStopSec=1\nExecStart=" + exec + "\n"
	}
	units := map[string]string{
		target:                    "[Unit]\nWants=fleet-test-good.service fleet-test-stuck.service\n",
		"fleet-test-port.target":  "[Unit]\nWants=fleet-test-port.socket\n",
		"fleet-test-port.socket":  "[Unit]\nPartOf=fleet-test-port.target\n[Socket]\nListenStream=/run/fleet-test-port\n",
		"fleet-test-off.socket":   "[Unit]\nPartOf=fleet-test-port.target\n[Socket]\nListenStream=/run/fleet-test-off\nService=fleet-test-port.service\n",
		"fleet-test-port.service": "[Unit]\nConditionPathExists=/nonexistent\n[Service]\nExecStart=/bin/sleep infinity\n",
		"fleet-test-good.service": member("/bin/sleep infinity") + "[Install]\nAlias=fleet-test-alias.service\n",
		"fleet-test-stuck.service": member(
			`/bin/sh -c 'trap "" TERM; touch ` + trapped + `; while :; do sleep 0.1; done'` +
				"\nExecStartPost=/bin/sh -c 'until [ -e " + trapped + " ]; do sleep 0.1; done'"),
		"fleet-test-fails.service":  "[Service]\nType=oneshot\nExecStart=/bin/false\n",
		"fleet-test-slow.service":   "[Service]\nExecStart=/bin/sleep infinity\nExecStop=/bin/sleep 4\n",
		"fleet-test-never.service":  "[Unit]\nConditionPathExists=/nonexistent\n[Service]\nExecStart=/bin/sleep infinity\n",
		"fleet-test-second.service": "[Unit]\nRequires=fleet-test-fails.service\nAfter=fleet-test-fails.service\n[Service]\nExecStart=/bin/sleep infinity\n",
	}
	for name, text := range units {
		file := filepath.Join("/run/systemd/system", name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		t.Cleanup(func() { _ = os.Remove(file) })
	}
	alias := "/run/systemd/system/fleet-test-alias.service"
	require.NoError(t, os.Symlink("fleet-test-good.service", alias))
	t.Cleanup(func() { _ = os.Remove(alias) })
	systemctl := func(args ...string) {
		t.Helper()
		out, err := exec.CommandContext(soon(t), "systemctl", args...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	systemctl("daemon-reload")
	t.Cleanup(func() {
		_ = exec.CommandContext(context.Background(), "systemctl", "stop", "fleet-test*").Run()
	})
	m := runManager(t, "")
	state := func(name string) UnitState {
		t.Helper()
		s, err := m.UnitState(soon(t), name)
		require.NoError(t, err)
		return s
	}
	awaitState := func(name, active string, wake <-chan struct{}) {
		t.Helper()
		for state(name).ActiveState != active {
			receive(t, wake)
		}
	}

	t.Run("target", func(t *testing.T) {
		require.NoError(t, m.StartUnit(soon(t), target))
		good, stopGood := m.WatchUnit("fleet-test-good.service")
		defer stopGood()
		stuck, stopStuck := m.WatchUnit("fleet-test-stuck.service")
		defer stopStuck()
		awaitState("fleet-test-good.service", "active", good)
		awaitState("fleet-test-stuck.service", "active", stuck)
		members, err := m.Members(soon(t), target)
		require.NoError(t, err)
		require.Equal(t, []string{"fleet-test-good.service", "fleet-test-stuck.service"}, members)
		require.Equal(t, UnitState{
			Name: "fleet-test-good.service", LoadState: "loaded", ActiveState: "active", SubState: "running",
			Result: "success", TimeoutStop: time.Second,
		}, state("fleet-test-alias.service"))

		require.NoError(t, m.StopUnit(soon(t), target), "done, although a member had to be killed")
		require.Equal(t, "inactive", state("fleet-test-good.service").ActiveState)
		require.Equal(t, "failed", state("fleet-test-stuck.service").ActiveState)
		require.Equal(t, "timeout", state("fleet-test-stuck.service").Result)
		awaitState("fleet-test-good.service", "inactive", good)
		awaitState("fleet-test-stuck.service", "failed", stuck)
	})
	t.Run("results", func(t *testing.T) {
		var jobErr *JobError
		require.ErrorAs(t, m.StartUnit(soon(t), "fleet-test-fails.service"), &jobErr)
		require.Equal(t, "failed", jobErr.Result)
		require.Equal(t, "exit-code", state("fleet-test-fails.service").Result)
		require.ErrorAs(t, m.StartUnit(soon(t), "fleet-test-second.service"), &jobErr)
		require.Equal(t, "dependency", jobErr.Result)
		require.NoError(t, m.StartUnit(soon(t), "fleet-test-never.service"), "a condition is no failure")
		require.Equal(t, "inactive", state("fleet-test-never.service").ActiveState)
		require.ErrorIs(t, m.StopUnit(soon(t), "fleet-test-none.service"), ErrNoSuchUnit)
		require.ErrorIs(t, m.StartUnit(soon(t), "fleet-test-none.service"), ErrNoSuchUnit)
		require.Equal(t, "not-found", state("fleet-test-none.service").LoadState)
		require.NoError(t, m.StopUnit(soon(t), "fleet-test-good.service"), "what is stopped is stopped")
	})
	t.Run("watch", func(t *testing.T) {
		wake, stop := m.WatchUnit("fleet-test-alias.service") // an alias
		defer stop()
		awaitState("fleet-test-good.service", "inactive", wake)
		systemctl("start", "fleet-test-good.service")
		awaitState("fleet-test-good.service", "active", wake)
		require.NoError(t, m.KillUnit(soon(t), "fleet-test-good.service", 9))
		awaitState("fleet-test-good.service", "failed", wake)
		systemctl("daemon-reload")
		receive(t, wake)
	})
	t.Run("undrain in the middle of a drain", func(t *testing.T) {
		require.NoError(t, m.StartUnit(soon(t), "fleet-test-slow.service"))
		wake, unwatch := m.WatchUnit("fleet-test-slow.service")
		defer unwatch()
		stopped := async(func() error { return m.StopUnit(soon(t), "fleet-test-slow.service") })
		awaitState("fleet-test-slow.service", "deactivating", wake)
		require.True(t, state("fleet-test-slow.service").Job)
		require.NoError(t, m.StartUnit(soon(t), "fleet-test-slow.service"))
		require.False(t, state("fleet-test-slow.service").Job)
		var jobErr *JobError
		require.ErrorAs(t, receive(t, stopped), &jobErr)
		require.Equal(t, "canceled", jobErr.Result)
		require.Equal(t, "active", state("fleet-test-slow.service").ActiveState)
	})
	t.Run("sockets", func(t *testing.T) {
		const unit = "fleet-test-port.target"
		sockets := func() []Socket {
			t.Helper()
			list, err := m.Sockets(soon(t), unit)
			require.NoError(t, err)
			return list
		}
		require.Empty(t, sockets(), "the target is not up")
		require.NoError(t, m.StartUnit(soon(t), unit))
		systemctl("show", "fleet-test-off.socket") // loads it
		wake, unwatch := m.WatchUnit("fleet-test-port.socket")
		defer unwatch()
		awaitState("fleet-test-port.socket", "active", wake)
		require.Equal(t, []Socket{{UnitState: state("fleet-test-port.socket"), Service: state("fleet-test-port.service")}}, sockets())

		// One connection to a service whose condition does not hold.
		conn, err := net.Dial("unix", "/run/fleet-test-port")
		require.NoError(t, err)
		defer conn.Close()
		awaitState("fleet-test-port.socket", "failed", wake)
		require.Equal(t, "trigger-limit-hit", sockets()[0].Result)
		require.NoError(t, m.StopUnit(soon(t), unit))
		require.Empty(t, sockets())
		require.NoError(t, m.StartUnit(soon(t), unit))
		awaitState("fleet-test-port.socket", "active", wake)
	})
	t.Run("inhibitor", func(t *testing.T) {
		i, told := runInhibitor(t, "")
		waitState(t, i, InhibitorHolding)
		delay, err := i.MaxDelay(soon(t))
		require.NoError(t, err)
		require.Positive(t, delay)
		list := func() string {
			out, err := exec.CommandContext(soon(t), "systemd-inhibit", "--list", "--no-legend").Output()
			require.NoError(t, err)
			return string(out)
		}
		require.Contains(t, list(), "drains the node")
		systemctl("restart", "systemd-logind.service")
		waitState(t, i, InhibitorHolding)
		require.Contains(t, list(), "drains the node", "the lock survives")
		require.Empty(t, told.announced)
	})
	// Last: logind of systemd 257 does not find back to a bus that was restarted.
	for _, cut := range [][]string{{"restart", "dbus.service"}, {"daemon-reexec"}, {"daemon-reload"}} {
		t.Run("job over "+cut[0], func(t *testing.T) {
			require.NoError(t, m.StartUnit(soon(t), "fleet-test-slow.service"))
			wake, unwatch := m.WatchUnit("fleet-test-slow.service")
			defer unwatch()
			stopped := async(func() error { return m.StopUnit(soon(t), "fleet-test-slow.service") })
			awaitState("fleet-test-slow.service", "deactivating", wake)
			systemctl(cut...)
			require.NoError(t, receive(t, stopped))
			awaitState("fleet-test-slow.service", "inactive", wake)
			require.NoError(t, m.StartUnit(soon(t), "fleet-test-slow.service"))
			awaitState("fleet-test-slow.service", "active", wake)
			require.NoError(t, m.StopUnit(soon(t), "fleet-test-slow.service"))
		})
	}
}
