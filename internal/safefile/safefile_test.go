package safefile_test

import (
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

const nobody = 65534

// TestOpenRegularRefuses: none of these blocks, whichever way it is opened; the
// test would time out. What is there stays as it is.
func TestOpenRegularRefuses(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, name string)
		why  string
		run  string // % stands for the path
	}{
		"pipe": {
			func(t *testing.T, name string) { require.NoError(t, syscall.Mkfifo(name, 0o600)) },
			"is a named pipe, not a regular file", "rm %",
		},
		"socket": {
			func(t *testing.T, name string) {
				l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", name)
				require.NoError(t, err)
				t.Cleanup(func() { l.Close() })
			},
			"is a socket, not a regular file", "rm %",
		},
		"directory": {
			func(t *testing.T, name string) { require.NoError(t, os.Mkdir(name, 0o700)) },
			"is a directory, not a regular file", "mv % %.old",
		},
		"link to a file": {
			func(t *testing.T, name string) {
				require.NoError(t, os.WriteFile(name+".target", []byte("kept"), 0o600))
				require.NoError(t, os.Symlink(name+".target", name))
			},
			"is a symbolic link, not a regular file", "rm %",
		},
		"link to nowhere": {
			func(t *testing.T, name string) { require.NoError(t, os.Symlink(name+".target", name)) },
			"is a symbolic link, not a regular file", "rm %",
		},
		"link to itself": {
			func(t *testing.T, name string) { require.NoError(t, os.Symlink(name, name)) },
			"is a symbolic link, not a regular file", "rm %",
		},
		"link to a pipe": {
			func(t *testing.T, name string) {
				require.NoError(t, syscall.Mkfifo(name+".target", 0o600))
				require.NoError(t, os.Symlink(name+".target", name))
			},
			"is a symbolic link, not a regular file", "rm %",
		},
		"character device": {
			func(t *testing.T, name string) { mknod(t, name, syscall.S_IFCHR, 1<<8|3) }, // as /dev/null
			"is a device, not a regular file", "rm %",
		},
		"block device without a driver": {
			func(t *testing.T, name string) { mknod(t, name, syscall.S_IFBLK, 240<<8) },
			"is a device, not a regular file", "rm %",
		},
	}
	flags := map[string]int{
		"read":   os.O_RDONLY,
		"append": os.O_WRONLY | os.O_CREATE | os.O_APPEND,
		"create": os.O_WRONLY | os.O_CREATE | os.O_TRUNC,
		"alone":  os.O_WRONLY | os.O_CREATE | os.O_EXCL,
		"both":   os.O_RDWR,
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "journal")
			tt.make(t, path)
			before, err := os.Lstat(path)
			require.NoError(t, err)
			for how, flags := range flags {
				_, err := safefile.OpenRegular(path, flags, 0o600)
				var r *safefile.RefusedError
				require.ErrorAs(t, err, &r, how)
				require.Equal(t, safefile.RefusedError{Path: path, Why: tt.why, Run: inPlace(tt.run, path)}, *r, how)
			}
			after, err := os.Lstat(path)
			require.NoError(t, err)
			require.Equal(t, before.Mode(), after.Mode())
			if name == "link to a file" {
				text, err := os.ReadFile(path + ".target")
				require.NoError(t, err)
				require.Equal(t, "kept", string(text))
			}
		})
	}
}

// TestOpenRegularDevNull is the device for whoever is not root.
func TestOpenRegularDevNull(t *testing.T) {
	_, err := safefile.OpenRegular(os.DevNull, os.O_RDWR, 0)
	require.EqualError(t, err, "/dev/null is a device, not a regular file; run: rm /dev/null")
}

