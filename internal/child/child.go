// Package child answers: how does a program run for the agent, within bounds, and
// leave nothing behind?
//
// A program runs in a process group of its own. When it has ended,
// and when its context has, the whole group gets SIGKILL: nothing that it started
// outlives it. A descendant that left the group (setsid, a daemon) is found by
// FLEET_RUN, a random value in its environment, and killed as well; one that has
// also wiped its environment, or changed its user, stays, as a member of the
// agent's control group, which systemd clears when the agent stops. When the agent
// is killed, the program is killed.
//
// The program may not use up the tasks that the agent itself needs, see taskLimit.
//
// Run owns the goroutines that it starts and waits for them.
package child

import (
	"cmp"
	"context"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultPath is the PATH of programs that are given none.
const DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// drainWait bounds the wait for the end of the output once every process that is
// known has been killed.
const drainWait = 100 * time.Millisecond

// A Command is a program to run once.
type Command struct {
	// Args are the program, not empty, and its arguments, without a shell. A
	// program without a slash is looked up in the PATH of Env.
	Args []string
	// Env is the whole environment, "NAME=value"; later ones win. FLEET_RUN is
	// added.
	Env []string
	// Dir is where it runs; empty: where the agent does.
	Dir string
	// Input is what it reads; nil: nothing.
	Input *os.File
	// Output is given what the program writes to its output and error output,
	// from one goroutine, until Run returns. It must not fail: a program that
	// nobody reads from blocks.
	Output io.Writer
	// Errors, unless it is nil, is given the error output in place of Output,
	// from a goroutine of its own.
	Errors io.Writer
	// Grace is the time between SIGTERM and SIGKILL once the context has ended,
	// for the program itself; 0: SIGKILL at once.
	Grace time.Duration

	limit uint64 // in tests: in place of taskLimit
}

// Run runs the program and returns when it has ended, when what it left behind has
// been killed, and when its output has been taken. An error says why it could not
// be started. The end of ctx is no error: the state says how the program ended.
func (c Command) Run(ctx context.Context) (*os.ProcessState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	program, err := look(c.Args[0], pathOf(c.Env))
	if err != nil {
		return nil, err
	}
	if err := unable(program); err != nil {
		return nil, err
	}
	tag := newRunTag()
	cmd := &exec.Cmd{Path: program, Args: c.Args, Env: append(slices.Clip(c.Env), tag.variable()), Dir: c.Dir}
	limited := limitTasks(cmd, cmp.Or(c.limit, taskLimit("/")))
	if c.Input != nil {
		cmd.Stdin = c.Input
	}
	output := &beginning{to: c.Output}
	if c.Errors != nil {
		output.to = c.Errors
	}
	state, err := c.run(ctx, cmd, output, tag)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, errors.New("the file is there, but not the loader that it is made for")
	case err != nil:
		return nil, bare(err)
	case limited && output.failedWrapper(state):
		return nil, errors.New(strings.TrimPrefix(output.line(), wrapperSays))
	}
	return state, nil
}

func (c Command) run(ctx context.Context, cmd *exec.Cmd, complaints io.Writer, tag runTag) (*os.ProcessState, error) {
	stderr, err := newStream(complaints)
	if err != nil {
		return nil, err
	}
	defer stderr.r.Close()
	streams := []*stream{stderr}
	cmd.Stdout, cmd.Stderr = stderr.w, stderr.w
	if c.Errors != nil {
		output, err := newStream(c.Output)
		if err != nil {
			_ = stderr.w.Close()
			return nil, err
		}
		defer output.r.Close()
		streams = append(streams, output)
		cmd.Stdout = output.w
	}
	// Go opens everything close-on-exec, but we may have inherited what is not.
	// The kernel is new enough or the child inherits it, too.
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	// Pdeathsig comes when the thread that forked ends, so that thread must
	// not end before the child. It would be blocked in the wait anyway.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	for _, s := range streams {
		_ = s.w.Close() // ours; the child has its own
	}
	if err != nil {
		return nil, err
	}

	for _, s := range streams {
		go s.drain()
	}
	exited := make(chan struct{})
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		c.kill(ctx, cmd.Process.Pid, exited)
	}()

	// The leader is waited for without being reaped: as long as it is a
	// zombie, nobody else can get its number, and killing the group is safe.
	waitZombie(cmd.Process.Pid)
	close(exited)
	<-killed
	signalGroup(cmd.Process.Pid, unix.SIGKILL)
	tag.kill(cmd.Process.Pid)
	err = cmd.Wait()
	for _, s := range streams {
		_ = s.r.SetReadDeadline(time.Now().Add(drainWait)) // a pipe has deadlines
		<-s.drained
	}
	if _, isExit := errors.AsType[*exec.ExitError](err); isExit {
		err = nil // the state says it
	}
	return cmd.ProcessState, err
}

// A stream is a pipe from the program to a writer.
type stream struct {
	r, w    *os.File
	to      io.Writer
	drained chan struct{} // closed at the end
}

func newStream(to io.Writer) (*stream, error) {
	r, w, err := os.Pipe()
	return &stream{r: r, w: w, to: to, drained: make(chan struct{})}, err
}

func (s *stream) drain() {
	defer close(s.drained)
	_, _ = io.Copy(s.to, s.r) // the end of the output is no error
}

// kill ends the group once ctx has ended, unless its leader exits before.
func (c Command) kill(ctx context.Context, pgid int, exited <-chan struct{}) {
	select {
	case <-exited:
		return
	case <-ctx.Done():
	}
	if c.Grace > 0 {
		signalGroup(pgid, unix.SIGTERM)
		select {
		case <-exited:
			return
		case <-time.After(c.Grace):
		}
	}
	signalGroup(pgid, unix.SIGKILL)
}

// signalGroup fails only when nobody of the group is left, or when the rest has
// become another user's.
func signalGroup(pgid int, signal unix.Signal) { _ = unix.Kill(-pgid, signal) }

func waitZombie(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// pathOf returns the PATH of an environment.
func pathOf(env []string) string {
	path := DefaultPath
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	return path
}

// bare returns a start's error without the path, which the caller knows.
func bare(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}

// wrapperSays is how the wrapper's own messages begin.
const wrapperSays = wrapper + ": "

// beginning passes on what is written and keeps the beginning of it.
type beginning struct {
	to   io.Writer
	kept []byte
}

func (b *beginning) Write(p []byte) (int, error) {
	const enough = 512
	b.kept = append(b.kept, p[:min(len(p), enough-len(b.kept))]...)
	return b.to.Write(p)
}

func (b *beginning) line() string {
	line, _, _ := strings.Cut(string(b.kept), "\n")
	return line
}

// failedWrapper reports whether the wrapper could not run the program: the exit
// codes are those of env(1).
func (b *beginning) failedWrapper(state *os.ProcessState) bool {
	code := state.ExitCode()
	return (code == 126 || code == 127 || code == 1) && strings.HasPrefix(b.line(), wrapperSays)
}
