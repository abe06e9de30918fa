//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// workloads are the units that a node has adopted.
var workloads = []string{"nginx.service", "notifyd.service"}

// checkPreempt is the life of one event: notice, drain, ack, and the return.
func checkPreempt(g *group) {
	g.setUp()
	g.check("doctor finds no error on the node", func(c *check) {
		out, err := g.try("fleet-agent", "doctor")
		if err != nil { // warnings: a container is no Azure VM
			require.ErrorContains(c, err, "exit status 2", out)
		}
	})
	g.check("doctor finds that the metadata service is gone (the control)", func(c *check) {
		require.NoError(c, g.imds.SetFault(imds.Fault{Kind: imds.FaultStatus, Status: http.StatusForbidden}))
		defer g.imds.ClearFaults()
		g.sees(c, "blind", 10*time.Second)
		out, err := g.try("fleet-agent", "doctor")
		require.ErrorContains(c, err, "exit status 3", out)
		require.Contains(c, out, "denied")
	})
	g.check("it is back", func(c *check) { g.sees(c, "ok", 10*time.Second) })
	g.check("Preempt: the workloads stop, then the event is acked", func(c *check) { g.drainsFor(c, imds.Preempt) })
	g.check("the journal tells it in order", func(c *check) {
		g.toldInOrder(c, "cause=scheduled-event", "step begun", "step=before", "step begun", "step=workloads",
			"stopping", "stopped", "step=workloads result=done", "step=after result=done", "event acked")
	})
	g.check("the event vanishes: the workloads are started again, and the node serves", g.returns)
	g.check("Preempt that vanishes in mid-drain is undone", func(c *check) {
		id := g.publish(imds.EventSpec{Type: imds.Preempt})
		g.stopping(c)
		require.NoError(c, g.imds.Cancel(id))
		g.returns(c)
		require.Empty(c, g.imds.Acks()[1:], "it was not acked")
	})
	g.check("a member that takes its time to start is up before the node is ready", func(c *check) {
		const slow = "/etc/systemd/system/notifyd.service.d/slow.conf"
		g.write(c, slow, "[Service]\nExecStartPre=/bin/sleep 3\n")
		g.run(c, "systemctl", "daemon-reload")
		defer func() {
			g.run(c, "rm", slow)
			g.run(c, "systemctl", "daemon-reload")
		}()
		g.drainsFor(c, imds.Terminate)
		for _, e := range g.imds.Events() {
			if e.Status == imds.Scheduled || e.Status == imds.Started {
				require.NoError(c, g.imds.Complete(e.ID))
			}
		}
		waited := false
		c.eventually(30*time.Second, func() error {
			s, err := g.status()
			if err != nil {
				return err
			}
			waited = waited || s.Drain != nil && slices.Contains(s.Drain.Starting, "notifyd.service")
			if !s.Health.Ready {
				return fmt.Errorf("not ready: %s", s.Reason)
			}
			return nil
		})
		require.NoError(c, g.active("notifyd.service"))
		require.True(c, waited, "status says what is waited for")
		g.returns(c)
	})
}

