package child

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// patience is what a program gets that is not meant to run out of time.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asUser) != "" {
		os.Exit(runAsUser())
	}
	os.Exit(m.Run())
}

func run(t *testing.T, c Command) (string, *os.ProcessState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var output bytes.Buffer
	c.Output = &output
	state, err := c.Run(ctx)
	require.NoError(t, ctx.Err())
	return output.String(), state, err
}

// TestWhyNot: the reason is about what is wrong with the file, and not "no such
// file" for one that is there.
func TestWhyNot(t *testing.T) {
	dir := t.TempDir()
	loaderless := bytes.Clone(elf(t)) // of a program whose loader is not here
	for name, tc := range map[string]struct {
		text string
		mode os.FileMode
		says string // FILE is the program
	}{
		"fine":                      {text: "#!/bin/sh\nexit 0\n", mode: 0o700},
		"options and spaces":        {text: "#! \t/bin/sh  -e\nexit 0\n", mode: 0o700},
		"one line":                  {text: "#!/bin/true", mode: 0o700},
		"CRLF":                      {"#!/bin/sh\r\nexit 0\r\n", 0o700, `its first line names /bin/sh\r: the file has the line ends of Windows (CRLF)`},
		"CRLF and an argument":      {"#!/usr/bin/env sh\r\nexit 0\r\n", 0o700, `its first line names /usr/bin/env sh\r: the file has the line ends of Windows (CRLF)`},
		"no interpreter":            {"#!/usr/bin/python9 -u\n", 0o700, "its first line names /usr/bin/python9, which does not exist"},
		"interpreter is no program": {"#!/etc/passwd\n", 0o700, "its first line names /etc/passwd: permission denied"},
		"empty interpreter":         {"#!\nexit 0\n", 0o700, "its first line, #!, names no interpreter"},
		"without a first line":      {"exit 0\n", 0o700, "its first line names no interpreter, such as #!/bin/sh"},
		"byte order mark":           {"\xef\xbb\xbf#!/bin/sh\n", 0o700, "begins with a byte order mark, which hides the first line from the kernel"},
		"empty":                     {"", 0o700, "is empty"},
		"not executable":            {"#!/bin/sh\n", 0o600, "is not executable: chmod 0755 FILE"},
		"loader is missing":         {string(loaderless), 0o700, "the file is there, but not the loader that it is made for"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			require.NoError(t, os.WriteFile(file, []byte(tc.text), tc.mode))
			_, state, err := run(t, Command{Args: []string{file}})
			if tc.says != "" {
				require.EqualError(t, err, strings.ReplaceAll(tc.says, "FILE", file))
				return
			}
			require.NoError(t, err)
			require.True(t, state.Success())
		})
	}
	_, _, err := run(t, Command{Args: []string{dir}})
	require.EqualError(t, err, "is a directory")
	_, _, err = run(t, Command{Args: []string{dir + "/none"}})
	require.EqualError(t, err, "no such file or directory")
	_, _, err = run(t, Command{Args: []string{"none"}, Env: []string{"PATH=/a:/b"}})
	require.EqualError(t, err, "not found in /a:/b")
}

var regexpLoader = regexp.MustCompile(`/lib[a-z0-9/_-]*/ld-linux[a-z0-9._-]*`)

// elf returns the beginning of a dynamic program whose loader does not exist.
func elf(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile("/bin/sh")
	require.NoError(t, err)
	loader := regexpLoader.Find(data)
	require.NotEmpty(t, loader, "/bin/sh names no loader")
	return bytes.Replace(data, loader, bytes.Replace(loader, []byte("ld-linux"), []byte("no-linux"), 1), 1)
}

// TestGrace: the program may end by itself, and what left its group is killed.
func TestGrace(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		grace  time.Duration
		says   string
	}{
		"ends on SIGTERM":  {`exec 2>/dev/null; trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.01; done`, patience, "ready\nbye\n"},
		"ignores SIGTERM":  {`trap "" TERM; echo ready; while :; do sleep 0.01; done`, 100 * time.Millisecond, "ready\n"},
		"no grace":         {`exec 2>/dev/null; trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.01; done`, 0, "ready\n"},
		"leaves a session": {`setsid sh -c 'trap "" TERM; echo ready; while :; do sleep 0.01; done' & wait`, patience, "ready\n"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			r, w := io.Pipe()
			var output bytes.Buffer
			read := make(chan struct{})
			go func() { // ends it when it is ready
				defer close(read)
				buf := make([]byte, 64)
				for {
					n, err := r.Read(buf)
					output.Write(buf[:n])
					cancel()
					if err != nil {
						return
					}
				}
			}()
			marker := "MARKER=" + strconv.Itoa(os.Getpid()) + t.Name() // of no other run of this test
			_, err := Command{Args: []string{"sh", "-c", tc.script}, Env: []string{marker}, Output: w, Grace: tc.grace}.Run(ctx)
			require.NoError(t, err)
			require.NoError(t, w.Close())
			<-read
			require.Equal(t, tc.says, output.String())
			require.Eventually(t, func() bool { return marked(t, marker) == 0 }, patience, time.Millisecond)
		})
	}
}

