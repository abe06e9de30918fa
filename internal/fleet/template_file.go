package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// MaxTemplateFile is what Azure Resource Manager takes as a template, in bytes: more
// than that need not be read.
const MaxTemplateFile = 4 << 20

// A TemplateFile is a local JSON file with image templates, for Preflight: a template
// for deployments, or the resource alone.
type TemplateFile struct {
	name       string
	deployment bool     // it can be deployed as it is
	missing    []string // what a template for deployments has to have
	resources  []fileResource
	lines      map[string]int // where values stand, by their paths
}

type fileResource struct {
	path string // "resources[0]", or "" of a file that is the resource
	body Document
}

// unresolved stands for an expression of the template language: it is something, and
// nobody here knows what.
type unresolved struct{}

// ReadTemplate reads the text of a file of this name. It is an error when that is not
// JSON, or has no image template.
func ReadTemplate(name string, text []byte) (*TemplateFile, error) {
	r := jsonReader{text: bytes.TrimPrefix(text, []byte("\ufeff")), line: 1, lines: make(map[string]int)}
	r.dec = json.NewDecoder(bytes.NewReader(r.text))
	v, err := r.value("", 0)
	if err == nil {
		_, err = r.dec.Token()
		if errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("something follows the end of the JSON")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, r.at(r.dec.InputOffset()), err)
	}
	root, ok := v.(Document)
	if !ok {
		return nil, fmt.Errorf("%s: is no JSON object", name)
	}
	f := &TemplateFile{name: name, lines: r.lines}
	f.find(root)
	if len(f.resources) == 0 {
		return nil, fmt.Errorf("%s: has no resource of the type %s", name, typeTemplate)
	}
	return f, nil
}

// find picks the image templates.
func (f *TemplateFile) find(root Document) {
	if isImageTemplate(root) {
		f.resources = []fileResource{{"", root}}
		f.missing = []string{"$schema", "contentVersion", "resources"}
		if _, named := root["name"]; !named {
			f.missing = append(f.missing, "a name")
		}
		return
	}
	f.deployment = true
	for _, key := range []string{"$schema", "contentVersion"} {
		if root[key] == nil {
			f.missing = append(f.missing, key)
		}
	}
	add := func(path string, v any) {
		body, ok := resolveParameters(v, root["parameters"]).(Document)
		if !ok || !isImageTemplate(body) {
			return
		}
		if body["name"] == nil {
			f.missing = append(f.missing, "a name")
		}
		f.resources = append(f.resources, fileResource{path, body})
	}
	switch list := root["resources"].(type) {
	case []any:
		for i, v := range list {
			add("resources["+strconv.Itoa(i)+"]", v)
		}
	case Document: // by symbolic names
		for _, key := range sortedKeys(list) {
			add("resources."+key, list[key])
		}
	}
}

func isImageTemplate(body Document) bool {
	return strings.EqualFold(textAt(body, "type"), typeTemplate)
}

// label names a resource for a message.
func (f *TemplateFile) label(r *fileResource) string {
	if name := textAt(r.body, "name"); name != "" {
		return name
	}
	name := path.Base(filepath.ToSlash(f.name))
	if len(f.resources) > 1 {
		return name + " " + r.path
	}
	return name
}

// place is where the value at a path stands, or the nearest that is around it.
func (f *TemplateFile) place(path string) string {
	for outer := path; outer != ""; outer = outer[:max(0, strings.LastIndexAny(outer, ".["))] {
		if line, ok := f.lines[outer]; ok {
			return f.name + ":" + strconv.Itoa(line)
		}
	}
	return f.name + ":1"
}

var parameterRE = regexp.MustCompile(`^\[\s*parameters\(\s*'([A-Za-z0-9_.-]+)'\s*\)\s*\]$`)

// resolveParameters returns the value with the defaults of parameters in the places
// where they are meant, and every other expression unresolved.
func resolveParameters(v, parameters any) any {
	switch v := v.(type) {
	case string:
		if !strings.HasPrefix(v, "[") || !strings.HasSuffix(v, "]") {
			return v
		}
		if strings.HasPrefix(v, "[[") {
			return v[1:]
		}
		if m := parameterRE.FindStringSubmatch(v); m != nil {
			// A default that is an expression itself may lead anywhere, round in circles too.
			return resolveParameters(dig(parameters, m[1], "defaultValue"), nil)
		}
		return unresolved{}
	case nil:
		return unresolved{}
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = resolveParameters(v[i], parameters)
		}
		return list
	case Document:
		object := make(Document, len(v))
		for key, value := range v {
			object[key] = resolveParameters(value, parameters)
		}
		return object
	}
	return v
}

// A jsonReader reads JSON, and on which line each value ends, which of a text or a
// number is where it stands.
type jsonReader struct {
	dec    *json.Decoder
	text   []byte
	offset int64 // up to which lines are counted
	line   int
	lines  map[string]int
}

// maxTemplateDepth bounds objects and lists within each other.
const maxTemplateDepth = 100

func (r *jsonReader) at(offset int64) int {
	r.line += bytes.Count(r.text[r.offset:offset], []byte("\n"))
	r.offset = offset
	return r.line
}

func (r *jsonReader) value(path string, depth int) (any, error) {
	if depth > maxTemplateDepth {
		return nil, fmt.Errorf("has more than %d objects and lists within each other", maxTemplateDepth)
	}
	token, err := r.dec.Token()
	if err != nil {
		return nil, unexpected(err)
	}
	if path != "" {
		r.lines[path] = r.at(r.dec.InputOffset())
	}
	delim, ok := token.(json.Delim)
	if !ok {
		return token, nil
	}
	if delim == '[' {
		list := []any{}
		for i := 0; r.dec.More(); i++ {
			v, err := r.value(path+"["+strconv.Itoa(i)+"]", depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, r.end()
	}
	object := Document{}
	for r.dec.More() {
		token, err := r.dec.Token()
		if err != nil {
			return nil, unexpected(err)
		}
		key, _ := token.(string)
		below := key
		if path != "" {
			below = path + "." + key
		}
		if object[key], err = r.value(below, depth+1); err != nil {
			return nil, err
		}
	}
	return object, r.end()
}

// end reads the end of an object or a list.
func (r *jsonReader) end() error {
	_, err := r.dec.Token()
	return unexpected(err)
}

// unexpected says of a text that just ends that it does.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
