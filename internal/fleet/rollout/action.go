package rollout

import "github.com/fleet-agent/fleet-agent/internal/fleet"

// A Verb is what an action does.
type Verb string

// The verbs. Each may be repeated: what it is to bring about is looked for before it is
// done again.
const (
	PatchModel     Verb = "patch-model"     // PATCH the smallest body: the image's version, and mode and automatic OS upgrade if given
	ManualUpgrade  Verb = "manual-upgrade"  // POST manualupgrade for the members, never "*"
	CancelRolling  Verb = "cancel-rolling"  // POST rollingUpgrades/cancel; 409 "no ongoing" is done
	SuspendRepairs Verb = "suspend-repairs" // POST setOrchestrationServiceState
	ResumeRepairs  Verb = "resume-repairs"
	Drain          Verb = "drain" // Run Command: fleet-agent drain
	Undrain        Verb = "undrain"
	AskAgent       Verb = "ask-agent"  // Run Command: fleet-agent status; the answer is "serving" or another word
	Diagnose       Verb = "diagnose"   // Run Command: fleet-agent status -o brief; the answer is the text
	QueryGate      Verb = "query-gate" // the answer is a Verdict
	Replicate      Verb = "replicate"  // the version, to a region
	Include        Verb = "include"    // clear excludeFromLatest: in a region, or everywhere when it names none
	Exclude        Verb = "exclude"    // set it
	TagFailed      Verb = "tag-failed"
	TagGood        Verb = "tag-good"
	Notify         Verb = "notify"
)

// An Action is one thing to do, as data. Its intent is journaled before it is made
// (began), and its result after it (ended).
type Action struct {
	Op      int               `json:"op"` // its number in this rollout
	Do      Verb              `json:"do"`
	Set     string            `json:"set,omitempty"`
	Members []string          `json:"members,omitempty"`
	Version string            `json:"version,omitempty"`  // of PatchModel: empty is a reference without version
	IfMatch string            `json:"if_match,omitempty"` // the ETag that the model was read with
	Mode    fleet.UpgradeMode `json:"mode,omitempty"`     // of PatchModel: empty leaves it
	AutoOS  *bool             `json:"auto_os,omitempty"`  // of PatchModel: nil leaves it
	Region  string            `json:"region,omitempty"`
	Name    string            `json:"name,omitempty"` // of a gate, or what a notice is about
	Why     string            `json:"why,omitempty"`  // the reason, for people
}

// An Outcome is what became of an action.
type Outcome string

// The outcomes.
const (
	Done     Outcome = "done"
	Underway Outcome = "running"  // accepted; the observation says when it ends
	Lost     Outcome = "lost"     // no answer: what is read next decides
	Changed  Outcome = "changed"  // 409, 412: somebody else was there
	Capacity Outcome = "capacity" // capacity, quota, throttling
	Denied   Outcome = "denied"   // 401, 403, or not possible here
	Errored  Outcome = "error"    // anything else
)

// A Result is an outcome with what was said.
type Result struct {
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text,omitempty"`   // Azure's words
	Answer  string  `json:"answer,omitempty"` // of AskAgent, Diagnose and QueryGate
}

// A Verdict is a gate's answer.
type Verdict string

// The verdicts.
const (
	Pass    Verdict = "pass"
	Fail    Verdict = "fail"
	NoData  Verdict = "no-data"
	Unknown Verdict = "unknown"
)

// Serving is the answer of an agent whose node serves.
const Serving = "serving"

// target is what an action acts on. Only one action is under way for a target.
func (a *Action) target() string {
	switch a.Do {
	case PatchModel, ManualUpgrade, CancelRolling:
		return setTarget(a.Set)
	case SuspendRepairs, ResumeRepairs:
		return repairsTarget(a.Set)
	case Drain, Undrain:
		return drainTarget(a.Set, a.Members[0])
	case AskAgent, Diagnose:
		return string(a.Do) + " " + memberKey(a.Set, a.Members[0])
	case Replicate, Include, Exclude, TagFailed, TagGood:
		return versionTarget
	case QueryGate, Notify:
		return string(a.Do) + " " + a.Name
	}
	return string(a.Do)
}

const versionTarget = "version"

func setTarget(set string) string           { return "set " + set }
func upgradeTarget(set string) string       { return "upgrade " + set } // of a batch, apart from the PATCHes around it
func repairsTarget(set string) string       { return "repairs " + set }
func drainTarget(set, member string) string { return "drain " + memberKey(set, member) }
func memberKey(set, member string) string   { return set + "/" + member }

// reads says whether an action changes nothing.
func (v Verb) reads() bool { return v == AskAgent || v == Diagnose || v == QueryGate }

// Effect says whether an action changes something in Azure or on a node.
func (a *Action) Effect() bool { return !a.Do.reads() && a.Do != Notify }
