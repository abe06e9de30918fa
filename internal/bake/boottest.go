package bake

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// A BootTest boots an image version once, on an instance that is thrown away. All but
// Tell, Saw and Script are needed.
type BootTest struct {
	Azure *azure.Client
	Spec  *fleet.Spec // with bake.boot_test
	Now   func() time.Time
	// Wait sleeps; the error is that of the context.
	Wait func(ctx context.Context, d time.Duration) error
	Tell func(text string) // of progress; nil: nobody listens
	// Saw is told the time by Azure's clock with each answer; nil: nobody listens.
	Saw func(at time.Time)
	// Script is what bake.boot_test.run names; empty: nothing is run.
	Script []byte
}

// Bounds of a boot test. What has none of its own here is bounded by fleet.JudgeBoot.
const (
	bootSetLife     = 2 * time.Hour    // then the next bake sweeps what was left
	lookAgain       = 10 * time.Second // when Azure does not say
	maxBlindLooks   = 5                // one after the other
	replicateWithin = 30 * time.Minute // the version is made, and its copy is not seen yet
	removeWithin    = 15 * time.Minute
	failureWithin   = time.Minute      // to read why an operation that has ended failed
	statusWithin    = 90 * time.Second // for the agent's own words
)

// Run boots a version, judges it, runs the script, and removes the instance whatever
// happened, also when ctx ends. The error is for what is no verdict: the test could not
// be begun, or ctx ended.
//
// A set that was left behind by a call that was killed is taken up while its instance
// can still be in time, and made anew otherwise. A set of that name that is not of a
// boot test of this fleet is never touched.
func (b *BootTest) Run(ctx context.Context, version string) (v fleet.BootVerdict, err error) {
	versionID := b.Spec.DefinitionID() + fleet.ResourceID("/versions/"+version)
	like, err := b.like(ctx, versionID)
	if err != nil {
		return v, err
	}
	id := b.Spec.SetID(fleet.BootSetName(b.Spec.Gallery.Image.Name, version))
	body, omitted, unlike := fleet.BootSet(like, fleet.BootSetOrder{
		Version: versionID, Fleet: b.Spec.Name, Expires: b.Now().Add(bootSetLife), SSHKey: lostKey,
	})
	if unlike != nil {
		return fleet.InconclusiveBoot(fleet.Failure{Message: b.Spec.Bake.BootTest.Like + " cannot be what the test is like: " + unlike.Error()}), nil //nolint:nilerr // it is the verdict
	}
	for _, line := range fleet.OmissionLines(omitted) {
		b.tell("without " + line)
	}
	location, _ := body["location"].(string)
	v, err = b.replicated(ctx, versionID, location)
	if err == nil && v.Outcome == fleet.BootWaiting {
		v, err = b.boot(ctx, id, versionID, body)
	}
	v.Omitted = omitted
	return v, err
}

func (b *BootTest) tell(text string) {
	if b.Tell != nil {
		b.Tell(text)
	}
}

// read reads a resource.
func (b *BootTest) read(ctx context.Context, id fleet.ResourceID, expand string) (azure.Resource, error) {
	read, err := b.Azure.Resource(ctx, id, expand)
	if err == nil && b.Saw != nil {
		b.Saw(read.At)
	}
	return read, err
}

// like returns the set that the test is like: the live one, or what the file makes.
func (b *BootTest) like(ctx context.Context, version fleet.ResourceID) (fleet.Document, error) {
	name := b.Spec.Bake.BootTest.Like
	id := fleet.ResourceID(name)
	if !strings.HasPrefix(name, "/") {
		id = b.Spec.SetID(name)
	}
	live, err := b.read(ctx, id, "userData") // which is told to who asks for it
	if !isNotFound(err) {
		return live.Body, err
	}
	if body := fleet.SetBody(b.Spec, name, version, lostKey()); body != nil {
		return body, nil
	}
	return nil, fmt.Errorf("boot test like %s: there is no such scale set, and the file does not say how to make it", name)
}

// replicated waits until the version is in the region, and says why it cannot be waited
// for.
func (b *BootTest) replicated(ctx context.Context, version fleet.ResourceID, location string) (fleet.BootVerdict, error) {
	until := b.Now().Add(replicateWithin)
	for told := ""; ; {
		read, err := b.read(ctx, version, "ReplicationStatus")
		if err != nil {
			return fleet.BootVerdict{}, err
		}
		v := fleet.JudgeReplication(read.Body, location)
		switch {
		case v.Outcome != fleet.BootWaiting, v.Reason == "":
			return v, nil
		case b.Now().After(until):
			v.Outcome = fleet.BootInconclusive
			return v, nil
		case v.Reason != told:
			told = v.Reason
			b.tell(told)
		}
		if err := b.Wait(ctx, cmp.Or(read.After, lookAgain)); err != nil {
			return fleet.BootVerdict{}, err
		}
	}
}

