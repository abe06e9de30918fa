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
	// publisher is of the Marketplace image that it begins with, or "".
	publisher     string
	steps         []step
	timeout       *time.Duration
	distributions []distribution
	staging       ResourceID // a resource group of the user's own
	subnet        string
}

// A step is a customizer or a validator.
type step struct {
	key    string // of the file: "bake.customize[0]"
	name   string
	inline []string
	script string // a URI or a local file
	file   string
	to     string
}

// A distribution is where the image goes.
type distribution struct {
	definition ResourceID
	excluded   bool
}

func builds(e *Evidence) []build {
	var all []build
	if e.Spec != nil && e.Spec.Bake != nil {
		all = append(all, fileBuild(e.Spec))
	}
	if e.Live == nil {
		return all
	}
	for i := range e.Live.Templates {
		all = append(all, templateBuild(&e.Live.Templates[i]))
	}
	return all
}

func fileBuild(s *Spec) build {
	b := build{
		resource:  Resource{Kind: kindBake, Name: s.Name},
		publisher: s.Bake.Source.Publisher,
		timeout:   &s.Bake.Timeout,
		// The version that a bake makes is always excluded.
		distributions: []distribution{{definition: s.DefinitionID(), excluded: true}},
	}
	for i, c := range s.Bake.Customize {
		b.steps = append(b.steps, step{key: fmt.Sprintf("bake.customize[%d]", i), name: c.Name, script: c.Script, file: c.File, to: c.To})
	}
	for i, v := range s.Bake.Validate {
		b.steps = append(b.steps, step{key: fmt.Sprintf("bake.validate[%d]", i), name: v.Name, script: v.Script})
	}
	return b
}

func templateBuild(t *Template) build {
	p := t.Properties
	b := build{
		resource: Resource{Kind: kindTemplate, Name: t.ID.Name(), ID: t.ID}, inAzure: true, template: t,
		publisher: textAt(p, "source", "publisher"),
		staging:   ResourceID(textAt(p, "stagingResourceGroup")),
		subnet:    textAt(p, "vmProfile", "vnetConfig", "subnetId"),
	}
	if n, ok := integer(dig(p, "buildTimeoutInMinutes")); ok {
		b.timeout = new(time.Duration(n) * time.Minute)
	}
	for _, one := range append(listAt(p, "customize"), listAt(p, "validate", "inVMValidations")...) {
		b.steps = append(b.steps, templateStep(one))
	}
	for _, one := range listAt(p, "distribute") {
		if !strings.EqualFold(textAt(one, "type"), "SharedImage") {
			continue
		}
		excluded, _ := dig(one, "excludeFromLatest").(bool)
		b.distributions = append(b.distributions, distribution{definition: ResourceID(textAt(one, "galleryImageId")), excluded: excluded})
	}
	return b
}

func templateStep(v any) step {
	s := step{name: textAt(v, "name"), script: textAt(v, "scriptUri")}
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
	if !b.inAzure {
		f.Key = key
	}
	return f
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
