package arm

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTokens(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		path, audience string
		form           url.Values
		v1             bool
	}{
		{"/22222222-2222-2222-2222-222222222222/oauth2/v2.0/token", "https://management.azure.com", url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "scope": {"https://management.azure.com/.default"}}, false},
		{"/common/oauth2/token", "https://management.core.windows.net/", url.Values{"grant_type": {"client_credentials"}, "client_id": {"c"}, "resource": {"https://management.core.windows.net/"}}, true},
		{"/adfs/oauth2/token", "https://management.core.windows.net", url.Values{"client_id": {"c"}, "scope": {"https://management.core.windows.net/.default openid"}}, true},
		{"/adfs/oauth2/token/", w.url, url.Values{}, true},
	} {
		resp, err := http.PostForm(w.url+tt.path, tt.form)
		require.NoError(t, err)
		data, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode, string(data))
		var answer object
		require.NoError(t, json.Unmarshal(data, &answer))
		require.Equal(t, "Bearer", answer["token_type"])
		require.Equal(t, tt.v1, answer["expires_on"] != nil)
		parts := strings.Split(str(answer, "access_token"), ".")
		require.Len(t, parts, 3)
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		require.NoError(t, err)
		var claims object
		require.NoError(t, json.Unmarshal(text, &claims))
		require.Equal(t, tt.audience, claims["aud"])
		require.Equal(t, tenantID, claims["tid"])
		require.NotEmpty(t, claims["oid"])
	}
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t)
	config := w.get("/common/v2.0/.well-known/openid-configuration").want(200).body
	require.Equal(t, w.url+"/common/oauth2/v2.0/token", config["token_endpoint"])
	require.Equal(t, w.url+"/common/v2.0", config["issuer"])
	adfs := w.get("/adfs/.well-known/openid-configuration").want(200).body
	require.Equal(t, w.url+"/adfs/oauth2/token", adfs["token_endpoint"])
	require.Equal(t, w.url+"/adfs", adfs["issuer"])
	instance := w.get("/common/discovery/instance").want(200).body
	require.Equal(t, strings.TrimPrefix(w.url, "http://"), items(instance, "metadata")[0]["preferred_network"])
	w.get("/common/discovery/v2.0/keys").want(200)

	cloud := w.get("/metadata/endpoints?api-version=2022-09-01").want(200).body
	require.Equal(t, w.url+"/", cloud["resourceManager"])
	require.Equal(t, w.url, str(cloud, "authentication.loginEndpoint"))
	resp, err := http.Get(w.url + "/metadata/endpoints?api-version=2019-05-01")
	require.NoError(t, err)
	defer resp.Body.Close()
	var list []object
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&list))
	require.Equal(t, cloud, list[0])
	require.Equal(t, w.url+"/", w.get("/metadata/endpoints?api-version=2015-01-01").body["graphEndpoint"])
}

func TestAuthentication(t *testing.T) {
	w := newWorld(t)
	s, err := New(Config{RequireToken: true})
	require.NoError(t, err)
	ts := httptest.NewServer(s)
	defer ts.Close()
	for header, status := range map[string]int{"": 401, "Bearer ": 401, "Basic eDp5": 401, "Bearer any": 200, "bearer any": 200} {
		r := w.get(ts.URL+"/subscriptions", "Authorization", header).want(status)
		if status == 401 {
			require.Contains(t, r.header.Get("WWW-Authenticate"), `authorization_uri="`+ts.URL+"/"+tenantID+`"`)
			r.refused(401, "AuthenticationFailed")
		}
	}
	w.get(ts.URL + "/metadata/endpoints?api-version=2022-09-01").want(200)
}

func TestCertificate(t *testing.T) {
	cert, ca, err := NewCertificate("sim.example", "192.0.2.1")
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(ca))
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "sim.example", "192.0.2.1"} {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			_ = tls.Server(server, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}).HandshakeContext(t.Context())
		}()
		conn := tls.Client(client, &tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS13})
		require.NoError(t, conn.HandshakeContext(t.Context()), name)
		client.Close()
	}
}
