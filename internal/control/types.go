// Package control answers: what do the daemon and its operator commands say
// to each other?
//
// It holds the wire types of the control socket and the client that the
// commands use; the server is in internal/agent. The protocol is HTTP with
// JSON bodies over the unix socket control.sock in the agent's run_dir. Who may
// call what is decided by the peer's credentials, never by anything that the
// request says:
//
//	GET  /v1/status               read    Status
//	GET  /v1/events               read    Events
//	GET  /v1/checks/NAME          read    Explanation
//	POST /v1/checks/NAME/run      change  CheckResult
//	POST /v1/checks/NAME/report   report  HeartbeatRequest -> Accepted
//	POST /v1/drain                change  DrainRequest -> Accepted
//	POST /v1/undrain              change  UndrainRequest -> Accepted
//	POST /v1/maintenance          change  MaintenanceRequest -> Accepted
//
// Read and report are for members of the group fleet-agent; change is for root,
// the user that the agent runs as, and members of the group fleet-admin, who
// may also do the rest. An error is answered with an Error body.
//
// The package starts no goroutines.
package control

import "time"

// Version is the value of the "version" key in every document of this package.
// It changes only when a key is removed or changes its meaning.
const Version = 1

// DoctorUserAgent is the User-Agent with which doctor asks for the answer that
// the health extension gets: the agent does not count it as a probe.
const DoctorUserAgent = "fleet-agent-doctor"

// SocketName is the name of the control socket in the agent's run directory.
const SocketName = "control.sock"

// State is the one word for what a node is doing.
type State string

// The states of a node. When several apply, the last one in this list that does
// is reported.
const (
	StateStarting    State = "starting"    // no verdict yet, or none since the node was out of service
	StateServing     State = "serving"     // healthy and ready
	StateDegraded    State = "degraded"    // serving, and something is to be mended: a warning check, no word of scheduled events, a socket that does not listen
	StateUnhealthy   State = "unhealthy"   // a gating check does not pass
	StateMaintenance State = "maintenance" // unready because an operator said so
	StateDraining    State = "draining"    // a drain is under way, or failed, or the node is cordoned
	StateDrained     State = "drained"     // the plan has ended and succeeded
)

// Status is the answer to `fleet-agent status`.
type Status struct {
	Version int       `json:"version"`
	Now     time.Time `json:"now"`
	// State and Reason are the first line that an operator reads; Since is
	// when State began.
	State  State     `json:"state"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`

	Health      Health       `json:"health"`
	Events      []Event      `json:"events"`
	Drain       *Drain       `json:"drain,omitempty"`
	Maintenance *Maintenance `json:"maintenance,omitempty"`
	IMDS        IMDS         `json:"imds"`
	Node        Node         `json:"node"`
	Agent       Agent        `json:"agent"`
	Probes      Probes       `json:"probes"`

	// Transitions are the last changes of State, newest first.
	Transitions []Transition `json:"transitions"`
	// Warnings are conditions that an operator should mend although the node
	// serves: a journal that cannot be written, a reload that was refused.
	Warnings []string `json:"warnings"`
}

// Health is the verdict and what it is made of.
type Health struct {
	// State is starting, healthy or unhealthy.
	State string `json:"state"`
	// Ready is the answer of /readyz; Live that of /livez.
	Ready bool `json:"ready"`
	Live  bool `json:"live"`
	// Checks are in dependency order: a check comes after what it depends on.
	Checks []Check `json:"checks"`
	// Roots names the failing checks that nothing else explains.
	Roots []string `json:"roots"`
	// Returning names the checks that have yet to pass since the node was out of
	// service; absent when it is not on its way back.
	Returning []string `json:"returning,omitempty"`
}

// Check is one check as of now.
type Check struct {
	Name      string    `json:"name"`
	Kind      string    `json:"kind"`
	Status    string    `json:"status"` // unknown, passing, failing or blocked
	Since     time.Time `json:"since"`
	Error     string    `json:"error,omitempty"`
	BlockedBy []string  `json:"blocked_by,omitempty"`
	Severity  string    `json:"severity"` // critical or warning
	Gates     []string  `json:"gates"`    // of health, ready
	LatencyMS float64   `json:"latency_ms"`
}

