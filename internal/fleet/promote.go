package fleet

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A VersionEdit says what a write shall change of an image version that was read with
// its replication status: the body of a PATCH. It is nil when all is as it shall be. It
// is asked again after the write, and then is nil.
type VersionEdit func(version Document) (patch Document, err error)

// A RefusedError says why something that was asked for is not done.
type RefusedError struct {
	Reasons []string // sentences without a full stop
	Hint    string
}

func (e *RefusedError) Error() string { return strings.Join(e.Reasons, "\n") }

// An UnknownError says that something that was named is not there, and what is.
type UnknownError struct{ Text, Hint string }

func (e *UnknownError) Error() string { return e.Text }

// IsVersion says whether a name is one that an image version can have.
func IsVersion(name string) bool { return versionNumbers(name) != nil }

// Exclusion is the edit that excludes a version from latest in regions, or ends that;
// without regions it is for all. No other region changes: see [Exclude].
func Exclusion(regions []string, excluded bool) VersionEdit {
	return func(version Document) (Document, error) {
		patch, _, err := Exclude(version, regions, excluded)
		return patch, err
	}
}

// Exclude returns the PATCH that excludes a version from latest in regions, or ends
// that, and whether there is anything to change. Without regions it is for all.
//
// A version is excluded in a region by its own flag or by the region's. The version's
// flag that goes is handed down to every region that was not asked for, so none of them
// changes. To exclude everywhere sets all flags: the version's is for regions that are
// added later, and with the regions' own a tool that clears the version's for the sake
// of one region does not release the rest. What is excluded already is not written.
func Exclude(version Document, regions []string, excluded bool) (patch Document, changed bool, err error) {
	p, err := readExclusion(version)
	if err != nil {
		return nil, false, err
	}
	asked, err := p.asked(regions)
	if err != nil {
		return nil, false, err
	}
	whole := p.whole
	switch {
	case len(regions) == 0:
		changed, whole = whole != excluded, excluded
	case whole && !excluded:
		if len(listAt(version, "properties", "publishingProfile", "targetExtendedLocations")) > 0 {
			return nil, false, &RefusedError{
				Reasons: []string{"the version is excluded as a whole and in edge zones too, which have no flag of their own: to release one region would release them"},
				Hint:    "release it everywhere: leave out --region",
			}
		}
		changed, whole = true, false
	case whole: // excluded there, whatever the region's flag is
		return nil, false, nil
	}
	if whole && p.whole {
		return nil, false, nil
	}
	flags := make([]bool, len(p.regions))
	for i, r := range p.regions {
		flags[i] = r.excluded || p.whole // what it is now
		if asked[r.name] {
			flags[i] = excluded
		}
		changed = changed || flags[i] != r.excluded
	}
	if !changed {
		return nil, false, nil
	}
	profile := Document{"excludeFromLatest": whole}
	if len(p.regions) > 0 {
		profile["targetRegions"] = p.with(flags)
	}
	return versionPatch("publishingProfile", profile), true, nil
}

// versionPatch is the body of a PATCH of one part of a version's properties. Azure's
// model asks for a storage profile in it, which may be empty.
func versionPatch(part string, value Document) Document {
	return Document{"properties": Document{part: value, "storageProfile": Document{}}}
}

// exclusion is what a version says of being the latest.
type exclusion struct {
	whole   bool // of the version
	regions []regionFlag
}

// A regionFlag is a target region as it was read.
type regionFlag struct {
	name     string // normalised
	excluded bool   // the region's own flag
	target   Document
}

func readExclusion(version Document) (exclusion, error) {
	profile, ok := dig(version, "properties", "publishingProfile").(Document)
	if !ok {
		return exclusion{}, errors.New("the version has no publishing profile")
	}
	var e exclusion
	var err error
	if e.whole, err = flagOf(profile, "excludeFromLatest"); err != nil {
		return e, err
	}
	for _, item := range listAt(profile, "targetRegions") {
		target, _ := item.(Document)
		r := regionFlag{name: NormalLocation(textAt(target, "name")), target: target}
		if r.name == "" {
			return e, errors.New("a target region of the version has no name")
		}
		if r.excluded, err = flagOf(target, "excludeFromLatest"); err != nil {
			return e, err
		}
		e.regions = append(e.regions, r)
	}
	return e, nil
}

// flagOf returns a flag, which need not be there. What is none must not be taken for
// one: a write depends on it.
func flagOf(object Document, key string) (bool, error) {
	switch v := lookUp(object, key).(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	default:
		return false, fmt.Errorf("%s of the version is %v, which is neither true nor false", key, v)
	}
}

