package main

import "github.com/spf13/cobra"

func newDemoteCommand(g *globals) *cobra.Command {
	r := releasing{excluded: true}
	cmd := &cobra.Command{
		Use:   "demote VERSION",
		Short: "exclude an image version from latest, in all regions or in some",
		Long: `Exclude an image version from latest, in the regions of --region or
everywhere, in one write that leaves the other regions as they were.

It stops what is not decided yet: scale sets whose image reference has no
version take the next lower one. It touches no member that runs the version
and no upgrade that is under way, and a scale set that is pinned to the version
goes on to make new members from it. The output says which those are, of the
scale sets of the file.

While a rollout of the file is not over, its version is refused, and so is what
would change the latest for a scale set of it: fleetctl rollout abort stops it
and takes the version back. The journal that the file names is read for that.

Everywhere sets the flag of the version, for regions that are added later, and
the flag of each region. To promote a region later is right in either case.

Exit codes: 0 done, or it was so already; 3 refused; 1 error, 2 wrong usage, 4
not authorised, 130 interrupted.`,
		Example: `  fleetctl demote 1.8.3
  fleetctl demote 1.8.3 --region eastus,westus3
  fleetctl demote 1.8.3 -o json | jq '.takes[].scale_set'`,
		Args: usage.Arguments("VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			r.version = args[0]
			return g.release(cmd, r)
		},
	}
	r.flags(cmd)
	return cmd
}
