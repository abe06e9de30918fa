//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// checkInstall follows the package from apt-get install to apt-get purge, as it
// ships.
func checkInstall(g *group) {
	before := ""
	g.must("apt-get install", func(c *check) {
		before = g.files(c)
		g.install(c, "/root/old.deb")
	})
	g.check("the agent is ready and the node serves", func(c *check) {
		g.reaches(c, control.StateServing, 20*time.Second)
		require.Equal(c, "notify", g.show(c, agentUnit, "Type"))
		require.Equal(c, "fleet-agent", g.show(c, agentUnit, "User"))
		s, err := g.status()
		require.NoError(c, err)
		require.Equal(c, vmName, s.Node.Name)
	})
	g.check("its units are enabled", func(c *check) {
		for _, unit := range []string{agentUnit, "fleet-agent.socket", "fleet-serving.target"} {
			require.Equal(c, "enabled", g.run(c, "systemctl", "is-enabled", unit))
			require.NoError(c, g.active(unit))
		}
	})
	g.check("the right way to control units is in force: "+g.wayToUnits(), func(c *check) {
		out, _ := g.try("systemctl", "is-enabled", "fleet-bridge.socket")
		require.Equal(c, g.wayToUnits() == "bridge", out == "enabled", "fleet-bridge.socket is %s", out)
	})
	g.check("it holds an inhibitor, and logind waits as long as the package says", func(c *check) {
		require.Contains(c, g.run(c, "systemd-inhibit", "--list", "--no-pager"), "fleet-agent")
		require.Equal(c, "120000000", strings.TrimPrefix(g.run(c, "busctl", "get-property", "org.freedesktop.login1",
			"/org/freedesktop/login1", "org.freedesktop.login1.Manager", "InhibitDelayMaxUSec"), "t "))
	})
	g.check("systemd-analyze verify has nothing to say", func(c *check) {
		out := g.sh(c, "systemd-analyze verify --man=no fleet-agent.service fleet-agent.socket fleet-serving.target fleet-hook@x.service 2>&1")
		for line := range strings.Lines(out) {
			require.NotRegexp(c, "fleet-|cycle", line)
		}
	})
	g.check("exposure is at most 1.5", g.exposure)
	g.check("users who are not in a group see and change nothing", func(c *check) {
		g.run(c, "useradd", "--no-create-home", "outsider")
		for _, command := range [][]string{{"status"}, {"drain"}, {"maintenance", "on", "--for", "1m"}} {
			_, err := g.try(append([]string{"runuser", "-u", "outsider", "--", "fleet-agent"}, command...)...)
			require.ErrorContains(c, err, "may not", "%s", command)
		}
		g.reaches(c, control.StateServing, 0)
	})
	g.check("members of fleet-agent see, and change nothing", func(c *check) {
		g.run(c, "useradd", "--no-create-home", "-G", "fleet-agent", "watcher")
		g.run(c, "runuser", "-u", "watcher", "--", "fleet-agent", "status")
		_, err := g.try("runuser", "-u", "watcher", "--", "fleet-agent", "drain")
		require.ErrorContains(c, err, "may not")
		g.reaches(c, control.StateServing, 0)
	})
	g.check("members of fleet-admin drain and undrain (the control of the two above)", func(c *check) {
		g.run(c, "useradd", "--no-create-home", "-G", "fleet-admin", "drainer")
		g.run(c, "runuser", "-u", "drainer", "--", "fleet-agent", "maintenance", "on", "--for", "1m")
		g.reaches(c, control.StateMaintenance, 5*time.Second)
		g.run(c, "runuser", "-u", "drainer", "--", "fleet-agent", "maintenance", "off")
		g.reaches(c, control.StateServing, 5*time.Second)
	})
	g.check("the agent's user stops its target, and no other unit", g.unitRights)
	g.check("20 starts", g.starts)
	g.check("apt-get purge leaves nothing", func(c *check) {
		g.run(c, "systemctl", "start", "nginx.service")
		g.run(c, "fleet-agent", "adopt", "nginx.service", "--now")
		for _, user := range []string{"outsider", "watcher", "drainer"} {
			g.run(c, "userdel", user)
		}
		g.run(c, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "purge", "fleet-agent")
		require.NoError(c, g.active("nginx.service"), "the workload goes on")
		require.Equal(c, before, g.files(c))
		require.Empty(c, g.sh(c, "getent passwd fleet-agent || true; getent group fleet-agent fleet-admin || true"))
		require.Empty(c, g.sh(c, "systemctl list-units --all --no-legend --plain 'fleet-*' | grep -v not-found || true"))
		require.Equal(c, "5000000", strings.TrimPrefix(g.run(c, "busctl", "get-property", "org.freedesktop.login1",
			"/org/freedesktop/login1", "org.freedesktop.login1.Manager", "InhibitDelayMaxUSec"), "t "), "logind waits as before")
	})
}

