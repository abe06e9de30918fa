package aib

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// packaged returns a machine on which the package can be installed, the package
// and its checksum. Its apt-get notes the policy-rc.d that it finds.
func packaged(t *testing.T) (m *machine, deb, sum string) {
	t.Helper()
	m = newMachine(t)
	m.file(t, "var/tmp/.keep", "", 0o644) // install-fleet-agent.sh makes neither folder
	m.file(t, "usr/sbin/.keep", "", 0o644)
	m.file(t, "etc/os-release", "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n", 0o644)
	m.command(t, "dpkg-deb", `case $3 in Package) echo fleet-agent ;; Version) echo 1.4.0-1 ;; esac`)
	m.command(t, "dpkg-query", `[ -e "$ROOT/installed" ] || exit 1; printf 'ii 1.4.0-1'`)
	m.command(t, "env", `shift; exec "$@"`)
	m.command(t, "apt-get", `
case "$*" in
*--simulate*) ;;
*install*)
	cat "$ROOT/usr/sbin/policy-rc.d" >"$ROOT/policy-seen"
	for deb in "$@"; do :; done
	[ -r "$ROOT$deb" ] || exit 100
	touch "$ROOT/installed"
	;;
esac`)
	m.command(t, "runuser", `shift 3; exec "$@"`)
	m.command(t, "fleet-agent", ``)

	deb = filepath.Join(t.TempDir(), "fleet-agent.deb")
	require.NoError(t, os.WriteFile(deb, []byte("a package"), 0o644))
	h := sha256.Sum256([]byte("a package"))
	return m, deb, hex.EncodeToString(h[:])
}

func TestInstall(t *testing.T) {
	m, deb, sum := packaged(t)
	config := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(config, []byte("drain:\n  settle: 5s\n"), 0o600))
	args := []string{"--root", m.root, "--deb", deb, "--sha256", strings.ToUpper(sum), "--config", config, "--stamp", "IMAGE=ubuntu-app", "--stamp", "BUILD=7"}

	m.ok(t, "install-fleet-agent.sh", args...)
	calls := m.calls(t)
	require.Contains(t, m.read(t, "policy-seen"), "\nexit 101\n", "nothing may start while the package is installed")
	require.NoFileExists(t, filepath.Join(m.root, "usr/sbin/policy-rc.d"))
	require.Contains(t, calls, "systemctl --quiet enable fleet-agent.service fleet-agent.socket fleet-serving.target\n")
	require.NotRegexp(t, `systemctl.* (re)?start`, calls)
	require.Contains(t, calls, "runuser -u fleet-agent -- fleet-agent config validate --config /etc/fleet-agent/config.yaml.new\n", "before it is there")
	require.Contains(t, calls, "runuser -u fleet-agent -- fleet-agent config validate\n", "as the agent's own user")
	require.Equal(t, "drain:\n  settle: 5s\n", m.read(t, "etc/fleet-agent/config.yaml"))
	require.Equal(t, "FLEET_AGENT_VERSION=1.4.0-1\nFLEET_AGENT_SHA256="+sum+"\n"+
		"BASE_OS=\"Debian GNU/Linux 12 (bookworm)\"\nIMAGE=ubuntu-app\nBUILD=7\n", m.read(t, "etc/fleet-agent/image-release"))
	left, err := filepath.Glob(filepath.Join(m.root, "var/tmp/install-fleet-agent.*"))
	require.NoError(t, err)
	require.Empty(t, left, "the copy of the package stays behind")

	before := m.tree(t)
	r := m.ok(t, "install-fleet-agent.sh", args...)
	require.Contains(t, r.stdout, "already installed")
	require.NotContains(t, m.calls(t), "apt-get")
	require.Equal(t, before, m.tree(t))
}

