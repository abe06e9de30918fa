package drain

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// maxOutput is how much of the end of a command's output is kept.
	maxOutput = 4 << 10
	// pipeWait is how long after the end of a command its output may be held
	// open by what it left behind.
	pipeWait = 200 * time.Millisecond
)

// inherited are the variables of the agent's own environment that commands get.
// The others, NOTIFY_SOCKET above all, are none of their business.
var inherited = []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

type execStep struct {
	command []string
	env     []string
}

// ExecStep returns a step that runs a program with arguments, without a shell,
// as the agent's user. It is told the cause by FLEET_CAUSE, FLEET_EVENT_ID,
// FLEET_EVENT_TYPE and FLEET_DEADLINE (RFC 3339, UTC), which env cannot replace;
// of the agent's own environment it gets PATH, HOME, LANG, LC_ALL and TZ.
//
// It runs in a process group of its own. Before its time is up the group gets
// SIGTERM and, if that does not help, SIGKILL, inside the time; what is left of
// the group when the program has ended is killed too. The error holds the end of
// the output.
func ExecStep(command []string, env map[string]string) (Step, error) {
	if len(command) == 0 || command[0] == "" {
		return nil, errors.New("the command is missing")
	}
	s := execStep{command: slices.Clone(command)}
	for _, key := range slices.Sorted(maps.Keys(env)) {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(env[key], "\x00") {
			return nil, fmt.Errorf("%q is no environment variable", key)
		}
		s.env = append(s.env, key+"="+env[key])
	}
	return s, nil
}

// stopping makes execStep a stopper.
func (execStep) stopping() {}

func (s execStep) Run(ctx context.Context) error {
	brief := BriefFrom(ctx)
	cmd := exec.CommandContext(ctx, s.command[0], s.command[1:]...)
	cmd.Env = s.environment(brief)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out := &tail{limit: maxOutput}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	// The kill has to come before the runner loses patience.
	cmd.WaitDelay = pipeWait
	if brief.StopWithin > 0 {
		cmd.WaitDelay = brief.StopWithin * 7 / 10
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.command[0], err)
	}
	err := cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // mostly nobody is left
	if errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		err = nil // it succeeded; what it left behind held the output open
	}
	switch {
	case ctx.Err() != nil: // a program that ends well on SIGTERM has not done its work
		err = context.Cause(ctx)
	case err == nil:
		return nil
	}
	if text := out.String(); text != "" {
		return fmt.Errorf("%s: %w: %s", s.command[0], err, text)
	}
	return fmt.Errorf("%s: %w", s.command[0], err)
}

// environment returns the variables of a command, later ones winning.
func (s execStep) environment(b Brief) []string {
	env := []string{defaultPath}
	for _, key := range inherited {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	env = append(env, s.env...)
	return append(env, environment(b)...)
}

// A tail keeps the end of what is written to it.
type tail struct {
	limit int
	buf   []byte
	cut   bool
}

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p[max(0, len(p)-t.limit):]...)
	if over := len(t.buf) - t.limit; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
		t.cut = true
	}
	return len(p), nil
}

// String returns the end of the output in one line.
func (t *tail) String() string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(string(t.buf), "")), " ")
	if t.cut {
		text = "..." + text
	}
	return text
}
