package fleetfile

import "io"

const referenceHead = `# fleet.yaml

<!-- Generated from internal/fleetfile/fields.go by "make docs". Do not edit. -->

What a fleet is, for ` + "`fleetctl`" + `: one file is one environment. ` + "`fleetctl init`" + ` writes a commented one,
` + "`fleetctl init --from RG`" + ` one of what runs in a resource group. It is read from ` + "`fleet.yaml`" + `
(another with ` + "`-f`" + `).

- **Mistakes.** An unknown key, a value of the wrong kind or out of range, and a name that nobody has
  are errors. All are reported at once, each with file, line, field, and what to write instead.
- **Variables.** ` + "`${NAME}`" + ` in a value is taken from the environment; one that is not set, or is empty, is an error.
  ` + "`$${`" + ` is the two characters. What comes from a variable is text: it never becomes a key or a list,
  and error messages don't show it.
- **Defaults.** The section ` + "[`defaults`](#defaults)" + ` stands under every scale set: maps merge key by key, a list takes the
  place of the inherited one, and the word ` + "`off`" + ` takes an inherited key away.
- **Durations** carry a unit: ` + "`90s`, `10m`, `1h30m`, `180d`" + `. **Percentages** are whole: ` + "`20%`" + `. Percentages of
  instances round down, with at least one.
- **Regions** may be written as ` + "`eastus` or `East US`" + `.
- **Local files** are found from the directory of fleet.yaml on; ` + "`~/`" + ` is your home directory.

` + "`fleetctl schema`" + ` prints a JSON Schema for editors.

`

// WriteReference writes docs/fleet-yaml.md: every key, section by section.
func WriteReference(w io.Writer) error { return newSchema().WriteReference(w, referenceHead) }

// Schema returns the JSON Schema (draft 2020-12) of fleet.yaml. It is for editors,
// and Load has the last word: the schema does not know how values go together.
func Schema() []byte { return newSchema().JSONSchema("urn:fleet-agent:fleet-yaml", "fleet.yaml") }
