package azure

import (
	"context"
	"errors"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// namespaces are the resource providers that building and running a fleet needs.
func namespaces() []string {
	return []string{
		"Microsoft.Compute", "Microsoft.ContainerInstance", "Microsoft.Insights", "Microsoft.KeyVault", "Microsoft.ManagedIdentity",
		"Microsoft.Network", "Microsoft.Storage", "Microsoft.VirtualMachineImages",
	}
}

// Providers returns the registration state of the resource providers that a fleet
// needs, in lower case: "microsoft.compute" is "registered". One that the subscription
// does not know is left out.
func (c *Client) Providers(ctx context.Context, subscription string) (map[string]string, error) {
	names := namespaces()
	states := make([]string, len(names))
	all, inner := errgroup.WithContext(ctx)
	for i, name := range names {
		all.Go(func() (err error) {
			states[i], err = c.provider(inner, subscription, name)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	found := make(map[string]string)
	for i, name := range names {
		if states[i] != "" {
			found[strings.ToLower(name)] = strings.ToLower(states[i])
		}
	}
	return found, nil
}

// provider returns the registration state of one, or "" when there is no such one.
func (c *Client) provider(ctx context.Context, subscription, namespace string) (string, error) {
	id := fleet.ResourceID("/subscriptions/" + subscription + "/providers/" + namespace)
	d, _, err := c.read(ctx, "read resource provider "+namespace, id, "")
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok && answer.ErrorCode == "InvalidResourceNamespace" {
		return "", nil
	}
	return fleet.TextAt(d, "registrationState"), err
}
