package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/child"
)

const maxOutput = 4 << 10 // bytes of output kept; the rest is read and dropped

// ExecConfig describes a program whose exit code is the answer.
type ExecConfig struct {
	// Command is the program and its arguments, without a shell. The program
	// is an absolute path, or a name that is looked up in PATH at every run.
	Command []string

	// Env is added to an environment that holds only PATH (the system
	// directories, unless set here) and FLEET_RUN. Nothing of the agent's
	// own environment is passed on.
	Env map[string]string
}

// Target is where the probe looks, as its errors name it. Arguments may hold a
// PIN: only the program is named.
func (c ExecConfig) Target() string { return c.Command[0] }

// Exec passes when a program exits with code 0.
//
// The program runs in /, as package child runs programs. When the context ends it
// gets SIGKILL: a check has nothing to clean up that would be worth waiting for.
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
	path := child.DefaultPath
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
	p := &execProbe{cfg: cfg, env: env}
	return p.run, nil
}

type execProbe struct {
	cfg ExecConfig
	env []string
}

func (p *execProbe) run(ctx context.Context) error {
	fail := func(seen string, err error) error {
		return &Error{Kind: "exec", Target: p.cfg.Target(), Seen: seen, Want: "exit code 0", Err: err}
	}
	output := &head{limit: maxOutput}
	state, err := child.Command{Args: p.cfg.Command, Env: p.env, Dir: "/", Output: output}.Run(ctx)
	line := firstLine(output.kept)
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

// A head keeps the beginning of what is written to it.
type head struct {
	limit int
	kept  []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.kept = append(h.kept, p[:min(len(p), h.limit-len(h.kept))]...)
	return len(p), nil
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