// TestInstallBySidecar: the checksum that a bake puts beside the package is as good as
// one that is given, and no better.
func TestInstallBySidecar(t *testing.T) {
	m, deb, sum := packaged(t)
	for text, want := range map[string]string{
		sum + "  " + deb + "\n": "",
		sum:                     "",
		strings.Repeat("0", 64) + "  " + deb + "\n": "not " + strings.Repeat("0", 64),
		"":           "is empty",
		"\n":         "is missing",
		"$(id)  x\n": "is not a hexadecimal number",
	} {
		require.NoError(t, os.WriteFile(deb+".sha256", []byte(text), 0o600))
		r := m.run(t, "install-fleet-agent.sh", "--root", m.root, "--deb", deb)
		require.Equal(t, want == "", r.code == 0, "%q: %s", text, r.stderr)
		require.Contains(t, r.stderr, want)
	}
	require.NoError(t, os.WriteFile(deb+".sha256", []byte(strings.Repeat("0", 64)+"\n"), 0o600))
	m.ok(t, "install-fleet-agent.sh", "--root", m.root, "--deb", deb, "--sha256", sum)
}

// TestInstallFails: each failure ends the build with its reason and leaves no
// policy-rc.d that would keep services of the image down for ever.
func TestInstallFails(t *testing.T) {
	for name, tt := range map[string]struct {
		prepare func(t *testing.T, m *machine)
		sum     string
		want    string
	}{
		"checksum": {
			sum:  strings.Repeat("0", 64),
			want: "checksum of DEB is SUM, not " + strings.Repeat("0", 64),
		},
		"another package": {
			prepare: func(t *testing.T, m *machine) { t.Helper(); m.command(t, "dpkg-deb", `echo nginx`) },
			want:    "DEB is the package nginx, not fleet-agent",
		},
		"no package at all": {
			prepare: func(t *testing.T, m *machine) { t.Helper(); m.command(t, "dpkg-deb", `exit 2`) },
			want:    "DEB is not a Debian package",
		},
		"apt-get": {
			prepare: func(t *testing.T, m *machine) {
				t.Helper()
				m.command(t, "apt-get", `case "$*" in *--simulate*) ;; *) exit 100 ;; esac`)
			},
			want: "apt-get could not install DEB",
		},
		"lists": {
			prepare: func(t *testing.T, m *machine) { t.Helper(); m.command(t, "apt-get", `exit 100`) },
			want:    "apt-get update failed",
		},
		"configuration": {
			prepare: func(t *testing.T, m *machine) { t.Helper(); m.command(t, "fleet-agent", `exit 1`) },
			want:    "the configuration is not valid (see above)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, deb, sum := packaged(t)
			m.file(t, "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 104\n", 0o755)
			if tt.prepare != nil {
				tt.prepare(t, m)
			}
			given := sum
			if tt.sum != "" {
				given = tt.sum
			}
			r := m.run(t, "install-fleet-agent.sh", "--root", m.root, "--deb", deb, "--sha256", given)
			require.Equal(t, 1, r.code)
			require.Contains(t, r.stderr, "install-fleet-agent: error: "+strings.NewReplacer("DEB", deb, "SUM", sum).Replace(tt.want)+"\n")
			require.Equal(t, "#!/bin/sh\nexit 104\n", m.read(t, "usr/sbin/policy-rc.d"), "the image's own is back")
			require.NoFileExists(t, filepath.Join(m.root, "etc/fleet-agent/image-release"))
			if name == "checksum" {
				require.NotContains(t, m.calls(t), "apt-get")
			}
		})
	}
}

