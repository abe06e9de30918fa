package aib

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// customizers are the scripts in aib/customizers, in the order of their names.
var customizers = []string{
	"adopt-workloads.sh",
	"generalize.sh",
	"harden-cis-baseline.sh",
	"install-fleet-agent.sh",
	"validate.sh",
}

// repo returns the root of the repository.
func repo(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	require.NoError(t, err)
	return dir
}

// shellcheck runs the linter, with the last argument as its input when the one
// before is "-".
func shellcheck(t *testing.T, args ...string) {
	t.Helper()
	path := testkit.Tool(t, "shellcheck", "shellcheck")
	var input string
	if n := len(args); n > 1 && args[n-2] == "-" {
		input, args = args[n-1], args[:n-1]
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader("#!/bin/sh\n" + input + "\n")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// machine stands for a machine: a tree for --root, and a folder of commands that
// take the place of those that would change this machine. Each of them adds a line
// to a log.
type machine struct {
	root, bin, log string
	bash           bool // scripts are started as fleetctl does, and not as Packer
}

// newMachine returns an empty machine on which the scripts are root. Its chroot
// runs the command of the same name with ROOT set to the tree.
func newMachine(t *testing.T) *machine {
	t.Helper()
	dir := t.TempDir()
	m := &machine{root: filepath.Join(dir, "root"), bin: filepath.Join(dir, "bin"), log: filepath.Join(dir, "log")}
	require.NoError(t, os.Mkdir(m.root, 0o755))
	require.NoError(t, os.Mkdir(m.bin, 0o755))
	m.command(t, "id", `echo 0`)
	m.command(t, "chroot", `ROOT=$1; export ROOT; shift; name=${1##*/}; shift; exec "$name" "$@"`)
	m.command(t, "chown", ``)
	m.command(t, "readlink", readlink)
	m.command(t, "systemctl", ``)
	return m
}

// readlink is readlink -f of a path in the tree, which links do not lead out of.
const readlink = `real() {
	case $1 in / | '') return ;; esac
	dir=$(real "$(dirname "$1")")
	path=$dir/$(basename "$1")
	link=$(/usr/bin/readlink "$ROOT$path") || { echo "$path"; return; }
	case $link in /*) real "$link" ;; *) real "$dir/$link" ;; esac
}
[ "$1 $2" = "-f --" ] || exit 2
to=$(real "$3")
echo "${to:-/}"`

// command makes a command that logs its arguments, but for those that every run
// needs, and then does what body says.
func (m *machine) command(t *testing.T, name, body string) {
	t.Helper()
	text := "#!/bin/sh\n"
	if name != "id" && name != "chroot" && name != "readlink" {
		text += fmt.Sprintf("echo \"%s $*\" >>'%s'\n", name, m.log)
	}
	require.NoError(t, os.WriteFile(filepath.Join(m.bin, name), []byte(text+body+"\n"), 0o755))
}

// calls returns what the commands logged since the last call.
func (m *machine) calls(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(m.log)
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	require.NoError(t, err)
	require.NoError(t, os.Remove(m.log))
	return string(data)
}

// file writes a file of the tree.
func (m *machine) file(t *testing.T, path, text string, mode fs.FileMode) {
	t.Helper()
	path = filepath.Join(m.root, path)
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(text), mode))
	require.NoError(t, os.Chmod(path, mode))
}

func (m *machine) read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.root, path))
	require.NoError(t, err)
	return string(data)
}

// tree describes everything in the tree: names, modes, contents, and when files
// were written, which tells a file that was written again with the same text.
func (m *machine) tree(t *testing.T) string {
	t.Helper()
	var lines []string
	require.NoError(t, filepath.WalkDir(m.root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		line := strings.TrimPrefix(path, m.root) + " " + info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %s %q", info.ModTime(), data)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " -> " + target
		}
		lines = append(lines, line)
		return nil
	}))
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// files lists the regular files and links of the tree.
func (m *machine) files(t *testing.T) []string {
	t.Helper()
	var list []string
	require.NoError(t, filepath.WalkDir(m.root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			list = append(list, strings.TrimPrefix(path, m.root))
		}
		return err
	}))
	return list
}

type result struct {
	code           int
	stdout, stderr string
}

// run starts a script by the shell that Packer starts inline commands with, or by
// bash.
func (m *machine) run(t *testing.T, script string, args ...string) result {
	t.Helper()
	path := filepath.Join(repo(t), "aib/customizers", script)
	cmd := exec.CommandContext(t.Context(), testkit.Tool(t, "dash", "dash"), append([]string{"-e", path}, args...)...)
	if m.bash {
		cmd = exec.CommandContext(t.Context(), "bash", append([]string{"-euo", "pipefail", path}, args...)...)
	}
	cmd.Env = append(os.Environ(), "PATH="+m.bin+":/usr/sbin:/usr/bin:/sbin:/bin")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		require.True(t, ok, "%v", err)
		require.True(t, exit.Exited(), "%v", err)
	}
	return result{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
}

// ok runs a script that must succeed.
func (m *machine) ok(t *testing.T, script string, args ...string) result {
	t.Helper()
	r := m.run(t, script, args...)
	require.Zero(t, r.code, "%s%s", r.stdout, r.stderr)
	return r
}

func TestShellcheck(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(repo(t), "aib/*/*.sh"))
	require.NoError(t, err)
	require.Len(t, found, len(customizers), "customizers is not the list of the scripts")
	examples, err := filepath.Glob(filepath.Join(repo(t), "examples/fleet/*.sh"))
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	shellcheck(t, append(found, examples...)...)
}

