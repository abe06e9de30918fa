//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// A service that the first connection starts, and that passes connections on to
// nginx. It is the kind of service that a drain must not leave behind with a socket
// that has failed.
const (
	proxySocket = `[Unit]
Description=The port of a workload
[Socket]
ListenStream=127.0.0.1:8765
[Install]
WantedBy=sockets.target
`
	proxyService = `[Unit]
Description=A workload that its socket starts
Requires=proxy.socket
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd 127.0.0.1:80
TimeoutStopSec=5s
`
)

// checkAdopt is what a drain means for a workload that a socket, a path or a timer
// starts.
func checkAdopt(g *group) {
	g.setUp()
	g.must("a service is adopted with the socket, the path and the timer that start it", func(c *check) {
		g.write(c, "/etc/systemd/system/proxy.socket", proxySocket)
		g.write(c, "/etc/systemd/system/proxy.service", proxyService)
		g.write(c, "/etc/systemd/system/proxy.path", "[Path]\nPathExists=/run/start-proxy\n[Install]\nWantedBy=paths.target\n")
		g.write(c, "/etc/systemd/system/tick.timer", "[Timer]\nOnActiveSec=1h\nUnit=proxy.service\n[Install]\nWantedBy=timers.target\n")
		g.run(c, "systemctl", "daemon-reload")
		g.run(c, "systemctl", "enable", "--now", "--quiet", "proxy.socket", "proxy.path", "tick.timer")
		out := g.run(c, "fleet-agent", "adopt", "proxy.service")
		require.Contains(c, out, "with proxy.path, proxy.socket, tick.timer")
		require.Contains(c, g.run(c, "fleet-agent", "adopt", "proxy.service"), "adopted before, nothing to change")
		for _, unit := range []string{"proxy.socket", "proxy.path", "tick.timer"} {
			require.Contains(c, g.show(c, unit, "PartOf"), "fleet-serving.target")
			require.NotContains(c, g.show(c, unit, "After"), "fleet-serving.target")
		}
		require.NoError(c, g.answers())
	})
	g.check("connections during a drain start nothing, and the port answers after it", func(c *check) {
		g.drainsWith(c, "proxy.service", "proxy.socket", "proxy.path", "tick.timer")
		for range 30 {
			require.Error(c, g.answers())
		}
		g.sh(c, "touch /run/start-proxy; systemctl start proxy.socket proxy.path tick.timer")
		for _, unit := range []string{"proxy.service", "proxy.socket", "proxy.path", "tick.timer"} {
			require.NoError(c, g.inactive(unit))
		}
		g.run(c, "rm", "/run/start-proxy")
		g.returns(c)
		require.NoError(c, g.answers())
		require.NoError(c, errors.Join(g.active("proxy.socket"), g.active("proxy.path"), g.active("tick.timer")))
	})
	g.check("without its socket the port refuses after a drain, and status and doctor say so (the control)", func(c *check) {
		g.sh(c, `rm -r /etc/systemd/system/proxy.socket.d /etc/systemd/system/fleet-serving.target.wants/proxy.socket
			sed -i /Requires/d /etc/systemd/system/proxy.service; systemctl daemon-reload`)
		out, err := g.try("fleet-agent", "doctor")
		require.ErrorContains(c, err, "exit status 3", out)
		require.Contains(c, out, "proxy.socket can start proxy.service and is not adopted")
		g.drainsWith(c, "proxy.service")
		c.eventually(10*time.Second, func() error {
			_ = g.answers() // the first connection does it
			if state := g.show(c, "proxy.socket", "Result"); state != "trigger-limit-hit" {
				return fmt.Errorf("the result of proxy.socket is %s", state)
			}
			return nil
		})
		g.returns(c)
		require.Error(c, g.answers())

		g.run(c, "fleet-agent", "adopt", "proxy.service") // an upgrade
		s := g.reaches(c, control.StateDegraded, 20*time.Second)
		require.Equal(c, "proxy.socket does not listen", s.Reason)
		require.Contains(c, fmt.Sprint(s.Warnings), "trigger-limit-hit")
		_, err = g.try("fleet-agent", "status")
		require.ErrorContains(c, err, "exit status 2")
		out, err = g.try("fleet-agent", "doctor")
		require.ErrorContains(c, err, "exit status 3", out)
		require.Contains(c, out, "the adopted socket proxy.socket does not listen")
		g.run(c, "systemctl", "stop", "proxy.service")
		g.run(c, "systemctl", "start", "proxy.socket", "proxy.service")
		g.reaches(c, control.StateServing, 20*time.Second)
		require.NoError(c, g.answers())
	})
	g.check("a drain mends a socket that has failed", func(c *check) {
		g.run(c, "systemctl", "stop", "proxy.service")
		g.write(c, "/etc/systemd/system/proxy.service.d/never.conf", "[Unit]\nConditionPathExists=/nonexistent\n")
		g.run(c, "systemctl", "daemon-reload")
		_ = g.answers()
		c.eventually(5*time.Second, func() error { return g.inactive("proxy.socket") })
		g.sh(c, "rm /etc/systemd/system/proxy.service.d/never.conf; systemctl daemon-reload")
		g.drainsWith(c, "proxy.service", "proxy.socket")
		g.returns(c)
		require.NoError(c, g.answers())
	})
	g.check("a boot has no ordering cycle, beside a member that is not ordered after the target", func(c *check) {
		g.write(c, "/etc/systemd/system/plain.service",
			"[Unit]\nPartOf=fleet-serving.target\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=fleet-serving.target\n")
		g.run(c, "systemctl", "daemon-reload")
		g.run(c, "systemctl", "enable", "--quiet", "plain.service")
		g.reboot(c)
		require.Empty(c, g.cycles(c))
		g.reaches(c, control.StateServing, 20*time.Second)
		require.NoError(c, errors.Join(g.active("proxy.socket"), g.active("proxy.path"), g.active("tick.timer"), g.active("plain.service")))
		require.NoError(c, g.answers())
	})
	g.check("with After= in the socket's drop-in the same boot has one (the control)", func(c *check) {
		g.write(c, "/etc/systemd/system/proxy.socket.d/after.conf", "[Unit]\nAfter=fleet-serving.target\n")
		g.reboot(c)
		require.NotEmpty(c, g.cycles(c))
		g.sh(c, "rm /etc/systemd/system/proxy.socket.d/after.conf; systemctl daemon-reload; systemctl stop proxy.service; systemctl start proxy.socket")
	})
	g.check("release takes back all of it", func(c *check) {
		g.run(c, "fleet-agent", "release", "proxy.service")
		require.Empty(c, g.sh(c, "cd /etc/systemd/system; ls -d proxy.*.d tick.timer.d fleet-serving.target.wants/proxy.* fleet-serving.target.wants/tick.* 2>/dev/null || true"))
		require.NotContains(c, g.show(c, "proxy.socket", "PartOf"), "fleet-serving.target")
		require.NoError(c, g.answers())
	})
}

// answers asks the workload behind the socket.
func (n *node) answers() error {
	_, err := n.try("curl", "--fail", "--silent", "--show-error", "--max-time", "5", "--output", "/dev/null", "http://127.0.0.1:8765/")
	return err
}

// drainsWith drains for an event, and waits until these units are down, too.
func (g *group) drainsWith(c *check, units ...string) {
	c.Helper()
	g.drainsFor(c, imds.Preempt)
	for _, unit := range units {
		require.NoError(c, g.inactive(unit), "when the ack came")
	}
}
