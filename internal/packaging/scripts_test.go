package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
)

// machine is a root directory on which a maintainer script runs, with programs
// in the place of systemd's that only write down how they were called.
type machine struct {
	t    *testing.T
	root string
	bin  string
	log  string
}

func newMachine(t *testing.T, running bool, polkit string) *machine {
	t.Helper()
	testkit.Tool(t, "dpkg", "dpkg")
	dir := t.TempDir()
	m := &machine{t: t, root: filepath.Join(dir, "root"), bin: filepath.Join(dir, "bin"), log: filepath.Join(dir, "log")}
	require.NoError(t, os.MkdirAll(m.bin, 0o755))
	require.NoError(t, os.MkdirAll(m.root, 0o755))
	if running {
		m.mkdir("run/systemd/system")
	}
	for _, name := range []string{"deb-systemd-helper", "deb-systemd-invoke", "systemctl", "systemd-sysusers", "systemd-tmpfiles", "userdel", "groupdel"} {
		m.program(name, `echo "${0##*/} $*" >> "`+m.log+`"`)
	}
	name, version, _ := strings.Cut(polkit, " ")
	m.program("dpkg-query", `for p; do :; done; [ "$p" = `+name+` ] && echo `+version)
	return m
}

func (m *machine) program(name, script string) {
	m.t.Helper()
	require.NoError(m.t, os.WriteFile(filepath.Join(m.bin, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
}

func (m *machine) mkdir(path string) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(filepath.Join(m.root, path), 0o755))
}

func (m *machine) touch(path, text string) {
	m.t.Helper()
	m.mkdir(filepath.Dir(path))
	require.NoError(m.t, os.WriteFile(filepath.Join(m.root, path), []byte(text), 0o644))
}

// run runs a script and returns what it called, one call a line.
func (m *machine) run(script string, args ...string) string {
	m.t.Helper()
	require.NoError(m.t, os.RemoveAll(m.log))
	cmd := exec.CommandContext(m.t.Context(), "sh", append([]string{"../../" + packagingDir + "/scripts/" + script}, args...)...)
	cmd.Env = []string{"PATH=" + m.bin + ":/usr/bin:/bin", "DPKG_ROOT=" + m.root}
	out, err := cmd.CombinedOutput()
	require.NoError(m.t, err, string(out))
	calls, err := os.ReadFile(m.log)
	if !os.IsNotExist(err) {
		require.NoError(m.t, err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(calls)), m.root, "ROOT")
}

const setUp = `systemd-sysusers --root=ROOT fleet-agent.conf
systemd-tmpfiles --root=ROOT --create fleet-agent.conf
deb-systemd-helper --quiet was-enabled fleet-agent.socket
deb-systemd-helper enable fleet-agent.socket
deb-systemd-helper --quiet was-enabled fleet-agent.service
deb-systemd-helper enable fleet-agent.service
deb-systemd-helper --quiet was-enabled fleet-serving.target
deb-systemd-helper enable fleet-serving.target
`

const noBridge = "deb-systemd-helper purge fleet-bridge.socket\n"

func TestPostinst(t *testing.T) {
	const (
		bookworm = "polkitd 122-3"
		bullseye = "policykit-1 0.105-31+deb11u1"
		jammy    = "polkitd 0.105-33"
	)
	const reread = `systemctl --system daemon-reload
systemctl kill --signal=HUP systemd-logind.service
`
	const bridge = `deb-systemd-helper --quiet was-enabled fleet-bridge.socket
deb-systemd-helper enable fleet-bridge.socket
`
	tests := map[string]struct {
		running bool
		polkit  string
		args    []string
		want    string
	}{
		"first installation": {
			true, bookworm,
			[]string{"configure", ""},
			setUp + noBridge + reread + `deb-systemd-invoke stop fleet-bridge.socket
deb-systemd-invoke start fleet-agent.socket
deb-systemd-invoke start fleet-serving.target
deb-systemd-invoke restart fleet-agent.service`,
		},
		"upgrade leaves the target alone": {
			true, bookworm,
			[]string{"configure", "1.2.3-1"},
			setUp + noBridge + reread + `deb-systemd-invoke stop fleet-bridge.socket
deb-systemd-invoke start fleet-agent.socket
deb-systemd-invoke restart fleet-agent.service`,
		},
		"removal was aborted": {
			true, bookworm,
			[]string{"abort-remove"},
			setUp + noBridge + reread + `deb-systemd-invoke stop fleet-bridge.socket
deb-systemd-invoke start fleet-agent.socket
deb-systemd-invoke restart fleet-agent.service`,
		},
		"polkit 0.105 in policykit-1": {
			true, bullseye,
			[]string{"configure", ""},
			setUp + bridge + reread + `deb-systemd-invoke start fleet-bridge.socket
deb-systemd-invoke start fleet-agent.socket
deb-systemd-invoke start fleet-serving.target
deb-systemd-invoke restart fleet-agent.service`,
		},
		"polkit 0.105 in polkitd": {false, jammy, []string{"configure", ""}, setUp + strings.TrimSpace(bridge)},
		"no systemd runs":         {false, bookworm, []string{"configure", ""}, setUp + strings.TrimSpace(noBridge)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tt.want, newMachine(t, tt.running, tt.polkit).run("postinst", tt.args...))
		})
	}
}

