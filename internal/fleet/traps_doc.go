package fleet

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// LooksIn says where the evidence lets traps be looked for.
func (e *Evidence) LooksIn() Looks {
	switch {
	case e.Template != nil:
		return LooksTemplate
	case e.Spec != nil && e.Live != nil:
		return LooksBoth
	case e.Spec != nil:
		return LooksFile
	}
	return LooksLive
}

// SeenIn says whether the trap is looked for in such evidence.
func (t *Trap) SeenIn(where Looks) bool {
	switch {
	case !t.Seen():
		return false
	case where == LooksTemplate || t.Looks == LooksTemplate:
		return where == t.Looks || where == LooksTemplate && t.InTemplate
	}
	return t.Looks == LooksBoth || where == LooksBoth || t.Looks == where
}

// Text says in words where a trap is looked for.
func (l Looks) Text() string {
	switch l {
	case LooksFile:
		return "the file"
	case LooksLive:
		return "Azure"
	case LooksBoth:
		return "the file and Azure"
	case LooksJoined:
		return "the file against Azure"
	case LooksTemplate:
		return "an image template's file"
	}
	return string(l)
}

// LooksText says in words all places where the trap is looked for.
func (t *Trap) LooksText() string {
	if t.InTemplate {
		return t.Looks.Text() + ", or " + LooksTemplate.Text()
	}
	return t.Looks.Text()
}

// FindTrap returns the trap with this number or id.
func FindTrap(name string) (Trap, bool) {
	for _, t := range Traps() {
		if name == t.ID || name == strconv.Itoa(t.Number) {
			return t, true
		}
	}
	return Trap{}, false
}

const trapsHead = `# Traps

What ` + "`fleetctl preflight`" + ` looks for, in a file, in Azure or in both. Each is a mistake that
others made; the last line of an entry says who says so. This page is generated from the
table that the command uses (` + "`make docs`" + `); ` + "`fleetctl preflight --explain ID`" + ` prints one entry.

An **error** is refused by Azure, or does what its consequence says. A **warning** does so
when something else happens as well. A **note** is good to know. The exit code is 3 when
there is an error, and 0 otherwise.

The traps from 64 on are about how images are described: ` + "`fleetctl preflight --template FILE`" + `
looks for them, and for those that say so, in the JSON file of an image template.

`

// WriteTraps writes the page about all traps.
func WriteTraps(w io.Writer) error {
	var b strings.Builder
	b.WriteString(trapsHead)
	b.WriteString("| | trap | severity | looked for in |\n|---|---|---|---|\n")
	for _, t := range Traps() {
		where := strings.TrimPrefix(strings.TrimPrefix(t.LooksText(), "the "), "an ")
		if !t.Seen() {
			where = "nothing, as the entry says"
		}
		fmt.Fprintf(&b, "| %d | [%s](#%d-%s) | %s | %s |\n", t.Number, t.ID, t.Number, t.ID, t.Severity, where)
	}
	for _, t := range Traps() {
		fmt.Fprintf(&b, "\n## %d %s\n\n**%s**\n\n", t.Number, t.ID, markdown(t.Title))
		if !t.Seen() {
			fmt.Fprintf(&b, "Not looked for: %s.\n\n", markdown(t.Unseen))
		}
		fmt.Fprintf(&b, "%s\n\n%s\n\n", markdown(t.Condition), markdown(t.Consequence))
		fmt.Fprintf(&b, "*Fix:* %s\n\n*Source:* %s.\n", markdown(t.Fix), markdown(strings.TrimSuffix(t.Source, ".")))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markdown keeps text from being taken for markup.
func markdown(text string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", "&lt;", "|", `\|`, "[", `\[`).Replace(text)
}
