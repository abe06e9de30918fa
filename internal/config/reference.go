package config

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

const referenceHead = `# Configuration

<!-- Generated from internal/config/fields.go by "make docs". Do not edit. -->

The agent reads ` + "`/etc/fleet-agent/config.yaml`" + ` (another with ` + "`--config`" + `), then the files of the
directory ` + "`conf.d`" + ` beside it whose names end in ` + "`.yaml`" + `, in the order of their names. A file
that was named, by ` + "`--config` or `FLEET_AGENT_CONFIG`" + `, has to exist; without one the defaults run.

- **Merging.** Maps merge key by key. A value that is given again replaces the earlier one.
  The lists ` + "`checks`, `drain.plan` and `notify`" + ` append, so that an application can bring its checks
  and steps in a file of its own; a name given twice is an error.
- **Mistakes.** An unknown key, a value of the wrong kind or out of range, and a name that nobody has
  are errors. All are reported at once, each with file, line, field, and what to write instead.
  ` + "`fleet-agent config validate`" + ` tells them without starting anything.
- **Reload.** ` + "`systemctl reload fleet-agent`" + ` applies a new configuration whole or, when it has a
  mistake, not at all. It is refused, too, when the file that was read before is gone: the defaults
  have no checks. A file of ` + "`conf.d`" + ` may be taken away; the log says that it is gone.
- **Who may write.** A check or a step can run commands. A file is refused when it belongs to
  anybody but root and the agent's user, or when its group or others can write to it.
- **Numbers** are decimal and written plainly: ` + "`0443`, `0x10`, `1_000` and `1e3`" + ` are refused, since
  programs disagree on what they are. Text keeps its letters: ` + "`command: [chmod, 0644, f]`" + `.
- **Characters.** Files are UTF-8. Spaces that are none, such as the no-break space of a web page, are
  named with their place unless they are in quotes.
- **Durations** carry a unit: ` + "`500ms`, `5s`, `1m30s`, `336h`" + `. **Sizes** are percentages (` + "`10%`" + `) or
  amounts (` + "`5GiB`, `500MB`" + `).
- **Secrets.** ` + "`fleet-agent config show`" + ` replaces the values of headers and environment variables,
  user, password and query of URLs, and the path of webhook URLs by ` + "`REDACTED`" + `. Error messages don't
  show them either.

` + "`fleet-agent config show --origin`" + ` prints what is in force and where each value came from;
` + "`fleet-agent config schema`" + ` prints a JSON Schema for editors.

`

// WriteReference writes docs/config.md: every key, section by section.
func WriteReference(w io.Writer) error {
	s := newSchema()
	var b bytes.Buffer
	b.WriteString(referenceHead)
	if top := slices.DeleteFunc(slices.Clone(s.children[""]), func(name string) bool { return s.keysOf(name) != "" }); len(top) > 0 {
		b.WriteString("## Top level\n\n")
		s.table(&b, "", top)
	}
	for _, row := range s.rows {
		keys := s.keysOf(row.Path)
		if keys == "" {
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
func (s *schema) keysOf(path string) string {
	for _, p := range []string{path, path + "[]", path + ".*"} {
		if len(s.children[p]) > 0 && p != "" {
			return p
		}
	}
	return ""
}

// example writes a section as one might.
func (s *schema) example(b *bytes.Buffer, row FieldDoc) {
	line := lastKey(row.Path) + ": " + row.Example
	list, _, inList := strings.Cut(row.Path, "[].")
	if inList && strings.Count(row.Path, ".") == strings.Count(list, ".")+1 {
		line = "- name: " + lastKey(row.Path) + "\n  " + line
	}
	fmt.Fprintf(b, "```yaml\n%s\n```\n\n", line)
}

// table writes the keys of one map, those with keys of their own as a pointer to
// their section.
func (s *schema) table(b *bytes.Buffer, parent string, names []string) {
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
func (f *FieldDoc) values() string {
	switch {
	case f.OneOf != nil:
		words := "`" + strings.Join(f.OneOf, "`, `") + "`"
		if strings.HasPrefix(f.Type, "list") {
			words = "list of " + words
		}
		return words
	case f.Format == formatNames:
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
func (f *FieldDoc) meaning() string {
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
