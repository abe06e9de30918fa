package fleet

import (
	"fmt"
	"strings"
	"time"
)

// A build is how an image is made, by the file's bake or by an image template.
type build struct {
	resource Resource
	inAzure  bool
	template *Template // in Azure only
	// file is where a template of a file was read, body what it says there, and path
	// where in the file it stands.
	file *TemplateFile
	path string
	body Document
	// publisher is of the Marketplace image that it begins with, or "".
	publisher     string
	steps         []step
	timeout       *time.Duration
	timeoutKey    string
	distributions []distribution
	staging       ResourceID // a resource group of the user's own
	subnet        string
}

// A step is a customizer or a validator.
type step struct {
	key     string // of the file: "bake.customize[0]"
	name    string
	inline  []string
	script  string // a URI or a local file
	file    string
	to      string
	checked bool // it has a checksum
}

// A distribution is where the image goes.
type distribution struct {
	key        string // of the file
	definition ResourceID
	excluded   bool
}

func builds(e *Evidence) []build {
	var all []build
	if e.Spec != nil && e.Spec.Bake != nil {
		all = append(all, fileBuild(e.Spec))
	}
	if e.Live != nil {
		for i := range e.Live.Templates {
			t := &e.Live.Templates[i]
			b := templateBuild(t.Properties)
			b.resource = Resource{Kind: kindTemplate, Name: t.ID.Name(), ID: t.ID}
			b.inAzure, b.template = true, t
			all = append(all, b)
		}
	}
	if e.Template != nil {
		for i := range e.Template.resources {
			r := &e.Template.resources[i]
			properties, _ := dig(r.body, "properties").(Document)
			b := templateBuild(properties)
			b.resource = Resource{Kind: kindTemplate, Name: e.Template.label(r)}
			b.file, b.path, b.body = e.Template, r.path, r.body
			all = append(all, b)
		}
	}
	return all
}

func fileBuild(s *Spec) build {
	b := build{
		resource:  Resource{Kind: kindBake, Name: s.Name},
		publisher: s.Bake.Source.Publisher,
		timeout:   &s.Bake.Timeout, timeoutKey: "bake.timeout",
		// The version that a bake makes is always excluded.
		distributions: []distribution{{key: "bake", definition: s.DefinitionID(), excluded: true}},
	}
	for i, c := range s.Bake.Customize {
		b.steps = append(b.steps, step{key: fmt.Sprintf("bake.customize[%d]", i), name: c.Name, script: c.Script, file: c.File, to: c.To})
	}
	for i, v := range s.Bake.Validate {
		b.steps = append(b.steps, step{key: fmt.Sprintf("bake.validate[%d]", i), name: v.Name, script: v.Script})
	}
	return b
}

// templateBuild is the build of an image template with these properties.
func templateBuild(p Document) build {
	b := build{
		publisher:  textAt(p, "source", "publisher"),
		staging:    ResourceID(textAt(p, "stagingResourceGroup")),
		subnet:     textAt(p, "vmProfile", "vnetConfig", "subnetId"),
		timeoutKey: "properties.buildTimeoutInMinutes",
	}
	if n, ok := integer(dig(p, "buildTimeoutInMinutes")); ok {
		b.timeout = new(time.Duration(n) * time.Minute)
	}
	for i, one := range listAt(p, "customize") {
		b.steps = append(b.steps, templateStep(fmt.Sprintf("properties.customize[%d]", i), one))
	}
	for i, one := range listAt(p, "validate", "inVMValidations") {
		b.steps = append(b.steps, templateStep(fmt.Sprintf("properties.validate.inVMValidations[%d]", i), one))
	}
	for i, one := range listAt(p, "distribute") {
		if !strings.EqualFold(textAt(one, "type"), "SharedImage") {
			continue
		}
		excluded := dig(one, "excludeFromLatest")
		b.distributions = append(b.distributions, distribution{
			key: fmt.Sprintf("properties.distribute[%d]", i), definition: ResourceID(textAt(one, "galleryImageId")),
			excluded: excluded == true || excluded == unresolved{},
		})
	}
	return b
}

func templateStep(key string, v any) step {
	s := step{key: key, name: textAt(v, "name"), script: textAt(v, "scriptUri")}
	sum := dig(v, "sha256Checksum")
	s.checked = sum != nil && sum != ""
	if strings.EqualFold(textAt(v, "type"), "Shell") {
		for _, line := range listAt(v, "inline") {
			command, _ := line.(string)
			s.inline = append(s.inline, command)
		}
	}
	if strings.EqualFold(textAt(v, "type"), "File") {
		s.file, s.to = textAt(v, "sourceUri"), textAt(v, "destination")
	}
	return s
}

// say makes a finding about the build.
func (b *build) say(key, seen, fix string) Finding {
	f := Finding{Resource: b.resource, Live: b.inAzure, Seen: seen, Fix: fix}
	switch {
	case b.file != nil:
		f.Key = strings.Trim(b.path+"."+key, ".")
		f.Place = b.file.place(f.Key)
	case !b.inAzure:
		f.Key = key
	}
	return f
}

// toKey is the key of a step that says where a file goes.
func (s *step) toKey() string {
	if strings.HasPrefix(s.key, "properties.") {
		return ".destination"
	}
	return ".to"
}

// inlineKey is the place of the inline command that has a line of all of them.
func (s *step) inlineKey(line int) string {
	for i, command := range s.inline {
		if line -= 1 + strings.Count(command, "\n"); line <= 0 {
			return fmt.Sprintf("%s.inline[%d]", s.key, i)
		}
	}
	return s.key
}

// label names a step for a message.
func (s *step) label() string {
	if s.name == "" {
		return "a step without a name"
	}
	return s.name
}

// eachStep looks at every step of every build.
func eachStep(look func(*scene, *build, *step) []Finding) func(*scene) []Finding {
	return func(s *scene) []Finding {
		var all []Finding
		for i := range s.builds {
			for j := range s.builds[i].steps {
				all = append(all, look(s, &s.builds[i], &s.builds[i].steps[j])...)
			}
		}
		return all
	}
}

// eachBuild looks at every build.
func eachBuild(look func(*scene, *build) []Finding) func(*scene) []Finding {
	return func(s *scene) []Finding {
		var all []Finding
		for i := range s.builds {
			all = append(all, look(s, &s.builds[i])...)
		}
		return all
	}
}