// TestPostinstDisabled: what the administrator disabled stays disabled.
func TestPostinstDisabled(t *testing.T) {
	m := newMachine(t, false, "polkitd 122-3")
	m.program("deb-systemd-helper", `echo "${0##*/} $*" >> "`+m.log+`"; [ "$2" != was-enabled ]`)
	calls := m.run("postinst", "configure", "1.2.3-1")
	require.NotContains(t, calls, "deb-systemd-helper enable")
	require.Contains(t, calls, "deb-systemd-helper update-state fleet-agent.service")
}

func TestPrerm(t *testing.T) {
	m := newMachine(t, true, "polkitd 122-3")
	require.Empty(t, m.run("prerm", "upgrade", "1.2.4-1"), "an upgrade stops nothing")
	require.Equal(t, `deb-systemd-invoke stop fleet-agent.socket fleet-bridge.socket
deb-systemd-invoke stop fleet-agent.service`, m.run("prerm", "remove"))
	require.Empty(t, newMachine(t, false, "polkitd 122-3").run("prerm", "remove"))
}

func TestPostrm(t *testing.T) {
	m := newMachine(t, true, "polkitd 122-3")
	mine := []string{
		"etc/fleet-agent/config.yaml", "etc/fleet-agent/conf.d/app.yaml",
		"var/lib/fleet-agent/journal",
		"etc/systemd/system/nginx.service.d/50-fleet.conf",
		"etc/systemd/system/app.service.d/50-fleet.conf",
		"etc/systemd/system/fleet-serving.target.wants/nginx.service",
	}
	others := []string{"etc/systemd/system/app.service.d/limits.conf", "var/lib/other/file", "etc/passwd"}
	for _, path := range append(mine, others...) {
		m.touch(path, "")
	}
	m.touch("run/fleet-agent/draining", "")

	require.Empty(t, m.run("postrm", "upgrade", "1.2.4-1"))
	require.FileExists(t, filepath.Join(m.root, "run/fleet-agent/draining"))

	require.Equal(t, `systemctl --system daemon-reload
systemctl kill --signal=HUP systemd-logind.service`, m.run("postrm", "remove"))
	require.NoDirExists(t, filepath.Join(m.root, "run/fleet-agent"), "the flag would keep workloads down")
	for _, path := range append(mine, others...) {
		require.FileExists(t, filepath.Join(m.root, path), "removing is not purging")
	}

	require.Equal(t, `deb-systemd-helper purge fleet-agent.service
deb-systemd-helper purge fleet-agent.socket
deb-systemd-helper purge fleet-serving.target
deb-systemd-helper purge fleet-bridge.socket
systemctl --system daemon-reload
systemctl stop fleet-serving.target
userdel --prefix ROOT fleet-agent
groupdel --prefix ROOT fleet-agent
groupdel --prefix ROOT fleet-admin`, m.run("postrm", "purge"))
	for _, path := range mine {
		require.NoFileExists(t, filepath.Join(m.root, path))
	}
	require.NoDirExists(t, filepath.Join(m.root, "etc/fleet-agent"))
	require.NoDirExists(t, filepath.Join(m.root, "etc/systemd/system/nginx.service.d"))
	for _, path := range others {
		require.FileExists(t, filepath.Join(m.root, path))
	}
}
