package imds_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

const (
	eventsPath = "/metadata/scheduledevents"
	version    = "2020-07-01"
)

// roundTripper is a metadata service without sockets, for virtual time.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

func newClient(t *testing.T, cfg imds.Config) *imds.Client {
	t.Helper()
	c, err := imds.New(cfg)
	require.NoError(t, err)
	return c
}

// TestWire holds what the metadata service insists on against a real server.
func TestWire(t *testing.T) {
	requests := make(chan *http.Request, 1)
	bodies := make(chan []byte, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- r
		bodies <- body
		_, _ = io.WriteString(w, `{"ok":true}`)
	}))
	defer server.Close()
	client := newClient(t, imds.Config{Endpoint: server.URL})

	got, err := client.Get(t.Context(), eventsPath, version)
	require.NoError(t, err)
	require.JSONEq(t, `{"ok":true}`, string(got.Body))
	r := <-requests
	require.Equal(t, http.MethodGet, r.Method)
	require.Equal(t, eventsPath+"?api-version="+version, r.RequestURI)
	require.Equal(t, []string{"true"}, r.Header["Metadata"])
	require.NotContains(t, r.Header, "X-Forwarded-For")
	require.NotContains(t, r.Header, "Accept-Encoding")
	require.Empty(t, <-bodies)
	first := r.RemoteAddr

	_, err = client.Post(t.Context(), eventsPath, version, []byte(`{"StartRequests":[]}`))
	require.NoError(t, err)
	r = <-requests
	require.Equal(t, http.MethodPost, r.Method)
	require.Equal(t, []string{"true"}, r.Header["Metadata"])
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.NotContains(t, r.Header, "X-Forwarded-For")
	require.JSONEq(t, `{"StartRequests":[]}`, string(<-bodies))
	require.Equal(t, first, r.RemoteAddr, "the connection is kept alive")
}

// TestNoProxy holds that the environment cannot redirect requests. Package net/http
// reads the proxy variables once a process, so the request is made by a process
// that was started with them; and it exempts loopback by itself, so the request is
// for another address. The child's control, a client that does follow the
// variables, shows that they are right.
func TestNoProxy(t *testing.T) {
	if os.Getenv(askEnv) != "" {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second) // the name does not exist, which a resolver may be slow to say
		defer cancel()
		_, err := newClient(t, imds.Config{Endpoint: "http://fleet-agent.invalid"}).Get(ctx, eventsPath, version)
		require.Error(t, err)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://control.invalid/", http.NoBody)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return
	}
	var mu sync.Mutex
	var proxied []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		proxied = append(proxied, r.Host)
		_, _ = io.WriteString(w, `{}`)
	}))
	defer proxy.Close()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestNoProxy$", "-test.v")
	child.Env = append(os.Environ(), askEnv+"=1", "NO_PROXY=", "no_proxy=")
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		child.Env = append(child.Env, name+"="+proxy.URL)
	}
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: TestNoProxy")
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"control.invalid"}, proxied)
}

// askEnv makes the test binary the child of TestNoProxy.
const askEnv = "FLEET_TEST_ASK"

func TestRedirectIsRefused(t *testing.T) {
	var followed atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/elsewhere" {
			followed.Add(1)
			return
		}
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	client := newClient(t, imds.Config{Endpoint: server.URL})
	_, err := client.Get(t.Context(), eventsPath, version)
	require.Equal(t, imds.ClassInvalid, imds.Classify(err))
	require.ErrorContains(t, err, "a redirect")
	_, err = client.Post(t.Context(), eventsPath, version, []byte(`{}`))
	require.Equal(t, imds.ClassInvalid, imds.Classify(err))
	require.Zero(t, followed.Load())
}

// TestPostIsSentOnce holds that a request that the server received and dropped
// is not sent again: net/http does so with a GET on a kept connection.
func TestPostIsSentOnce(t *testing.T) {
	var posts atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			posts.Add(1)
			_, _ = io.ReadAll(r.Body)
			panic(http.ErrAbortHandler)
		}
		_, _ = io.WriteString(w, `{}`)
	}))
	defer server.Close()
	client := newClient(t, imds.Config{Endpoint: server.URL})
	_, err := client.Get(t.Context(), eventsPath, version) // so that the POST finds a kept connection
	require.NoError(t, err)
	_, err = client.Post(t.Context(), eventsPath, version, []byte(`{}`))
	require.Equal(t, imds.ClassUnreachable, imds.Classify(err), "%v", err)
	require.Equal(t, int64(1), posts.Load())
}

func TestTruncatedAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"DocumentIncarnation":1`)
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer server.Close()
	client := newClient(t, imds.Config{Endpoint: server.URL})
	_, err := client.Get(t.Context(), eventsPath, version)
	require.Equal(t, imds.ClassInvalid, imds.Classify(err), "%v", err)
}

func TestClasses(t *testing.T) {
	huge := `"` + strings.Repeat("x", 1<<20) + `"`
	tests := map[string]struct {
		answer roundTripper
		class  imds.Class
		text   string
	}{
		"ok":                      {status(200, `{"a":1}`), imds.ClassOK, ""},
		"400":                     {status(400, `{"error":"Bad request"}`), imds.ClassBadRequest, `answer 400 Bad Request: "{\"error\":\"Bad request\"}"`},
		"403":                     {status(403, ""), imds.ClassDenied, "answer 403 Forbidden: denied by policy (Metadata Security Protocol)"},
		"421":                     {status(421, ""), imds.ClassDenied, "answer 421 Misdirected Request: denied by policy (Metadata Security Protocol)"},
		"404":                     {status(404, ""), imds.ClassNotFound, "answer 404 Not Found"},
		"405":                     {status(405, ""), imds.ClassBadRequest, "answer 405 Method Not Allowed"},
		"410":                     {status(410, ""), imds.ClassGone, "answer 410 Gone: the metadata service is moving and will be back within 70 s"},
		"429":                     {status(429, ""), imds.ClassThrottled, "answer 429 Too Many Requests: this VM's processes together ask more than 5 times a second"},
		"500":                     {status(500, "a\x1b[2J\nb"), imds.ClassServerError, `answer 500 Internal Server Error: "a [2J b"`},
		"503":                     {status(503, ""), imds.ClassServerError, "answer 503 Service Unavailable"},
		"204":                     {status(204, ""), imds.ClassInvalid, "answer 204 No Content"},
		"302":                     {status(302, ""), imds.ClassInvalid, "answer 302 Found: a redirect, which the metadata service never sends: something else answers"},
		"empty":                   {status(200, ""), imds.ClassEmpty, "answer 200 OK with an empty body"},
		"blank":                   {status(200, " \r\n"), imds.ClassEmpty, "answer 200 OK with an empty body"},
		"not JSON":                {status(200, "<html>"), imds.ClassInvalid, `answer 200 OK: the answer is not JSON, or only a part of it: "<html>"`},
		"half of JSON":            {status(200, `{"Events":[`), imds.ClassInvalid, `answer 200 OK: the answer is not JSON, or only a part of it: "{\"Events\":["`},
		"two values":              {status(200, `{}{}`), imds.ClassInvalid, `answer 200 OK: the answer is not JSON, or only a part of it: "{}{}"`},
		"too long":                {status(200, huge), imds.ClassInvalid, "answer 200 OK: the answer is longer than 1048576 bytes"},
		"refused":                 {failure(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}), imds.ClassUnreachable, "no connection: dial tcp: connection refused"},
		"dial timeout":            {failure(&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ETIMEDOUT}), imds.ClassTimeout, "no answer in time: dial tcp: connection timed out"},
		"reset while it answered": {broken(syscall.ECONNRESET), imds.ClassUnreachable, "no connection: connection reset by peer"},
		"cut while it answered":   {broken(io.ErrUnexpectedEOF), imds.ClassInvalid, "answer 200 OK: the connection ended in the middle of the answer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, imds.Config{Transport: test.answer})
			_, err := client.Get(t.Context(), eventsPath, version)
			require.Equal(t, test.class, imds.Classify(err), "%v", err)
			if test.text != "" {
				require.EqualError(t, err, test.text)
				require.Equal(t, test.class, imds.Classify(fmt.Errorf("poll: %w", err)))
			}
		})
	}
}

func status(code int, body string) roundTripper {
	return func(*http.Request) (*http.Response, error) { return answer(code, body), nil }
}

func failure(err error) roundTripper {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func broken(err error) roundTripper {
	return func(*http.Request) (*http.Response, error) {
		r := answer(200, "")
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(`{"Events":`), errReader{err}))
		return r, nil
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestPostMayAnswerNothing holds that the body of an accepted POST is not a
// document: Azure does not say what it is.
func TestPostMayAnswerNothing(t *testing.T) {
	for _, body := range []string{"", "accepted", `{"Events":[]}`} {
		client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return answer(200, body), nil })})
		got, err := client.Post(t.Context(), eventsPath, version, []byte(`{}`))
		require.NoError(t, err)
		require.Equal(t, body, string(got))
	}
}

func TestErrorBodyIsBounded(t *testing.T) {
	client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return answer(500, strings.Repeat("é", 1<<20)), nil
	})})
	_, err := client.Get(t.Context(), eventsPath, version)
	e, ok := errors.AsType[*imds.Error](err)
	require.True(t, ok)
	require.Equal(t, strings.Repeat("é", 128), e.Body)
	require.Equal(t, 500, e.Status)
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"":                     0,
			"3":                    3 * time.Second,
			"-3":                   0,
			"soon":                 0,
			"99999999":             time.Hour,
			"99999999999999999999": 0,
			time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat):  90 * time.Second,
			time.Now().Add(-90 * time.Second).UTC().Format(http.TimeFormat): 0,
		} {
			client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				r := answer(429, "")
				r.Header.Set("Retry-After", value)
				return r, nil
			})})
			_, err := client.Get(t.Context(), eventsPath, version)
			e, ok := errors.AsType[*imds.Error](err)
			require.True(t, ok)
			require.Equal(t, want, e.RetryAfter, "Retry-After: %s", value)
		}
	})
}

// TestTimeout holds that Timeout is for callers without a deadline, and that a
// deadline may be shorter or longer than it.
func TestTimeout(t *testing.T) {
	silent := roundTripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	tests := map[string]struct {
		configured, deadline, want time.Duration
	}{
		"default":             {0, 0, imds.DefaultTimeout},
		"configured":          {4 * time.Second, 0, 4 * time.Second},
		"shorter by deadline": {4 * time.Second, time.Second, time.Second},
		"longer by deadline":  {4 * time.Second, 2 * time.Minute, 2 * time.Minute},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := newClient(t, imds.Config{Transport: silent, Timeout: test.configured})
				ctx := t.Context()
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				start := time.Now()
				_, err := client.Get(ctx, eventsPath, version)
				require.Equal(t, imds.ClassTimeout, imds.Classify(err), "%v", err)
				require.EqualError(t, err, "no answer in time: context deadline exceeded")
				require.Equal(t, test.want, time.Since(start))
			})
		})
	}
}

// TestCancelIsNotAnAnswer holds that stopping the agent does not look like a
// fault of the service.
func TestCancelIsNotAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t, imds.Config{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := client.Get(ctx, eventsPath, version)
		require.ErrorIs(t, err, context.Canceled)
		_, ok := errors.AsType[*imds.Error](err)
		require.False(t, ok)
	})
}

func TestEndpoint(t *testing.T) {
	for _, bad := range []string{
		"169.254.169.254", "https://169.254.169.254", "http://", "http://user@169.254.169.254",
		"http://169.254.169.254/metadata", "http://169.254.169.254?x=1", "http://a b", "unix:///run/imds.sock",
	} {
		_, err := imds.New(imds.Config{Endpoint: bad})
		require.ErrorContains(t, err, "imds endpoint", bad)
	}
	_, err := imds.New(imds.Config{Timeout: -time.Second})
	require.EqualError(t, err, "imds timeout -1s is negative")

	var hosts []string
	client := newClient(t, imds.Config{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		hosts = append(hosts, r.URL.Host)
		return answer(200, `{}`), nil
	})})
	require.Equal(t, "http://169.254.169.254", client.Endpoint())
	_, err = client.Get(t.Context(), eventsPath, version)
	require.NoError(t, err)
	require.NoError(t, client.SetEndpoint("http://127.0.0.1:8169/"))
	require.Error(t, client.SetEndpoint("nonsense"))
	_, err = client.Get(t.Context(), eventsPath, version)
	require.NoError(t, err)
	require.Equal(t, []string{"169.254.169.254", "127.0.0.1:8169"}, hosts)
}

func TestClassifyForeignErrors(t *testing.T) {
	require.Equal(t, imds.ClassOK, imds.Classify(nil))
	require.Equal(t, imds.ClassInvalid, imds.Classify(fmt.Errorf("read: %w", imds.ErrPartial)))
	require.Equal(t, imds.ClassTimeout, imds.Classify(context.DeadlineExceeded))
	require.Equal(t, imds.ClassUnreachable, imds.Classify(errors.New("anything")))
}

// TestBodyIsClosed holds that no answer, good or bad, leaks its connection.
func TestBodyIsClosed(t *testing.T) {
	for _, code := range []int{200, 500} {
		body := &closer{Reader: bytes.NewReader([]byte(`{}`))}
		client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			r := answer(code, "")
			r.Body = body
			return r, nil
		})})
		_, _ = client.Get(t.Context(), eventsPath, version)
		require.True(t, body.closed)
	}
}

type closer struct {
	io.Reader
	closed bool
}

func (c *closer) Close() error {
	c.closed = true
	return nil
}

// TestAnswerTellsTheTime: an answer's date says how far this VM's clock is off.
func TestAnswerTellsTheTime(t *testing.T) {
	for date, want := range map[string]struct {
		ahead time.Duration
		dated bool
	}{
		time.Now().Add(5 * time.Minute).UTC().Format(http.TimeFormat):  {5 * time.Minute, true},
		time.Now().Add(-5 * time.Minute).UTC().Format(http.TimeFormat): {-5 * time.Minute, true},
		"":     {},
		"soon": {},
	} {
		client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			resp := answer(200, `{}`)
			resp.Header.Set("Date", date)
			return resp, nil
		})})
		got, err := client.Get(t.Context(), eventsPath, version)
		require.NoError(t, err)
		ahead, dated := got.Ahead()
		require.Equal(t, want.dated, dated, date)
		if dated {
			require.InDelta(t, want.ahead.Seconds(), ahead.Seconds(), 30, date)
		}
	}
}
