package fleetfile

import (
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// inheritance merges the section defaults under every scale set.
type inheritance struct {
	off  map[string]bool // the keys of a scale set that the word off takes away, by path
	errs strict.Errors
}

func newInheritance(fields []strict.Field) *inheritance {
	in := &inheritance{off: make(map[string]bool)}
	for _, f := range fields {
		if below, ok := strings.CutPrefix(f.Path, setsPath+"."); ok && f.Off {
			in.off[below] = true
		}
	}
	return in
}

// document returns the document with the defaults merged into its scale sets. The
// nodes of the original are not changed.
func (in *inheritance) document(root *yaml.Node) *yaml.Node {
	defaults, sets := valueOf(root, "defaults"), valueOf(root, "scale_sets")
	defaults = in.refuseOff(defaults, "")
	root = with(root, "defaults", defaults)
	if sets == nil || sets.Kind != yaml.MappingNode {
		return root
	}
	merged := *sets
	merged.Content = make([]*yaml.Node, len(sets.Content))
	for i := 0; i+1 < len(sets.Content); i += 2 {
		merged.Content[i] = sets.Content[i]
		merged.Content[i+1] = in.merge(defaults, resolved(sets.Content[i+1]), "")
	}
	return with(root, "scale_sets", &merged)
}

// merge returns over with what it does not have of base. Both are at path, from the
// scale set on; base may be nil.
func (in *inheritance) merge(base, over *yaml.Node, path string) *yaml.Node {
	if isNull(over) && isMap(base) {
		over = &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: over.Line, Column: over.Column}
	}
	if over.Kind != yaml.MappingNode {
		return over
	}
	merged := *over
	merged.Content = nil
	given := make(map[string]bool)
	for i := 0; i+1 < len(over.Content); i += 2 {
		key, value := over.Content[i], resolved(over.Content[i+1])
		at := below(path, key.Value)
		given[key.Value] = true
		if isOff(value) && in.off[at] {
			continue
		}
		merged.Content = append(merged.Content, key, in.merge(valueOf(base, key.Value), value, at))
	}
	if !isMap(base) {
		return &merged
	}
	for i := 0; i+1 < len(base.Content); i += 2 {
		if key := base.Content[i]; !given[key.Value] {
			merged.Content = append(merged.Content, key, base.Content[i+1])
		}
	}
	return &merged
}

// refuseOff takes the word off out of the defaults, where nothing is inherited, and
// says so.
func (in *inheritance) refuseOff(n *yaml.Node, path string) *yaml.Node {
	if !isMap(n) {
		return n
	}
	kept := *n
	kept.Content = nil
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolved(n.Content[i+1])
		at := below(path, key.Value)
		if isOff(value) && in.off[at] {
			in.errs = append(in.errs, &strict.Error{
				Line: value.Line, Column: value.Column, Field: "defaults." + at,
				Message: "off takes away what is inherited, and nothing is inherited here", Hint: "remove the key",
			})
			continue
		}
		kept.Content = append(kept.Content, key, in.refuseOff(value, at))
	}
	return &kept
}

func below(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// valueOf returns what the map n has under a key, an alias followed; nil when there
// is none.
func valueOf(n *yaml.Node, key string) *yaml.Node {
	if !isMap(n) {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return resolved(n.Content[i+1])
		}
	}
	return nil
}

// with returns the map n with another value under a key that it has.
func with(n *yaml.Node, key string, value *yaml.Node) *yaml.Node {
	if !isMap(n) || value == nil {
		return n
	}
	changed := *n
	changed.Content = append([]*yaml.Node(nil), n.Content...)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			changed.Content[i+1] = value
			break
		}
	}
	return &changed
}

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isMap(n *yaml.Node) bool { return n != nil && n.Kind == yaml.MappingNode }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// isOff says whether a value is the word off, without quotes.
func isOff(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Value == "off" && !quoted(n) }