// Event is one scheduled event of the last valid document.
type Event struct {
	ID              string     `json:"id"`
	Type            string     `json:"type"`
	Status          string     `json:"status"`
	Source          string     `json:"source,omitempty"`
	Description     string     `json:"description,omitempty"`
	Resources       []string   `json:"resources"`
	NotBefore       *time.Time `json:"not_before,omitempty"`
	DurationSeconds *int       `json:"duration_seconds,omitempty"`
	// Mine says whether the event names this VM.
	Mine bool `json:"mine"`
	// Action is what the agent does about it: drain, cordon, ignore; empty
	// for an event that names other VMs only, does not read, or whose type or
	// status is unknown. Reason says why.
	Action string `json:"action,omitempty"`
	Reason string `json:"reason"`
	// Ack is the state of the acknowledgement: "" (nothing to say), pending,
	// sending, accepted, failed or never; AckReason says why.
	Ack       string `json:"ack,omitempty"`
	AckReason string `json:"ack_reason,omitempty"`
}

// Drain is the drain under way, or the last one while the node stays drained.
type Drain struct {
	ID string `json:"id"`
	// Phase is settling, running, finished, failed or undraining.
	Phase     string     `json:"phase"`
	Cause     Cause      `json:"cause"`  // what began it
	Joined    []Cause    `json:"joined"` // what joined later
	StartedAt time.Time  `json:"started_at"`
	EndedAt   *time.Time `json:"ended_at,omitempty"`
	Deadline  *time.Time `json:"deadline,omitempty"` // absent: as long as the plan allows
	Error     string     `json:"error,omitempty"`
	Resumed   bool       `json:"resumed,omitempty"` // taken up again after a restart of the agent
	Steps     []Step     `json:"steps"`
	// Starting names the units that an undrain has started and that are not up
	// yet: the node stays unready meanwhile.
	Starting []string `json:"starting,omitempty"`
}

// Cause says why a node drains.
type Cause struct {
	Kind      string `json:"kind"` // scheduled-event, shutdown or operator
	EventID   string `json:"event_id,omitempty"`
	EventType string `json:"event_type,omitempty"`
	By        string `json:"by,omitempty"` // operator: "uid 1000 (alice)"
	Reason    string `json:"reason,omitempty"`
	// Until is when the cause ends by itself; nil: it does not.
	Until *time.Time `json:"until,omitempty"`
}

// Step is one step of a drain.
type Step struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Status is pending, running, done, failed, timed-out, skipped or shed.
	Status         string  `json:"status"`
	Optional       bool    `json:"optional,omitempty"`
	ElapsedSeconds float64 `json:"elapsed_seconds"`
	LimitSeconds   float64 `json:"limit_seconds"` // 0: none set yet
	Error          string  `json:"error,omitempty"`
}

