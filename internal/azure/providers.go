package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"golang.org/x/sync/errgroup"
)

// providersVersion is the api-version of resource providers.
const providersVersion = "2021-04-01"

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
	op := "read resource provider " + namespace
	address := runtime.JoinPaths(c.endpoint, "/subscriptions/"+url.PathEscape(subscription)+"/providers/"+namespace) + "?api-version=" + providersVersion
	req, err := runtime.NewRequest(ctx, http.MethodGet, address)
	if err != nil {
		return "", explain(op, err)
	}
	resp, err := c.pipeline.Do(req)
	if err != nil {
		return "", explain(op, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		err := runtime.NewResponseError(resp)
		if answer, ok := errors.AsType[*azcore.ResponseError](err); ok && answer.ErrorCode == "InvalidResourceNamespace" {
			return "", nil
		}
		return "", explain(op, err)
	}
	body, err := runtime.Payload(resp)
	if err != nil {
		return "", explain(op, err)
	}
	var answer struct{ RegistrationState string }
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", explain(op, err)
	}
	return answer.RegistrationState, nil
}
