package strict

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteReference writes every key, section by section, in Markdown below head.
func (s *Schema) WriteReference(w io.Writer, head string) error {
	var b bytes.Buffer
	b.WriteString(head)
	if top := slices.DeleteFunc(slices.Clone(s.children[""]), func(name string) bool { return s.keysOf(name) != "" }); len(top) > 0 {
		b.WriteString("## Top level\n\n")
		s.table(&b, "", top)
	}
	for _, row := range s.rows {
		keys := s.keysOf(row.Path)
		if keys == "" {
			continue
		}
		if row.Like != "" {
			fmt.Fprintf(&b, "## `%s`\n\n%s\n\n", row.Path, row.Doc)
			if row.Example != "" {
				s.example(&b, row)
			}
			continue
		}
		// Below a list or a chosen key, the path says more than the depth.
		depth := min(2+strings.Count(row.Path, "."), 4)
		fmt.Fprintf(&b, "%s `%s`\n\n%s\n\n", strings.Repeat("#", depth), row.Path, row.Doc)
		if row.Example != "" {
			s.example(&b, row)
		}
		if row.Default != "" {
			fmt.Fprintf(&b, "Default:\n\n```yaml\n%s:\n%s```\n\n", lastKey(row.Path), blockOf(row.Default))
		}
		s.table(&b, keys, s.children[keys])
	}
	_, err := w.Write(bytes.TrimRight(b.Bytes(), "\n"))
	if err == nil {
		_, err = io.WriteString(w, "\n")
	}
	if err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	return nil
}

func lastKey(path string) string {
	_, name := split(path)
	return name
}

// blockOf writes a flow list or map of maps with one item a line.
func blockOf(flow string) string {
	inner := strings.TrimSpace(flow[1 : len(flow)-1])
	var b strings.Builder
	for part := range strings.SplitSeq(inner, "}, ") {
		if !strings.HasSuffix(part, "}") {
			part += "}"
		}
		if strings.HasPrefix(flow, "[") {
			part = "- " + part
		}
		b.WriteString("  " + part + "\n")
	}
	return b.String()
}

// keysOf returns the path of the keys in the value at path; empty when it has
// none.
func (s *Schema) keysOf(path string) string {
	for _, p := range []string{path, path + "[]", path + ".*"} {
		if len(s.children[p]) > 0 && p != "" {
			return p
		}
	}
	return ""
}

// example writes a section as one might.
func (s *Schema) example(b *bytes.Buffer, row Field) {
	line := lastKey(row.Path) + ": " + row.Example
	list, _, inList := strings.Cut(row.Path, "[].")
	if inList && strings.Count(row.Path, ".") == strings.Count(list, ".")+1 {
		line = "- name: " + lastKey(row.Path) + "\n  " + line
	}
	fmt.Fprintf(b, "```yaml\n%s\n```\n\n", line)
}

// table writes the keys of one map, those with keys of their own as a pointer to
// their section.
func (s *Schema) table(b *bytes.Buffer, parent string, names []string) {
	b.WriteString("| key | value | default | meaning |\n|---|---|---|---|\n")
	for _, name := range names {
		row := s.row[join(parent, name)]
		if s.keysOf(row.Path) != "" {
			fmt.Fprintf(b, "| `%s` | %s | | see [`%s`](#%s) |\n", name, row.Type, row.Path, anchor(row.Path))
			continue
		}
		def := ""
		switch {
		case row.Default != "":
			def = "`" + row.Default + "`"
		case row.Required:
			def = "required"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", name, row.values(), def, cell(row.meaning()))
	}
	b.WriteString("\n")
}

// values says what the key may be.
func (f *Field) values() string {
	switch {
	case f.OneOf != nil:
		words := "`" + strings.Join(f.OneOf, "`, `") + "`"
		if strings.HasPrefix(f.Type, "list") {
			words = "list of " + words
		}
		return words
	case f.Format == FormatNames:
		return "list of names"
	case f.Min != "":
		return f.Type + ", " + f.Min + " to " + f.Max
	case f.Format != "" && f.Type == "text":
		return f.Format
	default:
		return f.Type
	}
}

// meaning is the doc with an example of a value that has no default to show one.
func (f *Field) meaning() string {
	if f.Example == "" || (f.Default != "" && f.Default != "0s") || f.OneOf != nil {
		return f.Doc
	}
	return f.Doc + " Example: `" + strings.ReplaceAll(f.Example, "`", "") + "`."
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

// anchor is the anchor that Markdown renderers make of a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		default:
			return -1
		}
	}, strings.ToLower(heading))
}
