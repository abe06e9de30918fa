package azure

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// A way of signing in.
const (
	authDefault   = "default"
	authCLI       = "cli"
	authEnv       = "env"
	authWorkload  = "workload"
	authManaged   = "managed-identity"
	authGitHub    = "github"
	authPipelines = "azure-pipelines"
)

// Ways are the values of Config.Auth.
func Ways() []string {
	return []string{authDefault, authCLI, authEnv, authWorkload, authManaged, authGitHub, authPipelines}
}

// newCredential returns the credential for a way of signing in. Nothing is asked for
// a token before one is needed. A simulator gets a token that says nothing, unless it
// has a service for tokens.
func newCredential(way string, getenv func(string) string, p place, options policy.ClientOptions) (azcore.TokenCredential, error) {
	if !slices.Contains(Ways(), way) {
		return nil, usageError(fmt.Errorf("there is no way %q to sign in", way), "--auth is one of "+strings.Join(Ways(), ", "))
	}
	if !p.tokens {
		return nobody{}, nil
	}
	private := p.simulator // whose authority is not one that Microsoft knows
	var cred azcore.TokenCredential
	var err error
	switch way {
	case authCLI:
		cred, err = azidentity.NewAzureCLICredential(nil)
	case authEnv:
		cred, err = azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: private})
	case authWorkload:
		cred, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: private})
	case authManaged:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if id := getenv("AZURE_CLIENT_ID"); id != "" {
			o.ID = azidentity.ClientID(id)
		}
		cred, err = azidentity.NewManagedIdentityCredential(o)
	case authGitHub:
		cred, err = newGitHubCredential(getenv, options, private)
	case authPipelines:
		cred, err = newPipelinesCredential(getenv, options, private)
	default:
		cred, err = azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: private})
	}
	if err != nil {
		return nil, signInError(way, err)
	}
	return &remembering{cred: cred, way: way}, nil
}

// nobody is the credential for a simulator: no real one is ever shown to it.
type nobody struct{}

func (nobody) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "simulator", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// refreshBefore is how long before its end a token is asked for anew.
const refreshBefore = 5 * time.Minute

// remembering asks a credential once for a token and gives it to all clients: each of
// them would ask for one of its own, and some credentials start a program for it.
type remembering struct {
	cred azcore.TokenCredential
	way  string

	mu     sync.Mutex
	tokens map[string]azcore.AccessToken
}

// GetToken returns a token that lasts for a while. One with claims, which Azure asks
// for when it refuses another, is always new.
func (r *remembering) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := o.TenantID + " " + strings.Join(o.Scopes, " ")
	if token, ok := r.tokens[key]; ok && o.Claims == "" && time.Until(token.ExpiresOn) > refreshBefore {
		return token, nil
	}
	token, err := r.cred.GetToken(ctx, o)
	if err != nil {
		if ctx.Err() != nil {
			return token, err
		}
		return token, signInError(r.way, err)
	}
	if r.tokens == nil {
		r.tokens = make(map[string]azcore.AccessToken)
	}
	r.tokens[key] = token
	return token, nil
}

// need returns the values of variables, or an error that names those that are unset.
func need(getenv func(string) string, where string, names ...string) (map[string]string, error) {
	values := make(map[string]string)
	var missing []string
	for _, name := range names {
		if values[name] = getenv(name); values[name] == "" {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("%s not set; %s", strings.Join(missing, ", "), where)
	}
	return values, nil
}

// newPipelinesCredential returns the credential of a service connection, from within
// a run of Azure Pipelines. It asks for a new assertion each time.
func newPipelinesCredential(getenv func(string) string, options policy.ClientOptions, private bool) (azcore.TokenCredential, error) {
	v, err := need(getenv, "the task AzureCLI@2 sets the first three, SYSTEM_ACCESSTOKEN is mapped in env, and Azure Pipelines sets the last",
		"AZURESUBSCRIPTION_TENANT_ID", "AZURESUBSCRIPTION_CLIENT_ID", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "SYSTEM_ACCESSTOKEN", "SYSTEM_OIDCREQUESTURI")
	if err != nil {
		return nil, err
	}
	assertions := &assertionSource{
		method: "POST", token: v["SYSTEM_ACCESSTOKEN"], field: "oidcToken", options: options,
		url: v["SYSTEM_OIDCREQUESTURI"], query: map[string]string{"api-version": "7.1", "serviceConnectionId": v["AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"]},
	}
	return azidentity.NewClientAssertionCredential(v["AZURESUBSCRIPTION_TENANT_ID"], v["AZURESUBSCRIPTION_CLIENT_ID"], assertions.fetch,
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: private})
}

// newGitHubCredential returns the credential of an identity that trusts a workflow of
// GitHub Actions, from within that workflow. It asks for a new assertion each time:
// one lives for some minutes.
func newGitHubCredential(getenv func(string) string, options policy.ClientOptions, private bool) (azcore.TokenCredential, error) {
	v, err := need(getenv, "the last two are there in a job with the permission id-token: write",
		"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if err != nil {
		return nil, err
	}
	assertions := &assertionSource{
		method: "GET", token: v["ACTIONS_ID_TOKEN_REQUEST_TOKEN"], field: "value", options: options,
		url: v["ACTIONS_ID_TOKEN_REQUEST_URL"], query: map[string]string{"audience": "api://AzureADTokenExchange"},
	}
	return azidentity.NewClientAssertionCredential(v["AZURE_TENANT_ID"], v["AZURE_CLIENT_ID"], assertions.fetch,
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: private})
}
