package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

func newInitCommand(g *globals) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "init",
		Short: "write a first fleet.yaml",
		Long: `Write a first fleet.yaml: a commented one to change, of a fleet with a gallery,
three scale sets and a rollout in waves; with --from, one that describes the
scale sets that run in a resource group, to look at them (manage: observe).

A scale set is taken over step by step, in that file: with manage: image,
rollouts bring its image and whoever owns it keeps the rest; with manage: full,
fleetctl apply keeps it as the file says. fleetctl plan shows first what that
would change. What the file cannot say of a set is told in a comment there.

A file that exists is left alone without --force.`,
		Example: `  fleetctl init
  fleetctl init --from rg-pay-prod --subscription ID -f pay.yaml`,
		Args: usage.Arguments(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, next := []byte(fleetfile.Example), "fill in what is yours, then: fleetctl preflight --offline"
			if g.resourceGroup != "" {
				described, err := g.describe(cmd.Context())
				if err != nil {
					return err
				}
				text, next = described, "look with: fleetctl status, and fleetctl plan"
			}
			if err := writeFile(g.file, text, force); err != nil {
				return err
			}
			g.out.Say("fleetctl: wrote %s; %s", g.file, next)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&g.resourceGroup, "from", "", "describe what runs in this resource `GROUP`")
	g.subscriptionFlag(cmd)
	flags.BoolVar(&force, "force", false, "overwrite a file that exists")
	return cmd
}

// describe is the text of a file that says what runs in the resource group.
func (g *globals) describe(ctx context.Context) ([]byte, error) {
	ctx, cancel := g.within(ctx)
	defer cancel()
	f, err := g.read(ctx, azure.Scope{Subscription: g.subscription, ResourceGroup: g.resourceGroup, Autoscale: true, Images: true})
	if err != nil {
		return nil, err
	}
	return fleetfile.Describe(&f, g.subscription, g.resourceGroup)
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
	case force && errors.Is(err, fs.ErrExist): // by a directory
		return fmt.Errorf("%s is not a regular file", path)
	case errors.Is(err, fs.ErrExist):
		return cli.Hint(fmt.Errorf("%s exists", path), "name another with --file, or overwrite it with --force")
	case err != nil:
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