// TestInstallLeavesNoRejectedConfig: the image keeps the configuration that it had.
func TestInstallLeavesNoRejectedConfig(t *testing.T) {
	for name, before := range map[string]string{"none": "", "one": "drain: {settle: 1s}\n"} {
		t.Run(name, func(t *testing.T) {
			m, deb, sum := packaged(t)
			m.file(t, "etc/fleet-agent/conf.d/app.yaml", "checks: []\n", 0o644)
			if before != "" {
				m.file(t, "etc/fleet-agent/config.yaml", before, 0o644)
			}
			m.command(t, "fleet-agent", `! grep -qs odd "$ROOT/etc/fleet-agent/config.yaml" "$ROOT$4"`)
			config := filepath.Join(t.TempDir(), "config.yaml")
			require.NoError(t, os.WriteFile(config, []byte("odd: true\n"), 0o600))
			r := m.run(t, "install-fleet-agent.sh", "--root", m.root, "--deb", deb, "--sha256", sum, "--config", config)
			require.Equal(t, 1, r.code)
			require.Contains(t, r.stderr, "install-fleet-agent: error: the configuration is not valid (see above)\n")
			if before != "" {
				require.Equal(t, before, m.read(t, "etc/fleet-agent/config.yaml"))
				require.NoError(t, os.Remove(filepath.Join(m.root, "etc/fleet-agent/config.yaml")))
			}
			require.NoError(t, os.RemoveAll(filepath.Join(m.root, "etc/fleet-agent/conf.d")))
			left, err := os.ReadDir(filepath.Join(m.root, "etc/fleet-agent"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// TestInstallAfterAKill: a run that was killed left its policy-rc.d in place and
// the image's own beside it.
func TestInstallAfterAKill(t *testing.T) {
	m, deb, sum := packaged(t)
	m.file(t, "usr/sbin/policy-rc.d", "#!/bin/sh\n# Written by install-fleet-agent: nothing is started on a build VM.\nexit 101\n", 0o755)
	m.file(t, "usr/sbin/policy-rc.d.install-fleet-agent", "#!/bin/sh\nexit 104\n", 0o755)
	m.file(t, "etc/fleet-agent/config.yaml.new", "odd: true\n", 0o644)
	m.ok(t, "install-fleet-agent.sh", "--root", m.root, "--deb", deb, "--sha256", sum)
	require.Equal(t, "#!/bin/sh\nexit 104\n", m.read(t, "usr/sbin/policy-rc.d"))
	require.NoFileExists(t, filepath.Join(m.root, "usr/sbin/policy-rc.d.install-fleet-agent"))
	require.NoFileExists(t, filepath.Join(m.root, "etc/fleet-agent/config.yaml.new"))
}

func TestAdopt(t *testing.T) {
	m := newMachine(t)
	m.file(t, "usr/bin/fleet-agent", "#!/bin/sh\necho \"fleet-agent $*\" >>'"+m.log+"'\ncase \"$*\" in *missing*) exit 1 ;; esac\n", 0o755)
	m.ok(t, "adopt-workloads.sh", "--root", m.root, "--stop-timeout", "45s", "--kill-signal", "SIGQUIT", "nginx.service", `app-a\x2db@1.service`)
	require.Equal(t, "fleet-agent adopt nginx.service --stop-timeout 45s --kill-signal SIGQUIT --root "+m.root+"\n"+
		`fleet-agent adopt app-a\x2db@1.service --stop-timeout 45s --kill-signal SIGQUIT --root `+m.root+"\n", m.calls(t))

	r := m.run(t, "adopt-workloads.sh", "--root", m.root, "missing.service", "nginx.service")
	require.Equal(t, 1, r.code)
	require.Equal(t, "adopt-workloads: error: missing.service was not adopted (see above)\n", r.stderr)
	require.Equal(t, "fleet-agent adopt missing.service --root "+m.root+"\n", m.calls(t), "the first failure ends it")

	empty := newMachine(t)
	r = empty.run(t, "adopt-workloads.sh", "--root", empty.root, "nginx.service")
	require.Equal(t, 1, r.code)
	require.Equal(t, "adopt-workloads: error: "+empty.root+"/usr/bin/fleet-agent is not there: run install-fleet-agent.sh first\n", r.stderr)
}

// hardenable returns a machine with sshd, whose effective configuration is the
// drop-in of the baseline, in sshd's own spelling.
func hardenable(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.file(t, "usr/sbin/sshd", "", 0o755)
	m.file(t, "etc/ssh/sshd_config", "Include /etc/ssh/sshd_config.d/*.conf\n", 0o644)
	m.file(t, "etc/shadow", "", 0o644)
	m.file(t, "etc/cron.d/.keep", "", 0o644)
	m.command(t, "ssh-keygen", `for file in "$@"; do :; done; touch "$ROOT$file"`)
	m.command(t, "sshd", `tr 'A-Z' 'a-z' <"$ROOT/etc/ssh/sshd_config.d/00-fleet-baseline.conf"`)
	return m
}

func TestHarden(t *testing.T) {
	m := hardenable(t)
	m.ok(t, "harden-cis-baseline.sh", "--root", m.root, "--noexec-tmp")
	calls := m.calls(t)
	require.Contains(t, calls, "chown root:shadow "+m.root+"/etc/shadow\n")
	require.Contains(t, calls, "systemctl --quiet enable tmp.mount\n")
	require.NotRegexp(t, `systemctl.* (re)?(start|load)|sysctl`, calls, "the build goes on as it was")
	require.Contains(t, m.tree(t), "/etc/cron.d drwx------")
	require.Contains(t, m.tree(t), "/etc/shadow -rw-r-----")
	require.Contains(t, m.read(t, "etc/systemd/system/tmp.mount"), ",noexec,")
	modules := m.read(t, "etc/modprobe.d/fleet-baseline.conf")
	require.NotContains(t, modules, "udf", "Azure provisions with it")
	require.NotContains(t, m.read(t, "etc/sysctl.d/60-fleet-baseline.conf"), "accept_ra")
	require.NotContains(t, strings.Join(m.files(t), "\n"), "run/sshd/fleet-baseline", "the key for the test stays behind")

	before := m.tree(t)
	m.ok(t, "harden-cis-baseline.sh", "--root", m.root, "--noexec-tmp")
	require.Equal(t, before, m.tree(t))
}

func TestHardenFails(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, m *machine)
		want  string
	}{
		"no include": {
			func(t *testing.T, m *machine) {
				t.Helper()
				m.file(t, "etc/ssh/sshd_config", "# Include /etc/ssh/sshd_config.d/*.conf\n", 0o644)
			},
			"/etc/ssh/sshd_config does not include sshd_config.d: the settings would do nothing",
		},
		"refused by sshd": {
			func(t *testing.T, m *machine) { t.Helper(); m.command(t, "sshd", `exit 255`) },
			"sshd does not accept its configuration (see above)",
		},
		"overridden": {
			func(t *testing.T, m *machine) {
				t.Helper()
				m.command(t, "sshd", `printf 'permitrootlogin yes\nx11forwarding no\nmaxauthtries 4\n'`)
			},
			"sshd: permitrootlogin no is overridden by another file",
		},
		"fstab": {
			func(t *testing.T, m *machine) {
				t.Helper()
				m.file(t, "etc/fstab", "#tmpfs /tmp tmpfs x\n/dev/sdb1 /tmp ext4 defaults 0 0\n", 0o644)
			},
			"/etc/fstab mounts /tmp: add noexec,nosuid,nodev there",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := hardenable(t)
			tt.spoil(t, m)
			r := m.run(t, "harden-cis-baseline.sh", "--root", m.root, "--noexec-tmp")
			require.Equal(t, 1, r.code)
			require.Equal(t, "harden-cis-baseline: error: "+tt.want+"\n", r.stderr)
			require.NoFileExists(t, filepath.Join(m.root, "etc/systemd/system/tmp.mount"), "noexec comes last")
		})
	}
}

// lived returns a machine that has been in use.
func lived(t *testing.T, stateDir string) *machine {
	t.Helper()
	m := newMachine(t)
	m.command(t, "cloud-init", `rm -rf "$ROOT/var/lib/cloud/instances"`)
	m.command(t, "fleet-agent", `echo "listen:"; echo "  probe: 127.0.0.1:8080"; echo "state_dir: `+stateDir+`"`)
	m.command(t, "sync", ``)
	m.file(t, "usr/bin/fleet-agent", "", 0o755)
	m.file(t, "usr/bin/cloud-init", "", 0o755)
	for _, path := range []string{
		"etc/cloud/cloud.cfg",
		"var/lib/fleet-agent/journal", stateDir + "/journal", "run/fleet-agent/draining", "etc/fleet-agent/config.yaml",
		"var/lib/cloud/instances/i/obj.pkl", "etc/machine-id", "var/lib/dbus/machine-id",
		"var/lib/systemd/random-seed", "var/lib/systemd/credential.secret",
		"var/lib/dhcp/dhclient.eth0.leases", "run/systemd/netif/leases/2", "etc/udev/rules.d/70-persistent-net.rules",
		"etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/ssh/sshd_config",
		"root/.bash_history", "home/packer/.bash_history", "home/packer/.profile",
		"var/log/journal/0123/system.journal", "var/log/syslog", "var/log/syslog.1", "var/log/syslog.2.gz", "var/log/nginx/access.log",
	} {
		m.file(t, path, "text\n", 0o644)
	}
	return m
}

func TestGeneralize(t *testing.T) {
	for _, stateDir := range []string{"/var/lib/fleet-agent", "/srv/agent/state"} {
		t.Run(stateDir, func(t *testing.T) {
			m := lived(t, stateDir)
			m.ok(t, "generalize.sh", "--root", m.root)
			require.Equal(t, []string{
				"/etc/cloud/clean.d/50-fleet-agent",
				"/etc/cloud/cloud.cfg",
				"/etc/fleet-agent/config.yaml",
				"/etc/machine-id",
				"/etc/ssh/sshd_config",
				"/home/packer/.profile",
				"/usr/bin/cloud-init",
				"/usr/bin/fleet-agent",
				"/var/lib/dbus/machine-id",
				"/var/log/nginx/access.log",
				"/var/log/syslog",
			}, m.files(t))
			require.Empty(t, m.read(t, "etc/machine-id"))
			require.Empty(t, m.read(t, "var/log/syslog"))
			require.DirExists(t, filepath.Join(m.root, stateDir))
			require.DirExists(t, filepath.Join(m.root, "var/log/journal"), "or the journal of the clones is lost at every boot")
			require.Contains(t, m.read(t, "etc/cloud/clean.d/50-fleet-agent"), "find -H "+stateDir+" -mindepth 1 -delete\n")
			require.Contains(t, m.calls(t), "cloud-init clean --logs\n")

			before := m.tree(t)
			m.ok(t, "generalize.sh", "--root", m.root)
			require.Equal(t, before, m.tree(t))
		})
	}
}

// TestGeneralizeRefuses: a state directory is emptied as root, so it had better be
// one.
func TestGeneralizeRefuses(t *testing.T) {
	for _, dir := range []string{"/", "/etc", "/var/lib", "/var/lib/", "/home/app", "/var/lib/../../etc", "/var/lib/a b", "''"} {
		t.Run(dir, func(t *testing.T) {
			m := newMachine(t)
			m.file(t, "usr/bin/fleet-agent", "", 0o755)
			m.file(t, "etc/passwd", "root\n", 0o644)
			m.command(t, "fleet-agent", `echo "state_dir: `+dir+`"`)
			before := m.tree(t)
			r := m.run(t, "generalize.sh", "--root", m.root)
			require.Equal(t, 1, r.code)
			require.Contains(t, r.stderr, "generalize: error: state_dir "+dir)
			require.Equal(t, before, m.tree(t))
		})
	}
}

// link puts a link in the place of a directory, which moves to where it leads.
func (m *machine) link(t *testing.T, path, to string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Join(m.root, filepath.Dir(to)), 0o755))
	require.NoError(t, os.Rename(filepath.Join(m.root, path), filepath.Join(m.root, to)))
	require.NoError(t, os.Symlink(to, filepath.Join(m.root, path)))
}

// TestGeneralizeFollowsLinks: what is said to be removed is, wherever a link leads
// inside the image, and nothing of the machine that the image is mounted on.
func TestGeneralizeFollowsLinks(t *testing.T) {
	for _, stateDir := range []string{"/var/lib/fleet-agent", "/srv/agent/state"} {
		t.Run(stateDir, func(t *testing.T) {
			m := lived(t, stateDir)
			m.link(t, stateDir, "/srv/disk/state")
			m.link(t, "/run/fleet-agent", "/run/other")
			m.link(t, "/var/log/journal", "/srv/disk/journal")
			m.ok(t, "generalize.sh", "--root", m.root)
			require.Empty(t, below(t, m, "srv/disk/state"))
			require.Empty(t, below(t, m, "run/other"))
			require.Empty(t, below(t, m, "srv/disk/journal"))

			// So does what cloud-init clean runs on a node.
			m.file(t, "srv/disk/state/journal", "text", 0o600)
			hook := strings.ReplaceAll(m.read(t, "etc/cloud/clean.d/50-fleet-agent"), stateDir, m.root+"/link")
			require.NoError(t, os.Symlink(m.root+"/srv/disk/state", m.root+"/link"))
			out, err := exec.CommandContext(t.Context(), "sh", "-c", hook).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Empty(t, below(t, m, "srv/disk/state"))
		})
	}
	t.Run("all logs", func(t *testing.T) {
		m := lived(t, "/var/lib/fleet-agent")
		m.link(t, "/var/log", "/srv/log")
		m.ok(t, "generalize.sh", "--root", m.root)
		require.Equal(t, []string{"nginx/access.log", "syslog"}, below(t, m, "srv/log"))
		require.Empty(t, m.read(t, "srv/log/syslog"))
	})
	for _, to := range []string{"/etc", "/home/packer", "/data", "/srv", "/"} {
		t.Run("not to "+to, func(t *testing.T) {
			m := newMachine(t)
			m.file(t, "var/lib/.keep", "", 0o644)
			m.file(t, filepath.Join(to, "file"), "precious\n", 0o644)
			require.NoError(t, os.Symlink(to, filepath.Join(m.root, "var/lib/fleet-agent")))
			r := m.run(t, "generalize.sh", "--root", m.root)
			require.Equal(t, 1, r.code)
			require.Contains(t, r.stderr, "generalize: error: /var/lib/fleet-agent is a link to "+to+", which is not below")
			require.NotContains(t, r.stdout, "removed")
			require.Equal(t, "precious\n", m.read(t, filepath.Join(to, "file")))
		})
	}
}

// below lists the files and links below a directory of the tree.
func below(t *testing.T, m *machine, dir string) []string {
	t.Helper()
	var list []string
	prefix := filepath.Join("/", dir) + "/"
	for _, path := range m.files(t) {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			list = append(list, rest)
		}
	}
	return list
}

