package command

import (
	"errors"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// Faults makes the faults of a file one error line each, with what to write instead
// as a hint. Another error stays as it is.
func Faults(err error) error {
	faults, ok := errors.AsType[strict.Errors](err)
	if !ok {
		return err
	}
	lines := make([]error, len(faults))
	for i, fault := range faults {
		bare := *fault
		bare.Hint = ""
		lines[i] = &cli.Error{Err: &bare, Hint: fault.Hint}
	}
	return errors.Join(lines...)
}
