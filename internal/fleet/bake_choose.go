package fleet

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A BakeSurvey is what a call of bake sees before it has a number.
type BakeSurvey struct {
	Spec      *Spec
	Now       time.Time
	Call      BakeCall
	Templates []BakeTemplate // of the image
	Versions  []Version      // of the definition, without their replication
}

// A BakeChoice is the number that a call bakes under, and what it does about the
// bakes that it finds.
type BakeChoice struct {
	Version string
	// Reserve says that the number is free, and has to be reserved.
	Reserve bool
	// Left are the bakes that hang, and are left behind.
	Left []LeftBake
	// Other are unfinished bakes of the same content that wait for a later call.
	Other []string
	// Reject are versions that nobody may use, and why: left behind, or of a build that
	// failed.
	Reject []LeftBake
	// Sweep are templates that stand for nothing any more, to be deleted once the
	// number is reserved: until then the highest of them keeps its number taken.
	Sweep []ResourceID
}

// A LeftBake is a bake that no call goes on with.
type LeftBake struct {
	Version string
	Why     string
}

// A numbered is all there is of one number.
type numbered struct {
	version  string
	template *BakeTemplate
	image    *Version
}

// ChooseBake chooses the number. A call goes on with the oldest unfinished bake of the
// same content, unless it has lost a race: then another call bakes that at this
// moment, and this one wants a number of its own. A bake is finished when its version
// is judged and its template gone, or its build failed for good. Otherwise the next
// number is free: numbers of templates and of versions both count, so that none is
// used twice. The error is a *BakeError.
func ChooseBake(s *BakeSurvey) (*BakeChoice, error) {
	c := &BakeChoice{}
	left := s.leftBehind()
	all := s.numbers()
	var open []*numbered
	for _, n := range all {
		if !n.of(s.Spec.Name) {
			continue
		}
		hangs := ""
		if n.template != nil {
			hangs = n.template.hangs(s.Spec, s.Now, s.Call.Started)
		}
		by, gone := left[n.version]
		switch {
		case hangs != "":
			c.Left = append(c.Left, LeftBake{n.version, hangs})
		case gone:
			n.reject(c, "left behind by "+by)
			n.sweep(c)
		case n.template.endedBadly():
			n.reject(c, n.template.ended())
			n.sweep(c)
		case n.template != nil && n.template.Tags[TagCall] == s.Call.ID && n.template.Provisioning != "Deleting":
			c.Version = n.version // it was made although the answer was lost
		case n.finished(s), n.dead(s):
			n.sweep(c)
		case n.content() == s.Call.Content:
			open = append(open, n)
		}
	}
	if c.Version == "" && s.Call.Races == 0 && len(open) > 0 {
		c.Version = open[0].version
		open = open[1:]
	}
	for _, n := range open {
		c.Other = append(c.Other, n.version)
	}
	if c.Version == "" {
		version, err := s.free(all)
		if err != nil {
			return nil, err
		}
		c.Version, c.Reserve = version, true
	}
	c.Sweep = slices.DeleteFunc(c.Sweep, func(id ResourceID) bool { return strings.EqualFold(id.Name(), s.Spec.TemplateName(c.Version)) })
	return c, nil
}

// numbers puts together what there is of each number, the lowest first.
func (s *BakeSurvey) numbers() []*numbered {
	byVersion := map[string]*numbered{}
	at := func(version string) *numbered {
		n := byVersion[version]
		if n == nil {
			n = &numbered{version: version}
			byVersion[version] = n
		}
		return n
	}
	for i := range s.Templates {
		at(s.Templates[i].Version).template = &s.Templates[i]
	}
	for i := range s.Versions {
		at(s.Versions[i].Name).image = &s.Versions[i]
	}
	all := make([]*numbered, 0, len(byVersion))
	for _, n := range byVersion {
		all = append(all, n)
	}
	slices.SortFunc(all, func(a, b *numbered) int { return CompareVersions(a.version, b.version) })
	return all
}

// leftBehind returns which versions were left behind, and by which.
func (s *BakeSurvey) leftBehind() map[string]string {
	left := map[string]string{}
	add := func(by string, tags map[string]string) {
		if tags[TagFleet] != s.Spec.Name {
			return
		}
		for version := range strings.FieldsSeq(tags[TagLeft]) {
			left[version] = by
		}
	}
	for i := range s.Versions {
		add(s.Versions[i].Name, s.Versions[i].Tags)
	}
	for i := range s.Templates {
		add(s.Templates[i].Version, s.Templates[i].Tags)
	}
	return left
}

// maxTag is how long the value of a tag may be.
const maxTag = 256

