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
	"time"

	"github.com/fleet-agent/fleet-agent/internal/child"
)

const (
	// maxOutput is how much of the end of a command's output is kept.
	maxOutput = 4 << 10
	// shortGrace is the time between SIGTERM and SIGKILL for a step that is
	// stopped without being told how long that may take.
	shortGrace = 200 * time.Millisecond
)

// inherited are the variables of the agent's own environment that commands get.
// The others, NOTIFY_SOCKET above all, are none of their business.
var inherited = []string{"PATH", "HOME", "LANG", "LC_ALL", "TZ"}

type execStep struct {
	command []string
	env     []string
}

// ExecStep returns a step that runs a program with arguments, without a shell,
// as the agent's user. It is told the cause by FLEET_CAUSE, FLEET_EVENT_ID,
// FLEET_EVENT_TYPE and FLEET_DEADLINE (RFC 3339, UTC), which env cannot replace;
// of the agent's own environment it gets PATH, HOME, LANG, LC_ALL and TZ.
//
// It runs as package child runs programs. Before its time is up it gets SIGTERM
// and, if that does not help, SIGKILL, inside the time; what it has left behind
// when it has ended is killed too, also what left its process group. The error
// holds the end of the output.
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
	out := &tail{limit: maxOutput}
	// The kill has to come before the runner loses patience.
	grace := shortGrace
	if brief.StopWithin > 0 {
		grace = brief.StopWithin * 7 / 10
	}
	state, err := child.Command{Args: s.command, Env: s.environment(brief), Output: out, Grace: grace}.Run(ctx)
	switch {
	case ctx.Err() != nil: // a program that ends well on SIGTERM has not done its work
		err = context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("start %s: %w", s.command[0], err)
	case state.Success():
		return nil
	default:
		err = &exec.ExitError{ProcessState: state}
	}
	if text := out.String(); text != "" {
		return fmt.Errorf("%s: %w: %s", s.command[0], err, text)
	}
	return fmt.Errorf("%s: %w", s.command[0], err)
}

// environment returns the variables of a command, later ones winning.
func (s execStep) environment(b Brief) []string {
	env := []string{"PATH=" + child.DefaultPath}
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
