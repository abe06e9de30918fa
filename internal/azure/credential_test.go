package azure

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/stretchr/testify/require"
)

const tenant = "22222222-2222-2222-2222-222222222222"

// An authority stands in for Microsoft Entra, for the services that pipelines get
// their assertions from, and for Azure Resource Manager, which takes its tokens.
type authority struct {
	server *httptest.Server
	lives  int // seconds that a token is good for
	refuse string

	mu         sync.Mutex
	assertions []string // that tokens were asked for with
	asked      []string // for assertions, as METHOD PATH?QUERY AUTHORIZATION
	scopes     []string
	tokens     int
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{lives: 3600}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /"+tenant+"/v2.0/.well-known/openid-configuration", a.discovery)
	mux.HandleFunc("POST /"+tenant+"/oauth2/v2.0/token", a.token)
	mux.HandleFunc("GET /github", a.assertion("value"))
	mux.HandleFunc("POST /pipelines", a.assertion("oidcToken"))
	mux.HandleFunc("GET "+compute+"virtualMachineScaleSets", a.resourceManager)
	a.server = httptest.NewTLSServer(mux)
	t.Cleanup(a.server.Close)
	return a
}

func (a *authority) discovery(w http.ResponseWriter, _ *http.Request) {
	base := a.server.URL + "/" + tenant
	_ = json.NewEncoder(w).Encode(map[string]string{
		"issuer": base + "/v2.0", "token_endpoint": base + "/oauth2/v2.0/token", "authorization_endpoint": base + "/oauth2/v2.0/authorize",
	})
}

func (a *authority) token(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.assertions = append(a.assertions, r.PostFormValue("client_assertion"))
	a.scopes = append(a.scopes, r.PostFormValue("scope"))
	if a.refuse != "" {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, a.refuse)
		return
	}
	a.tokens++
	_, _ = fmt.Fprintf(w, `{"token_type":"Bearer","expires_in":%d,"access_token":"token-%d"}`, a.lives, a.tokens)
}

func (a *authority) assertion(field string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.asked = append(a.asked, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization"))
		_, _ = fmt.Fprintf(w, `{%q:"assertion-%d"}`, field, len(a.asked))
	}
}

func (a *authority) resourceManager(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer token-") {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	_, _ = io.WriteString(w, `{"value":[]}`)
}

// read signs in and lists scale sets, n times.
func (a *authority) read(t *testing.T, way string, n int, variables ...string) error {
	t.Helper()
	variables = append(variables, EndpointVariable, a.server.URL, AuthorityVariable, a.server.URL+"/", CAVariable, certificateFile(t, a.server))
	getenv := env(variables...)
	for i := 0; i < len(variables); i += 2 {
		t.Setenv(variables[i], variables[i+1]) // azidentity reads its own
	}
	c, err := New(Config{Auth: way, Getenv: getenv})
	if err != nil {
		return err
	}
	for range n {
		if _, err := c.ScaleSets(t.Context(), subscription, "rg-pay-prod"); err != nil {
			return err
		}
	}
	return nil
}

func github(a *authority) []string {
	return []string{
		"AZURE_TENANT_ID", tenant, "AZURE_CLIENT_ID", "client",
		"ACTIONS_ID_TOKEN_REQUEST_URL", a.server.URL + "/github?run=1", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret-of-the-run",
	}
}

func pipelines(a *authority) []string {
	return []string{
		"AZURESUBSCRIPTION_TENANT_ID", tenant, "AZURESUBSCRIPTION_CLIENT_ID", "client",
		"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "connection", "SYSTEM_ACCESSTOKEN", "secret-of-the-run", "SYSTEM_OIDCREQUESTURI", a.server.URL + "/pipelines",
	}
}