// TestAtDeprovisioning lets the script put itself in the place of Image Builder's
// command, in directories of its own in which another user has laid links: the copy
// that root is going to run lies where nobody else can write.
func TestAtDeprovisioning(t *testing.T) {
	testkit.Root(t)
	const setUp = `set -e
mount -t tmpfs t /mnt # the repository may be below /tmp
cp "$0" /mnt/generalize.sh
script=/mnt/generalize.sh
mount -t tmpfs -o mode=1777 t /tmp
mount -t tmpfs -o mode=1777 t /var/tmp
mount -t tmpfs -o mode=755 t /var/lib
echo precious >/var/lib/precious
for name in fleet-agent-generalize.sh fleet-agent-generalize.sh.new; do ln -s /var/lib/precious /var/tmp/$name; done
mkdir /tmp/folder
ln -s /tmp/folder /tmp/DeprovisioningScript.sh
dash -e "$script" --at-deprovisioning
dash -e "$script" --at-deprovisioning
cat /var/lib/precious
cmp "$script" "$(sed -n 's/^sudo -n sh \(.*\) --waagent$/\1/p' /tmp/DeprovisioningScript.sh)"
find /var/lib /tmp -mindepth 1 -printf '%p %y %m %u\n' | sort
`
	testkit.Tool(t, "dash", "dash")
	cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "unshare", "util-linux"), "--mount", "sh", "-c", setUp,
		filepath.Join(repo(t), "aib/customizers/generalize.sh"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	const done = "generalize: done: runs when Image Builder deprovisions the build VM\n"
	require.Equal(t, done+done+`precious
/tmp/DeprovisioningScript.sh f 755 root
/tmp/folder d 755 root
/var/lib/fleet-agent-generalize.sh f 700 root
/var/lib/precious f 644 root
`, string(out))
}