// boot makes the set, or takes it up, judges its instance, and removes it.
func (b *BootTest) boot(ctx context.Context, id, version fleet.ResourceID, body fleet.Document) (v fleet.BootVerdict, err error) {
	within := b.Spec.Bake.BootTest.BootWithin
	taken, err := b.clear(ctx, id, version)
	if err != nil {
		return v, err
	}
	// From here on the set may be there, whatever the answers say.
	defer func() {
		text := "removing " + id.Name()
		if ctx.Err() != nil {
			text += " before this ends; an interrupt now leaves it to the next bake"
		}
		b.tell(text)
		if left := b.remove(ctx, id); left != nil {
			v.Left = fmt.Sprintf("%s could not be removed: %v", id.Name(), left)
		}
	}()
	o := fleet.BootObservation{Version: version.Name(), BootWithin: within, Began: b.Now()}
	var op *azure.Operation
	if taken {
		b.tell("going on with " + id.Name() + ", which another call has made")
	} else {
		op, err = b.Azure.Send(ctx, fleet.Write{Method: http.MethodPut, ID: id, Body: body, IfNew: true})
		switch {
		case errors.Is(err, &azure.Error{Kind: azure.Conflict}):
			// It may be ours: a PUT whose answer was lost is sent again.
			taken, again := b.clear(ctx, id, version)
			if again != nil {
				return v, again
			}
			if !taken {
				return refused(ctx, err)
			}
		case err != nil:
			return refused(ctx, err)
		}
	}
	v, err = b.watch(ctx, id, op, &o)
	if err != nil {
		return v, err
	}
	return b.inside(ctx, v, o.Member), ctx.Err()
}

// clear makes room for the set, and says whether there is one to take up.
func (b *BootTest) clear(ctx context.Context, id, version fleet.ResourceID) (taken bool, err error) {
	read, err := b.read(ctx, id, "")
	if isNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := b.ours(read.Body); err != nil {
		return false, err
	}
	if fleet.BootSetServes(read.Body, version, b.Spec.Bake.BootTest.BootWithin, b.Now()) {
		return true, nil
	}
	b.tell("removing " + id.Name() + ", which an earlier call has left")
	return false, b.remove(ctx, id)
}

// ours is an error when a set is not of a boot test of this fleet.
func (b *BootTest) ours(set fleet.Document) error {
	if _, ours := fleet.BootSetOf(set, b.Spec.Name); ours {
		return nil
	}
	name, _ := set["name"].(string)
	return &azure.Error{
		Kind: azure.Conflict, Text: fmt.Sprintf("the scale set %s is there, and is not of a boot test of the fleet %s", name, b.Spec.Name),
		Hint: "it was not touched; delete it when nobody needs it",
	}
}

// watch looks at the instance until there is a verdict.
func (b *BootTest) watch(ctx context.Context, id fleet.ResourceID, op *azure.Operation, o *fleet.BootObservation) (fleet.BootVerdict, error) {
	blind, told := 0, ""
	for {
		after, err := b.look(ctx, id, op, o)
		switch {
		case ctx.Err() != nil:
			return fleet.BootVerdict{}, ctx.Err()
		case err == nil:
			blind = 0
		case blind+1 == maxBlindLooks:
			return refused(ctx, err)
		default:
			blind++
			b.tell("cannot look at it: " + err.Error())
		}
		o.Now = b.Now()
		if err == nil {
			v := fleet.JudgeBoot(o)
			if v.Outcome != fleet.BootWaiting {
				return v, nil
			}
			if v.Reason != told {
				told = v.Reason
				b.tell(told)
			}
		}
		if err := b.Wait(ctx, cmp.Or(after, lookAgain)); err != nil {
			return fleet.BootVerdict{}, err
		}
	}
}

