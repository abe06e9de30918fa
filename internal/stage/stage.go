// Package stage answers: how do the real commands meet on loopback? It is for
// programs of the repository, which start fleetsim and fleet-agent as anybody would
// and speak to them over real sockets.
package stage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

const (
	look     = 20 * time.Millisecond // between two looks at a condition
	patience = 5 * time.Second       // for a child that was told to end
	begin    = time.Minute           // for one to begin
)

// A Stage has the processes that were started, and their files. It is for one
// goroutine.
type Stage struct {
	// Dir is a directory for files; Close removes it.
	Dir      string
	bin      string
	children []*exec.Cmd
}

// New returns a Stage for the commands in the directory bin.
func New(bin string) (*Stage, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "fleet-stage-")
	if err != nil {
		return nil, err
	}
	return &Stage{Dir: dir, bin: bin}, nil
}

// Close ends what was started and removes what it left.
func (s *Stage) Close() {
	for _, c := range slices.Backward(s.children) {
		_ = c.Process.Signal(syscall.SIGTERM) // it may have ended
		killer := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		killer.Stop()
	}
	_ = os.RemoveAll(s.Dir)
}

// Simulator starts fleetsim with the machines of a scenario file's vms, and returns
// where the first one finds its metadata service, and who tells the simulation what
// happens.
func (s *Stage) Simulator(ctx context.Context, vms string) (endpoint string, sim *imds.ControlClient, err error) {
	ready, scenario := filepath.Join(s.Dir, "fleetsim.json"), filepath.Join(s.Dir, "scenario.yaml")
	if err := os.WriteFile(scenario, []byte("vms: "+vms+"\n"), 0o600); err != nil {
		return "", nil, err
	}
	if _, err := s.Start("fleetsim", "fleetsim", "imds", "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--scenario", scenario, "--ready-file", ready); err != nil {
		return "", nil, err
	}
	var addresses struct {
		VMs []struct {
			Endpoint string `json:"endpoint"`
		} `json:"vms"`
		Control string `json:"control"`
	}
	if err := s.Ready(ctx, ready, &addresses); err != nil {
		return "", nil, err
	}
	if len(addresses.VMs) == 0 {
		return "", nil, errors.New("fleetsim names no metadata endpoint")
	}
	return addresses.VMs[0].Endpoint, imds.NewControlClient(addresses.Control), nil
}

// An Agent is a running fleet-agent.
type Agent struct {
	PID            int
	Socket         string // of its control
	Probe, Metrics string // addresses
}

// Agent starts fleet-agent with a configuration of which the directories and the
// listeners are the stage's, and returns when it answers on its control socket.
func (s *Stage) Agent(ctx context.Context, configuration string) (Agent, error) {
	run, file := filepath.Join(s.Dir, "run"), filepath.Join(s.Dir, "config.yaml")
	text := fmt.Sprintf("listen: {probe: \"127.0.0.1:0\", metrics: \"127.0.0.1:0\"}\nstate_dir: %q\nrun_dir: %q\n%s",
		filepath.Join(s.Dir, "state"), run, configuration)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return Agent{}, err
	}
	pid, err := s.Start("fleet-agent", "fleet-agent", "run", "--config", file)
	if err != nil {
		return Agent{}, err
	}
	a := Agent{PID: pid, Socket: filepath.Join(run, control.SocketName)}
	return a, s.Await(ctx, "fleet-agent", func() (bool, error) {
		status, err := control.NewClient(a.Socket).Status(ctx)
		if err != nil {
			return false, nil //nolint:nilerr // not up yet
		}
		a.Probe, a.Metrics = status.Agent.ProbeAddress, status.Agent.MetricsAddress
		return true, nil
	})
}

// Start starts a command in a process group of its own, so that an interrupt of the
// terminal reaches it only through Close. It is killed with this program. What it says
// goes to NAME.log.
func (s *Stage) Start(name, command string, args ...string) (pid int, err error) {
	log, err := os.Create(filepath.Join(s.Dir, name+".log"))
	if err != nil {
		return 0, err
	}
	defer log.Close()
	cmd := exec.Command(s.Command(command), args...) //nolint:noctx // Close ends it, and waits
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", command, err)
	}
	s.children = append(s.children, cmd)
	return cmd.Process.Pid, nil
}

// Ready waits until fleetsim has written its ready file, and reads it.
func (s *Stage) Ready(ctx context.Context, file string, into any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, begin, fmt.Errorf("not within %s", begin))
	defer cancel()
	return s.Await(ctx, "fleetsim", func() (bool, error) {
		data, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		return true, json.Unmarshal(data, into)
	})
}

// Command is the file of a command.
func (s *Stage) Command(name string) string { return filepath.Join(s.bin, name) }

// Await asks until done says yes, or ctx ends; the error has what the children
// logged last.
func (s *Stage) Await(ctx context.Context, what string, done func() (bool, error)) error {
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		ok, err := done()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		if ok {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(context.Cause(ctx), context.Canceled) {
				return errors.New("interrupted")
			}
			return fmt.Errorf("wait for %s: %w\n%s", what, context.Cause(ctx), s.Logs())
		}
	}
}

// Logs are the last lines of every child.
func (s *Stage) Logs() string {
	const most = 4000
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(s.Dir, "*.log")) // the pattern is valid
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "--- %s\n%s", filepath.Base(f), data[max(0, len(data)-most):])
	}
	return b.String()
}
