package azure

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// certificateFile writes the certificate of a server to a file.
func certificateFile(t *testing.T, server *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(file, text, 0o600))
	return file
}

func TestPlaceOfAzure(t *testing.T) {
	for authority, endpoint := range map[string]string{
		"":                                         "https://management.azure.com",
		"https://login.microsoftonline.com/":       "https://management.azure.com",
		"https://login.example/":                   "https://management.azure.com",
		"https://login.microsoftonline.us":         "https://management.usgovcloudapi.net",
		"https://login.chinacloudapi.cn/":          "https://management.chinacloudapi.cn",
		"https://login.partner.microsoftonline.cn": "https://management.chinacloudapi.cn",
	} {
		p, err := newPlace(env(AuthorityVariable, authority))
		require.NoError(t, err)
		require.Equal(t, endpoint, p.endpoint(), authority)
		require.True(t, p.tokens)
		require.False(t, p.simulator)
		if authority != "" {
			require.Equal(t, authority, p.cloud.ActiveDirectoryAuthorityHost)
		}
	}
}

// A simulator is on this machine, or it is none; no credential is used for it unless
// its tokens come from this machine, too.
func TestPlaceOfASimulator(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:8080", "http://127.0.0.1:8080/", "https://[::1]:8443", "http://localhost:1"} {
		p, err := newPlace(env(EndpointVariable, good))
		require.NoError(t, err, good)
		require.True(t, p.simulator)
		require.False(t, p.tokens)
	}
	for _, bad := range []string{
		"http://10.0.0.1:80", "https://management.azure.com", "http://127.0.0.1.example:80", "127.0.0.1:8080", "ftp://127.0.0.1",
		"http://user:secret@127.0.0.1", "http://127.0.0.1/path", "http://127.0.0.1?x=y", "http://", "://", "http://localhost.example",
	} {
		_, err := newPlace(env(EndpointVariable, bad))
		require.ErrorIs(t, err, &Error{Kind: Usage}, bad)
		require.NotContains(t, err.Error(), "secret")
	}

	p, err := newPlace(env(EndpointVariable, "https://127.0.0.1:1", AuthorityVariable, "https://127.0.0.1:2/"))
	require.NoError(t, err)
	require.True(t, p.tokens)
	for _, authority := range []string{"https://login.microsoftonline.us", "http://127.0.0.1:2"} {
		p, err = newPlace(env(EndpointVariable, "https://127.0.0.1:1", AuthorityVariable, authority))
		require.NoError(t, err)
		require.False(t, p.tokens, authority)
	}
	p, err = newPlace(env(EndpointVariable, "http://127.0.0.1:1", AuthorityVariable, "https://127.0.0.1:2"))
	require.NoError(t, err)
	require.False(t, p.tokens, "a token is never sent without TLS")

	_, err = newPlace(env(CAVariable, "ca.pem"))
	require.ErrorContains(t, err, "FLEETCTL_ARM_CA is for a simulator")
	for _, file := range []string{filepath.Join(t.TempDir(), "none.pem"), os.DevNull} {
		_, err = New(Config{Auth: authDefault, Getenv: env(EndpointVariable, "https://127.0.0.1:1", CAVariable, file)})
		require.ErrorIs(t, err, &Error{Kind: Usage})
		require.ErrorContains(t, err, "read FLEETCTL_ARM_CA: ")
	}
}
