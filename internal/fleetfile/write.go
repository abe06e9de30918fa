package fleetfile

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// Remarks are comments on what stands at a path: "scale_sets.vmss-authz". That of
// the path "" stands ahead of all.
type Remarks map[string][]string

func (r Remarks) add(path, format string, args ...any) {
	r[path] = append(r[path], fmt.Sprintf(format, args...))
}

// Write returns the text of a file that says what spec does, with the remarks as
// comments. The section defaults is left out: it is merged into the scale sets
// already. What may be secret is replaced by REDACTED.
func Write(spec *fleet.Spec, remarks Remarks) ([]byte, error) {
	root := newSchema().Encode(spec, nil)
	drop(root, "defaults")
	escape(root)
	annotate(root, "", remarks)
	root.HeadComment = strings.Join(remarks[""], "\n")
	var b bytes.Buffer
	if err := strict.WriteYAML(&b, root); err != nil {
		return nil, fmt.Errorf("write fleet.yaml: %w", err)
	}
	return b.Bytes(), nil
}

// drop takes a key out of the map n.
func drop(n *yaml.Node, key string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			n.Content = slices.Delete(n.Content, i, i+2)
			return
		}
	}
}

// escape writes what would be taken for a variable.
func escape(n *yaml.Node) {
	n.Value = strings.ReplaceAll(n.Value, "${", "$${")
	for _, child := range n.Content {
		escape(child)
	}
}

// annotate puts remarks ahead of the keys of the map n, which is at path, and of the
// maps in it.
func annotate(n *yaml.Node, path string, remarks Remarks) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		at := below(path, n.Content[i].Value)
		n.Content[i].HeadComment = strings.Join(remarks[at], "\n")
		annotate(n.Content[i+1], at, remarks)
	}
}
