//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	goldenSubscription = "11111111-1111-1111-1111-111111111111"
	// goldenClock is how fast the simulated Azure's time passes: what Packer does and
	// what a boot takes is real.
	goldenClock = "20"
	// longest is how long a command that builds an image may take: what hangs is one
	// check that fails, with what it said, and not the end of all.
	longest = 10 * time.Minute
)

// checkGolden goes from fleet.yaml to an image that is promoted, with the commands that
// people use: fleetctl speaks to fleetsim arm, whose image builds are Packer's, on a
// node, and whose boot test boots another node from what was built.
func checkGolden(g *group) {
	var azure *simulatedAzure
	g.must("a node is ready for builds, and fleetsim arm builds on it", func(c *check) {
		g.prepareForBuilds(c)
		azure = g.simulateAzure(c)
	})
	g.must("fleetctl apply makes what bakes need, once", func(c *check) {
		azure.fleetctl(c, 0, "preflight")
		azure.fleetctl(c, 0, "apply", "--yes")
		plan := azure.fleetctl(c, 8, "plan", "--exit-code") // the set waits for its first version
		require.Contains(c, plan, "web · 1 waiting, 7 as they should be\n")
	})
	g.must("fleetctl bake builds by Packer, boots the image and proves it", func(c *check) {
		out := azure.fleetctl(c, 0, "bake", "-o", "json")
		var baked struct {
			Outcome      string `json:"outcome"`
			ImageVersion string `json:"image_version"`
		}
		require.NoError(c, json.Unmarshal([]byte(out), &baked), out)
		require.Equal(c, "1.8.0", baked.ImageVersion, out)
		require.Equal(c, "proven", baked.Outcome, out)
	})
	g.check("the version is excluded until it is promoted", func(c *check) {
		require.Contains(c, azure.fleetctl(c, 0, "images"), "excluded")
		azure.fleetctl(c, 0, "promote", "1.8.0", "--yes")
		images := azure.fleetctl(c, 0, "images")
		require.Contains(c, images, "latest 1.8.0 in eastus")
		require.NotContains(c, images, "excluded")
	})
	g.check("nothing of the bake and of its boot test is left", func(c *check) {
		out := azure.fleetctl(c, 0, "status", "-g", "rg-images", "--subscription", goldenSubscription)
		require.NotContains(c, out, "boot-debian-app")
		c.eventually(30*time.Second, func() error { // Azure deletes the machine behind its answer
			left, err := filepath.Glob(filepath.Join(os.Getenv("E2E_STATE"), g.name+"-*", "nspawn.pid"))
			if err == nil && len(left) > 0 {
				err = fmt.Errorf("a node of the boot test still runs: %v", left)
			}
			return err
		})
	})
	g.check("a bake whose customizer fails says which, and its last lines", func(c *check) {
		azure.write(c, "workloads.sh", "echo looking for the package\necho 'E: Unable to locate package nope' >&2\nexit 100\n")
		g.start(c)
		g.letPackerIn(c) // which the first bake has ended
		out := azure.fleetctl(c, 1, "bake")
		require.Contains(c, out, "the customizer workloads failed")
		require.Contains(c, out, "E: Unable to locate package nope")
	})
}

// prepareForBuilds makes of the node what Image Builder's build VM is: a user with sudo,
// sshd, and Azure's agent, whose one deed here is that it ends the build user's access.
func (g *group) prepareForBuilds(c *check) {
	out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", g.key()).CombinedOutput()
	require.NoError(c, err, string(out))
	g.write(c, "/etc/sudoers.d/packer", "packer ALL=(ALL) NOPASSWD: ALL\n")
	g.write(c, "/usr/sbin/waagent", "#!/bin/sh\nrm -f /home/packer/.ssh/authorized_keys\n")
	g.sh(c, "chmod 755 /usr/sbin/waagent; useradd --shell /bin/bash packer; rm -r "+filepath.Dir(coverDropIn))
	g.letPackerIn(c)
}

// letPackerIn lets the build user log in.
func (g *group) letPackerIn(c *check) {
	public, err := os.ReadFile(g.key() + ".pub")
	require.NoError(c, err)
	g.write(c, "/home/packer/.ssh/authorized_keys", string(public))
	g.sh(c, "chown -R packer: /home/packer; ssh-keygen -A; systemctl restart ssh")
}

