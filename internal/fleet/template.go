package fleet

import (
	"encoding/base64"
	"maps"
	"math"
	"path"
	"regexp"
	"strings"
)

// RunOutput is the name of the run output of a bake's template, which tells the image
// version that came out.
const RunOutput = "image"

const (
	// typeTemplate is the resource type of image templates.
	typeTemplate = "Microsoft.VirtualMachineImages/imageTemplates"
	// maxTemplateName is how long the name of one may be.
	maxTemplateName = 64
)

// TemplateName returns the name of the image template that makes a version: it stands
// for the version's number from the moment on that it exists.
func (s *Spec) TemplateName(version string) string { return s.imageName() + "-" + version }

// TemplateID returns the id of the image template that makes a version.
func (s *Spec) TemplateID(version string) ResourceID {
	return s.group("") + ResourceID("/providers/"+typeTemplate+"/"+s.TemplateName(version))
}

// A TargetRegion is a region that a bake replicates its version to.
type TargetRegion struct {
	Name     string
	Replicas int
}

// BakeRegions returns the regions of a new version, the gallery's own first: with
// at-bake all that the file asks for, with by-wave that one alone.
func (s *Spec) BakeRegions() []TargetRegion {
	if s.Gallery == nil {
		return nil
	}
	home, replicas := NormalLocation(s.Location), s.replicas()
	if _, told := replicas[home]; !told {
		replicas[home] = s.Gallery.Replicas
	}
	regions := []TargetRegion{{home, replicas[home]}}
	if s.Gallery.Replicate == ReplicateByWave {
		return regions
	}
	delete(replicas, home)
	for _, name := range sortedKeys(replicas) {
		regions = append(regions, TargetRegion{name, replicas[name]})
	}
	return regions
}

// ImageTemplate returns the body of the request that makes the image template of a
// version. The version's end of life is not in it: Image Builder cannot set one.
func ImageTemplate(s *Spec, c *Content, version string) Document {
	b := blueprint{
		location: s.Location, identity: string(s.IdentityID()),
		machine: s.machine(), source: s.Bake.Source.document(),
		definition: string(s.DefinitionID()), version: version, regions: s.targetRegions(),
		artifacts: strings.TrimSuffix(s.Bake.Artifacts, "/"), sum: func(p *part) string { return p.sha256 },
	}
	return b.document(s, c)
}

// A blueprint is what an image template is made of beside its content: values, or in a
// deployment template the holes that parameters fill.
type blueprint struct {
	location, identity       string
	machine, source, regions any
	definition, version      string
	artifacts                string // without a slash at the end
	sum                      func(*part) string
}

func (s *Spec) machine() Document {
	return Document{"vmSize": s.Bake.VMSize, "osDiskSizeGB": float64(s.Bake.OSDiskGB)}
}

func (s SourceSpec) document() Document {
	return Document{"type": "PlatformImage", "publisher": s.Publisher, "offer": s.Offer, "sku": s.SKU, "version": s.Version}
}

func (s *Spec) targetRegions() []any {
	var list []any
	for _, r := range s.BakeRegions() {
		list = append(list, Document{"name": r.Name, "replicaCount": float64(r.Replicas), "storageAccountType": s.Gallery.Storage})
	}
	return list
}

// tagged returns tags of the file with those that tell what the content is.
func (c *Content) tagged(s *Spec, more map[string]string) Document {
	tags := Document{}
	for _, from := range []map[string]string{mergedTags(s.Tags, more), {TagContent: c.Hash, TagFleet: s.Name}} {
		for name, value := range maps.All(from) {
			tags[name] = value
		}
	}
	return tags
}

