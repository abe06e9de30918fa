package nodes

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// standIn says with which arguments it was called. It runs until it is killed.
const standIn = `#!/bin/sh
echo "agent:" "$@"
case " $* " in *" run "*) exec sleep 1000 ;; *" status "*) exit 3 ;; esac
`

// scripted is a machine whose agent is a stand-in, of a path that a shell would take
// apart.
func scripted(t *testing.T) *agent {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "it's $HOME; fleet-agent")
	require.NoError(t, os.WriteFile(binary, []byte(standIn), 0o700))
	a := Agents{
		Binary: binary, Configs: &arm.Agents{Config: []byte("{}")}, Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler),
	}.Make(arm.Machine{Name: "vmss-authz_1"}).(*agent)
	require.NoError(t, a.Start(t.Context()))
	t.Cleanup(func() { require.NoError(t, a.Stop(context.Background())) })
	return a
}

func TestScript(t *testing.T) {
	a := scripted(t)
	of := "--config " + a.file
	for name, test := range map[string]struct{ script, stdout, stderr string }{
		"the runner's": {
			"out=$(timeout 20 fleet-agent status -o brief 2>/dev/null </dev/null); code=$?\n" +
				"case $code in 1) out=no;; 3) out=\"$out, not serving\";; esac\n" +
				"printf '%s\\n' \"$out\" | head -c 3000\n(exit \"$code\")\nprintf '\\nfleetctl: exit %d\\n' \"$?\"\n",
			"agent: " + of + " status -o brief, not serving\n\nfleetctl: exit 3\n", "",
		},
		"sudo":              {"sudo -n -u root -- fleet-agent undrain --reason 'a b'\nsudo A=1 sh -c 'echo $A'", "agent: " + of + " undrain --reason a b\n1\n", ""},
		"error output":      {"echo out; echo err >&2; exit 7", "out\n", "err\n"},
		"another program":   {"#!/bin/cat -n\nword\n", "     1\t#!/bin/cat -n\n     2\tword\n", ""},
		"no input":          {"cat; echo end", "end\n", ""},
		"its own directory": {"echo x >kept; ls -A; basename \"$PWD\"", "kept\nwork\n", ""},
		"environment":       {"env | sed 's/=.*//' | grep -v _ | sort | tr '\\n' ' '", "HOME LANG PATH PWD ", ""},
		"the end counts":    {"head -c 100000 /dev/zero | tr '\\0' x; echo end", strings.Repeat("x", maxOutput-4) + "end\n", ""},
		"empty":             {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("FLEETSIM_TEST", "kept from scripts")
			out, err := a.Run(t.Context(), test.script)
			require.NoError(t, err)
			require.Equal(t, Output{test.stdout, test.stderr}, out)
		})
	}
	out, err := a.Run(t.Context(), "#!/nonexistent\n")
	require.NoError(t, err)
	require.Contains(t, out.Stderr, "not found")
	left, err := filepath.Glob(filepath.Join(a.dir, "script-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestScriptThatDoesNotEnd: what a script leaves running ends with it, and a script ends
// with its time.
func TestScriptThatDoesNotEnd(t *testing.T) {
	a := scripted(t)
	mark := "1000." + strings.TrimLeft(filepath.Base(a.dir), "vm-") // of no other process
	out, err := a.Run(t.Context(), "sleep "+mark+" & setsid sleep "+mark+" & echo begun")
	require.NoError(t, err)
	require.Equal(t, "begun\n", out.Stdout)
	require.False(t, running(t, mark))

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := a.Run(ctx, "trap '' TERM HUP INT; sleep "+mark+" & sleep "+mark+"; echo no")
		ended <- err
	}()
	require.Eventually(t, func() bool { return running(t, mark) }, time.Minute, time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	require.False(t, running(t, mark))
}

// running says whether there is a process with an argument.
func running(t *testing.T, argument string) bool {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		if line, err := os.ReadFile(file); err == nil && bytes.Contains(line, []byte("sleep\x00"+argument)) {
			return true
		}
	}
	return false
}
