package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// answer is a handler that always says the same.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// zeros is an answer without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

const throttling = `{"error":{"code":"OperationNotAllowed","message":"The server rejected the request because too many requests have been received for this subscription.","details":[{"code":"TooManyRequests","target":"HighCostGetVMScaleSet30Min","message":"{\"operationgroup\":\"HighCostGetVMScaleSet30Min\"}"}]}}`

// Whatever goes wrong is one error that says what and what to do, and the clock is
// the test's.
func TestErrors(t *testing.T) {
	fails := func(err error) transportFunc {
		return func(req *http.Request) (*http.Response, error) {
			return nil, &url.Error{Op: "Get", URL: req.URL.String() + "&sig=secret", Err: err}
		}
	}
	tests := []struct {
		name      string
		transport any // an http.HandlerFunc or a transportFunc
		kind      Kind
		text      string
		hint      string
		took      time.Duration // at least
	}{
		{
			"html", answer(200, "<!DOCTYPE html><html>Please sign in</html>", "Content-Type", "text/html"),
			Garbled, "the answer is a web page, and not Azure's", "proxy", 0,
		},
		{
			"html of an error", answer(503, "<html>Bad gateway</html>", "Content-Type", "text/html"),
			Garbled, "503, and the answer is a web page, not Azure's", "HTTPS_PROXY", 3 * time.Second,
		},
		{"portal", answer(302, "", "Location", "http://portal.example/"), Garbled, "302, and the answer is a web page, not Azure's", "HTTPS_PROXY", 0},
		{"no id", answer(200, `{"value":[{"id":null,"name":null,"properties":null}]}`), Garbled, "the answer is not what Azure says: \"\" is not the id of a resource", "proxy", 0},
		{"truncated", answer(200, `{"value":[{"id":"/subscr`), Garbled, "the answer ends too early", "try again", 0},
		{"wrong type", answer(200, `{"value":{"id":7}}`), Garbled, "the answer is not what Azure says", "proxy", 0},
		{
			"expired token", answer(401, `{"error":{"code":"ExpiredAuthenticationToken","message":"The access token expiry UTC time is earlier than current UTC time."}}`),
			SignIn, "the token is not accepted: ExpiredAuthenticationToken: The access token expiry UTC time", "az login", 0,
		},
		{
			"denied", answer(403, `{"error":{"code":"AuthorizationFailed","message":"The client 'c' with object id 'o' does not have authorization to perform action 'Microsoft.Compute/virtualMachineScaleSets/read' over scope '`+groupID+`' or the scope is invalid. If access was recently granted, please refresh your credentials."}}`),
			Denied, "not allowed: Microsoft.Compute/virtualMachineScaleSets/read on " + groupID, "needs the role Reader there", 0,
		},
		{"denied by policy", answer(403, `{"error":{"code":"RequestDisallowedByPolicy","message":"Not here."}}`), Denied, "not allowed: RequestDisallowedByPolicy: Not here.", "role", 0},
		{
			"no group", answer(404, `{"error":{"code":"ResourceGroupNotFound","message":"Resource group 'rg-pay-prod' could not be found."}}`),
			NotFound, "ResourceGroupNotFound: Resource group 'rg-pay-prod' could not be found.", "subscription", 0,
		},
		{"conflict", answer(409, `{"error":{"code":"Conflict","message":"Busy."}}`), Conflict, "Conflict: Busy.", "try again", 0},
		{"changed", answer(412, `{"error":{"code":"PreconditionFailed","message":"Stale."}}`), Conflict, "PreconditionFailed: Stale.", "try again", 0},
		{"bad request", answer(400, `{"error":{"code":"InvalidParameter","message":"No."}}`, "X-Ms-Request-Id", "r-1"), Failed, "InvalidParameter: No. (request r-1)", "", 0},
		{
			"throttled", answer(429, throttling, "Retry-After", "120"),
			Throttled, "throttled by Compute (HighCostGetVMScaleSet30Min), which asks to wait 2m0s", "--timeout", 20 * time.Minute,
		},
		{"throttled without a word", answer(429, ""), Throttled, "throttled by Compute", "later", 20 * time.Minute},
		{"down", answer(500, `{"error":{"code":"InternalServerError","message":"Oh."}}`, "X-Ms-Request-Id", "r-2"), Failed, "InternalServerError: Oh. (request r-2)", "azure.status", 3 * time.Second},
		{"no name", fails(&net.DNSError{Err: "no such host", Name: "management.azure.com", IsNotFound: true}), Unreachable, "the name management.azure.com cannot be resolved", "HTTPS_PROXY", 0},
		{"refused", fails(&net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}), Unreachable, "dial tcp: connection refused", "reachable", 3 * time.Second},
		{"not trusted", fails(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), Unreachable, "the certificate is not trusted: x509: certificate signed by unknown authority", "SSL_CERT_FILE", 0},
		{"no TLS", fails(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), Unreachable, "the answer is not TLS", "HTTPS_PROXY", 3 * time.Second},
		{"hangs", transportFunc(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, &url.Error{Op: "Get", URL: req.URL.String(), Err: req.Context().Err()}
		}), Unreachable, "no answer within 1m0s", "hangs", 3 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var transport interface {
					Do(req *http.Request) (*http.Response, error)
				}
				switch kind := test.transport.(type) {
				case http.HandlerFunc:
					transport = &handlerTransport{Handler: kind}
				case transportFunc:
					transport = kind
				}
				client, _ := with(t, transport)
				start := time.Now()
				_, err := client.Fleet(t.Context(), Scope{Subscription: subscription, ResourceGroup: "rg-pay-prod"})
				e, ok := errors.AsType[*Error](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, test.kind, e.Kind)
				require.Equal(t, "list the scale sets of rg-pay-prod", e.Op)
				require.Contains(t, e.Text, test.text)
				require.NotContains(t, e.Error(), "\n")
				require.NotContains(t, e.Error()+e.Hint, "secret")
				require.Contains(t, e.Hint, test.hint)
				require.GreaterOrEqual(t, time.Since(start), test.took)
				require.LessOrEqual(t, time.Since(start), maxThrottled, "it ends")
			})
		})
	}
}