func (g *group) key() string { return filepath.Join(g.dir, "build-key") }

// A simulatedAzure is a running fleetsim arm, and the directory of a fleet.yaml.
type simulatedAzure struct {
	dir, endpoint string
	env           []string
}

// simulateAzure starts fleetsim arm for a directory with the files of testdata/golden.
func (g *group) simulateAzure(c *check) *simulatedAzure {
	a := &simulatedAzure{dir: g.t.TempDir()}
	source := filepath.Join(settings.root, "e2e/testdata/golden")
	require.NoError(c, os.CopyFS(a.dir, os.DirFS(source)))
	key, err := os.ReadFile(g.key() + ".pub")
	require.NoError(c, err)
	a.write(c, "web.pub", string(key))
	a.write(c, "packer.yaml", fmt.Sprintf("{host: 169.254.0.10, user: packer, private_key: %s}\n", g.key()))
	// Packer reaches the node from its network alone.
	a.write(c, "bin/packer", "#!/bin/sh\nexec ip netns exec "+g.name+"-imds /usr/bin/packer \"$@\"\n")
	require.NoError(c, os.Chmod(filepath.Join(a.dir, "bin/packer"), 0o755))

	suite, _, _ := strings.Cut(g.label, "/")
	ready := filepath.Join(a.dir, "ready.json")
	ctx, end := context.WithCancel(context.WithoutCancel(c.Context()))
	fleetsim := exec.CommandContext(ctx, settings.fleetsim, "arm", "--scenario", filepath.Join(a.dir, "scenario.yaml"), "--clock", goldenClock, "--ready-file", ready,
		"--packer", filepath.Join(a.dir, "packer.yaml"), "--machines", filepath.Join(settings.root, "e2e/machines.sh"))
	fleetsim.Env = append(os.Environ(), "PATH="+filepath.Join(a.dir, "bin")+":"+os.Getenv("PATH"),
		"E2E_BUILD="+g.name, "E2E_ROOTFS="+filepath.Join(os.Getenv("E2E_STATE"), "rootfs-"+suite), "E2E_FLEETSIM="+settings.fleetsim)
	var log bytes.Buffer
	fleetsim.Stderr = &log
	fleetsim.Cancel = func() error { return fleetsim.Process.Signal(syscall.SIGTERM) }
	fleetsim.WaitDelay = 2 * time.Minute // it stops its machines
	require.NoError(c, fleetsim.Start())
	g.t.Cleanup(func() {
		end()
		_ = fleetsim.Wait() // it was told to end
		if g.t.Failed() {
			g.t.Logf("fleetsim arm:\n%s", log.String())
		}
	})
	c.eventually(20*time.Second, func() error {
		data, err := os.ReadFile(ready)
		if err != nil {
			return err
		}
		var addresses struct{ Endpoint string }
		err = json.Unmarshal(data, &addresses)
		a.endpoint = addresses.Endpoint
		return err
	})
	a.env = append(os.Environ(), "FLEETCTL_ARM_ENDPOINT="+a.endpoint, "AZURE_SUBSCRIPTION_ID="+goldenSubscription,
		"E2E_ROOT="+settings.root, "E2E_DEB="+settings.newDeb, "COLUMNS=80")
	return a
}

func (a *simulatedAzure) write(c *check, name, text string) {
	file := filepath.Join(a.dir, name)
	require.NoError(c, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(c, os.WriteFile(file, []byte(text), 0o644))
}

// fleetctl runs a command line, which must end with the exit code, and returns what it
// printed on standard output, or all of it when the code is an error's.
func (a *simulatedAzure) fleetctl(c *check, code int, args ...string) string {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, settings.fleetctl, args...)
	cmd.Dir, cmd.Env = a.dir, a.env
	var out, talk bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &talk
	_ = cmd.Run() // the code says it
	require.NoError(c, ctx.Err(), "fleetctl %s has not ended\n%s%s", strings.Join(args, " "), &out, &talk)
	require.Equal(c, code, cmd.ProcessState.ExitCode(), "fleetctl %s\n%s%s", strings.Join(args, " "), &out, &talk)
	if code != 0 {
		return out.String() + talk.String()
	}
	return out.String()
}
