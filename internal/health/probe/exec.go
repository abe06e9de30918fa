package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxOutput = 4 << 10 // bytes of output kept; the rest is read and dropped

	// drainWait bounds the wait for the end of the output once every process
	// that is known has been killed.
	drainWait = 250 * time.Millisecond

	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// ExecConfig describes a program whose exit code is the answer.
type ExecConfig struct {
	// Command is the program and its arguments, without a shell. The program
	// is an absolute path, or a name that is looked up in PATH at every run.
	Command []string

	// Env is added to an environment that holds only PATH (the system
	// directories, unless set here) and FLEET_CHECK_RUN. Nothing of the agent's
	// own environment is passed on.
	Env map[string]string
}

// Target is where the probe looks, as its errors name it. Arguments may hold a
// PIN: only the program is named.
func (c ExecConfig) Target() string { return c.Command[0] }

// Exec passes when a program exits with code 0.
//
// The program runs in /, with no input, in a process group of its own. When the
// context ends, and also when the program has ended by itself, the whole group
// gets SIGKILL: a check has nothing to clean up that would be worth waiting
// for, and children must not outlive it. A descendant that left the group
// (setsid, a daemon) is found by FLEET_CHECK_RUN, a random value in its
// environment, and killed as well; one that has also wiped its environment, or
// changed its user, stays, as a member of the agent's control group, which
// systemd clears when the agent stops.
func Exec(cfg ExecConfig) (func(ctx context.Context) error, error) {
	if len(cfg.Command) == 0 || cfg.Command[0] == "" {
		return nil, errors.New("command: want a program and its arguments")
	}
	program := cfg.Command[0]
	if strings.ContainsRune(program, '/') && !filepath.IsAbs(program) {
		return nil, fmt.Errorf("command %q: want an absolute path, or a name to look up in PATH", program)
	}
	if slices.ContainsFunc(cfg.Command, func(s string) bool { return strings.ContainsRune(s, 0) }) {
		return nil, fmt.Errorf("command %q: an argument has a NUL byte in it", program)
	}
	path := defaultPath
	if p, ok := cfg.Env["PATH"]; ok {
		path = p
	}
	env := []string{"PATH=" + path}
	for _, name := range slices.Sorted(maps.Keys(cfg.Env)) {
		value := cfg.Env[name]
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("env %q: want a name without =, and no NUL bytes", name)
		}
		if name != "PATH" {
			env = append(env, name+"="+value)
		}
	}
	cfg.Command = slices.Clone(cfg.Command)
	p := &execProbe{cfg: cfg, env: env, path: path}
	return p.run, nil
}

type execProbe struct {
	cfg  ExecConfig
	env  []string
	path string
}

func (p *execProbe) run(ctx context.Context) error {
	fail := func(seen string, err error) error {
		return &Error{Kind: "exec", Target: p.cfg.Target(), Seen: seen, Want: "exit code 0", Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail("not started: "+describe(err), err)
	}
	program, err := lookPath(p.cfg.Command[0], p.path)
	if err != nil {
		return fail("not started: "+describe(err), err)
	}
	tag := newRunTag()
	output, state, err := runGroup(ctx, &exec.Cmd{
		Path: program,
		Args: p.cfg.Command,
		Env:  append(slices.Clip(p.env), tag.variable()),
		Dir:  "/",
	}, tag)
	line := firstLine(output)
	switch {
	case err != nil:
		return fail("not started: "+describe(err), err)
	case ctx.Err() != nil:
		return fail("killed: "+describe(ctx.Err())+line, ctx.Err())
	case state.Success():
		return nil
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fail("killed by "+unix.SignalName(status.Signal())+line, nil)
	}
	return fail(fmt.Sprintf("exit code %d%s", state.ExitCode(), line), nil)
}

// runGroup runs cmd in a process group of its own, and returns when the group
// and what carries the tag have been killed and its own goroutines are gone.
func runGroup(ctx context.Context, cmd *exec.Cmd, tag runTag) (output []byte, state *os.ProcessState, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	cmd.Stdout, cmd.Stderr = w, w
	// Go opens everything close-on-exec, but we may have inherited what is not.
	// The kernel is new enough or the child inherits it, too.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	// Pdeathsig comes when the thread that forked ends, so that thread must
	// not end before the child. It would be blocked in the wait anyway.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	_ = w.Close() // ours; the child has its own
	if err != nil {
		return nil, nil, err
	}

	drained := make(chan []byte, 1)
	go func() { drained <- drain(r) }()
	exited := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		select {
		case <-ctx.Done():
			killGroup(cmd.Process.Pid)
		case <-exited:
		}
	}()

	// The leader is waited for without being reaped: as long as it is a
	// zombie, nobody else can get its number, and killing the group is safe.
	waitZombie(cmd.Process.Pid)
	close(exited)
	<-killed
	killGroup(cmd.Process.Pid)
	tag.kill(cmd.Process.Pid)
	err = cmd.Wait()
	_ = r.SetReadDeadline(time.Now().Add(drainWait)) // a pipe has deadlines
	output = <-drained
	if _, isExit := errors.AsType[*exec.ExitError](err); isExit {
		err = nil // the state says it
	}
	return output, cmd.ProcessState, err
}

func waitZombie(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// killGroup fails only when nobody of the group is left to be killed, or when
// the rest has become another user's.
func killGroup(pgid int) { _ = unix.Kill(-pgid, unix.SIGKILL) }

// drain keeps the first part of the output, and reads on so that a program
// that talks too much does not block.
func drain(r io.Reader) []byte {
	var kept bytes.Buffer
	_, _ = io.CopyN(&kept, r, maxOutput) // the end of the output is no error
	_, _ = io.Copy(io.Discard, r)
	return kept.Bytes()
}

// firstLine gives the first line of output that says something, ready to be
// appended to a message.
func firstLine(output []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	if line == "" {
		return ""
	}
	return ", output " + quote(strings.TrimSpace(line))
}

// lookPath finds a program as execvp would, in the path that the program gets
// and not in the agent's.
func lookPath(program, path string) (string, error) {
	if filepath.IsAbs(program) {
		return program, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, program)
		info, err := os.Stat(file)
		if err == nil && filepath.IsAbs(file) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("not found in %s", path)
}
