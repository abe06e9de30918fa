package fleet

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// A BootOutcome is what a boot test has come to.
type BootOutcome string

// The outcomes. Inconclusive says nothing of the image: quota, capacity, replication,
// and whatever else kept the test from being one.
const (
	BootWaiting      BootOutcome = "waiting"
	BootPassed       BootOutcome = "passed"
	BootFailed       BootOutcome = "failed"
	BootInconclusive BootOutcome = "inconclusive"
)

// A BootVerdict is what is known of a version after it was booted.
type BootVerdict struct {
	Outcome BootOutcome `json:"outcome"`
	Reason  string      `json:"reason"`         // a sentence without a full stop
	Hint    string      `json:"hint,omitempty"` // what to look at; may be empty
	// BootTime is from allocation to the first Healthy; 0: there was none.
	BootTime time.Duration `json:"-"`
	Member   string        `json:"member,omitempty"`
	// Words are the last lines that the instance itself said, of its script or of its
	// agent.
	Words string `json:"words,omitempty"`
	// Omitted is what the set of the test did not have of the one that it was like.
	Omitted []Omission `json:"omitted,omitempty"`
	// Gone says that the instance was removed while the test looked at it. Another call
	// that made the same test may have done so.
	Gone bool `json:"-"`
	// Left says what could not be removed, and why; "": nothing is left.
	Left string `json:"left,omitempty"`
}

// A Failure is an error of Azure's: its code, and its words.
type Failure struct {
	Code, Message string
}