// An answer of a gigabyte is an error, and is not kept.
func TestErrorOfALongAnswer(t *testing.T) {
	for name, length := range map[string]string{"announced": "1000000000", "unannounced": ""} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if length != "" {
					w.Header().Set("Content-Length", length)
				}
				_, _ = io.CopyN(w, zeros{}, 1_000_000_000) // the client goes away before
			}))
			defer server.Close()
			_, err := clientOf(t, server).ScaleSets(t.Context(), subscription, "rg-pay-prod")
			require.ErrorIs(t, err, &Error{Kind: Garbled})
			require.ErrorContains(t, err, "the answer is larger than 32 MiB")
		})
	}
}

// A server with a certificate that nobody vouches for is not spoken to, and with
// FLEETCTL_ARM_CA it is.
func TestErrorOfAnUntrustedServer(t *testing.T) {
	server := httptest.NewUnstartedServer(answer(200, `{"value":[]}`))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the client that leaves
	server.StartTLS()
	defer server.Close()
	_, err := clientOf(t, server).ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.ErrorIs(t, err, &Error{Kind: Unreachable})
	require.ErrorContains(t, err, "the certificate is not trusted")

	c, err := New(Config{Auth: authDefault, Getenv: env(EndpointVariable, server.URL, CAVariable, certificateFile(t, server))})
	require.NoError(t, err)
	_, err = c.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.NoError(t, err)
}

// A link to another host is not followed: a token would go along.
func TestErrorOfAForeignLink(t *testing.T) {
	called := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	defer other.Close()
	server := httptest.NewServer(answer(200, `{"value":[],"nextLink":"`+strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+`/next"}`))
	defer server.Close()
	_, err := clientOf(t, server).ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.ErrorIs(t, err, &Error{Kind: Garbled})
	require.ErrorContains(t, err, "which is not Azure Resource Manager")
	require.False(t, called)
}

// A list that leads to itself ends at once, and one that always leads on ends too.
func TestErrorOfAnEndlessList(t *testing.T) {
	transport := &handlerTransport{Handler: answer(200, `{"value":[],"nextLink":"http://127.0.0.1:1/next?api-version=1"}`)}
	client, _ := with(t, transport)
	_, err := client.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.ErrorIs(t, err, &Error{Kind: Garbled})
	require.ErrorContains(t, err, "the list leads back to a page that was read")
	require.EqualValues(t, 3, transport.calls.Load())

	calls := 0
	transport = &handlerTransport{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		calls++
		_, _ = fmt.Fprintf(w, `{"value":[],"nextLink":"http://127.0.0.1:1/next?api-version=1&page=%d"}`, calls)
	})}
	client, _ = with(t, transport)
	_, err = client.ScaleSets(t.Context(), subscription, "rg-pay-prod")
	require.ErrorContains(t, err, "the list has no end")
	require.Equal(t, maxPages, calls)
}

// An answer without values is not an empty page: the list would be shorter than it is.
func TestErrorOfAnAnswerThatIsNoPage(t *testing.T) {
	for body, says := range map[string]string{
		"": "the answer is empty", "null": "the answer is empty", "{}": "the answer is no page of a list",
		`{"error":{"code":"InternalServerError","message":"Oh."}}`: "the answer is no page of a list",
	} {
		for _, first := range []string{body, `{"value":[],"nextLink":"http://127.0.0.1:1/next?api-version=1"}`} {
			client, _ := with(t, sequence(answer(200, first), answer(200, body)))
			_, err := client.ScaleSets(t.Context(), subscription, "rg-pay-prod")
			require.ErrorIs(t, err, &Error{Kind: Garbled})
			require.ErrorContains(t, err, "list the scale sets of rg-pay-prod: "+says)
		}
	}
}

// An empty answer does not say that there never was an upgrade.
func TestErrorOfAnEmptyAnswer(t *testing.T) {
	for _, body := range []string{"", " \n", "null"} {
		transport := &handlerTransport{Handler: answer(200, body)}
		client, _ := with(t, transport)
		_, err := client.RollingUpgrade(t.Context(), authz)
		require.ErrorIs(t, err, &Error{Kind: Garbled})
		require.ErrorContains(t, err, "read the rolling upgrade of vmss-authz: the answer is empty")
		require.EqualValues(t, 1, transport.calls.Load())
	}
}

// Who interrupts gets no explanation, and whose time is over does.
func TestErrorOfTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := with(t, transportFunc(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := client.ScaleSets(ctx, subscription, "rg-pay-prod")
		require.ErrorContains(t, err, "list the scale sets of rg-pay-prod: the time of --timeout is over")

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err = client.ScaleSets(ctx, subscription, "rg-pay-prod")
		require.ErrorIs(t, err, context.Canceled)
		_, isOurs := errors.AsType[*Error](err)
		require.False(t, isOurs)
	})
}

// An answer that ends before its length is not a short one.
func TestErrorOfACutAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := with(t, transportFunc(func(*http.Request) (*http.Response, error) {
			body := io.MultiReader(strings.NewReader(`{"value":`), iotest.ErrReader(io.ErrUnexpectedEOF))
			return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body)}, nil
		}))
		_, err := client.ScaleSets(t.Context(), subscription, "rg-pay-prod")
		require.ErrorIs(t, err, &Error{Kind: Garbled})
		require.ErrorContains(t, err, "the answer ends too early")
	})
}
