package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How long a bake waits for what Azure does, before it goes on without it.
const (
	// templateDeadline bounds the making of a template, which takes minutes.
	templateDeadline = 15 * time.Minute
	// roleDeadline bounds the wait for a role that was just assigned.
	roleDeadline = 10 * time.Minute
	// publishDeadline bounds the wait for a version that a finished build has published.
	publishDeadline = 10 * time.Minute
	// replicationDeadline bounds a wait for replication, which takes hours for a large
	// image and many regions.
	replicationDeadline = 6 * time.Hour
)

// A BakeCall is one call of bake, from its start to its end.
type BakeCall struct {
	ID      string    // random
	Started time.Time // when it first asked for a number
	Content string    // the hash of what it bakes
	// BootTest says that the version is to pass a boot test.
	BootTest bool
	// Races counts the numbers that others took while this call reached for them.
	Races int
}

// A BakeDo is what a bake does next.
type BakeDo string

// What a bake does next.
const (
	BakeAwaitTemplate    BakeDo = "await template"
	BakeRetry            BakeDo = "retry"  // delete the template that failed, and make it again
	BakeLeave            BakeDo = "leave"  // leave the template behind, and go on under another number
	BakeRun              BakeDo = "run"    // start the build
	BakeAwaitRun         BakeDo = "await"  // wait for the build
	BakeReject           BakeDo = "reject" // tag the version failed
	BakeAwaitVersion     BakeDo = "await version"
	BakeSeal             BakeDo = "seal" // end of life, deletion unblocked, tags
	BakeAwaitReplication BakeDo = "await replication"
	BakeBoot             BakeDo = "boot test"
	BakeClean            BakeDo = "clean" // delete the template, whose version is there
	BakeDone             BakeDo = "done"
	BakeFail             BakeDo = "fail"
)

// A BakeStep is the one next step of a bake.
type BakeStep struct {
	Do BakeDo
	// Until is when a wait has been too long.
	Until time.Time
	// Why is the reason of BakeLeave and BakeReject.
	Why string
	// Failure is that of BakeFail.
	Failure *BakeError
}

// A BakeLook is what was seen of a bake that has its number.
type BakeLook struct {
	Spec     *Spec
	Now      time.Time
	Call     BakeCall
	Version  string
	Template *BakeTemplate // nil: there is none, or it is being deleted
	// Image is the version, with its replication; nil: there is none. While
	// NeedsImage says no, it is not looked at.
	Image *Version
}

// NeedsImage says whether the version decides what is next, not the template alone.
func (t *BakeTemplate) NeedsImage() bool {
	return t == nil || t.Provisioning == Succeeded && (t.RunState == Succeeded || t.endedBadly())
}

// NextBake returns the next step of a bake that has its number. The template stands
// for the bake until its version is known to be good or bad; a call that dies leaves
// all that the next one needs to go on:
//
//	         ┌─ retry ◀─ role late
//	         ▼            │
//	reserved ─▶ template made ─▶ run ─▶ running ─▶ version ─▶ sealed ─▶ replicated
//	         │            │                │  │                            │
//	         │         refused           hangs failed                  boot test
//	         │            ▼                │  │ rejected                   │ tagged
//	         └─ hangs ─▶ left behind ◀─────┘  ▼                            ▼
//	                     (next number)      failed                  cleaned ─▶ done
//
// What is left behind may still publish its version. That is never used: the bake that
// goes on under the next number names it in its tag TagLeft, and whichever bake sees
// the version tags it failed; see ChooseBake.
func NextBake(l *BakeLook) BakeStep {
	if l.Image != nil && l.Image.decided() && !l.Template.endedBadly() {
		return l.close()
	}
	if l.Template != nil {
		if step, ok := l.nextOfTemplate(); ok {
			return step
		}
	}
	return l.nextOfImage()
}

