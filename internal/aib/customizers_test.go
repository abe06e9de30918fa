package aib

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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

// TestInstallAfterAKill: a run that was killed left its policy-rc.d in place and
// the image's own beside it.
func TestInstallAfterAKill(t *testing.T) {
	m, deb, sum := packaged(t)
	m.file(t, "usr/sbin/policy-rc.d", "#!/bin/sh\n# Written by install-fleet-agent: nothing is started on a build VM.\nexit 101\n", 0o755)
	m.file(t, "usr/sbin/policy-rc.d.install-fleet-agent", "#!/bin/sh\nexit 104\n", 0o755)
	m.ok(t, "install-fleet-agent.sh", "--root", m.root, "--deb", deb, "--sha256", sum)
	require.Equal(t, "#!/bin/sh\nexit 104\n", m.read(t, "usr/sbin/policy-rc.d"))
	require.NoFileExists(t, filepath.Join(m.root, "usr/sbin/policy-rc.d.install-fleet-agent"))
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
			require.Contains(t, m.read(t, "etc/cloud/clean.d/50-fleet-agent"), "find "+stateDir+" -mindepth 1 -delete\n")
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
