package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/manual"
)

// exampleConfig is a configuration that says every key and, by the tests of
// internal/config, that every value outside comments is the default.
const exampleConfig = "internal/config/testdata/example.yaml"

// agentParts makes what only the agent's package has: the configuration file, its
// manual page, and the schema for editors.
func agentParts(s *stage) error {
	example, err := os.ReadFile(exampleConfig)
	if err != nil {
		return err
	}
	conffile, err := configFile(string(example))
	if err != nil {
		return err
	}
	return errors.Join(
		s.write("config.yaml", []byte(conffile)),
		s.write("config.schema.json", config.Schema()),
		s.write("fleet-agent.yaml.5", []byte(configPage(s.edition))),
	)
}

const configHead = `# Configuration of fleet-agent. Everything in it is commented out: what stands
# behind a "#" without a space is the default, or an example where there is none.
# A key that stays a comment follows the defaults of later releases.
# All keys: fleet-agent.yaml(5), or /usr/share/fleet-agent/config.schema.json.
#
# After a change: ` + "`fleet-agent config validate`, then `systemctl reload fleet-agent`" + `.
# Applications bring checks and steps in files of their own: conf.d/*.yaml beside
# this file, in the order of their names.
`

// configFile turns the example into the file that is installed: its first
// paragraph, which speaks of the example, replaced, and every setting commented
// out.
func configFile(example string) (string, error) {
	_, settings, ok := strings.Cut(example, "\n\n")
	if !ok {
		return "", fmt.Errorf("%s does not begin with a paragraph about itself", exampleConfig)
	}
	var b strings.Builder
	b.WriteString(configHead + "\n")
	for line := range strings.Lines(settings) {
		if line != "\n" && !strings.HasPrefix(line, "#") {
			line = "#" + line
		}
		b.WriteString(line)
	}
	return b.String(), nil
}

// markdownLinkRE is a link; a page shows where it leads.
var markdownLinkRE = regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`)

// configPage writes fleet-agent.yaml(5) from the table of keys.
func configPage(e manual.Edition) string {
	p := manual.NewPage(e, "fleet-agent.yaml", 5, "configuration of the fleet agent")
	p.Section("SYNOPSIS")
	p.Bold("/etc/fleet-agent/config.yaml")
	p.Bold("/etc/fleet-agent/conf.d/*.yaml")
	p.Section("DESCRIPTION")
	p.Text(`The agent reads config.yaml (another with --config), then the files of the
directory conf.d beside it whose names end in .yaml, in the order of their names.
None of them need exist: without any the defaults run.

Maps merge key by key. A value that is given again replaces the earlier one. The
lists checks, drain.plan and notify append, so that an application can bring its
checks and steps in a file of its own; a name given twice is an error.

An unknown key, a value of the wrong kind or out of range, and a name that nobody
has are errors. All are reported at once, each with file, line and field.

A check or a step can run commands. A file is refused when it belongs to anybody
but root and the agent's user, or when its group or others can write to it.

Durations carry a unit: 500ms, 5s, 1m30s, 336h. Sizes are percentages (10%) or
amounts (5GiB, 500MB).`)
	p.Section("KEYS")
	for _, row := range config.Reference() {
		doc := markdownLinkRE.ReplaceAllString(row.Doc, "$1 ($2)")
		if !strings.Contains(row.Path, ".") {
			p.Subsection(row.Path)
		}
		if row.Example != "" && row.Default == "" {
			doc += " Example: `" + row.Example + "`."
		}
		p.Item(row.Path, fieldValue(&row), doc)
	}
	p.Section("FILES")
	p.Item("/etc/fleet-agent/config.yaml", "", "The configuration.")
	p.Item("/etc/fleet-agent/conf.d/*.yaml", "", "What applications add.")
	p.Item("/etc/fleet-agent/hooks/NAME", "", "Programs that steps of kind `hook` run, as root.")
	p.Item("/usr/share/fleet-agent/config.schema.json", "", "A JSON Schema, for editors.")
	p.Section("EXAMPLES")
	p.Text(`What is in force, and where each value came from:

  fleet-agent config show --origin

Check a change, then apply it:

  fleet-agent config validate && systemctl reload fleet-agent`)
	p.Also("fleet-agent(1)", "fleet-agent-config(1)", "systemd.time(7)")
	return p.String()
}

// fieldValue says what a key may be and what it is when nobody says.
func fieldValue(f *config.FieldDoc) string {
	value := f.Type
	switch {
	case f.OneOf != nil:
		value = strings.Join(f.OneOf, " | ")
	case f.Min != "":
		value += ", " + f.Min + " to " + f.Max
	case f.Format != "" && f.Type == "text":
		value = f.Format
	}
	switch {
	case f.Default != "":
		value += " (default " + f.Default + ")"
	case f.Required:
		value += " (required)"
	}
	return value
}