// TestScriptsStandAlone: each is uploaded by itself, runs under any POSIX shell
// and shares its first functions with the others, to the letter.
func TestScriptsStandAlone(t *testing.T) {
	var common string
	for _, name := range customizers {
		path := filepath.Join(repo(t), "aib/customizers", name)
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&0o100, "%s: Image Builder's scriptUri and plain Packer run it by its name", name)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		text := string(data)
		require.True(t, strings.HasPrefix(text, "#!/bin/sh\n# "+name+": "), name)
		_, rest, ok := strings.Cut(text, "# -- the same in every customizer")
		require.True(t, ok, name)
		part, _, ok := strings.Cut(rest, "\n# --\n")
		require.True(t, ok, name)
		if common == "" {
			common = part
		}
		require.Equal(t, common, part, name)
		for _, forbidden := range []string{"-o pipefail", "curl ", "wget "} {
			require.NotContains(t, text, forbidden, name)
		}
	}
}

func TestHelp(t *testing.T) {
	m := newMachine(t)
	for _, name := range customizers {
		for _, flag := range []string{"--help", "-h"} {
			r := m.ok(t, name, flag)
			require.True(t, strings.HasPrefix(r.stdout, "usage: "+name+" "), name)
			require.Contains(t, r.stdout, "Exit codes: 0 ", name)
			require.Empty(t, r.stderr, name)
		}
	}
	require.Empty(t, m.calls(t), "a script that explains itself does nothing else")
}

// TestUsage: wrong arguments are told apart from failures, before anything is done.
func TestUsage(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for _, tt := range []struct {
		script, args, want string
	}{
		{"install-fleet-agent.sh", "", "--sha256 is missing, and there is no /tmp/fleet-agent.deb.sha256: an unchecked package is not installed"},
		{"install-fleet-agent.sh", "--deb x.deb", "--sha256 is missing, and there is no x.deb.sha256: an unchecked package is not installed"},
		{"install-fleet-agent.sh", "--deb", "--deb needs a value"},
		{"install-fleet-agent.sh", "--deb x.deb --sha256 abc", "the checksum has 3 digits, not 64"},
		{"install-fleet-agent.sh", "--deb x.deb --sha256 xyz", "the checksum is not a hexadecimal number"},
		{"install-fleet-agent.sh", "--deb x.deb --sha256 " + sum + " --stamp image=x", "--stamp image=x: write KEY=VALUE, the key in upper case"},
		{"install-fleet-agent.sh", "--deb x.deb --sha256 " + sum + " --stamp IMAge=x", "--stamp IMAge=x: a key has upper-case letters, digits and _"},
		{"install-fleet-agent.sh", "--deb x.deb --sha256 " + sum + " --stamp A=$(reboot)", "--stamp A=$(reboot): a value has letters, digits and ._:/+@~-"},
		{"install-fleet-agent.sh", "x.deb", "unknown argument x.deb"},
		{"adopt-workloads.sh", "", "no unit to adopt"},
		{"adopt-workloads.sh", "--now nginx.service", "unknown option --now"},
		{"adopt-workloads.sh", "nginx.service;reboot", "nginx.service;reboot is not the name of a unit"},
		{"harden-cis-baseline.sh", "--all", "unknown argument --all"},
		{"generalize.sh", "--root", "--root needs a value"},
		{"generalize.sh", "--root /x --waagent", "--waagent works on this machine, not on a tree"},
		{"generalize.sh", "--at-deprovisioning --waagent", "--at-deprovisioning stands alone"},
		{"validate.sh", "--root /x --stage booted", "--root: a tree has not booted"},
		{"validate.sh", "--stage built", "--stage built: booted or baked"},
		{"validate.sh", "--max-exposure low", "--max-exposure low: not a number"},
		{"validate.sh", "--stage baked --wait-serving 9s", "--wait-serving: a baked image does not serve"},
	} {
		t.Run(tt.script+" "+tt.args, func(t *testing.T) {
			m := newMachine(t)
			r := m.run(t, tt.script, strings.Fields(tt.args)...)
			require.Equal(t, 2, r.code)
			me := strings.TrimSuffix(tt.script, ".sh")
			require.Equal(t, me+": error: "+tt.want+"\n"+me+": hint: --help lists the options\n", r.stderr)
			require.Empty(t, r.stdout)
			require.Empty(t, m.calls(t))
		})
	}
}

// TestBuildUser: without root a script starts itself again by sudo, arguments and
// all, and does nothing before.
func TestBuildUser(t *testing.T) {
	sum := strings.Repeat("0", 64)
	for _, tt := range [][]string{
		{"install-fleet-agent.sh", "--deb", "a file.deb", "--sha256", sum},
		{"adopt-workloads.sh", "nginx.service"},
		{"harden-cis-baseline.sh"},
		{"generalize.sh", "--at-deprovisioning"},
		{"validate.sh", "--stage", "baked"},
	} {
		t.Run(tt[0], func(t *testing.T) {
			m := newMachine(t)
			m.command(t, "id", `echo 1000`)
			m.command(t, "sudo", `exit 7`)
			r := m.run(t, tt[0], tt[1:]...)
			require.Equal(t, 7, r.code, "sudo's own failure is the script's")
			args := strings.Join(tt[1:], " ")
			path := filepath.Join(repo(t), "aib/customizers", tt[0])
			require.Equal(t, strings.TrimSpace("sudo -n -- sh "+path+" "+args), strings.TrimSpace(m.calls(t)))
			require.Empty(t, r.stdout)
		})
	}
}
