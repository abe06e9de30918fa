package agent

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// TestOddFilesInThePlaceOfOurs: what stands where the agent has its files is never
// waited for. The agent serves and drains; what it cannot use it names.
func TestOddFilesInThePlaceOfOurs(t *testing.T) {
	kinds := map[string]func(path string) error{
		"a pipe":      func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"a link":      func(path string) error { return os.Symlink("/dev/zero", path) },
		"a dead link": func(path string) error { return os.Symlink("/nonexistent/file", path) },
	}
	for name, put := range kinds {
		t.Run("journal, "+name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				require.NoError(t, os.MkdirAll(w.conf.StateDir, 0o700))
				path := filepath.Join(w.conf.StateDir, "journal")
				require.NoError(t, put(path))
				w.serving()
				require.Contains(t, w.status().Warnings[0], path+" is ")
				require.Contains(t, w.status().Warnings[0], "run: ")
				w.drain()
				w.awaitState(control.StateDrained, 30*time.Second)
				require.NoError(t, os.Remove(path))
				w.undrain()
				w.awaitState(control.StateServing, 10*time.Second)
				require.Empty(t, w.status().Warnings)
			})
		})
		t.Run("flag, "+name, func(t *testing.T) {
			inWorld(t, func(t *testing.T, w *world) {
				require.NoError(t, os.MkdirAll(w.conf.RunDir, 0o700))
				require.NoError(t, put(filepath.Join(w.conf.RunDir, drainFlag)))
				w.start()
				w.awaitState(control.StateServing, 10*time.Second)
				require.Contains(t, w.log.String(), "drain flag cannot be read")
			})
		})
	}
	t.Run("a run directory that others can write", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			require.NoError(t, os.MkdirAll(w.conf.RunDir, 0o700))
			require.NoError(t, os.Chmod(w.conf.RunDir, 0o777))
			_, err := New(Config{Config: w.conf, BootID: w.boot})
			require.ErrorContains(t, err, "run_dir: "+w.conf.RunDir+" can be written by others (mode 0777); run: chmod go-w")
		})
	})
	t.Run("a state directory that others can write", func(t *testing.T) {
		inWorld(t, func(t *testing.T, w *world) {
			require.NoError(t, os.MkdirAll(w.conf.StateDir, 0o700))
			require.NoError(t, os.Chmod(w.conf.StateDir, 0o770))
			w.serving()
			require.Contains(t, w.status().Warnings[0], "can be written by others (mode 0770); run: chmod go-w")
		})
	})
}
