package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/child"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

func shell(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestExec(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "a-check")
	require.NoError(t, os.WriteFile(program, []byte("#!/bin/sh\nexit 7\n"), 0o700))
	directory := filepath.Join(dir, "directory")
	require.NoError(t, os.Mkdir(directory, 0o700))

	for name, tc := range map[string]struct {
		cfg  ExecConfig
		says string
	}{
		"passes":          {cfg: ExecConfig{Command: shell("echo fine; exit 0")}},
		"from PATH":       {cfg: ExecConfig{Command: []string{"true"}}},
		"in the root":     {cfg: ExecConfig{Command: shell(`test "$PWD" = /`)}},
		"without input":   {cfg: ExecConfig{Command: shell(`! read line`)}},
		"own group":       {cfg: ExecConfig{Command: shell(`test "$(cut -d' ' -f5 /proc/$$/stat)" = $$`)}},
		"with arguments":  {cfg: ExecConfig{Command: []string{"/bin/sh", "-c", `test "$1" = "a b"`, "sh", "a b"}}},
		"ends with child": {cfg: ExecConfig{Command: shell("sleep 1000 & exit 0")}},
		"ends with a daemon that holds the output": {cfg: ExecConfig{Command: shell("setsid sleep 1000 & exit 0")}},
		"exit code": {
			cfg:  ExecConfig{Command: []string{"sh", "-c", "echo; echo '  token not found '; echo more; exit 3", "pin", "1234"}},
			says: `exec sh: exit code 3, output "token not found", want exit code 0`,
		},
		"stderr":    {cfg: ExecConfig{Command: shell("echo oops >&2; exit 1")}, says: `exec /bin/sh: exit code 1, output "oops", want exit code 0`},
		"silent":    {cfg: ExecConfig{Command: shell("exit 255")}, says: `exec /bin/sh: exit code 255, want exit code 0`},
		"signal":    {cfg: ExecConfig{Command: shell("kill -SEGV $$")}, says: "exec /bin/sh: killed by SIGSEGV, want exit code 0"},
		"own PATH":  {cfg: ExecConfig{Command: []string{"a-check"}, Env: map[string]string{"PATH": "/nonexistent:" + dir}}, says: "exec a-check: exit code 7, want exit code 0"},
		"missing":   {cfg: ExecConfig{Command: []string{"/nonexistent/x"}}, says: "exec /nonexistent/x: not started: no such file or directory, want exit code 0"},
		"not found": {cfg: ExecConfig{Command: []string{"directory"}, Env: map[string]string{"PATH": dir}}, says: "exec directory: not started: not found in " + dir + ", want exit code 0"},
		"directory": {cfg: ExecConfig{Command: []string{directory}}, says: "exec " + directory + ": not started: is a directory, want exit code 0"},
		"flood": {
			cfg:  ExecConfig{Command: shell("head -c 10000000 /dev/zero | tr '\\0' x; exit 1")},
			says: `exec /bin/sh: exit code 1, output "` + strings.Repeat("x", maxQuote-3) + `…", want exit code 0`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := Exec(tc.cfg)
			err = look(t, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, tc.says)
		})
	}
}

func TestExecTimeout(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	p, err := Exec(ExecConfig{
		Command: shell(`trap "" TERM INT HUP; echo waiting for the token; echo >"$READY"; sleep 1000`),
		Env:     map[string]string{"READY": ready},
	})
	require.NoError(t, err)
	ctx, expire := testkit.Expiring(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p(ctx) }()
	require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, patience, time.Millisecond)
	expire()
	err = <-ended
	requireFinding(t, err)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "exec /bin/sh: killed: timed out")

	p, err = Exec(ExecConfig{Command: shell("exit 0")})
	require.NoError(t, err)
	requireSays(t, p(ctx), "exec /bin/sh: not started: timed out, want exit code 0")
}

// The agent's environment has the address of its notify socket and perhaps
// worse.
func TestExecEnvironment(t *testing.T) {
	for _, name := range []string{"NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "HTTP_PROXY", "CREDENTIALS_DIRECTORY"} {
		t.Setenv(name, "secret")
	}
	output := filepath.Join(t.TempDir(), "env")
	p, err := Exec(ExecConfig{
		Command: shell(`tr '\0' '\n' </proc/$$/environ >"$OUT"`),
		Env:     map[string]string{"OUT": output, "PIN_FILE": "/run/pin"},
	})
	require.NoError(t, look(t, p, err))
	got, err := os.ReadFile(output)
	require.NoError(t, err)
	require.Regexp(t, `^PATH=`+child.DefaultPath+`\nOUT=.*\nPIN_FILE=/run/pin\nFLEET_RUN=[A-Z2-7]{26}\n$`, string(got))
}

// Descriptors: the three standard ones, and that of ls itself.
func TestExecDescriptors(t *testing.T) {
	fd, err := unix.Open(tempFile(t, nil), unix.O_RDONLY, 0) // not close-on-exec, as if inherited
	require.NoError(t, err)
	defer func() { require.NoError(t, unix.Close(fd)) }()
	p, err := Exec(ExecConfig{Command: shell(`set -- $(ls /proc/self/fd); test "$*" = "0 1 2 3"`)})
	require.NoError(t, look(t, p, err))
}