// close is the next step of a bake whose version is known to be good or bad.
func (l *BakeLook) close() BakeStep {
	if l.Template != nil {
		return BakeStep{Do: BakeClean}
	}
	if failed, why := l.Image.Failed(); failed {
		return l.fail(FailBoot, "the version is tagged failed", why)
	}
	return BakeStep{Do: BakeDone}
}

// nextOfTemplate is the next step while the template decides it.
func (l *BakeLook) nextOfTemplate() (BakeStep, bool) {
	t := l.Template
	if why := t.hangs(l.Spec, l.Now, l.Call.Started); why != "" {
		return BakeStep{Do: BakeLeave, Why: why}, true
	}
	switch t.Provisioning {
	case Succeeded:
		return l.nextOfRun()
	case Failed:
		if roleLate(t.Problem()) && l.Now.Before(l.Call.Started.Add(roleDeadline)) {
			return BakeStep{Do: BakeRetry, Why: t.Problem()}, true
		}
		return l.fail(FailTemplate, "Image Builder does not take the template", t.Problem()), true
	default: // Creating, Updating
		return BakeStep{Do: BakeAwaitTemplate, Until: t.since(l.Call.Started).Add(templateDeadline)}, true
	}
}

// nextOfRun is the next step of a template that was made.
func (l *BakeLook) nextOfRun() (BakeStep, bool) {
	t := l.Template
	switch t.RunState {
	case "":
		return BakeStep{Do: BakeRun}, true
	case Succeeded:
		if l.Image == nil && l.Now.Before(t.RunEnd.Add(publishDeadline)) {
			return BakeStep{Do: BakeAwaitVersion, Until: t.RunEnd.Add(publishDeadline)}, true
		}
		if l.Image == nil {
			return l.fail(FailNothing, "the build has succeeded, and there is no version "+l.Version, t.RunMessage), true
		}
		return BakeStep{}, false
	case Failed, "PartiallySucceeded", "Canceled":
		if l.Image != nil && !l.Image.decided() && l.Image.still() {
			return BakeStep{Do: BakeReject, Why: t.ended()}, true
		}
		if t.RunState == "Canceled" {
			return l.fail(FailCanceled, "the build was canceled", t.RunMessage), true
		}
		return l.fail(FailBuild, t.ended(), t.RunMessage), true
	default: // Running
		return BakeStep{Do: BakeAwaitRun, Until: t.runDeadline(l.Spec)}, true
	}
}

// nextOfImage is the next step when the version decides it.
func (l *BakeLook) nextOfImage() BakeStep {
	v := l.Image
	switch {
	case v == nil:
		return l.fail(FailGone, "there is neither the image template nor the version", "")
	case v.Provisioning == Failed:
		return l.fail(FailReplication, "the image version is in provisioning state Failed", v.failedRegions())
	case v.Provisioning != Succeeded:
		return l.wait(BakeAwaitVersion)
	case !v.sealed(l.Spec, l.Call.Content):
		return BakeStep{Do: BakeSeal}
	}
	for _, want := range l.Spec.BakeRegions() {
		r := v.Region(want.Name)
		switch {
		case r == nil:
			return l.fail(FailReplication, "the version is not to be replicated to "+want.Name, "")
		case r.State == ReplicationFailed:
			return l.fail(FailReplication, "the version did not replicate to "+r.Name, r.Details)
		case r.State != Replicated:
			return l.wait(BakeAwaitReplication)
		}
	}
	switch {
	case l.Call.BootTest:
		return BakeStep{Do: BakeBoot}
	case l.Template != nil:
		return BakeStep{Do: BakeClean}
	}
	return BakeStep{Do: BakeDone}
}

// wait is a wait for replication, of which the version is a part.
func (l *BakeLook) wait(do BakeDo) BakeStep {
	from := l.Image.Published
	if from.Before(l.Call.Started) {
		from = l.Call.Started
	}
	until := from.Add(replicationDeadline)
	if l.Now.After(until) {
		return l.fail(FailReplication, "the version is still being replicated", l.Image.replicating())
	}
	return BakeStep{Do: do, Until: until}
}

