package testkit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Published returns a directory of what Azure publishes, "types" or "examples". It is
// third-party data that the repository does not hold: it stands beside the repository,
// or beside the folder of its work trees, in shared/azure.
func Published(tb testing.TB, name string) string {
	tb.Helper()
	dir, err := os.Getwd()
	require.NoError(tb, err)
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		found := filepath.Join(dir, "shared", "azure", name)
		if info, err := os.Stat(found); err == nil && info.IsDir() {
			return found
		}
	}
	Need(tb, false, "shared/azure/"+name+" beside the repository: what Azure publishes")
	return ""
}