// asked are the regions that are meant. One that the version does not have is an
// error.
func (e *exclusion) asked(regions []string) (map[string]bool, error) {
	asked := make(map[string]bool)
	names := e.names()
	if len(regions) == 0 {
		for _, name := range names {
			asked[name] = true
		}
		return asked, nil
	}
	for _, region := range regions {
		name := NormalLocation(region)
		if !slices.Contains(names, name) {
			return nil, &UnknownError{Text: fmt.Sprintf("the version is not in %q", region), Hint: "it is in " + listed(names, "no region")}
		}
		asked[name] = true
	}
	return asked, nil
}

func (e *exclusion) names() []string {
	names := make([]string, len(e.regions))
	for i, r := range e.regions {
		names[i] = r.name
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// in says whether the version is excluded in a region.
func (e *exclusion) in(r regionFlag) bool { return e.whole || r.excluded }

// with are the target regions with these flags, and with all else that was read.
func (e *exclusion) with(flags []bool) []any {
	targets := make([]any, len(e.regions))
	for i, r := range e.regions {
		target := make(Document, len(r.target)+1)
		for key, value := range r.target {
			if !strings.EqualFold(key, "excludeFromLatest") {
				target[key] = value
			}
		}
		target["excludeFromLatest"] = flags[i]
		targets[i] = target
	}
	return targets
}

// Demotion is the edit that excludes a version from latest in regions, or everywhere.
func Demotion(regions []string) VersionEdit { return Exclusion(regions, true) }

// Promotion is the edit that ends the exclusion of a version in regions, or
// everywhere. It refuses a version that is marked failed, whatever else is true; one
// that is not there yet; and, unless untested is set, one that never passed a boot
// test.
func Promotion(regions []string, untested bool) VersionEdit {
	return func(version Document) (Document, error) {
		if reason, failed := dig(version, "tags", TagFailed).(string); failed {
			return nil, &RefusedError{
				Reasons: []string{"the version is marked failed" + because(reason)},
				Hint:    "bake another one; who knows better takes the tag " + TagFailed + " away",
			}
		}
		patch, changed, err := Exclude(version, regions, false)
		if err != nil || !changed {
			return nil, err
		}
		if refusal := notReady(version, regions); refusal != nil {
			return nil, refusal
		}
		if _, booted := BootedAt(version); !booted && !untested {
			return nil, &RefusedError{
				Reasons: []string{"the version never passed a boot test: it has no tag " + TagBooted},
				Hint:    "fleetctl bake tests what it bakes; --untested promotes it all the same",
			}
		}
		return patch, nil
	}
}

// BootedAt returns when a version passed its boot test, and whether it did. The time
// is zero when the tag holds none.
func BootedAt(version Document) (at time.Time, booted bool) {
	text, booted := dig(version, "tags", TagBooted).(string)
	at, _ = time.Parse(time.RFC3339, text) // the mark counts, its time is for people
	return at, booted
}

// notReady says why a version cannot be the latest in regions yet, or nil.
func notReady(version Document, regions []string) error {
	var refusal RefusedError
	if state := textAt(version, "properties", "provisioningState"); state != Succeeded {
		refusal.Reasons = append(refusal.Reasons, "the version's provisioning state is "+listed([]string{state}, "not known")+": Azure never takes it as latest")
	}
	e, err := readExclusion(version)
	if err != nil {
		return err
	}
	asked, err := e.asked(regions)
	if err != nil {
		return err
	}
	states := make(map[string]Document)
	for _, item := range listAt(version, "properties", "replicationStatus", "summary") {
		s, _ := item.(Document)
		states[NormalLocation(textAt(s, "region"))] = s
	}
	var ready []string
	for _, name := range e.names() {
		s := states[name]
		state := textAt(s, "state")
		switch {
		case state == Replicated:
			ready = append(ready, name)
		case !asked[name]:
		case state == ReplicationFailed:
			refusal.Reasons = append(refusal.Reasons, "the version did not replicate to "+name+because(textAt(s, "details")))
		case state == Replicating:
			progress, _ := integer(dig(s, "progress"))
			refusal.Reasons = append(refusal.Reasons, fmt.Sprintf("the version is on its way to %s (%d%%)", name, progress))
		default:
			refusal.Reasons = append(refusal.Reasons, "Azure does not say whether the version is replicated to "+name)
		}
	}
	if len(refusal.Reasons) == 0 {
		return nil
	}
	refusal.Hint = "fleetctl images shows how far it is"
	if len(ready) > 0 && len(ready) < len(e.names()) && len(regions) == 0 {
		refusal.Hint = "it can be promoted where it is: --region " + strings.Join(ready, ",")
	}
	return &refusal
}

// listed joins texts that are not empty, or returns another.
func listed(texts []string, none string) string {
	texts = slices.DeleteFunc(slices.Clone(texts), func(s string) bool { return s == "" })
	if len(texts) == 0 {
		return none
	}
	return strings.Join(texts, ", ")
}
