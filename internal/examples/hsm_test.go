package examples

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
)

// The module is where Debian's libsofthsm2 puts it, and where the example says.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// Texts that occur nowhere by chance.
const (
	rightPIN = "pin-Sesame-7391"
	wrongPIN = "pin-Barley-8462"
)

// A token is a SoftHSM token of the test's own, with the key f1, and a
// pkcs11-tool that writes down how it is called.
type token struct {
	t       *testing.T
	dir     string
	module  string // a link, so that it can go away
	pinFile string
	calls   string // the file with the command lines
}

func newToken(t *testing.T, dir string) *token {
	t.Helper()
	k := &token{
		t: t, dir: dir, module: filepath.Join(dir, "module.so"),
		pinFile: filepath.Join(dir, "pin"), calls: filepath.Join(dir, "calls"),
	}
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "tokens"), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "refused"), 0o755))
	require.NoError(t, os.Symlink(softHSM, k.module))
	writeFile(t, filepath.Join(dir, "softhsm2.conf"), "directories.tokendir = "+filepath.Join(dir, "tokens")+"\n")
	writeFile(t, k.pinFile, rightPIN+"\n")

	program, err := exec.LookPath("pkcs11-tool")
	require.NoError(t, err)
	recorder := filepath.Join(dir, "bin/pkcs11-tool")
	writeFile(t, recorder, `#!/bin/sh
{ tr '\0' ' ' </proc/$$/cmdline; tr '\0' ' ' </proc/$PPID/cmdline; echo; } >>`+k.calls+`
exec `+program+` "$@"
`)
	require.NoError(t, os.Chmod(recorder, 0o700))

	k.setUp("softhsm2-util", "--init-token", "--free", "--label", "payments", "--pin", rightPIN, "--so-pin", "so-"+rightPIN)
	k.setUp(program, "--module", k.module, "--token-label", "payments", "--login", "--pin", rightPIN,
		"--keypairgen", "--key-type", "EC:prime256v1", "--id", "f1", "--label", "fleet-agent")
	return k
}

func (k *token) setUp(command ...string) {
	k.t.Helper()
	cmd := exec.CommandContext(k.t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), "SOFTHSM2_CONF="+filepath.Join(k.dir, "softhsm2.conf"))
	out, err := cmd.CombinedOutput()
	require.NoError(k.t, err, "%s", out)
}

// called counts the calls of pkcs11-tool.
func (k *token) called() int {
	k.t.Helper()
	data, err := os.ReadFile(k.calls)
	require.NoError(k.t, err)
	return strings.Count(string(data), "\n")
}

// swap replaces a file or directory, and returns what puts it back.
func swap(t *testing.T, path string, replace func()) (restore func()) {
	t.Helper()
	away := filepath.Join(t.TempDir(), filepath.Base(path)) // where nobody looks for it
	require.NoError(t, os.Rename(path, away))
	if replace != nil {
		replace()
	}
	return func() {
		t.Helper()
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, os.Rename(away, path))
	}
}

