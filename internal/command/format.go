package command

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Format is the form of what goes to standard output.
type Format string

// The forms of output. Every command has Text and JSON.
const (
	Text Format = "text"
	JSON Format = "json"
	// Brief is a few plain lines, for who is given no more than the end of a
	// command's output.
	Brief Format = "brief"
)

// Flag adds --output to flags of cmd; more are the forms that it takes besides Text
// and JSON. An f that is empty becomes Text. A command with more forms than its
// parent adds a flag of its own, to the same f.
func (f *Format) Flag(cmd *cobra.Command, flags *pflag.FlagSet, usage string, more ...Format) {
	if *f == "" {
		*f = Text
	}
	value := &formatValue{format: f}
	for _, form := range append([]Format{Text, JSON}, more...) {
		value.forms = append(value.forms, string(form))
	}
	flags.VarP(value, "output", "o", usage)
	complete := cobra.FixedCompletions(value.forms, cobra.ShellCompDirectiveNoFileComp)
	_ = cmd.RegisterFlagCompletionFunc("output", complete) // the flag exists
}

// formatValue is the value of --output.
type formatValue struct {
	format *Format
	forms  []string // that it takes
}

// String returns the form's name.
func (v *formatValue) String() string {
	if v.format == nil { // pflag asks a zero value for the default
		return ""
	}
	return string(*v.format)
}

// Type names the kind of value in a flag's help.
func (v *formatValue) Type() string { return "format" }

// Set takes the form from the command line.
func (v *formatValue) Set(s string) error {
	if !slices.Contains(v.forms, s) {
		last := len(v.forms) - 1
		return errors.New("must be " + strings.Join(v.forms[:last], ", ") + " or " + v.forms[last])
	}
	*v.format = Format(s)
	return nil
}
