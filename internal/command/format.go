package command

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Format is the form of what goes to standard output, and the value of --output.
type Format string

// The forms of output.
const (
	Text Format = "text"
	JSON Format = "json"
)

// String returns the form's name.
func (f *Format) String() string { return string(*f) }

// Type names the kind of value in a flag's help.
func (f *Format) Type() string { return "format" }

// Set takes the form from the command line.
func (f *Format) Set(s string) error {
	switch Format(s) {
	case Text, JSON:
		*f = Format(s)
		return nil
	}
	return errors.New("must be text or json")
}

// Flag adds --output to flags of cmd. An f that is empty becomes Text.
func (f *Format) Flag(cmd *cobra.Command, flags *pflag.FlagSet, usage string) {
	if *f == "" {
		*f = Text
	}
	flags.VarP(f, "output", "o", usage)
	complete := cobra.FixedCompletions([]string{string(Text), string(JSON)}, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("output", complete) // the flag exists
}
