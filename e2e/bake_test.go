//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

// checkBake makes an image of a node with Packer and the customizers, boots another
// node from it, and that one's clone.
func checkBake(g *group) {
	g.must("Packer bakes the node over ssh, with the customizers", g.bake)
	g.check("the agent has never run on the build machine", func(c *check) {
		require.Empty(c, g.imds.Requests())
	})
	version := g.packageVersion()
	first := g.clone("first", "11111111-1111-4111-8111-111111111111")
	first.check("the first instance boots, and is fit by validate.sh", func(c *check) {
		first.start(c)
		customizer := func(args ...string) string {
			return first.run(c, append([]string{"sh", "/tmp/validate.sh"}, args...)...)
		}
		script, err := os.ReadFile(filepath.Join(settings.root, "aib/customizers/validate.sh"))
		require.NoError(c, err)
		first.write(c, "/root/validate.sh", string(script)) // /tmp is not of the disk
		first.run(c, "cp", "/root/validate.sh", "/tmp/validate.sh")
		out := customizer("--wait-serving", "60s", "--version", version, "--workload", "nginx.service", "--listen", "80")
		require.Contains(c, out, "checks passed")
	})
	first.check("its workload serves, and it has a history of its own", func(c *check) {
		first.run(c, "curl", "-sf", "-o", "/dev/null", "http://127.0.0.1/")
		first.write(c, coverDropIn, dropIn)
		first.sh(c, "systemctl daemon-reload; systemctl restart fleet-agent")
		first.reaches(c, control.StateServing, 20*time.Second)
		id := first.publish(imds.EventSpec{Type: imds.Terminate})
		first.reaches(c, control.StateDrained, 40*time.Second)
		require.Contains(c, first.run(c, "fleet-agent", "events"), "Terminate", id)
		first.stop(c)
	})
	second := first.clone("second", "22222222-2222-4222-8222-222222222222")
	second.check("a clone of the drained instance discards its state, and serves", func(c *check) {
		second.start(c)
		second.reaches(c, control.StateServing, 30*time.Second)
		require.NoError(c, second.logged(agentUnit, "journal of another vm discarded"))
		require.NotContains(c, second.run(c, "fleet-agent", "events"), "Terminate")
		require.NoError(c, second.active("nginx.service"))
	})
	first.check("the instance itself keeps it over the same reboot (the control)", func(c *check) {
		first.start(c)
		for _, e := range first.imds.Events() {
			require.NoError(c, first.imds.Complete(e.ID))
		}
		first.reaches(c, control.StateServing, 30*time.Second)
		require.Contains(c, first.run(c, "fleet-agent", "events"), "Terminate")
	})
}

// bake runs aib/packer against the node, which then is generalized, and powers it off.
func (g *group) bake(c *check) {
	dir := c.TempDir()
	key := filepath.Join(dir, "key")
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput()
	require.NoError(c, err, string(out))
	public, err := os.ReadFile(key + ".pub")
	require.NoError(c, err)
	// As an image's build machine has it: a user with sudo, and sshd. The drop-in
	// of the checks would not get past validate.sh.
	g.write(c, "/home/packer/.ssh/authorized_keys", string(public))
	g.write(c, "/etc/sudoers.d/packer", "packer ALL=(ALL) NOPASSWD: ALL\n")
	g.sh(c, "useradd --shell /bin/bash packer; chown -R packer: /home/packer; ssh-keygen -A; systemctl start ssh; rm -r "+filepath.Dir(coverDropIn))

	deb, err := os.ReadFile(settings.newDeb)
	require.NoError(c, err)
	ctx, cancel := context.WithTimeout(c.Context(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", g.name+"-imds", "packer", "build", "-color=false", "-only=null.machine",
		"-var", "deb="+settings.newDeb, "-var", fmt.Sprintf("deb_sha256=%x", sha256.Sum256(deb)),
		"-var", "agent_version="+g.packageVersion(), "-var", `prepare=["sudo systemctl enable nginx.service"]`,
		"-var", "ssh_host=169.254.0.10", "-var", "ssh_private_key_file="+key,
		filepath.Join(settings.root, "aib/packer/build.pkr.hcl"))
	cmd.Env, cmd.WaitDelay = append(os.Environ(), "CHECKPOINT_DISABLE=1", "HOME="+dir), time.Minute
	out, err = cmd.CombinedOutput()
	require.NoError(c, err, string(out))
	require.Contains(c, string(out), "validate: done")
	g.stop(c)
}

// packageVersion is that of the new package, from its name.
func (g *group) packageVersion() string {
	return strings.Split(filepath.Base(settings.newDeb), "_")[1]
}

// clone makes a group of a node with the files of this one, which is stopped, and
// with an identity of its own.
func (g *group) clone(name, vmID string) *group {
	suite, _, _ := strings.Cut(g.label, "/")
	other := &group{t: g.t, out: g.out, label: g.label}
	other.node = newNode(g.t, suite, name, g.name)
	other.imds.SetInstance(vmName, imds.Instance{Name: vmName, VMID: vmID})
	return other
}