// wayToUnits is how the agent reaches units: by polkit's rule, or over the bridge
// where polkit is too old to tell units apart.
func (n *node) wayToUnits() string {
	if n.suite == "bullseye" {
		return "bridge"
	}
	return "polkit"
}

// files lists what the file system has, without what any machine writes as it runs.
func (n *node) files(c *check) string {
	return n.sh(c, `find / -xdev \( -path /var/log -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /tmp -o -path /var/tmp \
		-o -path /var/lib/systemd/timers -o -path `+coverDir+` -o -path /var/lib/nginx -o -name '*-' -o -name '.pwd.lock' \) -prune -o -print | sort`)
}

// exposure judges the unit as it ships, without what it has in nodes only.
func (g *group) exposure(c *check) {
	if g.suite != "bullseye" { // 247 cannot judge a file
		// Under another name: drop-ins are found by name.
		g.sh(c, "cp /usr/lib/systemd/system/fleet-agent.service /root/exposed.service")
		out := g.sh(c, "systemd-analyze security --offline=true --no-pager /root/exposed.service | tail -n 1; rm /root/exposed.service")
		g.fact("%s", strings.TrimLeft(out, "→ "))
		require.Regexp(c, `: (0\.\d|1\.[0-5]) `, out)
		return
	}
	g.sh(c, "mv "+coverDropIn+" /root/drop-in && systemctl daemon-reload")
	out := g.run(c, "systemd-analyze", "security", "--no-pager", agentUnit)
	g.sh(c, "mv /root/drop-in "+coverDropIn+" && systemctl daemon-reload")
	_, score, ok := strings.Cut(out, "Overall exposure level for "+agentUnit+": ")
	require.True(c, ok, out)
	value, err := strconv.ParseFloat(strings.Fields(score)[0], 64)
	require.NoError(c, err)
	require.LessOrEqual(c, value, 1.5)
}

// unitRights tries, as the agent's user, what the agent may do and what not.
func (g *group) unitRights(c *check) {
	g.run(c, "systemctl", "start", "nginx.service")
	verb := func(verb, unit string) (string, error) {
		if g.wayToUnits() == "polkit" {
			return g.try("runuser", "-u", "fleet-agent", "--", "systemctl", "--no-ask-password", verb, unit)
		}
		out, err := g.bridge(verb, unit)
		if err == nil && out != "done" {
			err = fmt.Errorf("the bridge says %q", out)
		}
		return out, err
	}
	for _, try := range []struct{ verb, unit string }{
		{"stop", "nginx.service"},
		{"restart", "nginx.service"},
		{"stop", "ssh.service"},
		{"stop", agentUnit},
		{"restart", "fleet-serving.target"},
		{"start", "fleet-hook@a/b.service"},
	} {
		_, err := verb(try.verb, try.unit)
		require.Error(c, err, "%s %s", try.verb, try.unit)
	}
	if g.wayToUnits() == "bridge" {
		_, err := g.try("runuser", "-u", "fleet-agent", "--", "systemctl", "--no-ask-password", "stop", "nginx.service")
		require.Error(c, err, "around the bridge")
	}
	require.NoError(c, g.active("nginx.service"))
	require.NoError(c, g.active(agentUnit))
	for _, do := range []string{"stop", "start"} { // the control
		_, err := verb(do, "fleet-serving.target")
		require.NoError(c, err, do)
	}
	g.run(c, "systemctl", "stop", "nginx.service") // and root may
}

// starts measures from exec to READY=1. It is a report, not a test: how long it
// takes depends on what else the machine does.
func (g *group) starts(c *check) {
	var took []time.Duration
	for range 20 {
		g.run(c, "systemctl", "restart", agentUnit)
		var began, ready int
		for line := range strings.Lines(g.run(c, "systemctl", "show", "-p", "ExecMainStartTimestampMonotonic", "-p", "ActiveEnterTimestampMonotonic", agentUnit)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			n, err := strconv.Atoi(value)
			require.NoError(c, err)
			if name == "ActiveEnterTimestampMonotonic" {
				ready = n
			} else {
				began = n
			}
		}
		require.Greater(c, ready, began)
		took = append(took, time.Duration(ready-began)*time.Microsecond)
	}
	slices.Sort(took)
	g.fact("exec to READY=1, 20 starts: median %v, best %v, worst %v", took[10].Round(time.Millisecond),
		took[0].Round(time.Millisecond), took[19].Round(time.Millisecond))
}
