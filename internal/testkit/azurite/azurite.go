// Package azurite answers: what does Microsoft's own emulator of Azure Storage say?
//
// It starts one Azurite for the tests of a package, when make azurite asks for it.
// Nothing that ships imports it.
package azurite

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// Account is the storage account that Azurite has.
const Account = "stpay"

// variable names the directory with Azurite and what it needs: node_modules of
// e2e/azurite. Without it the tests that want it are skipped.
const variable = "FLEETCTL_AZURITE"

// startWithin is how long Azurite may take to listen.
const startWithin = 2 * time.Minute

// running is the one Azurite of all tests.
var running struct {
	sync.Once
	service http.Handler
	err     error
	stop    func()
}

// Service is Azurite: what goes to /blob/ACCOUNT/ here goes to /ACCOUNT/ there, over
// https and with a token of the form that it demands. The test is skipped when nobody
// asked for Azurite. Whoever calls it calls Stop at the end of TestMain.
func Service(tb testing.TB) http.Handler {
	tb.Helper()
	packages := os.Getenv(variable)
	if packages == "" {
		tb.Skip("Azurite was not asked for: make azurite")
	}
	authority := testkit.NewAuthority(tb, "azurite")
	server := authority.Issue(tb, "azurite", "localhost", 24*time.Hour)
	running.Do(func() { running.service, running.stop, running.err = start(packages, server, authority.Pool()) })
	require.NoError(tb, running.err)
	return running.service
}

// Stop ends Azurite, if it was started.
func Stop() {
	if running.stop != nil {
		running.stop()
	}
}

// listening is the line with which Azurite says where.
var listening = regexp.MustCompile(`successfully listens on https://(127\.0\.0\.1:\d+)`)

func start(packages string, server *testkit.Certificate, authority *x509.CertPool) (service http.Handler, stop func(), err error) {
	dir, err := os.MkdirTemp("", "azurite")
	if err != nil {
		return nil, nil, err
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), server.CertPEM, 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), server.KeyPEM, 0o600),
	)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	key := base64.StdEncoding.EncodeToString(make([]byte, 32)) // which nobody uses
	cmd := exec.CommandContext(ctx, "node", filepath.Join(packages, "azurite/dist/src/blob/main.js"), "--blobHost", "127.0.0.1", "--blobPort", "0",
		"--inMemoryPersistence", "--disableTelemetry", "--disableProductStyleUrl", "--silent",
		"--oauth", "basic", "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"))
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+Account+":"+key)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also when the tests run out of time
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, nil, err
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // it was killed
		_ = os.RemoveAll(dir)
	}
	late := time.AfterFunc(startWithin, cancel)
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go func() { // so that it can go on talking
				for lines.Scan() {
				}
			}()
			return leading(m[1], authority), stop, nil
		}
	}
	stop()
	return nil, nil, fmt.Errorf("azurite ended, or was not ready within %s", startWithin)
}

// leading passes requests on to Azurite.
func leading(host string, authority *x509.CertPool) http.Handler {
	return &httputil.ReverseProxy{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 64},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "https", Host: host})
			r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/blob")
			r.Out.URL.RawPath = ""
			r.Out.Host = ""
			r.Out.Header.Set("Authorization", "Bearer "+token(time.Now()))
		},
	}
}

// token is one that Azurite's --oauth basic accepts: it looks at the times, the issuer
// and the audience, and at no signature.
func token(now time.Time) string {
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	return part(`{"typ":"JWT","alg":"RS256"}`) + "." + part(fmt.Sprintf(
		`{"aud":"https://storage.azure.com","iss":"https://sts.windows.net/11111111-1111-1111-1111-111111111111/","iat":%d,"nbf":%d,"exp":%d,"ver":"1.0"}`,
		now.Unix()-60, now.Unix()-60, now.Unix()+600)) + "." + part("nobody looks")
}