func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "journal")

	_, err := safefile.OpenRegular(path, os.O_RDONLY, 0)
	require.ErrorIs(t, err, fs.ErrNotExist)

	for _, line := range []string{"one\n", "two\n"} {
		f, err := safefile.OpenRegular(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		require.NoError(t, err)
		_, err = f.WriteString(line)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n", string(text))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode())

	_, err = safefile.OpenRegular(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	require.ErrorIs(t, err, fs.ErrExist)

	// A link on the way is none of its business, a file on the way is an error.
	require.NoError(t, os.Symlink(dir, filepath.Join(dir, "link")))
	f, err := safefile.OpenRegular(filepath.Join(dir, "link", "journal"), os.O_RDONLY, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = safefile.OpenRegular(filepath.Join(path, "journal"), os.O_RDONLY, 0)
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

func TestCheckDir(t *testing.T) {
	mkdir := func(t *testing.T, path string, mode fs.FileMode) {
		t.Helper()
		require.NoError(t, os.Mkdir(path, 0o700))
		require.NoError(t, os.Chmod(path, mode))
	}
	give := func(t *testing.T, path string, uid, gid int) {
		t.Helper()
		testkit.Root(t)
		require.NoError(t, os.Lchown(path, uid, gid))
	}
	tests := map[string]struct {
		make func(t *testing.T, dir string)
		why  string // empty: it is fine
		run  string
	}{
		"ours alone":         {make: func(t *testing.T, dir string) { mkdir(t, dir, 0o700) }},
		"others may read":    {make: func(t *testing.T, dir string) { mkdir(t, dir, 0o755) }},
		"setgid":             {make: func(t *testing.T, dir string) { mkdir(t, dir, 0o750|fs.ModeSetgid) }},
		"of another's group": {make: func(t *testing.T, dir string) { mkdir(t, dir, 0o750); give(t, dir, 0, nobody) }},
		"sticky, ours alone": {make: func(t *testing.T, dir string) { mkdir(t, dir, 0o755|fs.ModeSticky) }},
		"in a sticky one": {make: func(t *testing.T, dir string) {
			require.NoError(t, os.Chmod(filepath.Dir(dir), 0o777|fs.ModeSticky))
			mkdir(t, dir, 0o700)
		}},
		"link to ours": {make: func(t *testing.T, dir string) {
			mkdir(t, dir+".target", 0o700)
			require.NoError(t, os.Symlink(dir+".target", dir))
		}},
		"group may write": {func(t *testing.T, dir string) { mkdir(t, dir, 0o770) }, "can be written by others (mode 0770)", "chmod go-w %"},
		"all may write":   {func(t *testing.T, dir string) { mkdir(t, dir, 0o707) }, "can be written by others (mode 0707)", "chmod go-w %"},
		"sticky for all":  {func(t *testing.T, dir string) { mkdir(t, dir, 0o777|fs.ModeSticky) }, "can be written by others (mode 0777)", "chmod go-w %"},
		"of another":      {func(t *testing.T, dir string) { mkdir(t, dir, 0o700); give(t, dir, nobody, 0) }, "belongs to uid 65534", "chown " + strconv.Itoa(os.Geteuid()) + " %"},
		"link of another": {func(t *testing.T, dir string) {
			mkdir(t, dir+".target", 0o700)
			require.NoError(t, os.Symlink(dir+".target", dir))
			give(t, dir, nobody, 0)
		}, "is a symbolic link that belongs to uid 65534", "rm %"},
		"link to another's": {func(t *testing.T, dir string) {
			mkdir(t, dir+".target", 0o700)
			require.NoError(t, os.Symlink(dir+".target", dir))
			give(t, dir+".target", nobody, 0)
		}, "belongs to uid 65534", "chown " + strconv.Itoa(os.Geteuid()) + " %"},
		"link to one for all": {func(t *testing.T, dir string) {
			mkdir(t, dir+".target", 0o777)
			require.NoError(t, os.Symlink(dir+".target", dir))
		}, "can be written by others (mode 0777)", "chmod go-w %"},
		"link to nowhere": {func(t *testing.T, dir string) { require.NoError(t, os.Symlink(dir+".target", dir)) }, "is a symbolic link to nowhere", "rm %"},
		"file":            {func(t *testing.T, dir string) { require.NoError(t, os.WriteFile(dir, nil, 0o600)) }, "is a regular file, not a directory", "rm %"},
		"pipe":            {func(t *testing.T, dir string) { require.NoError(t, syscall.Mkfifo(dir, 0o600)) }, "is a named pipe, not a directory", "rm %"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			tt.make(t, dir)
			err := safefile.CheckDir(dir)
			if tt.why == "" {
				require.NoError(t, err)
				return
			}
			var r *safefile.RefusedError
			require.ErrorAs(t, err, &r)
			require.Equal(t, safefile.RefusedError{Path: dir, Why: tt.why, Run: inPlace(tt.run, dir)}, *r)
		})
	}
	require.ErrorIs(t, safefile.CheckDir(filepath.Join(t.TempDir(), "state")), fs.ErrNotExist)
	require.ErrorIs(t, safefile.CheckDir("/proc/self/cmdline/state"), syscall.ENOTDIR)
}

func TestTrustedOwners(t *testing.T) {
	testkit.Root(t)
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chown(path, nobody, nobody))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.EqualError(t, safefile.Trusted(path, info, 12), path+" belongs to uid 65534; run: chown 0 "+path)
	require.NoError(t, safefile.Trusted(path, info, 12, nobody))
}

// inPlace puts the path into a command of a table.
func inPlace(command, path string) string { return strings.ReplaceAll(command, "%", path) }

func mknod(t *testing.T, name string, kind uint32, device int) {
	t.Helper()
	testkit.Root(t)
	err := syscall.Mknod(name, kind|0o600, device)
	testkit.Need(t, err == nil, "to be allowed to make devices")
}