// look reads the set and its instance.
func (b *BootTest) look(ctx context.Context, id fleet.ResourceID, op *azure.Operation, o *fleet.BootObservation) (after time.Duration, err error) {
	set, err := b.read(ctx, id, "")
	switch {
	case isNotFound(err):
		o.Member, o.Seen = nil, b.Now() // the instance went with it
		return 0, nil
	case err != nil:
		return 0, err
	}
	member, err := b.member(ctx, id, o.Member)
	if err != nil {
		return 0, err
	}
	o.Member = member
	if member != nil && o.Seen.IsZero() {
		o.Seen = b.Now()
	}
	if state := stateOf(set.Body); state == fleet.Failed || state == "Canceled" {
		o.Failure = whyFailed(ctx, op, state)
	}
	return set.After, nil
}

// member reads the one instance of the set: nil when there is none.
func (b *BootTest) member(ctx context.Context, set fleet.ResourceID, known *fleet.BootMember) (*fleet.BootMember, error) {
	var vm fleet.ResourceID
	if known != nil {
		vm = known.ID
	} else {
		group, _, _ := strings.Cut(string(set), "/providers/")
		all, err := b.Azure.Resources(ctx, fleet.ResourceID(group+"/providers/Microsoft.Compute/virtualMachines"), "'virtualMachineScaleSet/id' eq '"+string(set)+"'")
		if err != nil || len(all) == 0 {
			return nil, err
		}
		text, _ := all[0]["id"].(string)
		vm = fleet.ResourceID(text)
	}
	read, err := b.read(ctx, vm, "instanceView")
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return fleet.BootMemberOf(read.Body), nil
}

// whyFailed asks the operation that made a set why it failed.
func whyFailed(ctx context.Context, op *azure.Operation, state string) *fleet.Failure {
	if op != nil {
		ctx, cancel := context.WithTimeout(ctx, failureWithin)
		defer cancel()
		if _, err := op.Wait(ctx); err != nil {
			return new(azure.FailureOf(err))
		}
	}
	return &fleet.Failure{Message: "the provisioning state of the scale set is " + state}
}

// remove deletes a set of a boot test with its instance, and waits until it is gone,
// also when ctx has ended.
func (b *BootTest) remove(ctx context.Context, id fleet.ResourceID) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeWithin)
	defer cancel()
	read, err := b.read(ctx, id, "")
	if isNotFound(err) {
		return nil
	}
	if err == nil {
		err = b.ours(read.Body)
	}
	if err != nil {
		return err
	}
	op, err := b.Azure.Send(ctx, fleet.Write{Method: http.MethodDelete, ID: id})
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	until := b.Now().Add(removeWithin)
	for {
		read, err := b.read(ctx, id, "")
		switch state := stateOf(read.Body); {
		case isNotFound(err):
			return nil
		case err == nil && state == fleet.Failed:
			return errors.New(whyFailed(ctx, op, state).String())
		case b.Now().After(until):
			return cmp.Or(err, fmt.Errorf("it is still there after %v", removeWithin))
		}
		if err := b.Wait(ctx, cmp.Or(read.After, lookAgain)); err != nil {
			return err
		}
	}
}

// Sweep removes the sets that boot tests of this fleet have left behind and that have
// expired. It returns the names of those that it removed.
func (b *BootTest) Sweep(ctx context.Context) (removed []string, err error) {
	collection, _, _ := strings.Cut(string(b.Spec.SetID("boot-")), "/boot-")
	sets, err := b.Azure.Resources(ctx, fleet.ResourceID(collection), "")
	if err != nil {
		return nil, err
	}
	var failed []error
	for _, set := range sets {
		expires, ours := fleet.BootSetOf(set, b.Spec.Name)
		if !ours || b.Now().Before(expires) {
			continue
		}
		text, _ := set["id"].(string)
		id := fleet.ResourceID(text)
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if err := b.remove(ctx, id); err != nil {
			failed = append(failed, fmt.Errorf("remove %s: %w", id.Name(), err))
			continue
		}
		removed = append(removed, id.Name())
	}
	return removed, errors.Join(failed...)
}

// inside runs the script on an instance that has passed, and asks the agent of one that
// has failed for its own words.
func (b *BootTest) inside(ctx context.Context, v fleet.BootVerdict, m *fleet.BootMember) fleet.BootVerdict {
	switch {
	case m == nil || m.Power != fleet.Running:
	case v.Outcome == fleet.BootPassed && len(b.Script) > 0:
		return b.runScript(ctx, v, m.ID)
	case v.Outcome == fleet.BootFailed:
		b.tell("asking the agent on " + m.ID.Name())
		v.Words = b.status(ctx, m.ID)
	}
	return v
}

