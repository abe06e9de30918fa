package nodes

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/child"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A Program boots real machines. It is started once for each request, with one of
//
//	start NAME IMAGE     boot NAME from an image, afresh: one of that name may be left
//	stop NAME            end NAME, and discard its disk; one that is not there is no error
//	run NAME             run the script on standard input with sh, as root, as soon as the
//	                     machine takes it: output, error output and exit code are the
//	                     script's
//	probe NAME PORT PATH print the status code of GET http://localhost:PORT/PATH on the
//	                     machine in a line, then the body; of the protocols https and tcp
//	                     the word follows as one more argument, and tcp wants status 200
//	                     when there is a connection
//	capture IMAGE        end the build machine, which was deprovisioned, and keep its disk
//	                     as an image
//
// IMAGE is what a build called its image, build:TEMPLATE, or the resource id of the
// version. Exit code 0 is success, except of run; of others, the last line of error
// output says why. What it starts and leaves running must be in a
// session of its own and without FLEET_RUN in its environment: the rest of a request is
// killed when it ends (see package child).
type Program struct {
	Path string
}

// Make makes the machine of a member.
func (p Program) Make(m arm.Machine) Machine {
	return &programMachine{Program: p, name: m.Name, image: cmp.Or(m.Build, m.Image)}
}

type programMachine struct {
	Program

	name, image string
}

// Start boots the machine.
func (m *programMachine) Start(ctx context.Context) error {
	_, err := m.do(ctx, "start", m.name, m.image)
	return err
}

// Stop ends it.
func (m *programMachine) Stop(ctx context.Context) error {
	_, err := m.do(ctx, "stop", m.name)
	return err
}

// Run runs a script, whatever its exit code.
func (m *programMachine) Run(ctx context.Context, script string) (Output, error) {
	out, state, err := m.exec(ctx, asFile(script), "run", m.name)
	if err == nil && state.ExitCode() < 0 {
		err = fmt.Errorf("%s run: %s", m.Path, state)
	}
	return out, err
}

// Probe asks for the machine's health.
func (m *programMachine) Probe(ctx context.Context, settings arm.HealthExtension) (Answer, error) {
	args := []string{"probe", m.name, strconv.Itoa(portOf(settings)), cmp.Or(settings.Path, "/")}
	if settings.Protocol != "http" {
		args = append(args, settings.Protocol)
	}
	out, err := m.do(ctx, args...)
	if err != nil {
		return Answer{}, err
	}
	first, body, _ := strings.Cut(out.Stdout, "\n")
	status, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return Answer{}, fmt.Errorf("%s probe: the first line is no status code: %.40q", m.Path, first)
	}
	return Answer{Status: status, Body: []byte(body)}, nil
}

// Capture keeps the disk of the build machine as an image.
func (p Program) Capture(ctx context.Context, image string) error {
	_, err := p.do(ctx, "capture", image)
	return err
}

// do makes a request that succeeds, or says why it did not.
func (p Program) do(ctx context.Context, args ...string) (Output, error) {
	out, state, err := p.exec(ctx, "", args...)
	switch {
	case err != nil:
		return out, err
	case ctx.Err() != nil:
		return out, fmt.Errorf("%s %s: %w", p.Path, args[0], context.Cause(ctx))
	case !state.Success():
		lines := strings.Split(strings.TrimSpace(out.Stderr), "\n")
		return out, fmt.Errorf("%s %s: %s: %s", p.Path, args[0], state, lines[len(lines)-1])
	}
	return out, nil
}

// exec makes a request.
func (p Program) exec(ctx context.Context, input string, args ...string) (Output, *os.ProcessState, error) {
	stdin, err := os.CreateTemp("", "fleetsim-stdin-*")
	if err != nil {
		return Output{}, nil, fmt.Errorf("write the input of %s: %w", p.Path, err)
	}
	defer stdin.Close()
	_ = os.Remove(stdin.Name()) // it lives as long as it is open
	_, err = stdin.WriteString(input)
	if err == nil {
		_, err = stdin.Seek(0, io.SeekStart)
	}
	if err != nil {
		return Output{}, nil, fmt.Errorf("write the input of %s: %w", p.Path, err)
	}
	stdout, stderr := &tail{most: maxAnswer}, &tail{most: maxOutput}
	state, err := child.Command{
		Args: append([]string{p.Path}, args...), Env: os.Environ(), Input: stdin, Output: stdout, Errors: stderr, Grace: drainTime,
	}.Run(ctx)
	if err != nil {
		return Output{}, nil, fmt.Errorf("start %s: %w", p.Path, err)
	}
	return Output{stdout.String(), stderr.String()}, state, nil
}
