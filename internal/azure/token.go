package azure

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// Token returns a token for a service that is not Azure Resource Manager: scope names
// it.
func (c *Client) Token(ctx context.Context, scope string) (string, error) {
	token, err := c.cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	return token.Token, err
}
