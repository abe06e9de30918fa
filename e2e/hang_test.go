//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// checkHang freezes file systems under the agent: not full, not read-only, but
// without an answer, as a disk is that the platform has lost.
func checkHang(g *group) {
	g.setUp()
	g.check("the disks of journal and log hang: a Preempt of 9 s is drained for and acked in time", func(c *check) {
		g.stop(c)
		state, log := g.disk(c, stateDir), g.disk(c, "/var/log/journal")
		g.start(c)
		g.reaches(c, control.StateServing, 20*time.Second)
		p := g.probe()
		thaw := errors.Join(freeze(state), freeze(log))
		defer func() { _ = errors.Join(unfreeze(state), unfreeze(log)) }()
		require.NoError(c, thaw)

		began := time.Now()
		id := g.publish(imds.EventSpec{Type: imds.Preempt, Notice: 9 * time.Second})
		c.eventually(2*time.Second, func() error { return g.readyIs("503") }) // a poll, and no more
		g.reaches(c, control.StateDrained, 8*time.Second)
		require.NoError(c, errors.Join(g.inactive("nginx.service"), g.inactive("notifyd.service")))
		c.eventually(2*time.Second, func() error {
			if n := len(g.imds.Acks()); n != 1 {
				return fmt.Errorf("%d acks", n)
			}
			return nil
		})
		require.Less(c, time.Since(began), 9*time.Second)
		require.Equal(c, id, g.imds.Acks()[0].EventID)
		out, err := g.try("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/livez")
		require.NoError(c, err)
		require.Equal(c, "200", out)
		require.Contains(c, strings.Join(g.warnings(c), "\n"), "the disk does not answer")

		require.NoError(c, errors.Join(unfreeze(state), unfreeze(log)))
		g.returns(c)
		c.eventually(5*time.Second, func() error {
			if list := g.warnings(c); len(list) > 0 {
				return fmt.Errorf("warnings: %q", list)
			}
			return nil
		})
		result := p.stop()
		require.Zero(c, result.errors+result.cut(), "%v", result)
		c.eventually(5*time.Second, func() error { return g.logged(agentUnit, "journal is written again") })
	})
	g.check("a start on a disk that hangs: probes are answered, and the node drains", func(c *check) {
		state := filepath.Join(g.dir, "root", stateDir)
		g.run(c, "systemctl", "stop", agentUnit)
		defer func() { _ = unfreeze(state) }()
		require.NoError(c, freeze(state))
		began := time.Now()
		g.run(c, "systemctl", "start", "--no-block", agentUnit)
		g.reaches(c, control.StateServing, 5*time.Second) // a frozen file system can be read
		require.Less(c, time.Since(began), 5*time.Second)
		require.NoError(c, g.readyIs("200"))
		g.publish(imds.EventSpec{Type: imds.Preempt, Notice: 9 * time.Second})
		g.reaches(c, control.StateDrained, 8*time.Second)
		require.NoError(c, unfreeze(state))
		g.returns(c)
	})
}

// disk puts a file system of its own in the place of a directory of the node, which
// is not up, with what was in it, until the node is removed. It returns where this
// machine has it.
func (g *group) disk(c *check, dir string) string {
	c.Helper()
	image, at := filepath.Join(g.dir, strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-")+".img"), filepath.Join(g.dir, "root", dir)
	for _, command := range [][]string{
		{"truncate", "-s", "64M", image},
		{"mkfs.ext4", "-q", "-O", "^has_journal", "-d", at, image},
		{"mount", "-o", "loop", image, at},
	} {
		out, err := exec.Command(command[0], command[1:]...).CombinedOutput()
		require.NoError(c, err, "%v: %s", command, out)
	}
	g.t.Cleanup(func() {
		_ = unfreeze(at)
		_ = exec.Command("umount", "-l", at).Run() // the node has it until it ends
	})
	return at
}

func freeze(dir string) error   { return fsfreeze("-f", dir) }
func unfreeze(dir string) error { return fsfreeze("-u", dir) }

func fsfreeze(how, dir string) error {
	if out, err := exec.Command("fsfreeze", how, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("fsfreeze %s %s: %w: %s", how, dir, err, out)
	}
	return nil
}

// readyIs compares what /readyz answers.
func (n *node) readyIs(want string) error {
	out, err := n.try("curl", "-s", "-m", "2", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1:8080/readyz")
	if err == nil && out != want {
		err = fmt.Errorf("/readyz says %s, not %s", out, want)
	}
	return err
}