// replicating says how far the regions are.
func (v *Version) replicating() string {
	var parts []string
	for _, r := range v.Regions {
		parts = append(parts, fmt.Sprintf("%s %s (%d%%)", r.Name, cmp.Or(r.State, "unknown"), r.Progress))
	}
	return strings.Join(parts, ", ")
}

func (l *BakeLook) fail(kind BakeFailureKind, title, said string) BakeStep {
	f := &BakeError{Kind: kind, Version: l.Version, Title: title, Said: said}
	if l.Template != nil {
		f.Template, f.Staging = l.Template.ID.Name(), l.Template.Staging()
	}
	return BakeStep{Do: BakeFail, Failure: f}
}

// decided says whether the version is known to be good or bad, or was made available:
// it is not a bake's any more.
func (v *Version) decided() bool {
	_, booted := v.Tags[TagBooted]
	failed, _ := v.Failed()
	return booted || failed || v.Good() || !v.Excluded
}

// still says whether nothing is being done to the version, so that its tags can be
// written.
func (v *Version) still() bool { return v.Provisioning == Succeeded || v.Provisioning == Failed }

// sealed says whether the version has what Image Builder cannot give it.
func (v *Version) sealed(s *Spec, content string) bool {
	return !v.BlockDelete && (s.Gallery.EndOfLife == 0 || !v.EndOfLife.IsZero()) && v.Tags[TagContent] == content && v.Tags[TagFleet] == s.Name
}

func (v *Version) failedRegions() string {
	var parts []string
	for _, r := range v.Regions {
		if r.State == ReplicationFailed {
			parts = append(parts, r.Name+because(r.Details))
		}
	}
	return strings.Join(parts, ", ")
}

// endedBadly says whether the run has ended without an image that may be used.
func (t *BakeTemplate) endedBadly() bool {
	return t != nil && slices.Contains([]string{Failed, "PartiallySucceeded", "Canceled"}, t.RunState)
}

// ended says how a run ended that made no image that may be used.
func (t *BakeTemplate) ended() string {
	switch t.RunState {
	case "PartiallySucceeded":
		return "the build has succeeded only partially"
	case "Canceled":
		return "the build was canceled"
	}
	return "the build failed"
}

// hangs says why a template is not waited for any longer; "" while it is.
func (t *BakeTemplate) hangs(s *Spec, now, started time.Time) string {
	switch {
	case t.Provisioning == "Creating" || t.Provisioning == Updating:
		if since := t.since(started); now.After(since.Add(templateDeadline)) {
			return t.Provisioning + " since " + clockText(since)
		}
	case t.RunState == "Canceling":
		return "Canceling, of a run from " + clockText(t.RunStart)
	case t.RunState == "Running":
		if now.After(t.runDeadline(s)) {
			return "Running since " + clockText(t.RunStart) + ", longer than its " + durationText(s.buildTimeout())
		}
	}
	return ""
}

// since is when the number was reserved, or when this call began if that is not told.
func (t *BakeTemplate) since(started time.Time) time.Time {
	if at := t.reserved(); !at.IsZero() {
		return at
	}
	return started
}

// runDeadline is when a run has taken so long that it hangs.
func (t *BakeTemplate) runDeadline(s *Spec) time.Time {
	return t.RunStart.Add(s.buildTimeout() + buildSlack)
}

func (s *Spec) buildTimeout() time.Duration {
	if s.Bake == nil || s.Bake.Timeout == 0 {
		return defaultBuildTimeout
	}
	return s.Bake.Timeout
}

func clockText(t time.Time) string {
	if t.IsZero() {
		return "an unknown time"
	}
	return t.UTC().Format("2006-01-02 15:04 MST")
}

// roleLate says whether a refusal may be of a role that is assigned and has not taken
// effect.
func roleLate(said string) bool {
	said = strings.ToLower(said)
	return strings.Contains(said, "does not have authorization") || strings.Contains(said, "authorizationfailed") || strings.Contains(said, "does not have permission")
}