// checkEvents is what goes otherwise than planned.
func checkEvents(g *group) {
	g.setUp()
	for _, kind := range []string{imds.Terminate, imds.Redeploy} {
		g.check(kind+": drained, acked, and undone when it vanishes", func(c *check) {
			g.drainsFor(c, kind)
			g.returns(c)
		})
	}
	g.check("Freeze changes nothing and is not acked", func(c *check) {
		id := g.publish(imds.EventSpec{Type: imds.Freeze})
		c.eventually(10*time.Second, func() error {
			s, err := g.status()
			if err != nil || len(s.Events) == 0 {
				return errors.Join(err, errors.New("the agent has not seen it"))
			}
			require.Equal(c, control.StateServing, s.State)
			require.Equal(c, "never", s.Events[0].Ack)
			return nil
		})
		require.NoError(c, g.imds.Complete(id))
		g.returns(c)
	})
	g.check("in mid-drain, systemctl start starts nothing", func(c *check) {
		g.midDrain(c, func() {
			for _, unit := range workloads {
				_, _ = g.try("systemctl", "start", "--no-block", unit) // whatever it answers
			}
		})
	})
	g.check("in mid-drain, a package's upgrade restarts nothing", func(c *check) {
		g.midDrain(c, func() {
			g.run(c, "env", "DEBIAN_FRONTEND=noninteractive", "dpkg-reconfigure", "nginx-common", "nginx") // as its postinst does
			g.run(c, "dpkg", "-i", "/root/new.deb")
		})
	})
	g.check("in mid-drain, the agent is killed and goes on where it stood", func(c *check) {
		g.midDrain(c, func() { g.run(c, "systemctl", "kill", "-s", "KILL", agentUnit) })
	})
	g.check("a drained node stays drained over restarts of the agent", func(c *check) {
		g.drainsFor(c, imds.Terminate)
		g.run(c, "systemctl", "restart", agentUnit)
		g.reaches(c, control.StateDrained, 10*time.Second)
		for _, unit := range workloads {
			require.NoError(c, g.inactive(unit))
		}
		g.returns(c)
	})
	g.check("Terminate: a member's failure is reported, and the event is not acked", func(c *check) {
		g.write(c, "/etc/systemd/system/notifyd.service.d/fail.conf", "[Service]\nExecStart=\nExecStart=/usr/local/bin/notifyd -work 1s -fail\n")
		g.run(c, "systemctl", "daemon-reload")
		g.run(c, "systemctl", "restart", "notifyd.service")
		acks := len(g.imds.Acks())
		id := g.publish(imds.EventSpec{Type: imds.Terminate})
		var s control.Status
		c.eventually(30*time.Second, func() (err error) {
			if s, err = g.status(); err != nil {
				return err
			}
			if s.Drain == nil || s.Drain.Phase != "failed" {
				return fmt.Errorf("the drain has not failed: %+v", s.Drain)
			}
			return nil
		})
		step := s.Drain.Steps[1]
		require.Equal(c, "failed", step.Status)
		require.Contains(c, step.Error, "notifyd.service")
		require.NotContains(c, step.Error, "nginx.service")
		require.Len(c, g.imds.Acks(), acks)
		require.NoError(c, g.imds.Complete(id))
		g.run(c, "rm", "/etc/systemd/system/notifyd.service.d/fail.conf")
		g.run(c, "systemctl", "daemon-reload")
		g.returns(c)
	})
	g.check("Reboot: drained, acked, rebooted; the node comes back serving while the event is still there", func(c *check) {
		id := g.drainsFor(c, imds.Reboot)
		c.eventually(10*time.Second, func() error {
			if e, _ := g.imds.Event(id); e.Status != imds.Started {
				return fmt.Errorf("the event is %s", e.Status)
			}
			return nil
		})
		g.reboot(c)
		g.reaches(c, control.StateServing, 20*time.Second)
		for _, unit := range workloads {
			c.eventually(10*time.Second, func() error { return g.active(unit) })
		}
		require.NoError(c, g.logged(agentUnit, "event has happened already"))
		require.Contains(c, g.run(c, "fleet-agent", "events"), "Reboot")
	})
}

// publish publishes an event for the node.
func (n *node) publish(spec imds.EventSpec) (id string) {
	if spec.Notice == 0 {
		spec.Notice = time.Minute
	}
	spec.Hold = true // until the check says that it is over
	return n.imds.Publish(spec)
}

