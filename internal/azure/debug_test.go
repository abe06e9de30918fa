package azure

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A line for each request says what was asked and how it went, and no secret.
func TestDebug(t *testing.T) {
	var out strings.Builder
	server := httptest.NewServer(answer(200, `{"value":[{"id":"`+authz+`","name":"secret-body"}]}`,
		"X-Ms-Request-Id", "r-1", "X-Ms-Ratelimit-Remaining-Resource", "Microsoft.Compute/GetVMScaleSet3Min;197", "Set-Cookie", "secret-cookie"))
	defer server.Close()
	c, err := New(Config{Auth: authDefault, Getenv: env(EndpointVariable, server.URL), Debug: &out})
	require.NoError(t, err)
	_, err = c.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.NoError(t, err)
	require.Regexp(t, `^GET `+server.URL+compute+`virtualMachineScaleSets\?api-version=\d{4}-\d\d-\d\d 200 \d+m?s x-ms-request-id=r-1 x-ms-ratelimit-remaining-resource=Microsoft.Compute/GetVMScaleSet3Min;197\n$`, out.String())
}

func TestPublicURL(t *testing.T) {
	req := httptest.NewRequest(http.MethodGet, "https://management.azure.com/a%20b?sig=secret&$filter=x&api-version=1&$skiptoken=secret&t=secret&SIG=secret", nil)
	require.Equal(t, "https://management.azure.com/a%20b?$filter=x&$skiptoken=...&SIG=...&api-version=1&sig=...&t=...", publicURL(req.URL))
}

// No token is in what is written, whoever gets it.
func TestDebugOfASignIn(t *testing.T) {
	a := newAuthority(t)
	var out strings.Builder
	variables := append(github(a), EndpointVariable, a.server.URL, AuthorityVariable, a.server.URL+"/", CAVariable, certificateFile(t, a.server))
	c, err := New(Config{Auth: authGitHub, Getenv: env(variables...), Debug: &out})
	require.NoError(t, err)
	_, err = c.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.NoError(t, err)
	require.GreaterOrEqual(t, strings.Count(out.String(), "\n"), 3)
	for _, secret := range []string{"token-1", "assertion-1", "secret"} {
		require.NotContains(t, out.String(), secret)
	}
}