// baked returns a tree that validate.sh finds fit.
func baked(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.command(t, "dpkg-query", `printf 'ii 1.4.0-1'`)
	m.command(t, "dpkg", `echo "??5?????? c /etc/fleet-agent/config.yaml"`)
	m.command(t, "fleet-agent", `[ "$*" != "config show" ] || echo "state_dir: /srv/state"`)
	m.command(t, "runuser", `shift 3; exec "$@"`)
	m.command(t, "systemctl", `[ "$1" = is-enabled ] && echo enabled`)
	m.command(t, "pkaction", `echo "pkaction version 122"`)
	m.command(t, "sh", `shift; exec /bin/sh -c "$@"`)
	m.command(t, "systemd-analyze", `case "$*" in
--help) echo "     --offline=BOOL" ;;
*security*) case "$*" in *--offline=yes*) echo "→ Overall exposure level for fleet-agent.service: 1.4 OK" ;; esac ;;
esac`)
	m.file(t, "etc/fleet-agent/image-release", "FLEET_AGENT_VERSION=1.4.0-1\n", 0o644)
	m.file(t, "etc/machine-id", "", 0o644)
	m.file(t, "srv/disk/state/.keep", "", 0o644)
	require.NoError(t, os.Remove(filepath.Join(m.root, "srv/disk/state/.keep")))
	require.NoError(t, os.Symlink("/srv/disk/state", filepath.Join(m.root, "srv/state")))
	m.file(t, "etc/systemd/system/nginx.service.d/50-fleet.conf", "[Unit]\nPartOf=fleet-serving.target\n", 0o644)
	m.file(t, "etc/systemd/system/fleet-serving.target.wants/.keep", "", 0o644)
	require.NoError(t, os.Symlink("/usr/lib/systemd/system/nginx.service", filepath.Join(m.root, "etc/systemd/system/fleet-serving.target.wants/nginx.service")))
	return m
}