// A pipeline signs in with an assertion, and with a new one for each token.
func TestCredentialOfAPipeline(t *testing.T) {
	for _, test := range []struct {
		way       string
		variables func(*authority) []string
		asked     string
	}{
		{authGitHub, github, "GET /github?audience=api%3A%2F%2FAzureADTokenExchange&run=1 Bearer secret-of-the-run"},
		{authPipelines, pipelines, "POST /pipelines?api-version=7.1&serviceConnectionId=connection Bearer secret-of-the-run"},
	} {
		t.Run(test.way, func(t *testing.T) {
			a := newAuthority(t)
			require.NoError(t, a.read(t, test.way, 3, test.variables(a)...))
			require.Equal(t, []string{test.asked}, a.asked)
			require.Equal(t, []string{"assertion-1"}, a.assertions, "a token that lasts is used again")
			require.Contains(t, a.scopes[0], a.server.URL+"/.default")

			a = newAuthority(t)
			a.lives = 60
			variables := append(test.variables(a), EndpointVariable, a.server.URL, AuthorityVariable, a.server.URL+"/", CAVariable, certificateFile(t, a.server))
			c, err := New(Config{Auth: test.way, Getenv: env(variables...)})
			require.NoError(t, err)
			for range 2 {
				_, err = c.cred.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}})
				require.NoError(t, err)
			}
			require.Equal(t, []string{"assertion-1", "assertion-2"}, a.assertions, "one that ends soon is not")
		})
	}
}

// Without its variables, a way to sign in names those that are missing.
func TestCredentialWithoutVariables(t *testing.T) {
	a := newAuthority(t)
	err := a.read(t, authGitHub, 1, "AZURE_TENANT_ID", tenant, "AZURE_CLIENT_ID", "client")
	require.ErrorIs(t, err, &Error{Kind: SignIn})
	require.EqualError(t, err, "sign in with --auth github: ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN not set; the last two are there in a job with the permission id-token: write")
	err = a.read(t, authPipelines, 1)
	require.ErrorContains(t, err, "AZURESUBSCRIPTION_TENANT_ID, AZURESUBSCRIPTION_CLIENT_ID")
	for _, way := range []string{authEnv, authWorkload} {
		t.Setenv("AZURE_TENANT_ID", "")
		t.Setenv("AZURE_CLIENT_ID", "")
		err = a.read(t, way, 1)
		require.ErrorIs(t, err, &Error{Kind: SignIn}, way)
	}
	err = a.read(t, "kerberos", 1)
	require.ErrorIs(t, err, &Error{Kind: Usage})
}

// What a service says is told; what was sent to it, and its answers, are not.
func TestCredentialThatIsRefused(t *testing.T) {
	a := newAuthority(t)
	a.refuse = `{"error":"invalid_client","error_description":"AADSTS700213: No matching federated identity record found for presented assertion subject. Trace ID: 1 Correlation ID: 2","secret":"secret-answer"}`
	err := a.read(t, authGitHub, 1, github(a)...)
	require.ErrorIs(t, err, &Error{Kind: SignIn})
	require.EqualError(t, err, "sign in with --auth github: ClientAssertionCredential: "+a.server.URL+" answered 401: AADSTS700213: No matching federated identity record found for presented assertion subject.")

	variables := github(a)
	variables[5] = a.server.URL + "/nothing?sig=secret"
	err = a.read(t, authGitHub, 1, variables...)
	require.ErrorContains(t, err, "for an assertion: it answered 404")
	require.NotContains(t, err.Error(), "secret")
	variables[5] = "http://127.0.0.1/github"
	require.ErrorContains(t, a.read(t, authGitHub, 1, variables...), "no https URL")

	source := assertionSource{method: http.MethodGet, url: "https://127.0.0.1:1/github?sig=secret", token: "secret", field: "value"}
	source.options.Retry.MaxRetries = -1
	_, err = source.fetch(t.Context())
	require.ErrorContains(t, err, "ask 127.0.0.1:1 for an assertion: ")
	require.ErrorContains(t, err, "connection refused")
	require.NotContains(t, err.Error(), "secret")
}

// alone leaves a test without what could sign in on this machine.
func alone(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		name, _, _ := strings.Cut(pair, "=")
		for _, prefix := range []string{"AZURE_", "IDENTITY_", "MSI_", "IMDS_", "AZUREPS_"} {
			if strings.HasPrefix(name, prefix) {
				t.Setenv(name, "")
				require.NoError(t, os.Unsetenv(name))
			}
		}
	}
	t.Setenv("PATH", t.TempDir())
	t.Setenv("HOME", t.TempDir())
}