// Whatever a check does, nothing is left of it: no process, no goroutine, no
// descriptor.
func TestExecLeavesNothingBehind(t *testing.T) {
	const rounds, workers = 1000, 4
	scripts := map[string]string{
		"hang":           `sleep 1000`,
		"fork":           `sleep 1000 & sleep 1000 & (sleep 1000 & sleep 1000 &) & exit 0`,
		"fork and hang":  `sleep 1000 & sleep 1000 & wait`,
		"flood":          `yes & exec yes`,
		"ignore SIGTERM": `trap "" TERM HUP INT; sleep 1000; sleep 1000`,
		"daemon":         `setsid sh -c 'sleep 1000 & sleep 1000' >/dev/null 2>&1 & exit 0`,
		"hanging daemon": `setsid sleep 1000 & sleep 1000`,
		"fail":           `exit 1`,
	}
	marker := "FLEET_TEST_MARKER=" + strconv.Itoa(os.Getpid()) + t.Name()
	name, value, _ := strings.Cut(marker, "=")
	var probes []probeFunc
	for _, script := range scripts {
		p, err := Exec(ExecConfig{Command: shell(script), Env: map[string]string{name: value}})
		require.NoError(t, err)
		probes = append(probes, p)
	}

	// One round first, so that what the runtime keeps for itself is there.
	_ = lookFor(t, 20*time.Millisecond, probes[0], nil)
	goroutines, descriptors := runtime.NumGoroutine(), countDescriptors(t)

	var next, unexpected atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := next.Add(1); i <= rounds; i = next.Add(1) {
				// From too short to start at all to long enough for all of it.
				timeout := time.Duration(1+i%12) * time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				err := probes[i%int64(len(probes))](ctx)
				cancel()
				var finding *Error
				if err != nil && !errors.As(err, &finding) {
					unexpected.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, unexpected.Load())

	// The killed are gone when the kernel has got round to them.
	require.Eventually(t, func() bool { return len(marked(t, marker)) == 0 }, patience, 10*time.Millisecond)
	require.Empty(t, children(t))
	// Eventually has a goroutine for the condition.
	require.Eventually(t, func() bool { return runtime.NumGoroutine()-1 <= goroutines }, patience, 10*time.Millisecond)
	require.LessOrEqual(t, countDescriptors(t), descriptors)
}

// The test above might kill each process before it had done its worst: here
// every script says when it has.
func TestExecKillsWhatIsRunning(t *testing.T) {
	for name, script := range map[string]string{
		"hang":           `echo >"$READY"; sleep 1000`,
		"fork":           `sleep 1000 & sleep 1000 & echo >"$READY"; wait`,
		"ignore SIGTERM": `trap "" TERM HUP INT; echo >"$READY"; sleep 1000`,
		"daemon":         `setsid sh -c 'echo >"$READY"; sleep 1000; true' & wait`,
	} {
		t.Run(name, func(t *testing.T) {
			ready := filepath.Join(t.TempDir(), "ready")
			p, err := Exec(ExecConfig{Command: shell(script), Env: map[string]string{"READY": ready}})
			require.NoError(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			var result error
			var wg sync.WaitGroup
			wg.Go(func() { result = p(ctx) })
			require.Eventually(t, func() bool { _, err := os.Stat(ready); return err == nil }, patience, time.Millisecond)
			require.NotEmpty(t, marked(t, "READY="+ready))
			cancel()
			wg.Wait()
			requireSays(t, result, "exec /bin/sh: killed: canceled, want exit code 0")
			require.Eventually(t, func() bool { return len(marked(t, "READY="+ready)) == 0 }, patience, time.Millisecond)
		})
	}
}

// marked gives the living processes that have the variable in their environment.
func marked(t *testing.T, variable string) (pids []string) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, path := range environs {
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte(variable)) {
			pids = append(pids, path)
		}
	}
	return pids
}

// children gives the processes that we would have to bury.
func children(t *testing.T) (stats []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (comm) state ppid ...; comm may have anything in it
		_, rest, _ := strings.Cut(string(data[bytes.LastIndexByte(data, ')'):]), " ")
		var state string
		var ppid int
		if _, err := fmt.Sscan(rest, &state, &ppid); err == nil && ppid == os.Getpid() {
			stats = append(stats, string(data))
		}
	}
	return stats
}

func countDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func TestExecRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  ExecConfig
		says string
	}{
		"nothing":  {ExecConfig{}, "command: want a program and its arguments"},
		"empty":    {ExecConfig{Command: []string{""}}, "command: want a program and its arguments"},
		"relative": {ExecConfig{Command: []string{"./x"}}, `command "./x": want an absolute path, or a name to look up in PATH`},
		"NUL":      {ExecConfig{Command: []string{"x", "secret\x00"}}, `command "x": an argument has a NUL byte in it`},
		"variable": {ExecConfig{Command: []string{"x"}, Env: map[string]string{"A=B": "secret"}}, `env "A=B": want a name without =, and no NUL bytes`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Exec(tc.cfg)
			require.EqualError(t, err, tc.says)
		})
	}
}

func BenchmarkExec(b *testing.B) {
	p, err := Exec(ExecConfig{Command: []string{"/bin/true"}})
	require.NoError(b, err)
	for b.Loop() {
		require.NoError(b, p(b.Context()))
	}
}
