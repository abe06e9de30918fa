//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

const (
	agentUnit = "fleet-agent.service"
	vmName    = "web_0"
	// coverDir is where the agent's counters go, in the node.
	coverDir = "/var/lib/fleet-cov"
	// coverDropIn is below /usr/local so that it is no part of what the package
	// or an administrator leaves in /etc.
	coverDropIn = "/usr/local/lib/systemd/system/fleet-agent.service.d/50-e2e.conf"
)

// dropIn is what the unit has in nodes and nowhere else.
const dropIn = `[Service]
Environment=GOCOVERDIR=` + coverDir + `
ReadWritePaths=-` + coverDir + `
# Each of these gives the service a fresh /proc, on which the boot ID is that of the
# machine below the container: the agent would not see that the node was rebooted.
ProtectProc=default
ProtectKernelTunables=no
ProtectControlGroups=no
`

// A node is a machine that node.sh makes, and the metadata service that it sees.
type node struct {
	name  string // of the machine and of its network namespace
	suite string
	dir   string
	imds  *imds.Server
}

// newNode creates a node that is not up yet, and removes it after the test. With
// from, it has a copy of that stopped node's files.
func newNode(t *testing.T, suite, name, from string) *node {
	n := &node{name: fmt.Sprintf("e2e%d-%s-%s", os.Getpid(), suite, name), suite: suite}
	n.dir = filepath.Join(os.Getenv("E2E_STATE"), n.name)
	args := []string{"create", n.name, filepath.Join(os.Getenv("E2E_STATE"), "rootfs-"+suite)}
	if from != "" {
		args = append(args, from)
	}
	_, err := nodeScript(args...)
	require.NoError(t, err)
	t.Cleanup(func() { n.remove(t) })

	if from == "" {
		require.NoError(t, os.MkdirAll(n.path(coverDir), 0o755))
		require.NoError(t, os.Chmod(n.path(coverDir), 0o777))
		n.write(t, coverDropIn, dropIn)
		for name, file := range map[string]string{"old.deb": settings.oldDeb, "new.deb": settings.newDeb} {
			n.copyIn(t, file, "/root/"+name)
		}
		n.copyIn(t, settings.notifyd, "/usr/local/bin/notifyd")
		require.NoError(t, os.Chmod(n.path("/usr/local/bin/notifyd"), 0o755))
	}

	n.imds = imds.New(imds.Config{
		VMs:       []imds.Instance{{Name: vmName}},
		RateLimit: -1, // the checks restart the agent more often than anybody else would
	})
	n.serve(t, "169.254.169.254:80", n.imds.VM(vmName))
	return n
}

// serve serves on the network that the node sees, until the test ends.
func (n *node) serve(t *testing.T, address string, h http.Handler) {
	l, err := listenIn(n.name+"-imds", address)
	require.NoError(t, err)
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
}

// nodeScript runs node.sh, for at most five minutes: what hangs is one check that
// fails, with what it was, and not the end of all.
func nodeScript(args ...string) (stdout string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(settings.root, "e2e/node.sh"), args...)
	cmd.WaitDelay = time.Minute // a child of it may still hold the pipes; what was read late is no error
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = errors.New("no end after five minutes")
		}
		return strings.TrimSpace(out.String()), fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, &errs, &out)
	}
	return strings.TrimSpace(out.String()), nil
}

// start boots the node.
func (n *node) start(c *check) {
	_, err := nodeScript("start", n.name)
	require.NoError(c, err)
}

// stop powers it off.
func (n *node) stop(c *check) {
	_, err := nodeScript("stop", n.name)
	require.NoError(c, err)
}

// remove removes the node, and keeps what its agent covered.
func (n *node) remove(t *testing.T) {
	_, err := nodeScript("stop", n.name)
	require.NoError(t, err)
	files, err := filepath.Glob(n.path(coverDir + "/cov*"))
	require.NoError(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(settings.coverage, filepath.Base(file)), data, 0o644))
	}
	_, err = nodeScript("remove", n.name)
	require.NoError(t, err)
}

// path is where this machine has a file of the node. What the node has mounted,
// as on /run, is not there.
func (n *node) path(file string) string { return filepath.Join(n.dir, "root", file) }

// write writes a file of the node.
func (n *node) write(t require.TestingT, file, text string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(n.path(file)), 0o755))
	require.NoError(t, os.WriteFile(n.path(file), []byte(text), 0o644))
}

func (n *node) copyIn(t require.TestingT, from, to string) {
	data, err := os.ReadFile(from)
	require.NoError(t, err)
	n.write(t, to, string(data))
}

// try runs a command in the node.
func (n *node) try(command ...string) (stdout string, err error) {
	return nodeScript(append([]string{"exec", n.name}, command...)...)
}

