package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// What a local file of a bake may have.
const (
	// MaxSourceFile is what Image Builder's File customizer takes, in bytes.
	MaxSourceFile = 20 << 20
	// MaxSourceTotal bounds the bytes of all local files: they are held in memory, so
	// that what was hashed is what is sent.
	MaxSourceTotal = 256 << 20
	// maxInline is the largest file that stands in the template itself. A script that
	// people write is smaller; what is larger would hide the rest of the template.
	maxInline = 64 << 10
	// maxInlineAll bounds the bytes of all of them: as base64 they take a third more,
	// and Azure Resource Manager takes at most 1 MB for one resource.
	maxInlineAll = 512 << 10
)

// A SourceFile is a local file that a bake names, as it was read.
type SourceFile struct {
	Path string // as the Spec has it
	Size int64
	Data []byte // left out of a file of more than MaxSourceFile
}

// SourcePaths returns the local files that the bake names, each once, by name.
func (s *Spec) SourcePaths() []string {
	if s.Bake == nil {
		return nil
	}
	var paths []string
	for _, p := range s.parts() {
		if p.local() {
			paths = append(paths, p.source)
		}
	}
	if t := s.Bake.BootTest; t != nil && t.Run != "" {
		paths = append(paths, t.Run)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// Content is what an image is made of, complete and checked.
type Content struct {
	// Hash tells contents apart, in hexadecimal: of the source, the machine that builds,
	// and every customizer and validator with what it copies or runs. What does not get
	// into the image is not in it: the version, regions, the identity, where files are.
	Hash string
	// Uploads have to be in the container of bake.artifacts when the build runs.
	Uploads []Upload
	// Smoke is the script of boot_test.run; nil: there is none. It is no part of the
	// image, and of the hash.
	Smoke []byte

	customize, validate []part
}

// An Upload is a local file that Image Builder fetches from storage.
type Upload struct {
	Step   string // the customizer or validator that needs it
	Path   string // the local file
	Blob   string // below bake.artifacts: SHA256/NAME
	SHA256 string
	Data   []byte
}

// A part is a customizer or a validator of the content: a file to copy, or a script
// to run.
type part struct {
	key    string // of the file: "bake.customize[0]"
	name   string
	source string // a local file or an https URL
	to     string // where a file is copied to; empty of a script
	args   []string
	sha256 string // in lower case
	data   []byte // of what stands in the template itself
	upload bool   // it is fetched from bake.artifacts
}

// script says whether the part is run, not copied.
func (p *part) script() bool { return p.to == "" }

func (p *part) local() bool { return !strings.HasPrefix(p.source, "https://") }

// sourceKey is the key of the file that names the source.
func (p *part) sourceKey() string {
	if p.script() {
		return p.key + ".script"
	}
	return p.key + ".file"
}

// blob is the name of the file in the container of bake.artifacts.
func (p *part) blob(sum string) string { return sum + "/" + path.Base(filepath.ToSlash(p.source)) }

// parts returns the customizers and then the validators, as the file has them.
func (s *Spec) parts() []part {
	var all []part
	for i, c := range s.Bake.Customize {
		p := part{key: fmt.Sprintf("bake.customize[%d]", i), name: c.Name, source: c.File, to: c.To, args: c.Args, sha256: strings.ToLower(c.SHA256)}
		if c.Script != "" {
			p.source, p.to = c.Script, ""
		}
		all = append(all, p)
	}
	for i, v := range s.Bake.Validate {
		all = append(all, part{key: fmt.Sprintf("bake.validate[%d]", i), name: v.Name, source: v.Script, args: v.Args, sha256: strings.ToLower(v.SHA256)})
	}
	return all
}

// A ContentFault is a reason why an image cannot be made of what the file names.
type ContentFault struct {
	Key  string // of the file: "bake.customize[1].script"
	Text string
	Fix  string

	trap string // the id of the trap that it is found as; empty: none
}

// ContentError holds every fault, in the order of the file.
type ContentError []ContentFault

// Error says all faults, one a line.
func (e ContentError) Error() string {
	lines := make([]string, len(e))
	for i, f := range e {
		lines[i] = f.Key + ": " + f.Text + "; " + f.Fix
	}
	return strings.Join(lines, "\n")
}

// NewContent makes the content of the file's bake, with the local files that
// SourcePaths names. The error is a ContentError.
func NewContent(s *Spec, files []SourceFile) (*Content, error) {
	parts, faults := s.content(files, true)
	if len(faults) > 0 {
		return nil, faults
	}
	c := &Content{Hash: s.contentHash(parts)}
	for i := range parts {
		p := &parts[i]
		if p.upload {
			c.Uploads = append(c.Uploads, Upload{Step: p.name, Path: p.source, Blob: p.blob(p.sha256), SHA256: p.sha256, Data: find(files, p.source).Data})
		}
	}
	if t := s.Bake.BootTest; t != nil && t.Run != "" {
		c.Smoke = find(files, t.Run).Data
	}
	c.customize, c.validate = parts[:len(s.Bake.Customize)], parts[len(s.Bake.Customize):]
	return c, nil
}

// content completes the parts with what the files have, and returns what is wrong.
// Files that are not there are a fault only when the content must be complete.
func (s *Spec) content(files []SourceFile, complete bool) ([]part, ContentError) {
	var faults ContentError
	missing := func(key, name string) {
		if complete {
			faults = append(faults, ContentFault{Key: key, Text: name + " does not exist", Fix: "create it, or name another file"})
		}
	}
	parts := s.parts()
	inlined := 0
	for i := range parts {
		p := &parts[i]
		p.args = slices.Clone(p.args)
		for j, arg := range p.args {
			p.args[j] = strings.ReplaceAll(arg, ArgImage, s.imageName())
		}
		if !p.local() {
			continue
		}
		f := find(files, p.source)
		if f == nil {
			missing(p.sourceKey(), p.source)
			continue
		}
		if fault := f.fault(p.script()); fault != nil {
			fault.Key = p.sourceKey()
			faults = append(faults, *fault)
			continue
		}
		sum := sha256.Sum256(f.Data)
		p.sha256 = hex.EncodeToString(sum[:])
		fits := f.Size <= maxInline && inlined+len(f.Data) <= maxInlineAll
		switch {
		case fits && (p.script() || s.Bake.Artifacts == ""):
			p.data = f.Data
			inlined += len(f.Data)
		case s.Bake.Artifacts != "":
			p.upload = true
		default:
			faults = append(faults, f.homeless(p.sourceKey()))
		}
	}
	if t := s.Bake.BootTest; t != nil && t.Run != "" {
		const key = "bake.boot_test.run"
		if f := find(files, t.Run); f == nil {
			missing(key, t.Run)
		} else if fault := f.runFault(); fault != nil {
			fault.Key = key
			faults = append(faults, *fault)
		}
	}
	return parts, faults
}

func (s *Spec) imageName() string {
	if s.Gallery == nil {
		return ""
	}
	return s.Gallery.Image.Name
}

// find returns the file with this path, or nil.
func find(files []SourceFile, path string) *SourceFile {
	i := slices.IndexFunc(files, func(f SourceFile) bool { return f.Path == path })
	if i < 0 {
		return nil
	}
	return &files[i]
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/(1<<20)) }
func kilobytes(n int64) string { return fmt.Sprintf("%d KiB", (n+1023)/1024) }

// fault returns what keeps the file out of any build, or nil.
func (f *SourceFile) fault(script bool) *ContentFault {
	if f.Size > MaxSourceFile {
		return &ContentFault{
			Text: fmt.Sprintf("%s has %s, and Image Builder copies files of at most 20 MB", path.Base(f.Path), megabytes(f.Size)),
			Fix:  "let a script fetch " + path.Base(f.Path) + " from storage", trap: trapFileCustomizer,
		}
	}
	if !script {
		return nil
	}
	return f.scriptFault()
}

// scriptFault returns why bash cannot run the file, or nil.
func (f *SourceFile) scriptFault() *ContentFault {
	text := string(f.Data)
	at := func(offset int) string { return fmt.Sprintf("%s:%d", f.Path, 1+strings.Count(text[:offset], "\n")) }
	fault := func(text, fix string) *ContentFault {
		return &ContentFault{Text: text, Fix: fix, trap: trapUnreadableScript}
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return fault(at(i)+" has a NUL byte: it is no shell script", "name a script; copy a program with file and to")
	}
	if strings.HasPrefix(text, "\ufeff") {
		return fault(at(0)+" begins with a byte order mark, which bash takes for a command", "save "+path.Base(f.Path)+" as UTF-8 without it")
	}
	for i := range len(text) {
		if text[i] == '\r' && (i+1 == len(text) || text[i+1] == '\n') {
			return fault(at(i)+` ends in CR LF: bash takes the \r for a part of the command`,
				"sed -i 's/\\r$//' "+path.Base(f.Path)+", and '*.sh text eol=lf' in .gitattributes")
		}
	}
	return nil
}

// runFault returns why Run Command cannot run the file, or nil.
func (f *SourceFile) runFault() *ContentFault {
	if f.Size > maxInline {
		return &ContentFault{
			Text: fmt.Sprintf("%s has %s, and a script for Run Command may have at most %s", path.Base(f.Path), kilobytes(f.Size), kilobytes(maxInline)),
			Fix:  "bake what " + path.Base(f.Path) + " needs, and let it be small", trap: trapHomelessFile,
		}
	}
	return f.scriptFault()
}

// homeless is the fault of a file that is too large for the template when there is no
// other way to the build.
func (f *SourceFile) homeless(key string) ContentFault {
	text := fmt.Sprintf("%s has %s, the template takes files of at most %s", path.Base(f.Path), kilobytes(f.Size), kilobytes(maxInline))
	if f.Size <= maxInline {
		text = fmt.Sprintf("%s is one too many: the template takes %s of files together", path.Base(f.Path), kilobytes(maxInlineAll))
	}
	return ContentFault{
		Key: key, Text: text + ", and there is no bake.artifacts", trap: trapHomelessFile,
		Fix: "add to bake: artifacts: https://ACCOUNT.blob.core.windows.net/CONTAINER, where the identity has Storage Blob Data Reader",
	}
}

// contentHash is the hash of the parts and of what they are put on.
func (s *Spec) contentHash(parts []part) string {
	type hashedPart struct {
		Key, Name, To, SHA256 string
		Args                  []string
	}
	hashed := struct {
		Source   SourceSpec
		VMSize   string
		OSDiskGB int
		Parts    []hashedPart
	}{Source: s.Bake.Source, VMSize: s.Bake.VMSize, OSDiskGB: s.Bake.OSDiskGB}
	for _, p := range parts {
		hashed.Parts = append(hashed.Parts, hashedPart{p.key, p.name, p.to, p.sha256, p.args})
	}
	text, err := json.Marshal(hashed) // the fields in this order, which makes it canonical
	if err != nil {
		panic(err) // there is nothing in it that JSON does not know
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
