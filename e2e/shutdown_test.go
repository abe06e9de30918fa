//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// checkShutdown is what happens when nobody has announced anything.
func checkShutdown(g *group) {
	g.setUp()
	g.check("systemctl reboot: the node drains before anything is stopped", func(c *check) {
		g.reboot(c)
		previous := g.run(c, "journalctl", "-b", "-1", "-o", "cat", "--no-pager", "-u", agentUnit, "-u", "notifyd.service")
		inOrder(c, previous, "system is going down", "cause=shutdown", "step=before result=done",
			"stopping", "stopped", "step=workloads result=done", "step=after result=done", "agent stopped")
	})
	g.check("it comes back serving", func(c *check) {
		s := g.reaches(c, control.StateServing, 20*time.Second)
		require.Nil(c, s.Drain)
		for _, unit := range workloads {
			c.eventually(10*time.Second, func() error { return g.active(unit) })
		}
		require.Contains(c, g.run(c, "fleet-agent", "events"), "shutdown")
	})
	g.check("it reboots while people run commands in it", func(c *check) {
		const people = 40
		visits := make(chan error, people)
		g.sh(c, "mkdir /root/visits")
		for i := range people {
			go func() {
				_, err := g.try("sh", "-c", "touch /root/visits/"+strconv.Itoa(i)+"; exec sleep infinity")
				visits <- err
			}()
		}
		c.eventually(20*time.Second, func() error {
			began, err := os.ReadDir(g.path("/root/visits"))
			if err == nil && len(began) < people {
				err = fmt.Errorf("%d commands run", len(began))
			}
			return err
		})
		g.reboot(c)
		for range people {
			require.Error(c, <-visits, "the command outlived its machine")
		}
		g.reaches(c, control.StateServing, 20*time.Second)
	})
	g.check("a limit shorter than the drain ends the drain in time", func(c *check) {
		g.write(c, "/etc/systemd/logind.conf.d/zz-fleet-agent.conf", "[Login]\nInhibitDelayMaxSec=4\n")
		g.write(c, "/etc/systemd/system/notifyd.service.d/slow.conf", "[Service]\nExecStart=\nExecStart=/usr/local/bin/notifyd -work 8s\n")
		g.sh(c, "systemctl daemon-reload; systemctl kill -s HUP systemd-logind; systemctl restart notifyd.service")
		g.reboot(c)
		previous := g.run(c, "journalctl", "-b", "-1", "-o", "cat", "--no-pager", "-u", agentUnit)
		inOrder(c, previous, "system is going down", "step=workloads result=timed-out", "agent stopped")
		require.NotContains(c, previous, "cut off", "the agent let go before logind did")
		g.reaches(c, control.StateServing, 20*time.Second)
	})
}
