package fleetfile

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata" // the time zones of rollout windows, also where the system has none

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// DefaultPath is where fleetctl looks for the file.
const DefaultPath = "fleet.yaml"

// A File is a fleet.yaml that was read and found right. It is not changed
// afterwards.
type File struct {
	Path string
	Spec *fleet.Spec

	origins strict.Origins
}

// Place returns where in the file a value was written or, when it was not, where the
// map was that would hold it. The path is as in errors:
// "scale_sets.vmss-authz.health.port".
func (f *File) Place(path string) strict.Place { return f.origins.At(path) }

// Given says whether a value was written in the file. The path is that of Place.
func (f *File) Given(path string) bool { return f.origins.Given(path) }

// Faults gives the faults of a bake's content their places in this file.
func (f *File) Faults(faults fleet.ContentError) strict.Errors {
	var errs strict.Errors
	for _, fault := range faults {
		errs = append(errs, f.origins.Fault(fault.Key, fault.Fix, "%s", fault.Text))
	}
	return errs
}

// Load reads the file at path. Variables come from getenv, which is os.LookupEnv
// outside tests.
//
// The error is of type strict.Errors and holds every fault that was found, in the
// order of the file. It holds no value that came from a variable.
func Load(path string, getenv func(string) (string, bool)) (*File, error) {
	text, err := strict.ReadFile(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, strict.Errors{{
			File: path, Message: "does not exist",
			Hint: "name another with --file, or run: fleetctl init",
		}}
	}
	if err != nil {
		return nil, strict.Errors{strict.FileError(path, err)}
	}
	return Read(path, text, getenv)
}

// Read is Load for a text that is at hand already. The path names it in errors, and
// local files are found from its directory on.
func Read(path string, text []byte, getenv func(string) (string, bool)) (*File, error) {
	l := loader{
		file:   &File{Path: path, Spec: &fleet.Spec{}, origins: make(strict.Origins)},
		getenv: getenv,
	}
	if errs := l.read(text); len(errs) > 0 {
		return nil, errs
	}
	return l.file, nil
}

type loader struct {
	file   *File
	getenv func(string) (string, bool)
}

func (l *loader) read(text []byte) strict.Errors {
	text, fault := shield(text)
	if fault != nil {
		return l.told(strict.Errors{fault})
	}
	root, errs := strict.Parse(text)
	if len(errs) > 0 {
		return l.told(errs)
	}
	if root == nil { // nothing but comments: what is required is missing
		root = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: 1, Column: 1}
	}
	unshield(root)
	in := interpolation{getenv: l.getenv, written: make(map[position]string), became: make(map[position]string)}
	in.values(root, "")
	if len(in.errs) > 0 { // what the values are is not known
		return l.told(in.errs)
	}
	schema := newSchema()
	inherit := newInheritance(schema.Fields())
	root = inherit.document(root)
	if err := strict.CheckSize(root); err != nil {
		return l.told(strict.Errors{err})
	}
	spec := l.file.Spec
	schema.Fill(spec)
	errs = slices.Concat(inherit.errs, schema.Decode(root, spec, strict.Source{File: l.file.Path, Origins: l.file.origins}))
	l.complete(spec)
	errs = append(errs, validate(spec, l.file.origins, errs)...)
	for _, e := range errs {
		in.hide(e)
	}
	return l.told(errs)
}

// told sorts errors by their place, names the file, and leaves out those of what several
// scale sets inherit but once.
func (l *loader) told(errs strict.Errors) strict.Errors {
	slices.SortStableFunc(errs, func(a, b *strict.Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column), cmp.Compare(inherited(a), inherited(b)))
	})
	type fault struct {
		position
		key, message string
	}
	seen := make(map[fault]bool)
	return slices.DeleteFunc(errs, func(e *strict.Error) bool {
		e.File = l.file.Path
		f := fault{position{e.Line, e.Column}, l.keyOf(e.Field), e.Message}
		again := seen[f]
		seen[f] = true
		return again
	})
}

// keyOf is the last name of a field, which is the same in the defaults and in every scale
// set that inherits it; empty: the field is the defaults, or a scale set.
func (l *loader) keyOf(field string) string {
	set, _ := strings.CutPrefix(field, "scale_sets.")
	if _, isSet := l.file.Spec.ScaleSets[set]; isSet || field == "defaults" {
		return ""
	}
	return field[strings.LastIndexByte(field, '.')+1:]
}

// inherited orders errors of the same place: that of the defaults first.
func inherited(e *strict.Error) int {
	if strings.HasPrefix(e.Field, "defaults") {
		return 0
	}
	return 1
}

// complete normalises regions, gives every scale set one, and finds local files.
func (l *loader) complete(s *fleet.Spec) {
	s.Location = fleet.NormalLocation(s.Location)
	s.Defaults.Location = fleet.NormalLocation(s.Defaults.Location)
	if s.Gallery != nil {
		s.Gallery.Regions = normalRegions(s.Gallery.Regions)
	}
	if s.Bake != nil {
		for i := range s.Bake.Customize {
			l.local(&s.Bake.Customize[i].File)
			l.local(&s.Bake.Customize[i].Script)
		}
		for i := range s.Bake.Validate {
			l.local(&s.Bake.Validate[i].Script)
		}
		if s.Bake.BootTest != nil {
			l.local(&s.Bake.BootTest.Run)
		}
	}
	for name, set := range s.ScaleSets {
		set.Location = cmp.Or(fleet.NormalLocation(set.Location), s.Location)
		if set.Create != nil {
			l.local(&set.Create.SSHKey)
		}
		s.ScaleSets[name] = set
	}
	if s.Rollout != nil {
		l.local(&s.Rollout.Journal)
	}
}

// normalRegions writes the regions as Azure does. Of two that are the same one is
// kept; validate tells it.
func normalRegions(regions map[string]int) map[string]int {
	if regions == nil {
		return nil
	}
	normal := make(map[string]int, len(regions))
	for name, replicas := range regions {
		normal[fleet.NormalLocation(name)] = replicas
	}
	return normal
}

// local finds a local file from the directory of fleet.yaml on, or from the home
// directory.
func (l *loader) local(file *string) {
	switch {
	case *file == "" || strings.Contains(*file, "://"):
	case strings.HasPrefix(*file, "~/"):
		if home, ok := l.getenv("HOME"); ok {
			*file = filepath.Join(home, (*file)[2:])
		}
	case !filepath.IsAbs(*file):
		*file = filepath.Join(filepath.Dir(l.file.Path), *file)
	}
}
