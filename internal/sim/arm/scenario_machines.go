package arm

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// machineSections are the keys of a scenario that say what stands behind its members.
type machineSections struct {
	Machines    *machinesSpec    `yaml:"machines" doc:"members that are more than what the scenario says of them"`
	RunCommands []runCommandSpec `yaml:"run_commands" doc:"what scripts answer that are run by Run Command; the first that fits counts"`
	Capacity    []capacitySpec   `yaml:"capacity" doc:"members that cannot be born or started, for want of capacity or quota"`
	Quotas      map[string]int   `yaml:"quotas" doc:"how many cores there may be, by region; without it, more than anybody needs"`
}

type machinesSpec struct {
	Sets  []string   `yaml:"sets" doc:"names of scale sets whose members have a machine, such as boot-*; without it, all"`
	Agent *agentSpec `yaml:"agent" doc:"each machine is a fleet-agent, with a metadata service of its own; needs --agent"`
}

type agentSpec struct {
	Config   map[string]any          `yaml:"config" doc:"the agent's configuration"`
	File     string                  `yaml:"file" doc:"a file with it, in place of config; beside the scenario"`
	Versions map[string]agentConfigs `yaml:"versions" doc:"another configuration by version of the image"`
}

type agentConfigs struct {
	Config map[string]any `yaml:"config" doc:"the agent's configuration"`
	File   string         `yaml:"file" doc:"a file with it, in place of config"`
}

type runCommandSpec struct {
	Set      string `yaml:"set" doc:"name of the scale set, such as boot-*; without it, any"`
	Version  string `yaml:"version" doc:"of the image; without it, any"`
	Contains string `yaml:"contains" doc:"part of the script; without it, any"`
	Stdout   string `yaml:"stdout"`
	Stderr   string `yaml:"stderr"`
	Takes    age    `yaml:"takes" doc:"at least 20s; above 90m it ends by its time"`
	Fails    string `yaml:"fails" doc:"why the operation fails; a script that fails is none of its failures"`
}

type capacitySpec struct {
	Error    string `yaml:"error" required:"true" enum:"AllocationFailed,ZonalAllocationFailed,OverconstrainedZonalAllocationRequest,OperationNotAllowed,QuotaExceeded" doc:"code of the error; the last two are of quotas"`
	Region   string `yaml:"region" doc:"without it, any"`
	VMSize   string `yaml:"vm_size" doc:"without it, any"`
	Set      string `yaml:"set" doc:"name of the scale set, such as boot-*; without it, any"`
	Upgrades bool   `yaml:"upgrades" doc:"members cannot be upgraded or reimaged, in place of born or started"`
	After    age    `yaml:"after" doc:"since the start"`
	For      age    `yaml:"for" doc:"how long; without it, for ever"`
	Count    int    `yaml:"count" doc:"how many members; without it, all"`
}

// checkMachines collects what is wrong.
func (m *machineSections) checkMachines(c *strict.Checker) {
	pattern := func(text string, at ...any) {
		if _, err := path.Match(text, ""); err != nil {
			c.Fail(fmt.Sprintf("%q is no pattern of names: write a name, or one with *, such as boot-*", text), at...)
		}
	}
	if m.Machines != nil {
		for i, set := range m.Machines.Sets {
			pattern(set, "machines", "sets", i)
		}
		m.Machines.Agent.check(c)
	}
	for i, r := range m.RunCommands {
		pattern(r.Set, "run_commands", i, "set")
		if r.Takes < 0 {
			c.Fail("it is not negative", "run_commands", i, "takes")
		}
	}
	for region, cores := range m.Quotas {
		if cores < 0 {
			c.Fail("it is not negative", "quotas", region)
		}
	}
	for i, r := range m.Capacity {
		pattern(r.Set, "capacity", i, "set")
		if r.Count < 0 || r.For < 0 || r.After < 0 {
			c.Fail("count, for and after are not negative", "capacity", i)
		}
	}
}

func (a *agentSpec) check(c *strict.Checker) {
	if a == nil {
		return
	}
	if (a.Config == nil) == (a.File == "") {
		c.Fail("an agent has one of config and file", "machines", "agent")
	}
	for _, version := range slices.Sorted(maps.Keys(a.Versions)) {
		v := a.Versions[version]
		if (v.Config == nil) == (v.File == "") {
			c.Fail("a version has one of config and file", "machines", "agent", "versions", version)
		}
		if !versionName.MatchString(version) {
			c.Fail(fmt.Sprintf("%q is no version: write it like 1.7.1", version), "machines", "agent", "versions", version)
		}
	}
}

// MachineRules say what stands behind virtual machines.
type MachineRules struct {
	// Real are patterns of the names of scale sets whose members have a machine outside
	// of the simulation: see Server.Machines.
	Real        []string
	RunCommands []RunCommandRule
	Capacity    []CapacityRule
	Quotas      map[string]int // cores, by region
}

func (m *machineSections) machineRules() MachineRules {
	var rules MachineRules
	for region, cores := range m.Quotas {
		if rules.Quotas == nil {
			rules.Quotas = map[string]int{}
		}
		rules.Quotas[location(region)] = cores
	}
	for _, r := range m.RunCommands {
		rules.RunCommands = append(rules.RunCommands, RunCommandRule{
			Set: r.Set, Version: r.Version, Contains: r.Contains, Stdout: r.Stdout, Stderr: r.Stderr, Takes: time.Duration(r.Takes), Fails: r.Fails,
		})
	}
	for _, r := range m.Capacity {
		rules.Capacity = append(rules.Capacity, CapacityRule{
			Code: r.Error, Region: r.Region, VMSize: r.VMSize, Set: r.Set, Upgrades: r.Upgrades,
			After: time.Duration(r.After), For: time.Duration(r.For), Count: r.Count,
		})
	}
	return rules
}

// RealSets are patterns of the names of the scale sets whose members have a machine, when
// there is somebody who runs it.
func (sc *Scenario) RealSets() []string {
	if m := sc.file.Machines; m != nil && len(m.Sets) > 0 {
		return m.Sets
	}
	return []string{"*"}
}

// Agents are the configurations of the agents that stand behind members, as YAML.
type Agents struct {
	Config   []byte            // for every version that is not in Versions
	Versions map[string][]byte // by version of the image
}

// Agents returns the configurations of the agents that the scenario asks for, or nil when
// it asks for none.
func (sc *Scenario) Agents() (*Agents, error) {
	if sc.file.Machines == nil || sc.file.Machines.Agent == nil {
		return nil, nil //nolint:nilnil // no agents and no error are a proper pair
	}
	spec := sc.file.Machines.Agent
	agents := &Agents{Versions: map[string][]byte{}}
	var err error
	if agents.Config, err = sc.agentConfig(spec.Config, spec.File); err != nil {
		return nil, err
	}
	for version, v := range spec.Versions {
		if agents.Versions[version], err = sc.agentConfig(v.Config, v.File); err != nil {
			return nil, err
		}
	}
	return agents, nil
}

// agentConfig is a configuration that is written in the scenario or beside it.
func (sc *Scenario) agentConfig(config map[string]any, file string) ([]byte, error) {
	var data []byte
	var err error
	if file == "" {
		data, err = yaml.Marshal(config)
	} else {
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(sc.Name), file)
		}
		data, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the configuration of the agents: %w", err)
	}
	return data, nil
}
