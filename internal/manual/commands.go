package manual

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Directories below the one that Generate is given.
const (
	ManDir        = "man"        // NAME.1, NAME-COMMAND.1
	CompletionDir = "completion" // NAME.bash, NAME.zsh, NAME.fish
)

// Generate is the whole of a command's gendocs program: it writes the pages and
// the completions of root. The arguments are the directory to write to, the
// version, and the time of the release in seconds since 1970; also are further
// pages that the page of root leads to.
func Generate(args []string, root *cobra.Command, also ...string) error {
	if len(args) != 3 {
		return errors.New("usage: gendocs DIR VERSION SECONDS")
	}
	dir := args[0]
	seconds, err := strconv.ParseInt(args[2], 10, 64)
	if err != nil {
		return fmt.Errorf("read the time: %w", err)
	}
	e := Edition{Project: root.Name(), Version: args[1], Date: time.Unix(seconds, 0)}
	for _, sub := range []string{ManDir, CompletionDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	if err := writePages(filepath.Join(dir, ManDir), e, root, also); err != nil {
		return err
	}
	completion := filepath.Join(dir, CompletionDir, root.Name())
	return errors.Join(
		root.GenBashCompletionFileV2(completion+".bash", true),
		root.GenZshCompletionFile(completion+".zsh"),
		root.GenFishCompletionFile(completion+".fish", true),
	)
}

// writePages writes the page of a command and those of its subcommands.
func writePages(dir string, e Edition, cmd *cobra.Command, also []string) error {
	file := filepath.Join(dir, pageName(cmd)+".1")
	if err := os.WriteFile(file, []byte(CommandPage(e, cmd, also...)), 0o644); err != nil {
		return err
	}
	for _, sub := range shown(cmd) {
		if err := writePages(dir, e, sub, nil); err != nil {
			return err
		}
	}
	return nil
}

// shown are the subcommands that a user is told of.
func shown(cmd *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && !c.IsAdditionalHelpTopicCommand() {
			all = append(all, c)
		}
	}
	return all
}

func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// A section is a paragraph of a command's description, known by how it begins,
// that has a section of its own on a page.
type section struct{ begin, title string }

var sections = []section{
	{"Exit codes", "EXIT STATUS"},
	{"Environment", "ENVIRONMENT"},
}

// CommandPage returns the page of one command as roff.
func CommandPage(e Edition, cmd *cobra.Command, also ...string) string {
	p := NewPage(e, pageName(cmd), 1, cmd.Short)
	p.Section("SYNOPSIS")
	subs := shown(cmd)
	if len(subs) > 0 {
		p.Bold(cmd.CommandPath() + " COMMAND")
	} else {
		p.Bold(cmd.UseLine())
	}

	description, apart := split(cmd)
	p.Section("DESCRIPTION")
	p.Text(description)
	if len(subs) > 0 {
		p.Section("COMMANDS")
		commandList(p, cmd, subs)
	}
	flagList(p, "OPTIONS", cmd.NonInheritedFlags())
	flagList(p, "GLOBAL OPTIONS", cmd.InheritedFlags())
	for i, s := range sections {
		if apart[i] != "" {
			p.Section(s.title)
			p.Text(apart[i])
		}
	}
	if cmd.HasExample() {
		p.Section("EXAMPLES")
		p.Text(cmd.Example)
	}
	if cmd.HasParent() {
		also = append(also, pageName(cmd.Parent())+"(1)")
	}
	for _, sub := range subs {
		also = append(also, pageName(sub)+"(1)")
	}
	p.Also(also...)
	return p.String()
}

// split takes the paragraphs that have a section of their own out of a command's
// description. Their first words are left out where the title says the same.
func split(cmd *cobra.Command) (description string, apart []string) {
	apart = make([]string, len(sections))
	text := cmd.Long
	if text == "" {
		text = strings.ToUpper(cmd.Short[:1]) + cmd.Short[1:] + "."
	}
	var rest []string
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		i := slices.IndexFunc(sections, func(s section) bool { return strings.HasPrefix(paragraph, s.begin) })
		if i < 0 {
			rest = append(rest, paragraph)
			continue
		}
		if after, ok := strings.CutPrefix(paragraph, sections[i].begin+":"); ok {
			paragraph = strings.TrimPrefix(after, " ")
		}
		apart[i] = paragraph
	}
	return strings.Join(rest, "\n\n"), apart
}

// commandList writes the subcommands, in their groups.
func commandList(p *Page, cmd *cobra.Command, subs []*cobra.Command) {
	groups := cmd.Groups()
	if len(groups) == 0 {
		groups = []*cobra.Group{{}}
	}
	for _, g := range groups {
		if g.Title != "" {
			p.Subsection(strings.TrimSuffix(g.Title, ":"))
		}
		for _, sub := range subs {
			if sub.GroupID == g.ID {
				p.Item(sub.Name(), "", sub.Short)
			}
		}
	}
}

// flagList writes a section of flags, if there are any.
func flagList(p *Page, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	p.Section(title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		term := "--" + f.Name
		if f.Shorthand != "" {
			term = "-" + f.Shorthand + ", " + term
		}
		value, usage := pflag.UnquoteUsage(f)
		switch f.DefValue {
		case "", "false", "0", "0s", "[]":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		p.Item(term, value, usage)
	})
}
