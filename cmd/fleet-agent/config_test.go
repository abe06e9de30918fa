package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
)

// TestCommandsReadWhatTheDaemonReads: root's `config validate` takes a file of
// the daemon's user, and a daemon of root's does not.
func TestCommandsReadWhatTheDaemonReads(t *testing.T) {
	testkit.Root(t)
	nobody, err := user.Lookup("nobody")
	require.NoError(t, err)
	uid, err := strconv.Atoi(nobody.Uid)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte("state_dir: /x\n"), 0o600))
	require.NoError(t, os.Chown(file, uid, -1))
	c, err := readConfig(file, "nobody")
	require.NoError(t, err)
	require.Equal(t, "/x", c.StateDir)
	_, err = readConfig(file, "fleet-nobody-has-this-name")
	require.ErrorContains(t, err, "belongs to uid "+nobody.Uid)
	_, err = config.Load(file)
	require.ErrorContains(t, err, "belongs to uid "+nobody.Uid)
}
