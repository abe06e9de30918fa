package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"
)

// maxHelpRatio is of `fleetctl --help`: 30 ms where the control takes 3.
const maxHelpRatio = 10

// helps is how often each is started.
const helps = 20

// measureFleetctl measures what somebody at a prompt feels: the size of the download,
// and the time of a command that asks nobody. Its control is a net/http program that
// is told to listen nowhere, and ends.
func (b *bench) measureFleetctl(ctx context.Context) error {
	fleetctl, err := size(b.fleetctl)
	if err != nil {
		return err
	}
	control, err := size(b.control)
	if err != nil {
		return err
	}
	b.table.row("fleetctl, stripped size (MB)", fleetctl, control)
	b.table.bound("the stripped size of fleetctl in MB", fleetctl, maxSizeMB)

	var help, nowhere []float64
	for range helps { // in turn, so that both see the same machine
		took, err := lasts(exec.CommandContext(ctx, b.fleetctl, "--help"))
		if err != nil {
			return fmt.Errorf("run fleetctl --help: %w", err)
		}
		help = append(help, took)
		took, err = lasts(exec.CommandContext(ctx, b.control, "nowhere"))
		if failed, ok := errors.AsType[*exec.ExitError](err); !ok || failed.ExitCode() != 1 {
			return fmt.Errorf("run the control: %w", err)
		}
		nowhere = append(nowhere, took)
	}
	b.table.row(fmt.Sprintf("fleetctl --help (ms, median of %d)", helps), median(help), median(nowhere))
	b.table.bound("the ratio of fleetctl --help", median(help)/median(nowhere), maxHelpRatio)
	return nil
}

// lasts runs a command and returns its time in milliseconds.
func lasts(cmd *exec.Cmd) (float64, error) {
	begin := time.Now()
	err := cmd.Run()
	return float64(time.Since(begin)) / float64(time.Millisecond), err
}