// run runs a command in the node that must succeed.
func (n *node) run(c *check, command ...string) (stdout string) {
	c.Helper()
	out, err := n.try(command...)
	require.NoError(c, err)
	return out
}

// sh runs a line of shell in the node that must succeed.
func (n *node) sh(c *check, line string) (stdout string) {
	c.Helper()
	return n.run(c, "sh", "-ec", line)
}

// show reads a property of a unit.
func (n *node) show(c *check, unit, property string) string {
	c.Helper()
	return n.run(c, "systemctl", "show", "-P", property, unit)
}

// number reads a property that is a number.
func (n *node) number(c *check, unit, property string) int {
	c.Helper()
	value, err := strconv.Atoi(n.show(c, unit, property))
	require.NoError(c, err)
	return value
}

// active reports whether a unit is active.
func (n *node) active(unit string) error {
	if out, err := n.try("systemctl", "is-active", unit); err != nil {
		return fmt.Errorf("%s is %s", unit, out)
	}
	return nil
}

// inactive reports whether a unit is inactive or has failed.
func (n *node) inactive(unit string) error {
	switch out, _ := n.try("systemctl", "is-active", unit); out {
	case "inactive", "failed":
		return nil
	default:
		return fmt.Errorf("%s is %s", unit, out)
	}
}

// journal is what the agent and the workloads have logged since a time.
func (n *node) journal(since time.Time) string {
	args := []string{
		"--no-pager", "-o", "short-precise", "--since", since.UTC().Format("2006-01-02 15:04:05") + " UTC",
		"-n", "80", "-u", "fleet-*", "-u", "nginx", "-u", "notifyd", "-u", "proxy*",
	}
	if out, err := n.try(append([]string{"journalctl"}, args...)...); err == nil {
		return out
	}
	out, err := exec.Command("journalctl", append([]string{"-D", n.path("/var/log/journal")}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Sprintf("%s (%v)", out, err)
	}
	return string(out)
}

// logged reports whether a unit has logged a text in this boot.
func (n *node) logged(unit, text string) error {
	out, err := n.try("journalctl", "-b", "-u", unit, "-o", "cat", "--no-pager")
	if err != nil {
		return err
	}
	if !strings.Contains(out, text) {
		return fmt.Errorf("%s has not logged %q", unit, text)
	}
	return nil
}

// status asks the agent.
func (n *node) status() (s control.Status, err error) {
	out, err := n.try("fleet-agent", "status", "-o", "json")
	if out == "" && err != nil { // a status other than serving has an exit code, too
		return s, err
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		return s, fmt.Errorf("read the status %q: %w", out, err)
	}
	return s, nil
}

// reaches waits until the agent is in a state, and returns its status.
func (n *node) reaches(c *check, want control.State, bound time.Duration) (s control.Status) {
	c.Helper()
	c.eventually(bound, func() (err error) {
		if s, err = n.status(); err != nil {
			return err
		}
		if s.State != want {
			return fmt.Errorf("the node is %s (%s), not %s", s.State, s.Reason, want)
		}
		return nil
	})
	return s
}

// install installs a package as an administrator would.
func (n *node) install(c *check, deb string) {
	c.Helper()
	n.run(c, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "install", deb)
}

// setUp brings the node into service: the new package, a configuration with spans
// for people who do not want to wait, and two workloads that stop as they like.
func (g *group) setUp() {
	g.must("the node is set up and serves", func(c *check) {
		g.install(c, "/root/new.deb")
		g.write(c, "/etc/fleet-agent/config.yaml", configuration)
		g.run(c, "systemctl", "reload", agentUnit)
		g.write(c, "/etc/systemd/system/notifyd.service", notifydUnit)
		g.run(c, "systemctl", "daemon-reload")
		g.run(c, "fleet-agent", "adopt", "nginx.service", "--now")
		g.run(c, "fleet-agent", "adopt", "notifyd.service", "--now")
		g.reaches(c, control.StateServing, 20*time.Second)
		c.eventually(10*time.Second, func() error {
			return errors.Join(g.active("nginx.service"), g.active("notifyd.service"))
		})
	})
}

// configuration has a plan of three steps: one that marks its beginning, the
// workloads, and one that marks the end.
const configuration = `
drain:
  settle: 1s
  reserve: 1s
  plan:
    - {name: before, exec: {command: [sh, -c, "echo before $FLEET_CAUSE $FLEET_EVENT_TYPE"]}, max: 5s}
    - {name: workloads, target: fleet-serving.target, max: 20s}
    - {name: after, exec: {command: [echo, after]}, max: 5s}
`

// notifydUnit stops in longer than its TimeoutStopSec=.
const notifydUnit = `[Unit]
Description=A workload that asks for time
[Service]
Type=notify
ExecStart=/usr/local/bin/notifyd -work 3s
TimeoutStopSec=2s
[Install]
WantedBy=multi-user.target
`
