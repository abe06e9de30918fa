package control

// PlanPreview is the answer to `fleet-agent plan`: what a drain would do, for
// how long, and what it would leave out. It is computed from the configuration
// alone, without the daemon.
type PlanPreview struct {
	Version int    `json:"version"`
	Event   string `json:"event"` // the type of the event, such as Preempt
	// Action and Ack are what the configuration says about the event: drain,
	// cordon or ignore, and when the event would be acknowledged.
	Action string `json:"action,omitempty"`
	Ack    string `json:"ack,omitempty"`
	// NoticeSeconds is the time from the event's publication to its NotBefore, 0
	// when it has started; AvailableSeconds is what the reserve leaves of it, and
	// absent when there is no deadline: every step may then take its maximum.
	NoticeSeconds    *float64 `json:"notice_seconds,omitempty"`
	AvailableSeconds *float64 `json:"available_seconds,omitempty"`
	// SettleSeconds is the wait between going unready and the first step.
	SettleSeconds float64       `json:"settle_seconds"`
	Steps         []PlannedStep `json:"steps"` // in the order of the plan
	// Enough says whether the minimums of the required steps fit. If not, some of
	// them are left out, and all optional ones; the drain would fail.
	Enough bool `json:"enough"`
}

// PlannedStep is one step of a PlanPreview.
type PlannedStep struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// OffsetSeconds is when the step begins at the latest, counted from the
	// publication of the event; LimitSeconds is the longest that it may take.
	OffsetSeconds float64 `json:"offset_seconds"`
	LimitSeconds  float64 `json:"limit_seconds"`
	MinSeconds    float64 `json:"min_seconds"`
	MaxSeconds    float64 `json:"max_seconds"`
	Optional      bool    `json:"optional,omitempty"`
	Shed          bool    `json:"shed,omitempty"` // left out, for lack of time
	// Why says what was done to the step to make the plan fit, if anything.
	Why string `json:"why,omitempty"`
}