// TestHSM runs examples/hsm as it is, but for paths, addresses and intervals: the
// node is ready while the token signs and the network HSM accepts it, and only
// then; it is healthy all the time.
func TestHSM(t *testing.T) {
	testkit.Tool(t, "softhsm2-util", "softhsm2")
	testkit.Tool(t, "pkcs11-tool", "opensc")
	dir := shortDir(t)
	k := newToken(t, filepath.Join(dir, "hsm"))
	authority := testkit.NewAuthority(t, "Example Authority")
	probe, server, client := authority.Issue(t, "probe", "localhost", 90*day),
		authority.Issue(t, "hsm", "hsm.internal", 90*day), authority.Issue(t, "node", "node.internal", 90*day)
	address := serveHSM(t, server, authority)
	files := filepath.Join(dir, "tls")
	for name, content := range map[string]string{
		"probe.crt": string(probe.CertPEM), "probe.key": string(probe.KeyPEM),
		"hsm-ca.pem": string(authority.CertPEM), "hsm-client.crt": string(client.CertPEM), "hsm-client.key": string(client.KeyPEM),
	} {
		writeFile(t, filepath.Join(files, name), content)
	}
	script, err := filepath.Abs("../../examples/hsm/check-token")
	require.NoError(t, err)
	quick := func(check map[string]any) { check["interval"], check["timeout"] = "200ms", "60s" }
	writeFile(t, filepath.Join(dir, "config.yaml"), adapt(t, "hsm/config.yaml", map[string]string{
		"127.0.0.1:8443": "127.0.0.1:0", "/etc/fleet-agent/tls": files,
	}, quick))
	writeFile(t, filepath.Join(dir, "conf.d/50-hsm.yaml"), adapt(t, "hsm/conf.d/50-hsm.yaml", map[string]string{
		"/usr/local/lib/fleet-agent/check-token": script, softHSM: k.module,
		"/run/credentials/fleet-agent.service/hsm-pin": k.pinFile,
		"/etc/softhsm/softhsm2.conf":                   filepath.Join(k.dir, "softhsm2.conf"),
		"hsm.internal:1792":                            address, "/etc/fleet-agent/tls": files,
	}, func(check map[string]any) {
		quick(check)
		if check["name"] == "hsm-token" {
			env := check["exec"].(map[string]any)["env"].(map[string]any)
			env["PATH"] = filepath.Join(k.dir, "bin") + ":/usr/local/bin:/usr/bin:/bin"
			env["FLEET_HSM_STATE"] = filepath.Join(k.dir, "refused")
		}
	}))
	n := startNode(t, dir)
	serving := func() bool { return n.code("https", "/readyz") == http.StatusOK }
	n.await("ready", serving)
	require.Empty(t, n.check("hsm-token"))
	require.Empty(t, n.check("hsm-link"))
	require.Empty(t, n.check("hsm-certificate"))

	says := "exec " + script + `: exit code 1, output "`
	tokens, err := filepath.Glob(filepath.Join(k.dir, "tokens/*"))
	require.NoError(t, err)
	require.Len(t, tokens, 1)
	for _, tc := range []struct {
		name, check, says string
		damage            func() (mend func())
	}{
		{
			"token missing", "hsm-token", says + "token payments is missing from module " + k.module + `", want exit code 0`,
			func() func() { return swap(t, tokens[0], nil) },
		},
		{
			"token store gone", "hsm-token", says + "token payments: PKCS11 function C_Initialize failed: rv = CKR_GENERAL_ERROR (0x5)",
			func() func() { return swap(t, filepath.Join(k.dir, "tokens"), nil) },
		},
		{
			"module gone", "hsm-token", says + "module " + k.module + ` is missing", want exit code 0`,
			func() func() { return swap(t, k.module, nil) },
		},
		{
			"module broken", "hsm-token", says + "module " + k.module + ` cannot be loaded", want exit code 0`,
			func() func() { return swap(t, k.module, func() { writeFile(t, k.module, "no library") }) },
		},
		{
			"key missing", "hsm-token", says + `key f1 is missing from token payments", want exit code 0`,
			func() func() {
				objects, err := filepath.Glob(filepath.Join(tokens[0], "*-*.object"))
				require.NoError(t, err)
				require.NotEmpty(t, objects)
				away := make([]func(), 0, len(objects))
				for _, o := range objects {
					away = append(away, swap(t, o, nil))
				}
				return func() {
					for _, back := range away {
						back()
					}
				}
			},
		},
		{
			"pin file missing", "hsm-token", says + "PIN file " + k.pinFile + ` cannot be read", want exit code 0`,
			func() func() { return swap(t, k.pinFile, nil) },
		},
		{
			"pin wrong", "hsm-token", says + "PIN was refused by token payments: not tried again until " + k.pinFile + ` changes", want exit code 0`,
			func() func() {
				mend := swap(t, k.pinFile, func() { writeFile(t, k.pinFile, wrongPIN+"\n") })
				return func() {
					mend()
					// The file that is back has its old time, from before the refusal.
					writeFile(t, k.pinFile, rightPIN+"\n")
				}
			},
		},
		{
			"client certificate missing", "hsm-link",
			"tls " + address + ": cert_file " + filepath.Join(files, "hsm-client.crt") + ": no such file or directory, want usable TLS files",
			func() func() { return swap(t, filepath.Join(files, "hsm-client.crt"), nil) },
		},
		{
			"client of others", "hsm-link",
			"tls " + address + ": refused by the peer: tls: unknown certificate authority, want a TLS handshake with 127.0.0.1",
			func() func() {
				stranger := testkit.NewAuthority(t, "Other Authority").Issue(t, "node", "node.internal", 90*day)
				back := []func(){
					swap(t, filepath.Join(files, "hsm-client.crt"), func() { writeFile(t, filepath.Join(files, "hsm-client.crt"), string(stranger.CertPEM)) }),
					swap(t, filepath.Join(files, "hsm-client.key"), func() { writeFile(t, filepath.Join(files, "hsm-client.key"), string(stranger.KeyPEM)) }),
				}
				return func() { back[0](); back[1]() }
			},
		},
	} {
		mend := tc.damage()
		n.await("not ready: "+tc.name, func() bool { return !serving() })
		require.Contains(t, n.check(tc.check), tc.says, tc.name)
		require.Equal(t, http.StatusServiceUnavailable, n.code("https", "/readyz"), tc.name)
		require.Equal(t, http.StatusOK, n.code("https", "/healthz"), tc.name)
		require.Equal(t, []string{tc.check}, n.status().Health.Roots, tc.name)
		if tc.name == "pin wrong" {
			before := k.called()
			for range 5 {
				require.Contains(t, n.check("hsm-token"), tc.says)
			}
			require.Equal(t, before, k.called(), "a PIN that was refused is not tried again")
		}
		mend()
		n.await("ready again: "+tc.name, serving)
	}

	calls, err := os.ReadFile(k.calls)
	require.NoError(t, err)
	require.Contains(t, string(calls), "--pin env:FLEET_HSM_PIN")
	status := n.run(0, "status", "-v", "-o", "json")
	require.Contains(t, status, "hsm-token")
	shown := n.run(0, "config", "show", "--origin")
	require.Contains(t, shown, "hsm-token")
	for _, pin := range []string{rightPIN, wrongPIN} {
		for where, text := range map[string]string{
			"command lines": string(calls), "log": n.log.String(), "status": status, "config show": shown,
			"explain": n.run(0, "explain", "hsm-token"),
		} {
			require.NotContains(t, text, pin, where)
		}
	}
	require.Equal(t, control.StateServing, n.status().State)
}