// status is what the agent says of itself.
func (b *BootTest) status(ctx context.Context, vm fleet.ResourceID) string {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	stdout, stderr, err := b.Azure.RunCommand(ctx, vm, []string{"fleet-agent status -o brief"})
	if err != nil {
		return "diagnosis not possible: " + err.Error()
	}
	return cmp.Or(firstLines(stdout), firstLines(stderr), "diagnosis not possible: the agent said nothing")
}

// runScript runs the script on the instance. Only its own exit code fails the version.
func (b *BootTest) runScript(ctx context.Context, v fleet.BootVerdict, vm fleet.ResourceID) fleet.BootVerdict {
	b.tell("running " + b.Spec.Bake.BootTest.Run + " on " + vm.Name())
	ctx, cancel := context.WithTimeout(ctx, scriptWithin+scriptPatience)
	defer cancel()
	lines, err := bootScript(b.Script)
	if err != nil {
		v.Outcome, v.Reason = fleet.BootInconclusive, b.Spec.Bake.BootTest.Run+": "+err.Error()
		return v
	}
	stdout, stderr, err := b.Azure.RunCommand(ctx, vm, lines)
	if err != nil {
		return inconclusiveScript(v, "Run Command did not run the script: "+azure.FailureOf(err).String())
	}
	code, stdout, ended := scriptExit(stdout)
	v.Words = strings.TrimPrefix(lastLines(stdout)+"\n"+lastLines(stderr), "\n")
	v.Words = strings.TrimSuffix(v.Words, "\n")
	switch {
	case !ended:
		return inconclusiveScript(v, "Run Command does not say how the script ended")
	case code == scriptLate:
		v.Outcome, v.Reason = fleet.BootFailed, fmt.Sprintf("%s did not end within %v", b.Spec.Bake.BootTest.Run, scriptWithin)
	case code != 0:
		v.Outcome, v.Reason = fleet.BootFailed, fmt.Sprintf("%s ended with exit code %d", b.Spec.Bake.BootTest.Run, code)
	default:
		v.Reason += "; " + b.Spec.Bake.BootTest.Run + " passed"
	}
	return v
}

func inconclusiveScript(v fleet.BootVerdict, reason string) fleet.BootVerdict {
	v.Outcome, v.Reason = fleet.BootInconclusive, reason
	v.Hint = "Run Command needs the Azure Linux Agent, and port 443 out of the subnet"
	return v
}

// maxWords bounds what is repeated of what an instance says.
const (
	maxWords    = 20
	maxBrief    = 60 // of what the agent says, which bounds its words itself
	maxWordLine = 300
)

// lastLines are the last lines of what an instance says, safe to show.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return safeLines(lines[max(len(lines)-maxWords, 0):])
}

// firstLines are the first ones: the agent says first what is wrong.
func firstLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return safeLines(lines[:min(len(lines), maxBrief)])
}

func safeLines(lines []string) string {
	for i, line := range lines {
		lines[i] = safetext.Line(line, maxWordLine)
	}
	return strings.Join(lines, "\n")
}

// refused is the end of a test that Azure did not let happen. Who is not signed in, and
// an end that was asked for, is no verdict.
func refused(ctx context.Context, err error) (fleet.BootVerdict, error) {
	switch {
	case ctx.Err() != nil:
		return fleet.BootVerdict{}, ctx.Err()
	case errors.Is(err, &azure.Error{Kind: azure.SignIn}):
		return fleet.BootVerdict{}, err
	}
	return fleet.InconclusiveBoot(azure.FailureOf(err)), nil
}

func stateOf(body fleet.Document) string {
	properties, _ := body["properties"].(fleet.Document)
	state, _ := properties["provisioningState"].(string)
	return state
}

func isNotFound(err error) bool { return errors.Is(err, &azure.Error{Kind: azure.NotFound}) }

// lostKey is the public half of an SSH key whose private half is gone: Azure makes no
// Linux machine without a way to log in. It is RSA, which Azure takes everywhere.
func lostKey() string {
	const bits = 2048
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic("no key can be made: " + err.Error()) // crypto/rand does not fail
	}
	var wire []byte
	for _, field := range [][]byte{[]byte("ssh-rsa"), wireInt(big.NewInt(int64(key.E))), wireInt(key.N)} {
		wire = binary.BigEndian.AppendUint32(wire, uint32(len(field))) //nolint:gosec // a few hundred bytes
		wire = append(wire, field...)
	}
	return "ssh-rsa " + base64.StdEncoding.EncodeToString(wire) + " nobody"
}

// wireInt is a positive number as SSH writes it: a leading zero keeps it positive.
func wireInt(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) > 0 && b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b
}
