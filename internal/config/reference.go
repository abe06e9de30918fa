package config

import "io"

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
	return newSchema().WriteReference(w, referenceHead)
}

// Schema returns the JSON Schema (draft 2020-12) of one configuration file. It is
// for editors, and Load has the last word: the schema does not know how values go
// together, and refuses a few spellings that Load reads, such as a number where
// text is asked for.
func Schema() []byte {
	return newSchema().JSONSchema("urn:fleet-agent:config", "fleet-agent configuration")
}
