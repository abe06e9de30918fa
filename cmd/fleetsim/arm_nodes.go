package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/nodes"
)

// machineOptions are the flags of `fleetsim arm` for what stands behind machines.
type machineOptions struct {
	agent, program, packer string
}

func (o *machineOptions) flags(f *pflag.FlagSet) {
	f.StringVar(&o.agent, "agent", "", "`PATH` of the fleet-agent that the scenario's machines run")
	f.StringVar(&o.program, "machines", "", "`PROG` that boots a real machine for each member")
	f.StringVar(&o.packer, "packer", "", "`FILE` that names the machine on which Packer builds image templates")
}

// machines is what stands behind the simulation's members.
type machines struct {
	makes  func(arm.Machine) nodes.Machine // nil: nothing does
	packer *nodes.Packer                   // nil: builds are what the scenario says
	dir    string                          // of the agents' files; "" is none
	log    *slog.Logger
}

// prepare checks the flags against the scenario, which may be nil, and says in cfg which
// members have a machine.
func (o *machineOptions) prepare(cmd *cobra.Command, sc *arm.Scenario, cfg *arm.Config) (*machines, error) {
	m := &machines{log: cfg.Logger}
	if err := m.builds(o.packer, cfg); err != nil {
		return nil, err
	}
	var agents *arm.Agents
	if sc != nil {
		var err error
		if agents, err = sc.Agents(); err != nil {
			return nil, err
		}
	}
	switch {
	case o.program != "" && o.agent != "":
		return nil, usage.Error(cmd, errors.New("--agent and --machines exclude each other: a machine is one or the other"))
	case o.program != "" && agents != nil:
		return nil, usage.Error(cmd, errors.New("the scenario's machines are agents (machines.agent): --machines boots others"))
	case o.agent != "" && agents == nil:
		return nil, cli.Hint(errors.New("start agents: the scenario does not say how they are configured"),
			"write machines: {agent: {config: {...}}} into it; fleetsim arm --help shows it")
	case agents != nil && o.agent == "":
		return nil, cli.Hint(errors.New("start agents: the scenario's machines are agents (machines.agent), and no fleet-agent was given"),
			"add --agent PATH, such as --agent bin/fleet-agent")
	case o.program == "" && o.agent == "":
		return m, nil
	}
	path, err := runnable(o.agent + o.program)
	if err != nil {
		return nil, err
	}
	if cfg.Rules.Machines.Real = []string{"*"}; sc != nil {
		cfg.Rules.Machines.Real = sc.RealSets()
	}
	if o.program != "" {
		program := nodes.Program{Path: path}
		m.makes = program.Make
		if m.packer != nil {
			m.packer.Program = &program
		}
		return m, nil
	}
	if m.dir, err = os.MkdirTemp("", "fleetsim-"); err != nil {
		return nil, fmt.Errorf("make a directory for the agents: %w", err)
	}
	m.makes = nodes.Agents{Binary: path, Configs: agents, Dir: m.dir, Logger: m.log}.Make
	return m, nil
}

// builds reads the file of --packer, if there is one.
func (m *machines) builds(file string, cfg *arm.Config) error {
	if file == "" {
		return nil
	}
	machine, err := nodes.LoadBuildMachine(file)
	if err != nil {
		return err
	}
	path, err := runnable("packer")
	if err != nil {
		return cli.Hint(err, "--packer needs Packer: on Debian, apt-get install packer")
	}
	m.packer, cfg.Builder = &nodes.Packer{Binary: path, Machine: machine}, true
	return nil
}

// runnable is the absolute path of a program, which may be in PATH.
func runnable(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return "", fmt.Errorf("find the program: %w", err)
	}
	return path, nil
}

// work is what runs beside the simulation's endpoint.
func (m *machines) work(server *arm.Server) []func(context.Context) error {
	var work []func(context.Context) error
	if m.makes != nil {
		work = append(work, func(ctx context.Context) error {
			return nodes.Run(ctx, nodes.Config{Control: server, Make: m.makes, Logger: m.log})
		})
	}
	if m.packer != nil {
		m.packer.Blob = server.BlobAt
		work = append(work, func(ctx context.Context) error { return nodes.RunBuilds(ctx, server, m.packer, m.log) })
	}
	return work
}

// close removes what the machines have left.
func (m *machines) close() {
	if m.dir != "" {
		_ = os.RemoveAll(m.dir)
	}
}
