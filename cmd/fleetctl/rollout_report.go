package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/report"
)

// reportFlag adds --report, the file that a report is written to. Where none can be
// written is said before anything is done.
func reportFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().Func("report", "write a report to `FILE`, one page of HTML", func(file string) error {
		*path = file
		return reportable(file)
	})
	_ = cmd.MarkFlagFilename("report", "html") // the flag is there
}

// reportable says why no report can be written to a path. A file is written beside it
// and takes its place, which must never be that of a device.
func reportable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case path == "":
		return errors.New("the name of the file is empty")
	case path == "-":
		return errors.New("it goes to a file: standard output has the rollout; a file that is called so is ./-")
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(path)
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		return nil
	}
	return err
}

// writeReport writes the report of a rollout. Without a path there is none.
func (g *globals) writeReport(path string, v *rollout.View, events []rollout.Event) error {
	if path == "" {
		return nil
	}
	if err := reportable(path); err != nil {
		return cli.Hint(fmt.Errorf("write the report: %w", err), "fleetctl rollout show %s --report FILE writes it again", v.ID)
	}
	var page bytes.Buffer
	if err := report.Write(&page, *v, events); err != nil {
		return err
	}
	if err := writeFile(path, page.Bytes(), true); err != nil {
		return err
	}
	g.out.Say("fleetctl: wrote %s", path)
	return nil
}