// Reservation is the request that reserves the number: it makes the template only when
// there is none of the name. The template says who made it and when, and names, as the
// version will, what is left behind.
func (c *BakeChoice) Reservation(s *BakeSurvey, content *Content) Write {
	body := ImageTemplate(s.Spec, content, c.Version)
	tags := Document{TagCall: s.Call.ID, TagReserved: s.Now.UTC().Format(time.RFC3339)}
	if left := c.leftTag(); left != "" {
		tags[TagLeft] = left
		for _, d := range listAt(body, "properties", "distribute") {
			addTags(d, "artifactTags", Document{TagLeft: left})
		}
	}
	addTags(body, "tags", tags)
	return Write{Method: "PUT", ID: s.Spec.TemplateID(c.Version), Body: body, IfNew: true}
}

// leftTag names the newest of what is left behind, as far as a tag has room.
func (c *BakeChoice) leftTag() string {
	text := ""
	for _, l := range slices.Backward(c.Left) {
		if len(text)+1+len(l.Version) > maxTag {
			break
		}
		text = strings.TrimSpace(l.Version + " " + text)
	}
	return text
}

func addTags(v any, key string, more Document) {
	object, ok := v.(map[string]any)
	if !ok {
		return
	}
	tags, _ := object[key].(map[string]any)
	if tags == nil {
		tags = Document{}
		object[key] = tags
	}
	maps.Copy(tags, more)
}

// of says whether a bake of the fleet has the number.
func (n *numbered) of(fleet string) bool { return n.tag(TagFleet) == fleet }

func (n *numbered) content() string { return n.tag(TagContent) }

func (n *numbered) tag(name string) string {
	if n.template != nil {
		return n.template.Tags[name]
	}
	return n.image.Tags[name]
}

// finished says whether there is nothing left to do for the number.
func (n *numbered) finished(s *BakeSurvey) bool {
	switch {
	case n.template != nil && n.template.Provisioning == "Deleting":
		return n.image == nil || n.image.decided() || !s.Call.BootTest
	case n.template != nil:
		return false
	case n.image.decided():
		return true
	}
	return !s.Call.BootTest && n.image.sealed(s.Spec, n.content())
}

// dead says whether the number's template stands for nothing any more: it could not be
// made, it has published nothing, or its version is judged and a call of another
// content did not clean up. One of another content that failed just now is left to the
// call that made it.
func (n *numbered) dead(s *BakeSurvey) bool {
	t := n.template
	other := n.content() != s.Call.Content
	switch {
	case t == nil:
		return false
	case n.image != nil:
		return other && n.image.decided()
	case t.Provisioning == Failed:
		return !other || s.Now.After(t.since(s.Call.Started).Add(templateDeadline))
	}
	return t.RunState == Succeeded && s.Now.After(t.RunEnd.Add(publishDeadline))
}

// reject adds a version that is there and must not be used.
func (n *numbered) reject(c *BakeChoice, why string) {
	if n.image != nil && !n.image.decided() && n.image.still() {
		c.Reject = append(c.Reject, LeftBake{n.version, why})
	}
}

// sweep adds the template, unless Azure refuses to delete it now, or what it publishes
// is yet to be rejected: without it nobody knew.
func (n *numbered) sweep(c *BakeChoice) {
	t := n.template
	if t == nil || n.image != nil && !n.image.still() || t.Provisioning == "Deleting" || slices.Contains(inTransit, t.Provisioning) || slices.Contains(inTransit, t.RunState) {
		return
	}
	c.Sweep = append(c.Sweep, t.ID)
}

// numberHole is what stands in bake.version for the next free number.
const numberHole = "{n}"

// free returns the version to reserve.
func (s *BakeSurvey) free(all []*numbered) (string, error) {
	before, after, open := strings.Cut(s.Spec.Bake.Version, numberHole)
	if !open {
		for _, n := range all {
			if CompareVersions(n.version, s.Spec.Bake.Version) == 0 {
				return "", n.taken()
			}
		}
		return s.Spec.Bake.Version, nil
	}
	next := uint64(0)
	for _, n := range all {
		middle, ok := strings.CutPrefix(n.version, before)
		middle, fits := strings.CutSuffix(middle, after)
		number, err := strconv.ParseUint(middle, 10, 32)
		if ok && fits && err == nil {
			next = max(next, number+1)
		}
	}
	return before + strconv.FormatUint(next, 10) + after, nil
}

// taken says who has the number.
func (n *numbered) taken() *BakeError {
	f := &BakeError{Kind: FailTaken, Version: n.version, Title: "the version " + n.version + " is taken"}
	if n.image != nil {
		f.Said = "by the image version of that number, published at " + clockText(n.image.Published)
		return f
	}
	f.Said = fmt.Sprintf("by the image template %s, reserved at %s", n.template.ID.Name(), clockText(n.template.reserved()))
	return f
}
