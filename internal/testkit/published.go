package testkit

import (
	"os"
	"path/filepath"
	"testing"
)

// Published returns a directory of what Azure publishes, "types" or "examples". It is
// third-party data that the repository does not hold: it stands beside the repository,
// or beside the folder of its work trees, in shared/azure.
func Published(tb testing.TB, name string) string {
	tb.Helper()
	dir, found := FindPublished(name)
	Need(tb, found, "shared/azure/"+name+" beside the repository: what Azure publishes")
	return dir
}

// FindPublished is Published for what goes on without it.
func FindPublished(name string) (dir string, found bool) {
	dir, err := os.Getwd()
	if err != nil {
		return "", false
	}
	for dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		there := filepath.Join(dir, "shared", "azure", name)
		if info, err := os.Stat(there); err == nil && info.IsDir() {
			return there, true
		}
	}
	return "", false
}