// TestNetworkHSM: what a tls check says about a server that demands a client
// certificate names the address, what was expected and what was seen.
func TestNetworkHSM(t *testing.T) {
	dir := shortDir(t)
	authority, others := testkit.NewAuthority(t, "Example Authority"), testkit.NewAuthority(t, "Other Authority")
	server := authority.Issue(t, "hsm", "hsm.internal", 20*day+day/24)
	client, stranger := authority.Issue(t, "node", "node.internal", 90*day), others.Issue(t, "stranger", "node.internal", 90*day)
	address := serveHSM(t, server, authority)
	expired := serveHSM(t, authority.Issue(t, "old", "hsm.internal", -day/2), authority)
	for name, content := range map[string]string{
		"ca.pem": string(authority.CertPEM), "others.pem": string(others.CertPEM),
		"client.crt": string(client.CertPEM), "client.key": string(client.KeyPEM),
		"stranger.crt": string(stranger.CertPEM), "stranger.key": string(stranger.KeyPEM),
	} {
		writeFile(t, filepath.Join(dir, name), content)
	}
	file := func(key, name string) string { return key + ": " + filepath.Join(dir, name) + ", " }
	trust, show := file("ca_file", "ca.pem"), file("cert_file", "client.crt")+file("key_file", "client.key")
	shook := ", want a TLS handshake with hsm.internal"

	checks := []struct{ name, address, settings, says string }{
		{"accepted", address, trust + show, ""},
		{"no-certificate", address, trust, "tls " + address + ": refused by the peer: tls: certificate required" + shook},
		{
			"unknown-certificate", address, trust + file("cert_file", "stranger.crt") + file("key_file", "stranger.key"),
			"tls " + address + ": refused by the peer: tls: unknown certificate authority" + shook,
		},
		{
			"expires-soon", address, trust + show + "expires_within: 720h, ",
			"tls " + address + ": certificate CN=hsm expires in 20d, want at least 30d",
		},
		{
			"other-name", address, trust + show + "server_name: other.internal, ",
			"tls " + address + ": certificate CN=hsm not valid: x509: certificate is valid for hsm.internal, not other.internal, want a TLS handshake with other.internal",
		},
		{
			"other-authority", address, file("ca_file", "others.pem") + show,
			"tls " + address + ": certificate CN=hsm not valid: x509: certificate signed by unknown authority",
		},
		{"expired", expired, trust + show, "tls " + expired + ": certificate CN=old not valid: x509: certificate has expired or is not yet valid"},
		{"refused", "127.0.0.1:1", trust + show, "tls 127.0.0.1:1: connection refused" + shook},
	}
	var text strings.Builder
	text.WriteString("listen: {probe: '127.0.0.1:0'}\nchecks:\n")
	for _, c := range checks {
		name := ", server_name: hsm.internal"
		if strings.Contains(c.settings, "server_name") {
			name = ""
		}
		text.WriteString("  - {name: " + c.name + ", gates: [ready], timeout: 60s, tls: {" + c.settings + "address: '" + c.address + "'" + name + "}}\n")
	}
	writeFile(t, filepath.Join(dir, "config.yaml"), text.String())
	n := startNode(t, dir)
	n.await("healthy", func() bool { return n.code("http", "/healthz") == http.StatusOK })
	require.Equal(t, http.StatusServiceUnavailable, n.code("http", "/readyz"))
	for _, c := range checks {
		seen := n.check(c.name)
		if c.says == "" {
			require.Empty(t, seen, c.name)
			require.Contains(t, n.run(0, "check", c.name), c.name)
			continue
		}
		require.True(t, strings.HasPrefix(seen, c.says), "%s: %s", c.name, seen)
		require.Contains(t, n.run(1, "check", c.name), c.address, "the command prints what was seen")
	}
}
