package fleet

import (
	"regexp"
	"slices"
	"strings"
)

// A Refusal is a write that Azure did not take, or that failed later.
type Refusal struct {
	ID      ResourceID // of what was written; of an action, what it is an action of
	Code    string     // "PropertyChangeNotAllowed"; empty: none was given
	Message string
	Target  string // the property that Azure means, where it says so
	// Fields are the properties that a policy looked at and did not let pass.
	Fields []string
}

// text is what rows of the table are matched with.
func (r *Refusal) text() string { return strings.TrimPrefix(r.Code+": "+r.Message, ": ") }

// An Explanation is what of the file makes Azure refuse a write.
type Explanation struct {
	// Cause names the row of the table that knows the refusal.
	Cause string
	// Keys are those of the file, the one that fits best first: "scale_sets.vmss-web.create.zones".
	// There is at least one. What is not in the file stands where it would be.
	Keys []string
	// Do is what to do about it.
	Do string
}

// A Place is where the file says what Azure refuses something for, and what to do about it.
type Place struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Key    string `json:"key"`
	Do     string `json:"do"`
}

// maxKeys bounds the keys of an explanation: of more than these the section that they
// are in is named.
const maxKeys = 3

// KeysOf returns the keys of the file that a property of a resource of it comes from, as
// Explain does. None: the file does not say it.
func KeysOf(s *Spec, id ResourceID, property string) []string {
	about, known := s.subject(id)
	if !known {
		return nil
	}
	return about.trace(s).keys(property)
}

// Explain says which keys of the file make Azure refuse a write. False: no key of the file
// is known to.
func Explain(s *Spec, r *Refusal) (Explanation, bool) {
	about, known := s.subject(r.ID)
	if !known {
		return Explanation{}, false
	}
	for i := range refusals {
		row := &refusals[i]
		m := row.match.FindStringSubmatch(r.text())
		if m == nil || row.of != nil && !slices.Contains(row.of, about.kind) {
			continue
		}
		e := Explanation{Cause: row.id, Do: row.do, Keys: row.find(s, &about, r, m)}
		if len(e.Keys) == 0 {
			e.Keys = []string{about.section}
		}
		return e, true
	}
	return Explanation{}, false
}

// A refusal is a row of the table of what Azure refuses.
type refusal struct {
	id    string
	of    []string       // kinds of subjects; nil: any
	match *regexp.Regexp // of the code and the message; its group, if any, is the property
	// properties are the causes where the message names none, as the body has them.
	properties []string
	// keys are the causes that are in no body. {set} is the scale set's section.
	keys []string
	// scope: the group is the id of a resource, which a key of the file names.
	scope bool
	do    string
}

// find returns the keys of the file that a refusal is about.
func (row *refusal) find(s *Spec, about *subject, r *Refusal, match []string) []string {
	var keys []string
	for _, key := range row.keys {
		keys = append(keys, strings.ReplaceAll(key, "{set}", about.section))
	}
	named := ""
	if len(match) > 1 {
		named = match[1]
	}
	switch {
	case row.scope:
		return append(keys, s.keysOfScope(ResourceID(named), about)...)
	case named != "" || len(row.properties) > 0 || len(r.Fields) > 0:
		trace := about.trace(s)
		for _, property := range slices.Concat(r.Fields, []string{named}, row.properties) {
			keys = appendNew(keys, trace.keys(property)...)
		}
		if len(keys) == 0 {
			keys = trace.keys(r.Target)
		}
	}
	return keys
}

func appendNew(list []string, more ...string) []string {
	for _, one := range more {
		if !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	return list
}

// A subject is what was written, and where the file speaks of it.
type subject struct {
	kind    string
	set     string // the name of the scale set that it is or belongs to, or ""
	section string // of the file: "scale_sets.vmss-web"
}

// The kinds of subjects.
const (
	ofSet        = "scale set"
	ofExtension  = "extension"
	ofMember     = "member"
	ofAutoscale  = "autoscale setting"
	ofGallery    = "gallery"
	ofDefinition = "image definition"
	ofVersion    = "image version"
	ofTemplate   = "image template"
	ofIdentity   = "identity"
	ofRole       = "role"
	ofGroup      = "resource group"
)

// kindsOfSubjects are the kinds by the type of the resource, with the section of the file.
var kindsOfSubjects = map[string]subject{
	"microsoft.compute/virtualmachinescalesets":                 {kind: ofSet},
	"microsoft.compute/virtualmachinescalesets/extensions":      {kind: ofExtension},
	"microsoft.compute/virtualmachinescalesets/virtualmachines": {kind: ofMember},
	"microsoft.compute/virtualmachines":                         {kind: ofMember},
	"microsoft.insights/autoscalesettings":                      {kind: ofAutoscale},
	"microsoft.compute/galleries":                               {kind: ofGallery, section: "gallery"},
	"microsoft.compute/galleries/images":                        {kind: ofDefinition, section: "gallery.image"},
	"microsoft.compute/galleries/images/versions":               {kind: ofVersion, section: "gallery"},
	"microsoft.virtualmachineimages/imagetemplates":             {kind: ofTemplate, section: "bake"},
	"microsoft.managedidentity/userassignedidentities":          {kind: ofIdentity, section: "bake.identity"},
	"microsoft.authorization/roledefinitions":                   {kind: ofRole, section: "bake.identity"},
	"microsoft.authorization/roleassignments":                   {kind: ofRole, section: "bake.identity"},
	"microsoft.resources/resourcegroups":                        {kind: ofGroup, section: "resource_group"},
	"microsoft.resources/providers":                             {kind: ofGroup, section: "bake"},
}

// subject says what an id of Azure is to the file, or that it is nothing.
func (s *Spec) subject(id ResourceID) (subject, bool) {
	typ := strings.ToLower(id.Type())
	about, known := kindsOfSubjects[typ]
	for !known && typ != "" { // what is below it
		typ = typ[:max(strings.LastIndexByte(typ, '/'), 0)]
		about, known = kindsOfSubjects[typ]
	}
	if !known || about.section != "" {
		return about, known
	}
	if about.set = s.setOf(about.kind, id); about.set == "" {
		return about, false
	}
	about.section = "scale_sets." + about.set
	return about, true
}

// setOf is the scale set of the file that an id is of, or belongs to by its name.
func (s *Spec) setOf(kind string, id ResourceID) string {
	name := id.Part("virtualMachineScaleSets")
	if kind == ofAutoscale {
		name = id.Name()
	} else if name == "" {
		name = id.Part("virtualMachines")
	}
	found := ""
	for _, one := range sortedKeys(s.ScaleSets) {
		set := s.SetID(one)
		whole := strings.EqualFold(set.Name(), name)
		part := id.Part("virtualMachineScaleSets") == "" && begins(name, set.Name()+"_", set.Name()+"-")
		if (whole || part) && strings.EqualFold(set.ResourceGroup(), id.ResourceGroup()) && len(one) > len(found) {
			found = one
		}
	}
	return found
}

// begins says whether a name begins with one of these, whatever its letters are.
func begins(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool {
		return len(name) >= len(p) && strings.EqualFold(name[:len(p)], p)
	})
}
