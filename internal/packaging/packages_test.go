package main

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	update = flag.Bool("update", false, "rewrite the golden files")
	dist   = flag.String("dist", "", "directory of built packages to check; `make deb-check` sets it")
)

// packages are the built ones, all of them.
func packages(t *testing.T) []string {
	t.Helper()
	if *dist == "" {
		t.Skip("`make deb-check` runs this on the packages that it built")
	}
	debs, err := filepath.Glob(filepath.Join(*dist, "*.deb"))
	require.NoError(t, err)
	require.Len(t, debs, 2*len(commands), "for two architectures each")
	return debs
}

// TestPackageContents: what is in a package, and what dpkg is told about it.
func TestPackageContents(t *testing.T) {
	for _, deb := range packages(t) {
		t.Run(filepath.Base(deb), func(t *testing.T) {
			name, _, _ := strings.Cut(filepath.Base(deb), "_")
			got := control(t, deb) + "\n" + listing(t, deb, name)
			golden := filepath.Join("testdata", name+".contents")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

// control is the control file without what changes with every build.
func control(t *testing.T, deb string) string {
	t.Helper()
	out := output(t, "dpkg-deb", "--field", deb)
	return regexp.MustCompile(`(?m)^(Version|Architecture|Installed-Size): .*$`).ReplaceAllString(out, "$1: ...")
}

// listing is mode, owner and path of each file. Pages of subcommands are one
// line.
func listing(t *testing.T, deb, name string) string {
	t.Helper()
	subcommand := regexp.MustCompile(`^(\./usr/share/man/man1/` + name + `-).*(\.1\.gz)$`)
	var lines []string
	for line := range strings.Lines(output(t, "dpkg-deb", "--contents", deb)) {
		f := strings.Fields(line)
		require.Len(t, f, 6)
		lines = append(lines, f[0]+" "+f[1]+" "+subcommand.ReplaceAllString(f[5], "$1*$2"))
	}
	return strings.Join(slices.Compact(lines), "\n") + "\n"
}

// TestArchive: what is in fleetctl's archive, and that it runs from there.
func TestArchive(t *testing.T) {
	packages(t)
	archives, err := filepath.Glob(filepath.Join(*dist, "fleetctl_*.tar.gz"))
	require.NoError(t, err)
	require.Len(t, archives, 2)
	for _, archive := range archives {
		dir := strings.TrimSuffix(filepath.Base(archive), ".tar.gz")
		subcommand := regexp.MustCompile(`(man1/fleetctl-).*(\.1\.gz)$`)
		var lines []string
		for line := range strings.Lines(output(t, "tar", "--numeric-owner", "-tvzf", archive)) {
			f := strings.Fields(line)
			name, inside := strings.CutPrefix(f[5], dir+"/")
			require.True(t, inside, line)
			lines = append(lines, f[0]+" "+f[1]+" "+subcommand.ReplaceAllString(name, "$1*$2"))
		}
		require.Equal(t, []string{
			"-rw-r--r-- 0/0 LICENSE", "-rw-r--r-- 0/0 completion/fleetctl.bash", "-rw-r--r-- 0/0 completion/fleetctl.fish",
			"-rw-r--r-- 0/0 completion/fleetctl.zsh", "-rwxr-xr-x 0/0 fleetctl", "-rw-r--r-- 0/0 man/man1/fleetctl-*.1.gz",
			"-rw-r--r-- 0/0 man/man1/fleetctl.1.gz", "-rw-r--r-- 0/0 notices.gz",
		}, slices.Compact(lines))
		if strings.HasSuffix(dir, "_"+runtime.GOARCH) {
			where := t.TempDir()
			output(t, "tar", "-xzf", archive, "-C", where)
			require.Contains(t, output(t, filepath.Join(where, dir, "fleetctl"), "version"), "fleetctl ")
		}
	}
}

// TestLintian: no error and no warning but those that are overridden, with the
// reason beside each. Words in binaries are not judged: Go's linker puts texts side by
// side without an end between them, so that "turn it on" and "the time" are "onthe".
func TestLintian(t *testing.T) {
	debs := packages(t)
	out := output(t, "lintian", append([]string{
		"--allow-root", "--fail-on", "error,warning", "--info", "--display-info", "--suppress-tags", "spelling-error-in-binary",
	}, debs...)...)
	require.Empty(t, out)
}

// TestSums: SHA256SUMS names every file, and its bill of materials is one.
func TestSums(t *testing.T) {
	debs := packages(t)
	var want bytes.Buffer
	archives := 0
	for _, deb := range debs {
		bom := strings.TrimSuffix(deb, ".deb") + ".cdx.json"
		for _, file := range []string{deb, bom} {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			fmt.Fprintf(&want, "%x  %s\n", sha256.Sum256(data), filepath.Base(file))
			if file == bom {
				checkBOM(t, data)
			}
		}
		archive := regexp.MustCompile(`-1_(\w+)\.deb$`).ReplaceAllString(deb, "_linux_$1.tar.gz")
		if data, err := os.ReadFile(archive); err == nil {
			fmt.Fprintf(&want, "%x  %s\n", sha256.Sum256(data), filepath.Base(archive))
			archives++
		}
	}
	require.Equal(t, 2, archives, "fleetctl's, for two architectures")
	got, err := os.ReadFile(filepath.Join(*dist, "SHA256SUMS"))
	require.NoError(t, err)
	require.Equal(t, want.String(), string(got))
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", out, stderr.String())
	return string(out)
}
