//go:build e2e

package e2e

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// stateDir is where the agent's journal is.
const stateDir = "/var/lib/fleet-agent"

// checkFaults takes away, one after the other, what the agent builds on. Through
// each fault it must answer every probe, and drain for an event.
func checkFaults(g *group) {
	g.setUp()
	g.check("D-Bus is restarted", func(c *check) {
		g.keepsItsPromises(c, func() { g.run(c, "systemctl", "restart", "dbus.service") })
		if g.systemdVersion(c) >= logindStaysAway {
			const remedy = "systemctl restart systemd-logind"
			c.eventually(15*time.Second, func() error {
				if said := strings.Join(g.warnings(c), "\n"); !strings.Contains(said, "logind is not reachable") || !strings.Contains(said, remedy) {
					return fmt.Errorf("the status does not say what mends it: %q", said)
				}
				return nil
			})
			g.run(c, strings.Fields(remedy)...)
		}
		g.holdsInhibitor(c)
		c.eventually(15*time.Second, func() error {
			if said := g.warnings(c); len(said) > 0 {
				return fmt.Errorf("the status still warns: %q", said)
			}
			return nil
		})
	})
	g.check("logind is restarted", func(c *check) {
		g.keepsItsPromises(c, func() { g.run(c, "systemctl", "restart", "systemd-logind.service") })
		g.holdsInhibitor(c)
	})
	g.check("systemctl daemon-reload and daemon-reexec", func(c *check) {
		pid := g.show(c, agentUnit, "MainPID")
		g.keepsItsPromises(c, func() {
			g.run(c, "systemctl", "daemon-reload")
			g.run(c, "systemctl", "daemon-reexec")
		})
		require.Equal(c, pid, g.show(c, agentUnit, "MainPID"), "it was not restarted")
	})
	g.check("journald is restarted: the log goes on", func(c *check) {
		g.keepsItsPromises(c, func() { g.run(c, "systemctl", "restart", "systemd-journald.service") })
		c.eventually(5*time.Second, func() error {
			out, err := g.try("journalctl", "-b", "-u", agentUnit, "-o", "cat", "-n", "1", "--no-pager")
			if err == nil && !strings.Contains(out, "to=serving") {
				err = fmt.Errorf("the last line is %q", out)
			}
			return err
		})
	})
	g.check("journald is stopped", func(c *check) {
		sockets := []string{"systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket"}
		pid := g.show(c, agentUnit, "MainPID")
		defer func() {
			g.run(c, append([]string{"systemctl", "start", "systemd-journald.service"}, sockets[:2]...)...)
			require.Equal(c, pid, g.show(c, agentUnit, "MainPID"), "it was not restarted")
			g.run(c, "systemctl", "restart", agentUnit, "notifyd.service") // their streams to journald are gone for good
		}()
		g.keepsItsPromises(c, func() {
			g.run(c, append([]string{"systemctl", "stop", "systemd-journald.service"}, sockets...)...)
		})
	})
	g.check("the metadata service is cut off: blind, and nothing else changes", func(c *check) {
		p := g.probe()
		g.link(c, "down")
		g.sees(c, "blind", 15*time.Second)
		s := g.reaches(c, control.StateDegraded, 0)
		require.NotEmpty(c, s.IMDS.Class)
		require.NotNil(c, s.IMDS.BlindSince)
		g.link(c, "up")
		g.sees(c, "ok", 15*time.Second)
		require.Zero(c, p.stop().errors)
	})
	g.check("an event comes while the metadata service is cut off: drained as soon as it is back", func(c *check) {
		g.link(c, "down")
		g.sees(c, "blind", 15*time.Second)
		g.publish(imds.EventSpec{Type: imds.Preempt, Notice: 40 * time.Second})
		g.link(c, "up")
		g.reaches(c, control.StateDrained, 30*time.Second)
		g.returns(c)
	})
	g.check("/var is full", func(c *check) {
		fill := func() { g.sh(c, "cat /dev/zero >"+stateDir+"/fill 2>/dev/null || true") }
		g.withState(c, fill, func() {
			g.keepsItsPromises(c, func() {})
			require.NotEmpty(c, g.warnings(c), "the status says so")
			g.run(c, "rm", stateDir+"/fill")
			g.keepsItsPromises(c, func() {})
			require.Empty(c, g.warnings(c), "and that it is over")
		})
	})
	g.check("/var is read-only", func(c *check) {
		g.withState(c, func() { g.run(c, "mount", "-o", "remount,ro", stateDir) }, func() {
			g.keepsItsPromises(c, func() {})
			require.NotEmpty(c, g.warnings(c), "the status says so")
		})
	})
	g.skip("clock stepped by an hour", "the clock is that of the machine below the container; make e2e-vm steps that of a real one")
}

// keepsItsPromises breaks something, and then looks whether the node answers all
// probes, drains for an event, acks it, and returns to service.
func (g *group) keepsItsPromises(c *check, breakIt func()) {
	c.Helper()
	p := g.probe()
	breakIt()
	p.answered(c)
	g.drainsFor(c, imds.Preempt)
	g.returns(c)
	result := p.stop()
	require.Zero(c, result.errors+result.cut(), "%v", result)
}

// logindStaysAway is the first version of systemd whose logind does not come back
// to a bus that was restarted.
const logindStaysAway = 255

// systemdVersion is that of the node.
func (g *group) systemdVersion(c *check) int {
	c.Helper()
	fields := strings.Fields(g.run(c, "systemctl", "--version")) // systemd 257 (257.8-1)
	require.Greater(c, len(fields), 1)
	version, err := strconv.Atoi(fields[1])
	require.NoError(c, err)
	return version
}

// holdsInhibitor waits until logind lists the agent's lock.
func (g *group) holdsInhibitor(c *check) {
	c.Helper()
	c.eventually(15*time.Second, func() error {
		if out, err := g.try("sh", "-c", "systemd-inhibit --list --no-pager | grep fleet-agent"); err != nil {
			return fmt.Errorf("logind has no lock of the agent: %s", out)
		}
		return nil
	})
}

// sees waits until the agent says how it stands with the metadata service.
func (g *group) sees(c *check, state string, bound time.Duration) {
	c.Helper()
	c.eventually(bound, func() error {
		s, err := g.status()
		if err == nil && s.IMDS.State != state {
			err = fmt.Errorf("the agent is %s, not %s: %s", s.IMDS.State, state, s.IMDS.Error)
		}
		return err
	})
}

// link cuts or restores the network to the metadata service.
func (g *group) link(c *check, to string) {
	c.Helper()
	out, err := exec.Command("ip", "-n", g.name+"-imds", "link", "set", "eth0", to).CombinedOutput()
	require.NoError(c, err, string(out))
}

// warnings are those of the status.
func (g *group) warnings(c *check) []string {
	c.Helper()
	s, err := g.status()
	require.NoError(c, err)
	return s.Warnings
}

// withState starts the agent anew with a small file system of its own for its
// journal, after something was done to that, and runs f.
func (g *group) withState(c *check, do, f func()) {
	c.Helper()
	g.run(c, "systemctl", "stop", agentUnit)
	g.sh(c, "mount -t tmpfs -o size=512k,mode=0750,uid=fleet-agent,gid=fleet-agent e2e "+stateDir)
	defer func() {
		_, _ = g.try("systemctl", "stop", agentUnit)
		g.run(c, "umount", stateDir)
		g.run(c, "systemctl", "start", agentUnit)
		g.returns(c)
	}()
	do()
	g.run(c, "systemctl", "start", agentUnit)
	g.reaches(c, control.StateServing, 20*time.Second)
	f()
}
