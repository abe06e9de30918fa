package rollout

import "time"

// A View is a rollout as people and programs look at it: all that status, watch, the
// report and their JSON show. It is made by [Look], and nothing is decided by it.
type View struct {
	Version      int       `json:"version"` // of this document
	ID           string    `json:"id"`      // of its journal
	Fleet        string    `json:"fleet"`
	Image        string    `json:"image"` // its definition's name
	ImageVersion string    `json:"image_version"`
	Phase        Phase     `json:"phase"`
	Since        time.Time `json:"since"` // of the phase
	Why          string    `json:"why,omitempty"`
	Class        Class     `json:"class,omitempty"` // of the block, or of the end
	Begun        time.Time `json:"begun"`
	Ended        time.Time `json:"ended,omitzero"`
	At           time.Time `json:"at"`                // what is shown
	Observed     time.Time `json:"observed,omitzero"` // when Azure was last read
	Overdue      bool      `json:"overdue,omitempty"`
	Paused       string    `json:"paused,omitempty"` // why it stands still; empty: it does not

	Waves []WaveView `json:"waves"`
	Sets  []SetView  `json:"scale_sets"` // by name
	Gates []GateView `json:"gates"`
	Waits []WaitView `json:"waits,omitempty"`
	Next  time.Time  `json:"next,omitzero"` // when there is something to do, or to see; zero: never
	Asked []Request  `json:"asked,omitempty"`
	// Lock is who works on it just now; empty: nobody.
	Lock string `json:"lock,omitempty"`

	Ran  []Ran  `json:"ran"`            // the blast radius
	Left []Left `json:"left,omitempty"` // at an end: what is not as it should be
	Owed []Left `json:"owed,omitempty"` // what is drained or suspended by us just now, or was given up
}

// A WaveView is a wave.
type WaveView struct {
	Name      string        `json:"name"`
	Step      Step          `json:"step"` // empty: it has not begun
	Since     time.Time     `json:"since,omitzero"`
	Sets      []string      `json:"scale_sets"`
	Instances int           `json:"instances,omitempty"` // of each set; 0: all
	Soak      time.Duration `json:"soak"`
	Soaked    time.Duration `json:"soaked"`
	Approve   bool          `json:"approve,omitempty"`  // it needs an approval
	Approved  string        `json:"approved,omitempty"` // by whom
	Evidence  int           `json:"evidence"`           // members verified and present, at its end or just now
	Worst     int           `json:"worst"`              // members on the version at once that the plan foresaw
	Batches   []BatchView   `json:"batches,omitempty"`
}

// A BatchView is a batch, the way back included.
type BatchView struct {
	Set     string    `json:"scale_set"`
	Number  int       `json:"number"`
	Back    bool      `json:"back,omitempty"`
	Step    Step      `json:"step"`
	Members []string  `json:"members"`
	Begun   time.Time `json:"begun"`
	Ended   time.Time `json:"ended,omitzero"`
	Why     string    `json:"why,omitempty"` // it was given up, or failed
}

// A SetView is a scale set with its members.
type SetView struct {
	Name     string       `json:"name"`
	Location string       `json:"location"`
	Driver   string       `json:"driver"`
	Model    string       `json:"model,omitempty"` // the version that its model asks for; empty: not known, or the latest
	LastGood string       `json:"last_good,omitempty"`
	Unknown  string       `json:"unknown,omitempty"` // why it could not be read
	Busy     string       `json:"busy,omitempty"`    // what somebody else does with it
	Members  []MemberView `json:"members"`
}

// A Cell is what a member is shown as.
type Cell string

// The cells, the worst first.
const (
	CellFailed    Cell = "failed"    // it ran the version, and has failed
	CellGone      Cell = "gone"      // it ran the version, and is not there
	CellUpgrading Cell = "upgrading" // it is in a batch that upgrades it or takes it back, or is drained for that
	CellVerifying Cell = "verifying" // on the version, not verified yet
	CellVerified  Cell = "verified"  // on the version
	CellReturned  Cell = "returned"  // it ran the version, and runs another one again
	CellUnhealthy Cell = "unhealthy" // on another version, and not Healthy
	CellOther     Cell = "other"     // on another version, and Healthy
	CellUnknown   Cell = "unknown"   // it was not read
)

// A MemberView is a member.
type MemberView struct {
	Name    string `json:"name"`
	Zone    string `json:"zone,omitempty"`
	Version string `json:"version,omitempty"` // on its disk
	Health  string `json:"health,omitempty"`
	Cell    Cell   `json:"cell"`
	Why     string `json:"why,omitempty"`  // it failed, or is left out
	Node    string `json:"node,omitempty"` // what its agent said
}

// A GateView is a gate with its evidence.
type GateView struct {
	Name    string    `json:"name"` // "healthy", "window", "approval", or a name of the file
	Asked   time.Time `json:"asked,omitzero"`
	Verdict Verdict   `json:"verdict"`
	Why     string    `json:"why,omitempty"`
}

// A WaitView is something that is waited for, until when at most.
type WaitView struct {
	For   string    `json:"for"`
	Until time.Time `json:"until,omitzero"`
}