// Maintenance is present while an operator keeps the node out of service.
type Maintenance struct {
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// IMDS says how fresh the agent's knowledge of scheduled events is.
type IMDS struct {
	// State is starting (no answer yet, or no name), ok or blind.
	State string `json:"state"`
	// Class and Error say why it is blind: denied, gone, throttled,
	// server-error, bad-request, not-found, empty, invalid, timeout,
	// unreachable; no-name: nobody has said what this VM is called.
	Class       string     `json:"class,omitempty"`
	Error       string     `json:"error,omitempty"`
	BlindSince  *time.Time `json:"blind_since,omitempty"`
	LastSuccess *time.Time `json:"last_success,omitempty"`
	Endpoint    string     `json:"endpoint"`
	// Unread says what of the last document does not read, a phrase each.
	Unread []string `json:"unread,omitempty"`
	// ClockSkewSeconds is how far Azure's clock is ahead of this VM's;
	// negative: behind; absent: not at all, or not known.
	ClockSkewSeconds float64 `json:"clock_skew_seconds,omitempty"`
}

// Node is this VM as IMDS describes it; every field is empty until IMDS answered.
type Node struct {
	Name     string `json:"name"`
	VMID     string `json:"vm_id"`
	ScaleSet string `json:"scale_set"`
	Zone     string `json:"zone"`
	Priority string `json:"priority"`
	Image    string `json:"image"`
}

// Agent is the daemon itself.
type Agent struct {
	Version        string    `json:"version"`
	PID            int       `json:"pid"`
	StartedAt      time.Time `json:"started_at"`
	ConfigFiles    []string  `json:"config_files"`
	ProbeAddress   string    `json:"probe_address"`
	MetricsAddress string    `json:"metrics_address,omitempty"`
}

// Probes says whether anybody asks for the node's health, since the agent
// started. What doctor asks is not counted.
type Probes struct {
	// Last is when /healthz or /readyz was last asked for; absent: never.
	Last *time.Time `json:"last,omitempty"`
	// Paths has /healthz, /readyz with its alias /ready, /livez, and "other" for
	// every path that does not exist.
	Paths []ProbePath `json:"paths"`
	// NotFound is the last path that does not exist, as it was asked for and cut
	// to 64 bytes: text from the network.
	NotFound string `json:"not_found,omitempty"`
}

// ProbePath counts the requests for one path.
type ProbePath struct {
	Path     string     `json:"path"`
	Requests uint64     `json:"requests"`
	Last     *time.Time `json:"last,omitempty"`
}

// Transition is one change of State.
type Transition struct {
	At     time.Time `json:"at"`
	From   State     `json:"from"`
	To     State     `json:"to"`
	Reason string    `json:"reason,omitempty"`
}

// Events is the answer to `fleet-agent events`: what is scheduled, and what
// this node did about past events, newest first.
type Events struct {
	Version int           `json:"version"`
	Now     time.Time     `json:"now"`
	IMDS    IMDS          `json:"imds"`
	Events  []Event       `json:"events"`
	History []DrainRecord `json:"history"`
}

// DrainRecord is one past drain, from the journal.
type DrainRecord struct {
	ID              string     `json:"id"`
	Causes          []Cause    `json:"causes"`
	StartedAt       time.Time  `json:"started_at"`
	EndedAt         *time.Time `json:"ended_at,omitempty"`
	DurationSeconds float64    `json:"duration_seconds"`
	// NoticeSeconds is the time from the start to NotBefore; 0 without one.
	NoticeSeconds float64 `json:"notice_seconds"`
	// Result is succeeded, failed, cancelled or interrupted.
	Result string `json:"result"`
	Error  string `json:"error,omitempty"`
	// Ack is as in Event, for the event that began the drain.
	Ack   string `json:"ack,omitempty"`
	Steps []Step `json:"steps"`
}

// Explanation is the answer to `fleet-agent explain CHECK`.
type Explanation struct {
	Version int       `json:"version"`
	Now     time.Time `json:"now"`
	Check   Check     `json:"check"`
	// The settings in force.
	IntervalSeconds float64  `json:"interval_seconds"`
	TimeoutSeconds  float64  `json:"timeout_seconds"`
	FailAfter       int      `json:"fail_after"`
	PassAfter       int      `json:"pass_after"`
	DependsOn       []string `json:"depends_on"`
	// Blocks names every check that cannot run because of this one, now.
	Blocks []string `json:"blocks"`
	// Consecutive counts the newest results that agree.
	Consecutive int           `json:"consecutive"`
	NextRun     *time.Time    `json:"next_run,omitempty"`
	Results     []CheckResult `json:"results"` // newest first
}

// CheckResult is the outcome of running a probe once.
type CheckResult struct {
	At        time.Time `json:"at"`
	Passed    bool      `json:"passed"`
	Error     string    `json:"error,omitempty"`
	LatencyMS float64   `json:"latency_ms"`
}

// DrainRequest asks for a drain.
type DrainRequest struct {
	Reason string `json:"reason,omitempty"`
	// TimeoutSeconds bounds the drain; 0 lets every step have its max.
	TimeoutSeconds float64 `json:"timeout_seconds,omitempty"`
	// ForSeconds is when the drain undoes itself, counted from now; 0: it does
	// not.
	ForSeconds float64 `json:"for_seconds,omitempty"`
}

// UndrainRequest asks to return to service.
type UndrainRequest struct {
	Reason string `json:"reason,omitempty"`
	// Force also dismisses scheduled events that still ask for the drain:
	// they are not acked and not acted on again.
	Force bool `json:"force,omitempty"`
}

// MaintenanceRequest begins or, with On false, ends maintenance.
type MaintenanceRequest struct {
	On         bool    `json:"on"`
	ForSeconds float64 `json:"for_seconds,omitempty"`
	Reason     string  `json:"reason,omitempty"`
}

// HeartbeatRequest reports for a check of kind heartbeat.
type HeartbeatRequest struct {
	Passed  bool   `json:"passed"`
	Message string `json:"message,omitempty"` // at most 1 KiB
}

// Accepted answers a change that was carried out or begun.
type Accepted struct {
	Version int    `json:"version"`
	Message string `json:"message"` // one sentence for the operator
}

// Error is the body of every answer that is not 2xx.
type Error struct {
	Status  int    `json:"-"`    // the HTTP status
	Code    string `json:"code"` // forbidden, not-found, conflict, bad-request, internal
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (e *Error) Error() string { return e.Message }
