package command

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
)

// Usage is the code that a program exits with when its command line makes no sense.
type Usage int

// Error is err with the program's code for wrong usage and a hint at the command's
// help.
func (u Usage) Error(cmd *cobra.Command, err error) error {
	return u.hint(err, cmd.CommandPath()+" --help shows how it is used")
}

func (u Usage) hint(err error, hint string) error {
	return &cli.Error{Code: int(u), Err: err, Hint: hint}
}

// Arguments is the Args of commands that take exactly the named ones.
func (u Usage) Arguments(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return u.Error(cmd, fmt.Errorf("%s: %s is missing", cmd.CommandPath(), names[len(args)]))
		case len(args) > len(names):
			return u.Error(cmd, fmt.Errorf("%s: unexpected argument %q", cmd.CommandPath(), args[len(names)]))
		}
		return nil
	}
}

// OneOf is the Args of commands that take one of a few words; what says what the
// words are.
func (u Usage) OneOf(what string, words ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := u.Arguments(what)(cmd, args); err != nil {
			return err
		}
		if !slices.Contains(words, args[0]) {
			return u.Error(cmd, fmt.Errorf("%s: %q is not one of %s", cmd.CommandPath(), args[0], strings.Join(words, ", ")))
		}
		return nil
	}
}

// Known is the Args of commands that only have subcommands: it is asked when the
// first argument named none of them.
func (u Usage) Known(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("%s has no command %q", cmd.CommandPath(), args[0])
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return u.hint(err, "did you mean "+cmd.CommandPath()+" "+strings.Join(near, " or ")+"?")
	}
	return u.Error(cmd, err)
}
