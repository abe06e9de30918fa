//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// cloudUnits has the units of the packages cloud-init and waagent as Debian ships
// them, without their programs; rootfs.sh puts them there.
const cloudUnits = "/usr/local/share/cloud-units"

// checkOrder boots the agent together with the units that a machine of Azure has:
// they are ordered around multi-user.target, which wants the agent, too.
func checkOrder(g *group) {
	g.must("the package is installed beside the units of cloud-init and waagent", func(c *check) {
		g.install(c, "/root/new.deb")
		// In the place of each program one that does nothing. cloud-init's generator
		// makes multi-user.target want cloud-init.target in the same way.
		g.sh(c, `cd `+cloudUnits+`
			test -e cloud-final.service && test -e walinuxagent.service
			cp -- * /usr/lib/systemd/system/
			for unit in *.service; do
				mkdir /etc/systemd/system/$unit.d
				printf '[Unit]\nConditionVirtualization=\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=\nExecStart=/bin/true\n' >/etc/systemd/system/$unit.d/e2e.conf
			done
			systemctl daemon-reload
			systemctl enable --quiet $(grep -l '^WantedBy=' *.service)
			systemctl add-wants --quiet multi-user.target cloud-init.target`)
	})
	g.check("systemd-analyze verify finds no ordering cycle", func(c *check) {
		require.NotContains(c, g.verifyBoot(c), "cycle")
	})
	g.check("a boot with them has none, and starts the agent and all of them", func(c *check) {
		g.reboot(c)
		require.Empty(c, g.cycles(c))
		g.reaches(c, control.StateServing, 20*time.Second)
		for _, unit := range []string{"cloud-init-local.service", "cloud-config.service", "cloud-final.service", "cloud-init.target", "walinuxagent.service"} {
			c.eventually(20*time.Second, func() error { return g.active(unit) }) // after multi-user.target
		}
		require.LessOrEqual(c, g.number(c, agentUnit, "ActiveEnterTimestampMonotonic"),
			g.number(c, "cloud-final.service", "ExecMainStartTimestampMonotonic"), "the agent waits for no cloud-init")
	})
	g.check("a drop-in that makes a cycle is found by both (the control)", func(c *check) {
		g.write(c, "/etc/systemd/system/fleet-agent.service.d/cycle.conf", "[Unit]\nAfter=cloud-final.service\n")
		require.Contains(c, g.verifyBoot(c), "cycle")
		g.reboot(c)
		require.NotEmpty(c, g.cycles(c))
	})
}

// verifyBoot is what systemd-analyze says about the boot and the agent in it.
func (n *node) verifyBoot(c *check) string {
	c.Helper()
	return n.sh(c, "systemd-analyze verify --man=no multi-user.target fleet-agent.service fleet-agent.socket fleet-serving.target cloud-init.target 2>&1 || true")
}

// cycles are the lines in which PID 1 has told of ordering cycles in this boot. It
// finds those of the boot itself before there is a journal, and then has only the
// console, and where the machine has it the kernel's log, to tell.
func (n *node) cycles(c *check) (lines []string) {
	c.Helper()
	console, err := os.ReadFile(filepath.Join(n.dir, "nspawn.log"))
	require.NoError(c, err)
	const banner = "running in system mode"
	last := strings.LastIndex(string(console), banner)
	require.Positive(c, last, "the console does not show a boot: %s", console)
	journal := n.run(c, "journalctl", "-b", "_PID=1", "-o", "cat", "--no-pager")
	for line := range strings.Lines(string(console[last:]) + journal) {
		if strings.Contains(line, "ordering cycle") {
			lines = append(lines, line)
		}
	}
	return lines
}