// String is the code with what the words begin with: Azure goes on with advice and links.
func (f Failure) String() string {
	const enough, most = 60, 240
	text := ""
	for sentence := range strings.SplitSeq(strings.Join(strings.Fields(f.Message), " "), ". ") {
		if text += sentence; len(text) >= enough {
			break
		}
		text += ". "
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	text = strings.TrimRight(text, ". ")
	return cmp.Or(strings.Trim(f.Code+": "+text, ": "), "no reason was given")
}

// A BootMember is the one instance of a boot test.
type BootMember struct {
	ID           ResourceID
	Created      time.Time // when it was allocated
	Provisioning string
	Power        PowerState // "" when there is no instance view
	ExactVersion string
	Health       HealthState
	HealthAt     time.Time
	// Failure is what the platform says of a provisioning that failed; nil: it did not
	// fail.
	Failure *Failure
	// Extension is what the platform says of a health extension that does not work;
	// "": it says nothing bad.
	Extension string
}

// A BootObservation is what was seen of a boot test at one moment.
type BootObservation struct {
	Version    string        // that was asked for
	BootWithin time.Duration // from allocation to the first Healthy
	Now        time.Time
	Began      time.Time // when the set was asked for
	Seen       time.Time // when the member was first seen; zero: not yet
	Failure    *Failure  // of the write of the set; nil: none that is known
	Member     *BootMember
}

// How long a boot test waits: for an instance to be allocated, and past its gate, to
// see whether it is slow or dead.
const (
	allocateWithin = 15 * time.Minute
	bootPatience   = 5 * time.Minute
)

// JudgeBoot says what has come of a boot test.
//
//	provisioned, its exact version the one, Healthy              passed, or failed when that took too long
//	the write failed, or the instance could not be provisioned   by what it was about (CauseOf)
//	it runs, and was not Healthy in time                         failed
//	none was allocated, another version, not running, gone       inconclusive
func JudgeBoot(o *BootObservation) BootVerdict {
	m := o.Member
	if m != nil && m.Failure == nil && m.Provisioning == Succeeded && m.ExactVersion == o.Version && m.Health == Healthy && !m.HealthAt.IsZero() {
		return healthyBoot(m, o) // a proof, whatever else went wrong
	}
	failure := o.Failure
	if m != nil && m.Failure != nil && (failure == nil || m.Failure.Code != "") {
		failure = m.Failure // it is nearer to what happened
	}
	switch {
	case failure != nil:
		return refusedBoot(m, *failure)
	case m == nil && !o.Seen.IsZero():
		v := inconclusive(m, "the instance is gone, and nobody here removed it", "the activity log says who did")
		v.Gone = true
		return v
	case m == nil && o.Now.Sub(o.Began) > allocateWithin:
		return inconclusive(m, "Azure allocated no instance within "+allocateWithin.String(), "try again later, or make the test like a set of another size")
	case m == nil:
		return BootVerdict{Outcome: BootWaiting, Reason: "waiting for an instance"}
	case m.ExactVersion != "" && m.ExactVersion != o.Version:
		return inconclusive(m, fmt.Sprintf("the instance was made from %s, and %s was asked for", m.ExactVersion, o.Version), "this says nothing of the image; try again")
	case o.Now.Sub(o.Seen) > o.BootWithin+bootPatience:
		return lateBoot(m, o)
	}
	return waitingBoot(m)
}

// waitingBoot says what an instance is on its way to.
func waitingBoot(m *BootMember) BootVerdict {
	v := BootVerdict{Outcome: BootWaiting, Member: m.ID.Name(), Reason: "the instance starts"}
	if m.Power == Running {
		v.Reason = "the instance runs, health: " + string(m.Health)
	}
	return v
}

func healthyBoot(m *BootMember, o *BootObservation) BootVerdict {
	v := BootVerdict{Outcome: BootPassed, Member: m.ID.Name(), BootTime: max(m.HealthAt.Sub(m.Created), 0)}
	took := v.BootTime.Round(time.Second)
	v.Reason = fmt.Sprintf("Healthy %v after its allocation, and boot_within is %v", took, o.BootWithin)
	if v.BootTime > o.BootWithin {
		v.Outcome = BootFailed
		v.Hint = "look at what takes long with systemd-analyze blame, or allow more with bake.boot_test.boot_within"
	}
	return v
}

// lateBoot is the verdict on an instance that was never Healthy.
func lateBoot(m *BootMember, o *BootObservation) BootVerdict {
	waited := (o.BootWithin + bootPatience).Round(time.Second)
	state := string(cmp.Or(m.Power, "unknown"))
	switch m.Power {
	case Running, "stopped": // an image that shuts itself down stops
	default:
		return inconclusive(m, fmt.Sprintf("the instance does not run after %v: its power state is %s", waited, state), "this says nothing of the image; try again")
	}
	v := BootVerdict{Outcome: BootFailed, Member: m.ID.Name()}
	switch {
	case m.Power != Running:
		v.Reason = fmt.Sprintf("the instance stopped by itself, and was not Healthy within %v", waited)
	case m.Health == Healthy && m.ExactVersion == "", m.Health == Healthy && m.HealthAt.IsZero():
		return inconclusive(m, "the instance is Healthy, and Azure does not say since when or of which version", "try again later")
	case m.Health == Healthy:
		v.Reason = fmt.Sprintf("the instance is Healthy, and after %v still not provisioned (%s)", waited, m.Provisioning)
		v.Hint = "cloud-init or the Azure Linux Agent does not report that it is ready"
	default:
		v.Reason = fmt.Sprintf("the instance was not Healthy within %v: its health is %s", waited, m.Health)
		v.Hint = lateHints[m.Health]
	}
	if m.Extension != "" {
		v.Reason += "; the health extension: " + m.Extension
	}
	return v
}

// lateHints are what to look at when an instance runs and is in a state of health.
var lateHints = map[HealthState]string{
	Unhealthy:     "the service answers, and says that it is not well, or nothing listens on the port of the health extension",
	Initializing:  "the health extension waits for a first answer; is its grace period longer than boot_within?",
	HealthUnknown: `a health extension 2.0 needs a 2xx answer with {"ApplicationHealthState":"Healthy"} in its body`,
	HealthMissing: "nothing reports from inside: the OS hangs in its boot, or the Azure Linux Agent does not run",
}

// refusedBoot is the verdict on an instance that could not be made.
func refusedBoot(m *BootMember, f Failure) BootVerdict {
	cause := CauseOf(f.Code, f.Message)
	if cause == CauseImage {
		v := BootVerdict{Outcome: BootFailed, Reason: f.String(), Hint: "the machine started, and the image did not finish its provisioning"}
		if m != nil {
			v.Member = m.ID.Name()
		}
		return v
	}
	return inconclusive(m, f.String(), causeHints[cause])
}

// causeHints are what to do about a failure that says nothing of the image.
var causeHints = map[Cause]string{
	CauseCapacity:    "Azure has no room there; try again later, or make the test like a set of another size",
	CauseQuota:       "ask for more quota, or remove what is not needed",
	CauseReplication: "the version is not in that region yet; try again in some minutes",
	CauseThrottled:   "others ask much, too; try again later",
	CauseDenied:      "a role, a policy or a lock forbids it; the message names it",
	CauseNetwork:     "look at the subnet of the set that the test is like",
	CausePlatform:    "Azure failed; look at https://azure.status.microsoft, and try again",
	CauseUnknown:     "this is not known to be the fault of the image; the message says what it is about",
}

// inconclusive is the verdict on a test that was none.
func inconclusive(m *BootMember, reason, hint string) BootVerdict {
	v := BootVerdict{Outcome: BootInconclusive, Reason: reason, Hint: hint}
	if m != nil {
		v.Member = m.ID.Name()
	}
	return v
}

// InconclusiveBoot is the verdict when a failure kept the test from being one, before
// or beside what Azure says of the instance.
func InconclusiveBoot(f Failure) BootVerdict {
	return inconclusive(nil, f.String(), causeHints[CauseOf(f.Code, f.Message)])
}

// BootMemberOf reads the instance from its virtual machine, with its instance view.
func BootMemberOf(vm Document) *BootMember {
	m := &BootMember{
		ID: ResourceID(textAt(vm, "id")), Created: timeAt(vm, "properties", "timeCreated"), Provisioning: textAt(vm, "properties", "provisioningState"),
		ExactVersion: textAt(vm, "properties", "storageProfile", "imageReference", "exactVersion"), Health: HealthMissing,
	}
	view := dig(vm, "properties", "instanceView")
	for _, s := range listAt(view, "statuses") {
		code := textAt(s, "code")
		if power, ok := strings.CutPrefix(code, "PowerState/"); ok {
			m.Power = PowerState(power)
		}
		if reason, ok := cutPrefixFold(code, "ProvisioningState/failed"); ok && strings.EqualFold(m.Provisioning, Failed) {
			m.Failure = &Failure{Code: strings.Trim(reason, "/"), Message: cmp.Or(textAt(s, "message"), textAt(s, "displayStatus"))}
		}
	}
	if strings.EqualFold(m.Provisioning, Failed) && m.Failure == nil {
		m.Failure = &Failure{}
	}
	if code := textAt(view, "vmHealth", "status", "code"); code != "" {
		m.Health, m.HealthAt = HealthOf(code), timeAt(view, "vmHealth", "status", "time")
	}
	for _, e := range listAt(view, "extensions") {
		if !strings.Contains(strings.ToLower(textAt(e, "type")), "applicationhealth") {
			continue
		}
		for _, s := range listAt(e, "statuses") {
			if _, failed := cutPrefixFold(textAt(s, "code"), "ProvisioningState/failed"); failed {
				m.Extension = cmp.Or(textAt(s, "message"), textAt(s, "displayStatus"), "it failed")
			}
		}
	}
	return m
}

// HealthOf reads the code of vmHealth: HealthState/healthy. What Azure may say one day
// and says not today is unknown.
func HealthOf(code string) HealthState {
	state, _ := cutPrefixFold(code, "HealthState/")
	for _, known := range []HealthState{Healthy, Unhealthy, Initializing} {
		if strings.EqualFold(state, string(known)) {
			return known
		}
	}
	return HealthUnknown
}

// cutPrefixFold is strings.CutPrefix without regard to case.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// JudgeReplication says whether a boot test in a region can find the version, by what
// was read of it with $expand=ReplicationStatus: it waits without a reason when it is
// there.
func JudgeReplication(version Document, region string) BootVerdict {
	name, region := textAt(version, "name"), NormalLocation(region)
	for _, s := range listAt(version, "properties", "replicationStatus", "summary") {
		if NormalLocation(textAt(s, "region")) != region {
			continue
		}
		switch state := textAt(s, "state"); state {
		case Replicated:
			return BootVerdict{Outcome: BootWaiting}
		case ReplicationFailed:
			return inconclusive(nil, strings.TrimSuffix(fmt.Sprintf("%s could not be replicated to %s: %s", name, region, textAt(s, "details")), ": "),
				"remove the region from the version, and add it again")
		default:
			progress, _ := integer(dig(s, "progress"))
			return BootVerdict{
				Outcome: BootWaiting, Reason: fmt.Sprintf("%s is not in %s yet (%d%%)", name, region, progress), Hint: causeHints[CauseReplication],
			}
		}
	}
	if len(listAt(version, "properties", "replicationStatus", "summary")) == 0 {
		return BootVerdict{Outcome: BootWaiting, Reason: "Azure does not say where " + name + " is", Hint: causeHints[CauseReplication]}
	}
	return inconclusive(nil, fmt.Sprintf("%s is not replicated to %s", name, region), "add the region to the version, or make the test like a set of another region")
}
