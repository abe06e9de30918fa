package rollout

import (
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// Format is the version of plans and events as JSON.
const Format = 1

// A Plan is all that a rollout goes by. It is made once, is the journal's first event,
// and does not change.
type Plan struct {
	Format     int              `json:"format"`
	Fleet      string           `json:"fleet"`
	Version    string           `json:"version"`
	Definition fleet.ResourceID `json:"definition"`
	Made       time.Time        `json:"made"`
	Waves      []Wave           `json:"waves"`
	Sets       map[string]Set   `json:"sets"` // by their names in the file
	Gates      []Gate           `json:"gates,omitempty"`
	Limits     Limits           `json:"limits"`
	Window     bool             `json:"window"` // batches begin in a window only
	ByWave     bool             `json:"by_wave"`
	Drain      bool             `json:"drain"`    // by Run Command, before a disk is replaced
	Diagnose   bool             `json:"diagnose"` // by Run Command, before a failing member is taken back
	Notify     bool             `json:"notify"`
	WaveOnly   bool             `json:"wave_only"` // a halt takes back the members of its wave only
	NoReturn   bool             `json:"no_return"` // sets without a last good version are accepted
	WithModel  bool             `json:"with_model"`
	Released   []string         `json:"released,omitempty"` // regions in which the version was a latest already

	Exposure []Exposure    `json:"exposure"` // by wave
	Shortest time.Duration `json:"shortest"` // when nothing waits and every member is Healthy at once
	Reaction time.Duration `json:"reaction"` // the longest from a failing member to the halt
	Notes    []string      `json:"notes,omitempty"`
}

// A Wave is one step of a rollout.
type Wave struct {
	Name      string        `json:"name"`
	Sets      []string      `json:"sets"`
	Instances int           `json:"instances,omitempty"` // of each set; 0: all
	Soak      time.Duration `json:"soak"`
	Approve   bool          `json:"approve,omitempty"`
}

// A Set is a scale set as it was when the plan was made.
type Set struct {
	ID       fleet.ResourceID  `json:"id"`
	Location string            `json:"location"`
	Driver   fleet.Driver      `json:"driver"`
	Mode     fleet.UpgradeMode `json:"mode"`
	LastGood string            `json:"last_good,omitempty"` // the way back; empty: there is none
	Model    string            `json:"model"`               // the version that its model asked for; empty: none, the latest
	Profile  string            `json:"profile"`             // see Profile
	LastWave int               `json:"last_wave"`

	Members   int      `json:"members"`
	Min       int      `json:"min"` // that autoscale may go down to
	Max       int      `json:"max"` // that autoscale may reach
	Spot      int      `json:"spot,omitempty"`
	Unhealthy []string `json:"unhealthy,omitempty"` // the baseline: members that were not Healthy
	LeftOut   []Left   `json:"left_out,omitempty"`  // members that no wave can take as they are

	Batch                fleet.Percent `json:"batch"`
	MaxUnhealthy         fleet.Percent `json:"max_unhealthy"`
	MaxUnhealthyUpgraded fleet.Percent `json:"max_unhealthy_upgraded"`
	Pause                time.Duration `json:"pause"`
	ByZone               bool          `json:"by_zone,omitempty"`
	Repairs              bool          `json:"repairs,omitempty"` // automatic repairs are on
}

// A Left is a member that was left as it is, and why.
type Left struct {
	Set    string `json:"set"`
	Member string `json:"member,omitempty"` // empty: something of the set itself
	Why    string `json:"why"`
}

// A Gate is a question to Prometheus.
type Gate struct {
	Name   string        `json:"name"`
	Every  time.Duration `json:"every"`
	NoData Verdict       `json:"no_data"` // what an answer without data comes to
}

// Limits are how long things may take.
type Limits struct {
	ObserveEvery  time.Duration `json:"observe_every"`
	HealthyWithin time.Duration `json:"healthy_within"`
	HealthyFor    time.Duration `json:"healthy_for"`
	Stuck         time.Duration `json:"stuck"`    // an operation, or a wait that nobody has to end
	Pause         time.Duration `json:"pause"`    // until a rollout that is paused is held
	Approval      time.Duration `json:"approval"` // until one that waits for a person or a window is
	Retry         time.Duration `json:"retry"`    // between tries of what was refused
	Settle        time.Duration `json:"settle"`   // until a request without an answer shows in what is read
	Drained       time.Duration `json:"drained"`  // until a drain ends by itself
	AutoOS        time.Duration `json:"auto_os"`  // until automatic OS upgrade has found the version
}

// standing are the limits that no file says.
var standing = Limits{
	Pause: 24 * time.Hour, Approval: 7 * 24 * time.Hour, Retry: time.Minute,
	Settle: 2 * time.Minute, Drained: 30 * time.Minute, AutoOS: 6 * time.Hour,
}

// An Exposure is how many members of a wave's sets may run the version at one moment,
// at worst, from the begin of the wave until the next one begins.
type Exposure struct {
	Wave  string        `json:"wave"`
	Sets  []SetExposure `json:"sets"`
	Worst int           `json:"worst"` // of all sets up to and with this wave
}

// A SetExposure is the worst case of one set.
type SetExposure struct {
	Set    string `json:"set"`
	Taken  int    `json:"taken"`  // by the wave
	Births int    `json:"births"` // scale-out up to autoscale's maximum, while the model points at the version
	Others int    `json:"others"` // repairs, and Spot members made anew or started again
	Worst  int    `json:"worst"`  // of these together
}

// partial says whether the wave takes only a part of its sets.
func (w *Wave) partial() bool { return w.Instances > 0 }

// nextWave returns the first wave from this one on that a set stands in, or -1.
func (p *Plan) nextWave(set string, from int) int {
	for i := from; i < len(p.Waves); i++ {
		if slices.Contains(p.Waves[i].Sets, set) {
			return i
		}
	}
	return -1
}