// document is the template, as its API takes it.
func (b *blueprint) document(s *Spec, c *Content) Document {
	cleanUp := "cleanup" // abort would keep the build VM, and its cost
	properties := Document{
		"buildTimeoutInMinutes": math.Ceil(s.Bake.Timeout.Minutes()),
		"vmProfile":             b.machine,
		"source":                b.source,
		"customize":             b.steps(c.customize),
		"optimize":              Document{"vmBoot": Document{"state": "Enabled"}},
		"errorHandling":         Document{"onCustomizerError": cleanUp, "onValidationError": cleanUp},
		"distribute": []any{Document{
			"type": "SharedImage", "runOutputName": RunOutput,
			"galleryImageId": b.definition + "/versions/" + b.version,
			// It is made available when it has booted and served.
			"excludeFromLatest": true,
			"artifactTags":      c.tagged(s, s.Bake.ArtifactTags),
			"targetRegions":     b.regions,
		}},
	}
	if len(c.validate) > 0 {
		properties["validate"] = Document{"continueDistributeOnFailure": false, "inVMValidations": b.steps(c.validate)}
	}
	return Document{
		"location":   b.location,
		"tags":       c.tagged(s, nil),
		"identity":   Document{"type": "UserAssigned", "userAssignedIdentities": Document{b.identity: Document{}}},
		"properties": properties,
	}
}

// steps are the customizers of Image Builder for the parts. Packer runs the inline
// commands of one as a script of /bin/sh -e, which is dash on Debian and Ubuntu.
func (b *blueprint) steps(parts []part) []any {
	var list []any
	for i := range parts {
		list = append(list, b.step(&parts[i])...)
	}
	return list
}

// step makes one part. Markers in the log tell which part failed: the last that
// began and did not end. A File customizer can print none, so a Shell customizer
// stands on either side of it.
func (b *blueprint) step(p *part) []any {
	file := p.to
	if p.script() {
		file = "/tmp/fleetctl-" + p.name
	}
	begins := []string{"echo 'fleetctl: customizer " + p.name + " begins'"}
	if dir := path.Dir(file); dir != "/tmp" {
		begins = append(begins, "mkdir -p "+shellQuote(dir))
	}
	work, ends := b.work(p, file), "echo 'fleetctl: customizer "+p.name+" ends'"
	if p.local() && !p.upload {
		// base64: any bytes get through JSON, Image Builder, Packer and the shell.
		put := "echo " + base64.StdEncoding.EncodeToString(p.data) + " | base64 -d >" + shellQuote(file)
		return []any{shell(p.name, append(append(begins, put), append(work, ends)...))}
	}
	from := p.source
	if p.upload {
		from = b.artifacts + "/" + p.blob(b.sum(p))
	}
	return []any{
		shell(p.name+"-begins", begins),
		Document{"type": "File", "name": p.name + "-copy", "sourceUri": from, "sha256Checksum": b.sum(p), "destination": file},
		shell(p.name, append(work, ends)),
	}
}

// work is what is done with the file of a part that is on the build VM: it is checked
// there once more, and a script is run, with nothing to read: it cannot wait for an
// answer that nobody gives.
func (b *blueprint) work(p *part, file string) []string {
	sum := `printf '%s\n' '` + b.sum(p) + "  '" + shellQuote(file)
	if !p.script() {
		sidecar := shellQuote(file + ".sha256")
		return []string{sum + " >" + sidecar, "sha256sum -c " + sidecar}
	}
	run := []string{"bash -euo pipefail", file}
	for _, arg := range p.args {
		run = append(run, strings.ReplaceAll(shellQuote(arg), ArgVersion, b.version))
	}
	return []string{
		sum + " | sha256sum -c",
		"rc=0",
		strings.Join(run, " ") + " </dev/null || rc=$?",
		"rm -f " + file,
		`[ "$rc" -eq 0 ] || exit "$rc"`,
	}
}

func shell(name string, commands []string) Document {
	inline := make([]any, len(commands))
	for i, c := range commands {
		inline[i] = c
	}
	return Document{"type": "Shell", "name": name, "inline": inline}
}

// bareWord is a word that no shell takes for anything else, behind a command.
var bareWord = regexp.MustCompile(`^[A-Za-z0-9._/:@%+,=-]+$`)

// shellQuote writes a text as one word of a POSIX shell.
func shellQuote(text string) string {
	if bareWord.MatchString(strings.ReplaceAll(text, ArgVersion, "")) || text == ArgVersion {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
