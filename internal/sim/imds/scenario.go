package imds

import (
	"embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// A Scenario is a simulation written down: machines and what happens to them.
// Its steps happen one after another, each when its time has come:
//
//	description: A Spot eviction with 30 s notice.
//	vms:
//	  - {name: web_0, priority: Spot}
//	timeline:
//	  - at: 5s                 # since the start; at once when it has passed
//	    publish: {id: p1, type: Preempt, resources: [web_0], notice: 30s}
//	  - when: acked p1         # or: started p1, vanished p1
//	    after: 2s              # since the step before, or since when was met
//	    complete: p1
//
// The other steps are start, cancel, fault, clear_faults, reset_incarnation and
// set_instance. The id of an event is its name in the file; machines see a GUID.
type Scenario struct {
	Name           string
	Description    string
	VMs            []Instance
	RateLimit      int
	FirstCallDelay time.Duration
	steps          []scenarioStep
}

// Config is how the scenario configures a server.
func (sc *Scenario) Config() Config {
	return Config{VMs: sc.VMs, RateLimit: sc.RateLimit, FirstCallDelay: sc.FirstCallDelay}
}

// scenarioFile is the shape of a scenario file.
type scenarioFile struct {
	Description    string         `yaml:"description"`
	VMs            []Instance     `yaml:"vms"`
	RateLimit      int            `yaml:"rate_limit"`
	FirstCallDelay span           `yaml:"first_call_delay"`
	Timeline       []scenarioStep `yaml:"timeline"`
}

type scenarioStep struct {
	At    *span     `yaml:"at"`
	When  condition `yaml:"when"`
	After span      `yaml:"after"`

	Publish          *eventRequest   `yaml:"publish"`
	Start            string          `yaml:"start"`
	Complete         string          `yaml:"complete"`
	Cancel           string          `yaml:"cancel"`
	Fault            *faultRequest   `yaml:"fault"`
	ClearFaults      bool            `yaml:"clear_faults"`
	ResetIncarnation *int64          `yaml:"reset_incarnation"`
	SetInstance      *instanceChange `yaml:"set_instance"`
}

// An instanceChange gives a machine new metadata.
type instanceChange struct {
	VM       string   `yaml:"vm"`
	Instance Instance `yaml:"to"`
}

// A condition is "acked p1", "started p1" or "vanished p1".
type condition struct{ what, event string }

// UnmarshalYAML reads the two words.
func (c *condition) UnmarshalYAML(node *yaml.Node) error {
	words := strings.Fields(node.Value)
	if len(words) != 2 || !slices.Contains([]string{"acked", "started", "vanished"}, words[0]) {
		return strict.LineError(node.Line, fmt.Sprintf(`%q is no condition: write "acked ID", "started ID" or "vanished ID"`, node.Value))
	}
	c.what, c.event = words[0], words[1]
	return nil
}

//go:embed scenarios/*.yaml
var exampleFiles embed.FS

func library() strict.Library { return strict.Library{FS: exampleFiles} }

// Examples returns the scenarios that come with the package, by name.
func Examples() ([]*Scenario, error) {
	var all []*Scenario
	for _, name := range library().Names() {
		sc, err := Example(name)
		if err != nil {
			return nil, err
		}
		all = append(all, sc)
	}
	return all, nil
}

// Example returns one of the scenarios that come with the package.
func Example(name string) (*Scenario, error) {
	data, err := ExampleText(name)
	if err != nil {
		return nil, err
	}
	sc, err := ParseScenario(name+".yaml", data)
	if err != nil {
		return nil, err
	}
	sc.Name = name
	return sc, nil
}

// ExampleText returns the file of one of the scenarios that come with the
// package. The error for an unknown name is fs.ErrNotExist.
func ExampleText(name string) ([]byte, error) { return library().Text(name) }

// LoadScenario reads a scenario file.
func LoadScenario(file string) (*Scenario, error) {
	data, err := strict.ReadFile("scenario", file)
	if err != nil {
		return nil, err
	}
	return ParseScenario(file, data)
}

// ParseScenario reads a scenario. Its errors are all those of the file, each
// with file and line.
func ParseScenario(file string, data []byte) (*Scenario, error) {
	var f scenarioFile
	c, err := strict.Decode(file, data, &f)
	if err != nil {
		return nil, err
	}
	checkScenario(c, &f)
	if err := c.Err(); err != nil {
		return nil, err
	}
	return &Scenario{
		Name: file, Description: strings.TrimSpace(f.Description), VMs: f.VMs,
		RateLimit: f.RateLimit, FirstCallDelay: time.Duration(f.FirstCallDelay), steps: f.Timeline,
	}, nil
}