// TestValidateTree checks a mounted image, by the image's own programs.
func TestValidateTree(t *testing.T) {
	m := baked(t)
	before := m.tree(t)
	r := m.ok(t, "validate.sh", "--root", m.root, "--version", "1.4.0-1", "--workload", "nginx.service")
	require.Contains(t, r.stdout, "validate: ok   exposure is at most 1.5\n")
	require.Contains(t, r.stdout, "validate: ok   no state of the agent\n")
	require.Contains(t, r.stdout, "validate: skip fleet-agent.service does not run: this is a tree\n")
	require.NotContains(t, r.stdout, "FAIL")
	require.Equal(t, before, m.tree(t))
	require.NotRegexp(t, `systemctl (show|is-active|cat)`, m.calls(t), "that would be of the machine that it is mounted on")

	for name, tt := range map[string]struct {
		spoil func(t *testing.T, m *machine)
		want  string
	}{
		"state behind a link": {
			func(t *testing.T, m *machine) { t.Helper(); m.file(t, "srv/disk/state/journal", "", 0o600) }, "FAIL no state of the agent: ROOT/srv/disk/state/journal\n",
		},
		"state in the default place": {
			func(t *testing.T, m *machine) { t.Helper(); m.file(t, "var/lib/fleet-agent/journal", "", 0o600) }, "FAIL no state of the agent: ROOT/var/lib/fleet-agent/journal\n",
		},
		"a link in the state": {
			func(t *testing.T, m *machine) {
				t.Helper()
				require.NoError(t, os.Symlink("/srv/journal", filepath.Join(m.root, "srv/disk/state/journal")))
			}, "FAIL no state of the agent: ROOT/srv/disk/state/journal\n",
		},
		"host keys": {
			func(t *testing.T, m *machine) { t.Helper(); m.file(t, "etc/ssh/ssh_host_rsa_key", "", 0o600) }, "FAIL no SSH host keys: /etc/ssh/ssh_host_rsa_key\n",
		},
		"machine-id": {
			func(t *testing.T, m *machine) { t.Helper(); m.file(t, "etc/machine-id", "0123\n", 0o644) }, "FAIL machine-id is empty: 0123\n",
		},
		"another version": {
			func(t *testing.T, m *machine) { t.Helper(); m.command(t, "dpkg-query", `printf 'ii 1.3.0-1'`) }, "it is 'ii 1.3.0-1', not 'ii 1.4.0-1'\n",
		},
		"not adopted": {
			func(t *testing.T, m *machine) {
				t.Helper()
				m.file(t, "etc/systemd/system/nginx.service.d/50-fleet.conf", "[Unit]\n", 0o644)
			}, "FAIL nginx.service is adopted: not part of fleet-serving.target",
		},
		"not linked": {
			func(t *testing.T, m *machine) {
				t.Helper()
				require.NoError(t, os.Remove(filepath.Join(m.root, "etc/systemd/system/fleet-serving.target.wants/nginx.service")))
			}, "FAIL nginx.service is adopted: fleet-serving.target does not start it",
		},
		"policy-rc.d": {
			func(t *testing.T, m *machine) {
				t.Helper()
				m.file(t, "usr/sbin/policy-rc.d", "# Written by install-fleet-agent\n", 0o755)
			}, "FAIL packages may start services again",
		},
		"polkit is missing": {
			func(t *testing.T, m *machine) {
				t.Helper()
				m.command(t, "pkaction", `exit 127`)
				m.command(t, "sh", `exit 127`)
			}, "FAIL the agent may stop and start the workloads: polkit is not installed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := baked(t)
			tt.spoil(t, m)
			r := m.run(t, "validate.sh", "--root", m.root, "--version", "1.4.0-1", "--workload", "nginx.service")
			require.Equal(t, 1, r.code)
			require.Contains(t, r.stdout, strings.ReplaceAll(tt.want, "ROOT", m.root))
			require.Equal(t, 1, strings.Count(r.stdout, "FAIL"), r.stdout)
		})
	}

	old := baked(t)
	old.command(t, "systemd-analyze", ``) // before 250
	require.Contains(t, old.ok(t, "validate.sh", "--root", old.root).stdout, "validate: skip exposure is at most 1.5")
}

