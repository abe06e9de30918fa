package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The script that asks an agent for its status runs in a shell as nodes have it, and
// keeps what the agent said, whatever it ended with.
func TestStatus(t *testing.T) {
	const brief = `[ "$2 $3" = "-o brief" ] && `
	for name, c := range map[string]struct {
		agent string // its script; "": there is none
		want  string // of the first line
		all   string // of all lines
	}{
		"serves":         {brief + `printf 'state: serving\nend: serving\n'; exit 0`, "state: serving\nfleetctl: exit 0", "state: serving\nend: serving\nfleetctl: exit 0"},
		"serves not":     {brief + `printf 'state: unhealthy\nfailing: hsm\n' && exit 3`, "state: unhealthy\nfleetctl: exit 3", "state: unhealthy\nfailing: hsm\nfleetctl: exit 3"},
		"does not run":   {brief + `printf 'agent: no answer\nunit: failed\n' && exit 4`, "agent: no answer\nfleetctl: exit 4", "agent: no answer\nunit: failed\nfleetctl: exit 4"},
		"an older agent": {`[ $# = 1 ] || { echo 'unknown flag: -o' >&2; exit 1; }; printf 'draining\nmore\n'; exit 3`, "draining\nfleetctl: exit 3", "draining\nmore\nfleetctl: exit 3"},
		"says nothing":   {`exit 4`, "\nfleetctl: exit 4", "\nfleetctl: exit 4"},
		"no agent":       {"", "fleetctl: exit 127", "fleetctl: exit 127"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if c.agent != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, "fleet-agent"), []byte("#!/bin/sh\n"+c.agent+"\n"), 0o755))
			}
			for filter, want := range map[string]string{"head -n 1 | head -c 500": c.want, "head -c 3000": c.all} {
				cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", strings.Join(append(Status(filter), printExit), "\n"))
				cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
				out, err := cmd.Output()
				require.NoError(t, err)
				require.Contains(t, strings.ReplaceAll("\n"+string(out), "\n\n", "\n"), want)
				require.Regexp(t, exitMark, string(out))
			}
		})
	}
}
