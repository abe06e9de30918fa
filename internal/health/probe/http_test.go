package probe

import (
	"compress/gzip"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/stretchr/testify/require"
)

// reply writes a body to a client that may have gone.
func reply(w io.Writer, body string) { _, _ = io.WriteString(w, body) }

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ok", func(w http.ResponseWriter, _ *http.Request) { reply(w, "all is well\n") })
	mux.HandleFunc("GET /down", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusServiceUnavailable) })
	mux.HandleFunc("GET /away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/ok?token=secret", http.StatusFound)
	})
	mux.HandleFunc("POST /post", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /header", func(w http.ResponseWriter, r *http.Request) {
		reply(w, r.Host+"|"+r.Header.Get("Authorization"))
	})
	mux.HandleFunc("GET /endless", func(w http.ResponseWriter, _ *http.Request) {
		line := strings.Repeat("x", 1023) + "\n"
		for { // until the client has had enough
			if _, err := io.WriteString(w, line); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("GET /long", func(w http.ResponseWriter, _ *http.Request) { reply(w, strings.Repeat("x", maxBody)+"end") })
	mux.HandleFunc("GET /limit", func(w http.ResponseWriter, _ *http.Request) { reply(w, strings.Repeat("x", maxBody-3)+"end") })
	compressed := func(w http.ResponseWriter) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		reply(z, "all is well\n")
		_ = z.Close() // the client may have gone
	}
	mux.HandleFunc("GET /gzip", func(w http.ResponseWriter, _ *http.Request) { compressed(w) })
	mux.HandleFunc("GET /negotiated", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") == "identity" {
			reply(w, "all is well\n")
			return
		}
		compressed(w) // as RFC 9110, section 12.5.3, allows to who does not care
	})
	mux.HandleFunc("GET /short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		reply(w, "cut")
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	address := server.Listener.Addr().String()

	for name, tc := range map[string]struct {
		cfg  HTTPConfig
		says string // ADDRESS stands for the server's
	}{
		"ok":              {cfg: HTTPConfig{URL: "/ok"}},
		"not ok":          {cfg: HTTPConfig{URL: "/down"}, says: "http http://ADDRESS/down: status 503, want status 2xx"},
		"expected status": {cfg: HTTPConfig{URL: "/down", ExpectStatus: []StatusRange{{200, 200}, {500, 503}}}},
		"other statuses": {
			cfg:  HTTPConfig{URL: "/down", ExpectStatus: []StatusRange{{200, 200}, {300, 399}, {400, 410}}},
			says: "http http://ADDRESS/down: status 503, want status 200 or 3xx or 400-410",
		},
		"redirect": {
			cfg:  HTTPConfig{URL: "/away"},
			says: "http http://ADDRESS/away: status 302 (a redirect, not followed), want status 2xx",
		},
		"redirect expected": {cfg: HTTPConfig{URL: "/away", ExpectStatus: []StatusRange{{302, 302}}}},
		"method":            {cfg: HTTPConfig{URL: "/post", Method: "post"}},
		"body":              {cfg: HTTPConfig{URL: "/ok", ExpectBody: `^all .* well\n$`}},
		"other body": {
			cfg:  HTTPConfig{URL: "/ok", ExpectBody: "is ill"},
			says: `http http://ADDRESS/ok: body "all is well ", want a body that matches "is ill"`,
		},
		"header and host": {cfg: HTTPConfig{
			URL: "/header", Headers: map[string]string{"Authorization": "Bearer token", "host": "app.example"},
			ExpectBody: `^app\.example\|Bearer token$`,
		}},
		"secrets are not shown": {
			cfg:  HTTPConfig{URL: "/down?sig=secret#secret", Headers: map[string]string{"Authorization": "secret"}},
			says: "http http://ADDRESS/down: status 503, want status 2xx",
		},
		"endless body": {cfg: HTTPConfig{URL: "/endless", ExpectBody: "^x"}},
		"endless body without the match": {
			cfg: HTTPConfig{URL: "/endless", ExpectBody: "y"},
			says: `http http://ADDRESS/endless: body "` + strings.Repeat("x", maxQuote-3) +
				`…" (only its first 64 KiB were looked at), want a body that matches "y"`,
		},
		"match behind the limit": {
			cfg:  HTTPConfig{URL: "/long", ExpectBody: "end"},
			says: `http http://ADDRESS/long: body "` + strings.Repeat("x", maxQuote-3) + `…" (only its first 64 KiB were looked at), want a body that matches "end"`,
		},
		"match at the limit":        {cfg: HTTPConfig{URL: "/limit", ExpectBody: "end$"}},
		"compressed only on demand": {cfg: HTTPConfig{URL: "/negotiated", ExpectBody: "all is well"}},
		"compressed all the same": {
			cfg:  HTTPConfig{URL: "/gzip", ExpectBody: "all is well"},
			says: `http http://ADDRESS/gzip: body encoded as "gzip", which a check does not undo, want a body that matches "all is well"`,
		},
		"endless body not asked for": {cfg: HTTPConfig{URL: "/endless"}},
		"broken body": {
			cfg:  HTTPConfig{URL: "/short", ExpectBody: "whole"},
			says: `http http://ADDRESS/short: body broken off after 3 bytes: unexpected EOF, want a body that matches "whole"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.cfg.URL = "http://" + address + tc.cfg.URL
			p, err := HTTP(tc.cfg)
			err = look(t, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, strings.ReplaceAll(tc.says, "ADDRESS", address))
		})
	}
}

func TestHTTPUnreachable(t *testing.T) {
	t.Run("nobody listens", func(t *testing.T) {
		address := deadAddress(t)
		p, err := HTTP(HTTPConfig{URL: "http://user:secret@" + address + "/x?key=secret"})
		requireSays(t, look(t, p, err), "http http://"+address+"/x: no answer: connection refused, want status 2xx")
	})
	t.Run("no answer", func(t *testing.T) {
		address := serve(t, mute)
		p, err := HTTP(HTTPConfig{URL: "http://" + address + "/x?key=secret"})
		requireSays(t, lookFor(t, 20*time.Millisecond, p, err), "http http://"+address+"/x: no answer: timed out, want status 2xx")
	})
	t.Run("not HTTP", func(t *testing.T) {
		address := serve(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, "SSH-2.0-\x1b[31mfake\r\n")
		})
		p, err := HTTP(HTTPConfig{URL: "http://" + address})
		err = look(t, p, err)
		requireFinding(t, err)
		require.NotContains(t, err.Error(), "\x1b")
	})
	t.Run("endless headers", func(t *testing.T) {
		address := serve(t, func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 1024))
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			for {
				if _, err := io.WriteString(conn, "X-Pad: "+strings.Repeat("x", 4096)+"\r\n"); err != nil {
					return
				}
			}
		})
		p, err := HTTP(HTTPConfig{URL: "http://" + address})
		require.ErrorContains(t, look(t, p, err), "http http://"+address+": no answer: ")
	})
}

func TestHTTPUsesANewConnectionEachTime(t *testing.T) {
	remotes := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { remotes[r.RemoteAddr] = true }))
	defer server.Close()
	p, err := HTTP(HTTPConfig{URL: server.URL})
	for range 3 {
		require.NoError(t, look(t, p, err))
	}
	require.Len(t, remotes, 3)
}

func TestHTTPUnixSocketWithoutProxy(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, r.Host+" "+r.RequestURI) // of a proxy, the whole URL is asked
	})}}
	server.Start()
	p, err := HTTP(HTTPConfig{URL: "http://app.example/ready", UnixSocket: socket, ExpectBody: "^app.example /ready$"})
	require.NoError(t, look(t, p, err))

	server.Close()
	requireSays(t, look(t, p, err), "http http://app.example/ready over "+socket+": no answer: no such file or directory, want status 2xx")
}

func TestHTTPClientCertificate(t *testing.T) {
	root, stranger := testkit.NewAuthority(t, "Example Root"), testkit.NewAuthority(t, "Example Root")
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{root.Issue(t, "server", "app.example", day).TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: root.Pool(), MinVersion: tls.VersionTLS13,
	}
	server.Config.ErrorLog = discardLog
	server.StartTLS()
	defer server.Close()

	dir := t.TempDir()
	write := func(a *testkit.Certificate) TLSClient {
		return TLSClient{
			CAFile:   writeFile(t, filepath.Join(dir, "ca.pem"), root.CertPEM),
			CertFile: writeFile(t, filepath.Join(dir, "cert.pem"), a.CertPEM),
			KeyFile:  writeFile(t, filepath.Join(dir, "key.pem"), a.KeyPEM),
		}
	}
	files := write(root.Issue(t, "first", "client.example", day))
	p, err := HTTP(HTTPConfig{URL: server.URL, TLS: files, ExpectBody: "^(first|second)$"})
	require.NoError(t, look(t, p, err))

	write(root.Issue(t, "second", "client.example", day))
	require.NoError(t, look(t, p, err), "a rotated certificate is used in the next run")

	write(stranger.Issue(t, "stranger", "client.example", day))
	requireSays(t, look(t, p, err), "http "+server.URL+": no answer: refused by the peer: tls: unknown certificate authority, want status 2xx")

	writeFile(t, files.KeyFile, root.KeyPEM)
	requireSays(t, look(t, p, err), "http "+server.URL+": cert_file "+files.CertFile+" with key_file "+files.KeyFile+
		": tls: private key does not match public key, want usable TLS files")

	writeFile(t, files.CAFile, []byte("nothing"))
	requireSays(t, look(t, p, err), "http "+server.URL+": ca_file "+files.CAFile+": no certificate in it, want usable TLS files")

	p, err = HTTP(HTTPConfig{URL: server.URL})
	requireSays(t, look(t, p, err), "http "+server.URL+
		": no answer: certificate CN=server not valid: x509: certificate signed by unknown authority, want status 2xx")
}

func TestHTTPRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  HTTPConfig
		says string
	}{
		"no URL":       {HTTPConfig{}, "url : want http://host/path or https://host/path"},
		"broken URL":   {HTTPConfig{URL: "http://user:secret@[::1"}, "url: want a valid URL, such as http://127.0.0.1:8080/health"},
		"other scheme": {HTTPConfig{URL: "ftp://user:secret@host/"}, "url ftp://host/: want http://host/path or https://host/path"},
		"no host":      {HTTPConfig{URL: "http://:8080/"}, "url http://:8080/: want http://host/path or https://host/path"},
		"TLS for http": {HTTPConfig{URL: "http://h", TLS: TLSClient{ServerName: "x"}}, "url http://h: tls is set, want an https URL"},
		"socket":       {HTTPConfig{URL: "http://h", UnixSocket: "s"}, `unix_socket "s": want an absolute path`},
		"method":       {HTTPConfig{URL: "http://h", Method: "GE T"}, `method "GE T": want an HTTP method such as GET or HEAD`},
		"status":       {HTTPConfig{URL: "http://h", ExpectStatus: []StatusRange{{200, 700}}}, "expect_status 200-700: want codes from 100 to 599"},
		"body":         {HTTPConfig{URL: "http://h", ExpectBody: "("}, "expect_body: error parsing regexp: missing closing ): `(`"},
		"header name":  {HTTPConfig{URL: "http://h", Headers: map[string]string{"a b": "c"}}, `headers "a b": want a header name, and a value without line breaks`},
		"header value": {HTTPConfig{URL: "http://h", Headers: map[string]string{"A": "secret\r\nB: c"}}, `headers "A": want a header name, and a value without line breaks`},
		"half a pair":  {HTTPConfig{URL: "https://h", TLS: TLSClient{CertFile: "/c"}}, "cert_file and key_file: want both or neither"},
		"relative CA":  {HTTPConfig{URL: "https://h", TLS: TLSClient{CAFile: "ca"}}, `ca_file "ca": want an absolute path`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := HTTP(tc.cfg)
			require.EqualError(t, err, tc.says)
		})
	}
}