// marked counts the living processes that have the variable in their environment.
func marked(t *testing.T, variable string) int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	n := 0
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil && bytes.Contains(data, []byte(variable)) {
			n++
		}
	}
	return n
}

func TestTaskLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		groups string
		files  map[string]string
		want   uint64
	}{
		"version 2": {
			"0::/system.slice/fleet-agent.service\n",
			map[string]string{"sys/fs/cgroup/system.slice/fleet-agent.service/pids.max": "512\n", "sys/fs/cgroup/system.slice/pids.max": "max\n"},
			384,
		},
		"a limit above": {
			"0::/a/b\n", map[string]string{"sys/fs/cgroup/a/b/pids.max": "512\n", "sys/fs/cgroup/a/pids.max": "100\n"}, 75,
		},
		"version 1": {
			"12:cpu,cpuacct:/x\n8:pids:/system.slice/fleet-agent.service\n0::/system.slice/fleet-agent.service\n",
			map[string]string{"sys/fs/cgroup/pids/system.slice/fleet-agent.service/pids.max": "512\n"},
			384,
		},
		"no limit":   {"0::/a\n", map[string]string{"sys/fs/cgroup/a/pids.max": "max\n"}, 0},
		"unreadable": {"0::/a\n", nil, 0},
		"tiny":       {"0::/a\n", map[string]string{"sys/fs/cgroup/a/pids.max": "1\n"}, 1},
		"odd":        {"what\n", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			write := func(name, text string) {
				file := filepath.Join(root, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
				require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			}
			write("proc/self/cgroup", tc.groups)
			for name, text := range tc.files {
				write(name, text)
			}
			require.Equal(t, tc.want, taskLimit(root))
		})
	}
	require.Zero(t, taskLimit(t.TempDir()))
}

const (
	asUser = "FLEET_TEST_AS_USER" // the limit
	uid    = 61_234               // nobody's
)

// TestTasksAreBounded: a program that forks without end gets no more, and the
// process that runs it still gets its threads.
func TestTasksAreBounded(t *testing.T) {
	testkit.Root(t)
	testkit.Tool(t, "prlimit", "util-linux")
	self, err := os.Executable()
	require.NoError(t, err)
	program := filepath.Join(t.TempDir(), "test")
	data, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(program, data, 0o755))             //nolint:gosec // it is run by another user
	require.NoError(t, os.WriteFile(program+".broken", elf(t), 0o755)) //nolint:gosec // likewise
	for dir := filepath.Dir(program); dir != "/"; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, info.Mode()|0o111))
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = []string{asUser + "=60", "PATH=" + DefaultPath}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var complaints bytes.Buffer // of a coverage build, too, that was not told where to write
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	require.NoError(t, err, "%s%s", out, complaints.String())
	forked, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err, "%s%s", out, complaints.String())
	require.Less(t, forked, 60, "the process's own threads count, too")
}

// runAsUser is the process of TestTasksAreBounded that runs programs.
func runAsUser() int {
	limit, err := strconv.ParseUint(os.Getenv(asUser), 10, 64)
	if err != nil {
		return 1
	}
	var output bytes.Buffer
	const forks = `n=0; trap 'echo $n' EXIT; while [ $n -lt 200 ]; do sleep 30 & n=$((n+1)); done`
	state, err := Command{
		Args: []string{"sh", "-c", forks}, Env: []string{"PATH=" + DefaultPath}, Output: &output, limit: limit,
	}.Run(context.Background())
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error())
		return 1
	}
	if state.Success() {
		_, _ = os.Stderr.WriteString("200 processes in spite of the limit\n")
		return 1
	}
	_, err = Command{Args: []string{os.Args[0] + ".broken"}, Output: io.Discard, limit: limit}.Run(context.Background())
	if err == nil || !strings.HasPrefix(err.Error(), "failed to execute ") {
		_, _ = fmt.Fprintln(os.Stderr, "a program that cannot be run:", err)
		return 1
	}
	lines := strings.Fields(output.String())
	_, _ = os.Stdout.WriteString(lines[len(lines)-1] + "\n")
	return 0
}

// TestStreams: a program may have input, and error output apart from its output.
func TestStreams(t *testing.T) {
	file := filepath.Join(t.TempDir(), "input")
	require.NoError(t, os.WriteFile(file, []byte("read\n"), 0o600))
	input, err := os.Open(file)
	require.NoError(t, err)
	defer input.Close()
	var complaints bytes.Buffer
	out, state, err := run(t, Command{Args: []string{"sh", "-c", "cat; echo wrong >&2; exit 3"}, Input: input, Errors: &complaints})
	require.NoError(t, err)
	require.Equal(t, 3, state.ExitCode())
	require.Equal(t, "read\n", out)
	require.Equal(t, "wrong\n", complaints.String())
	out, _, err = run(t, Command{Args: []string{"sh", "-c", "cat; echo out; echo wrong >&2"}})
	require.NoError(t, err)
	require.Equal(t, "out\nwrong\n", out)
}
