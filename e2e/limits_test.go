//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// checkLimits is what systemd does when the agent does not do well.
func checkLimits(g *group) {
	g.must("the package is installed and serves", func(c *check) {
		g.install(c, "/root/new.deb")
		g.reaches(c, control.StateServing, 20*time.Second)
	})
	g.check("a frozen agent is killed by the watchdog and started again", func(c *check) {
		require.Equal(c, "30s", g.show(c, agentUnit, "WatchdogUSec"))
		g.dropIn(c, "WatchdogSec=3s") // nobody wants to wait for 30
		restarts := g.number(c, agentUnit, "NRestarts")
		first := g.show(c, agentUnit, "WatchdogTimestampMonotonic")
		c.eventually(5*time.Second, func() error {
			if g.show(c, agentUnit, "WatchdogTimestampMonotonic") == first {
				return errors.New("it has not fed the watchdog")
			}
			return nil
		})
		g.run(c, "systemctl", "kill", "-s", "STOP", agentUnit)
		g.restarted(c, restarts, 20*time.Second)
		require.NoError(c, g.logged(agentUnit, "Failed with result 'watchdog'"))
		require.NoError(c, g.logged(agentUnit, "goroutine "), "the stacks are in the journal")
		g.reaches(c, control.StateServing, 10*time.Second)
	})
	g.check("it is started again however often it fails", func(c *check) {
		g.dropIn(c, "RestartSec=50ms")
		for range 8 {
			restarts := g.number(c, agentUnit, "NRestarts")
			g.run(c, "systemctl", "kill", "-s", "KILL", agentUnit)
			g.restarted(c, restarts, 10*time.Second)
		}
		g.reaches(c, control.StateServing, 10*time.Second)
	})
	g.check("a check that takes all memory meets the limit, not the node", func(c *check) {
		g.write(c, "/etc/fleet-agent/conf.d/hog.yaml", `
checks:
  - {name: hog, exec: {command: [sh, -c, "`+hog+`"]}, severity: warning, interval: 2s, timeout: 20s, fail_after: 1}
`)
		g.run(c, "systemctl", "reload", agentUnit)
		c.eventually(20*time.Second, func() error {
			out, err := g.try("sh", "-c", "cat /sys/fs/cgroup/memory/system.slice/fleet-agent.service/memory.failcnt")
			if err != nil {
				return err
			}
			if n, err := strconv.Atoi(out); err != nil || n == 0 {
				return fmt.Errorf("the limit was met %s times", out)
			}
			return nil
		})
		most, err := strconv.Atoi(g.run(c, "cat", "/sys/fs/cgroup/memory/system.slice/fleet-agent.service/memory.max_usage_in_bytes"))
		require.NoError(c, err)
		require.LessOrEqual(c, most, 256<<20)
		g.run(c, "rm", "/etc/fleet-agent/conf.d/hog.yaml")
		c.eventually(10*time.Second, func() error { // it may be down for a moment, if the kernel chose it
			_, err := g.try("systemctl", "reload-or-restart", agentUnit)
			return err
		})
		g.reaches(c, control.StateServing, 20*time.Second)
	})
	checkForks(g)
}

// checkForks is a check that forks without end: it gets no more, and the agent goes
// on.
func checkForks(g *group) {
	const events = "/sys/fs/cgroup/pids/system.slice/fleet-agent.service/pids.events"
	g.check("a check that takes all tasks gets no more, and the agent goes on", func(c *check) {
		restarts := g.number(c, agentUnit, "NRestarts")
		g.write(c, "/etc/fleet-agent/conf.d/forks.yaml", `
checks:
  - {name: forks, exec: {command: [sh, -c, "while :; do sleep 60 & done"]}, severity: warning, interval: 2s, timeout: 20s, fail_after: 1}
  - {name: fine, exec: {command: [sh, -c, "true"]}, severity: warning, interval: 1s}
`)
		g.run(c, "systemctl", "reload", agentUnit)
		c.eventually(30*time.Second, func() error {
			out, err := g.try("fleet-agent", "check", "forks")
			if err == nil || !strings.Contains(out+err.Error(), "fork") {
				return errors.Join(errors.New("it forks on: "+out), err)
			}
			return nil
		})
		require.Equal(c, restarts, g.number(c, agentUnit, "NRestarts"))
		require.Equal(c, "max 0", g.run(c, "cat", events), "the unit's own limit was never met")
		g.run(c, "fleet-agent", "check", "fine")
		g.run(c, "rm", "/etc/fleet-agent/conf.d/forks.yaml")
		g.run(c, "systemctl", "reload", agentUnit)
		g.reaches(c, control.StateServing, 20*time.Second)
	})
}

// dropIn sets a directive of the agent's unit, and restarts it.
func (g *group) dropIn(c *check, line string) {
	c.Helper()
	g.write(c, "/etc/systemd/system/fleet-agent.service.d/e2e.conf", "[Service]\n"+line+"\n")
	g.sh(c, "systemctl daemon-reload; systemctl restart fleet-agent")
	g.reaches(c, control.StateServing, 10*time.Second)
}

// restarted waits until systemd has started the agent once more.
func (g *group) restarted(c *check, before int, bound time.Duration) {
	c.Helper()
	c.eventually(bound, func() error {
		if n := g.number(c, agentUnit, "NRestarts"); n == before {
			return fmt.Errorf("it has been restarted %d times, as before", n)
		}
		return g.active(agentUnit)
	})
}