// drainsFor publishes an event and follows the node until it has acked it.
func (g *group) drainsFor(c *check, kind string) (id string) {
	c.Helper()
	id = g.publish(imds.EventSpec{Type: kind})
	var acked imds.Ack
	c.eventually(30*time.Second, func() error {
		for _, ack := range g.imds.Acks() {
			if ack.EventID == id {
				acked = ack
				return nil
			}
		}
		return errors.New("no ack has come")
	})
	require.True(c, acked.Accepted)
	require.False(c, acked.Late)
	for _, unit := range workloads {
		require.NoError(c, g.inactive(unit), "when the ack came")
	}
	s := g.reaches(c, control.StateDrained, 5*time.Second)
	require.False(c, s.Health.Ready)
	require.Contains(c, g.show(c, agentUnit, "StatusText"), "drained")
	text, err := g.try("fleet-agent", "status")
	require.ErrorContains(c, err, "exit status 3")
	require.Contains(c, text, kind)
	require.Equal(c, kind, s.Drain.Cause.EventType)
	for _, step := range s.Drain.Steps {
		require.Equal(c, "done", step.Status, "step %s: %s", step.Name, step.Error)
	}
	require.GreaterOrEqual(c, s.Drain.Steps[1].ElapsedSeconds, 3.0, "notifyd has had the time that it asked for")
	require.Equal(c, "success", g.show(c, "notifyd.service", "Result"))
	return id
}

// returns ends all events, and waits until the node serves with all workloads.
func (g *group) returns(c *check) {
	c.Helper()
	for _, e := range g.imds.Events() {
		if e.Status == imds.Scheduled || e.Status == imds.Started {
			require.NoError(c, g.imds.Complete(e.ID))
		}
	}
	s := g.reaches(c, control.StateServing, 30*time.Second)
	require.True(c, s.Health.Ready)
	for _, unit := range workloads {
		c.eventually(10*time.Second, func() error { return g.active(unit) })
	}
}

// midDrain does something while the workloads of a drain stop. None of them may be
// started before the event is over.
func (g *group) midDrain(c *check, do func()) {
	c.Helper()
	starts := g.starting(c)
	id := g.publish(imds.EventSpec{Type: imds.Preempt})
	g.stopping(c)
	do()
	c.eventually(30*time.Second, func() error {
		for _, ack := range g.imds.Acks() {
			if ack.EventID == id && ack.Accepted {
				return nil
			}
		}
		return errors.New("no ack has come")
	})
	g.reaches(c, control.StateDrained, 10*time.Second)
	for _, unit := range workloads {
		require.NoError(c, g.inactive(unit))
	}
	require.Equal(c, starts, g.starting(c), "none was started in between")
	g.returns(c)
}

// stopping waits until the workloads are being stopped.
func (g *group) stopping(c *check) {
	c.Helper()
	c.eventually(15*time.Second, func() error {
		if out, _ := g.try("systemctl", "is-active", "notifyd.service"); out != "deactivating" {
			return fmt.Errorf("notifyd.service is %s", out)
		}
		return nil
	})
}

// starting says when each workload was last started: the invocation IDs.
func (g *group) starting(c *check) (ids []string) {
	for _, unit := range workloads {
		ids = append(ids, g.show(c, unit, "InvocationID"))
	}
	return ids
}

// toldInOrder looks for texts in what the agent and notifyd have logged in this boot.
func (g *group) toldInOrder(c *check, texts ...string) {
	c.Helper()
	inOrder(c, g.run(c, "journalctl", "-b", "-u", agentUnit, "-u", "notifyd.service", "-o", "cat", "--no-pager"), texts...)
}

// inOrder looks for texts in a log, each after the one before.
func inOrder(c *check, log string, texts ...string) {
	c.Helper()
	rest := log
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		require.True(c, ok, "%q is not there, or not in its place, in\n%s", text, log)
		rest = after
	}
}

// reboot reboots the node from inside, and waits until it is up again.
func (g *group) reboot(c *check) {
	c.Helper()
	boot := g.run(c, "cat", "/proc/sys/kernel/random/boot_id")
	_, _ = g.try("systemctl", "reboot") // the connection may end before the answer comes
	c.eventually(60*time.Second, func() error {
		now, err := g.try("cat", "/proc/sys/kernel/random/boot_id")
		if err == nil && now == boot {
			err = errors.New("the node has not gone down")
		}
		return err
	})
	_, err := nodeScript("wait", g.name)
	require.NoError(c, err)
}