// TestUnderBash: fleetctl starts the scripts by bash -euo pipefail, and a build user who
// is root stays there.
func TestUnderBash(t *testing.T) {
	m, deb, sum := packaged(t)
	m.bash = true
	require.NoError(t, os.WriteFile(deb+".sha256", []byte(sum+"  "+deb+"\n"), 0o600))
	m.ok(t, "install-fleet-agent.sh", "--root", m.root, "--deb", deb, "--stamp", "IMAGE=ubuntu-app")
	m.file(t, "usr/bin/fleet-agent", "#!/bin/sh\n", 0o755)
	m.ok(t, "adopt-workloads.sh", "--root", m.root, "nginx.service")

	m = hardenable(t)
	m.bash = true
	// As much as sshd prints, and more than a pipe holds.
	m.command(t, "sshd", `tr 'A-Z' 'a-z' <"$ROOT/etc/ssh/sshd_config.d/00-fleet-baseline.conf"; for i in $(seq 10000); do echo "subsystem sftp"; done`)
	m.ok(t, "harden-cis-baseline.sh", "--root", m.root)

	m = baked(t)
	m.bash = true
	m.ok(t, "generalize.sh", "--root", m.root)
	m.ok(t, "validate.sh", "--root", m.root, "--workload", "nginx.service")
}
