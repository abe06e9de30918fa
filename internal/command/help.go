package command

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// WriteUsage is cobra's usage without what says nothing. It is no template: to link
// text/template makes the linker keep every exported method of the binary.
func WriteUsage(cmd *cobra.Command) error {
	var b strings.Builder
	use := cmd.UseLine()
	switch group := cmd.CommandPath() + " COMMAND"; {
	case !cmd.HasAvailableSubCommands():
	case cmd.HasParent() && cmd.Runnable(): // it does something without one, too
		use += "\n  " + group
	default:
		use = group
	}
	fmt.Fprintf(&b, "Usage:\n  %s\n", use)
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", cmd.Example)
	}
	groups := cmd.Groups()
	if len(groups) == 0 && cmd.HasAvailableSubCommands() {
		groups = []*cobra.Group{{Title: "Commands:"}}
	}
	for _, g := range groups {
		fmt.Fprintf(&b, "\n%s\n", g.Title)
		for _, c := range cmd.Commands() {
			if c.IsAvailableCommand() && c.GroupID == g.ID {
				fmt.Fprintf(&b, "  %-13s%s\n", c.Name(), c.Short)
			}
		}
	}
	for _, f := range []struct {
		title string
		flags *pflag.FlagSet
	}{{"Flags", cmd.LocalFlags()}, {"Global flags", cmd.InheritedFlags()}} {
		if f.flags.HasAvailableFlags() {
			fmt.Fprintf(&b, "\n%s:\n%s\n", f.title, strings.TrimRight(f.flags.FlagUsages(), " \n"))
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%s COMMAND --help tells more.\n", cmd.CommandPath())
	}
	_, err := io.WriteString(cmd.OutOrStderr(), b.String())
	return err
}
