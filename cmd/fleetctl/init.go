package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

func newInitCommand(g *globals) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "write a first fleet.yaml",
		Long: `Write a first fleet.yaml: a commented one to change, of a fleet with a gallery,
three scale sets and a rollout in waves.

A file that exists is left alone without --force.`,
		Example: `  fleetctl init
  fleetctl init -f fleets/pay.yaml`,
		Args: usage.Arguments(),
		RunE: func(*cobra.Command, []string) error {
			if err := writeFile(g.file, []byte(fleetfile.Example), force); err != nil {
				return err
			}
			g.out.Say("fleetctl: wrote %s; fill in what is yours, then: fleetctl preflight --offline", g.file)
			return nil
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "overwrite a file that exists")
	return cmd
}

// writeFile writes a file whole or not at all. Without force it never takes the place
// of another, not even of one that appears meanwhile.
func writeFile(path string, text []byte, force bool) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer os.Remove(temp.Name())
	_, err = temp.Write(text)
	if err = errors.Join(err, temp.Chmod(0o644), temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if force {
		err = os.Rename(temp.Name(), path)
	} else {
		err = os.Link(temp.Name(), path)
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		return cli.Hint(fmt.Errorf("%s exists", path), "name another with --file, or overwrite it with --force")
	case err != nil:
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