// metadata returns a client of Azure whose metadata service answers so.
func metadata(t *testing.T, status int, body string) *Client {
	t.Helper()
	alone(t)
	c, err := New(Config{Auth: authDefault, Getenv: env(), testOnlyTransport: &handlerTransport{Handler: answer(status, body)}})
	require.NoError(t, err)
	return c
}

// Every credential that was tried is named, with the reason that it failed for.
func TestCredentialsThatWereTried(t *testing.T) {
	c := metadata(t, http.StatusForbidden, `a socket operation was attempted to an unreachable network`)
	_, err := c.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	e, ok := errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, SignIn, e.Kind)
	require.Equal(t, `sign in with --auth default: no way to sign in works:
  EnvironmentCredential: missing environment variable AZURE_TENANT_ID
  WorkloadIdentityCredential: no client ID specified. Check pod configuration or set ClientID in the options
  ManagedIdentityCredential: unexpected response "a socket operation was attempted to an unreachable network"
  AzureCLICredential: executable not found on path
  AzureDeveloperCLICredential: executable not found on path
  AzurePowerShellCredential: executable not found on path`, e.Error())
	require.Contains(t, e.Hint, "az login")
}

// A proxy that answers in the place of the metadata service ends the search, and
// the hint says how to go past it.
func TestCredentialsBehindAProxy(t *testing.T) {
	c := metadata(t, http.StatusForbidden, `{"error":"blocked by proxy"}`)
	_, err := c.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	e, ok := errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, `sign in with --auth default: no way to sign in works:
  EnvironmentCredential: missing environment variable AZURE_TENANT_ID
  WorkloadIdentityCredential: no client ID specified. Check pod configuration or set ClientID in the options
  ManagedIdentityCredential: http://169.254.169.254 answered 403`, e.Error())
	require.Contains(t, e.Hint, "--auth cli, or AZURE_TOKEN_CREDENTIALS=dev")
}

// The variable that chooses among the default's credentials is respected, and a
// single one that fails is one line.
func TestCredentialsThatAreChosen(t *testing.T) {
	alone(t)
	t.Setenv("AZURE_TOKEN_CREDENTIALS", "AzureCLICredential")
	refused := &handlerTransport{Handler: answer(500, "")}
	c, err := New(Config{Auth: authDefault, Getenv: env(), testOnlyTransport: refused})
	require.NoError(t, err)
	_, err = c.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.EqualError(t, err, "sign in with --auth default: AzureCLICredential: executable not found on path")
	require.Zero(t, refused.calls.Load())

	t.Setenv("AZURE_TOKEN_CREDENTIALS", "carrots")
	_, err = New(Config{Auth: authDefault, Getenv: env()})
	require.ErrorIs(t, err, &Error{Kind: SignIn})
	require.ErrorContains(t, err, `invalid AZURE_TOKEN_CREDENTIALS value "carrots"`)
}

// The command line of Azure is asked once, whatever number of clients there is.
func TestCredentialIsAskedOnce(t *testing.T) {
	alone(t)
	asked := filepath.Join(t.TempDir(), "asked")
	az := filepath.Join(os.Getenv("PATH"), "az")
	script := "#!/bin/sh\necho asked >> " + asked + "\n" +
		`echo '{"accessToken":"token","expiresOn":"2099-01-01 00:00:00.000000","expires_on":4070908800,"tokenType":"Bearer"}'` + "\n"
	require.NoError(t, os.WriteFile(az, []byte(script), 0o755)) //nolint:gosec // a program
	t.Setenv("PATH", os.Getenv("PATH")+":/bin:/usr/bin")
	server := fleetOf(2, 2, 1, 50)
	c, err := New(Config{Auth: authCLI, Getenv: env(), testOnlyTransport: &handlerTransport{Handler: server}})
	require.NoError(t, err)
	_, err = c.Fleet(t.Context(), everything())
	require.NoError(t, err)
	text, err := os.ReadFile(asked)
	require.NoError(t, err)
	require.Equal(t, "asked\n", string(text))
}
