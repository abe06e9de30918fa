package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// serve answers on a socket in a directory whose path is short enough for one.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	dir, err := os.MkdirTemp("", "control") //nolint:usetesting // t.TempDir's path is too long for a unix socket
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, SocketName)
	l, err := net.Listen("unix", path)
	require.NoError(t, err)
	srv := &http.Server{Handler: h}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l) // http.ErrServerClosed
	}()
	t.Cleanup(func() {
		_ = srv.Close()
		<-done
	})
	return NewClient(path)
}

// Every call makes the request that the package doc lists.
func TestRequests(t *testing.T) {
	type seen struct{ method, path, body string }
	var got seen
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = seen{r.Method, r.URL.EscapedPath(), string(body)}
		_, _ = io.WriteString(w, `{"version":1,"from_a_newer_agent":true}`)
	})
	for name, tc := range map[string]struct {
		call func(context.Context) (any, error)
		want seen
	}{
		"status": {
			func(ctx context.Context) (any, error) { return client.Status(ctx) },
			seen{"GET", "/v1/status", ""},
		},
		"events": {
			func(ctx context.Context) (any, error) { return client.Events(ctx) },
			seen{"GET", "/v1/events", ""},
		},
		"explain": {
			func(ctx context.Context) (any, error) { return client.Explain(ctx, "a/b c") },
			seen{"GET", "/v1/checks/a%2Fb%20c", ""},
		},
		"run": {
			func(ctx context.Context) (any, error) { return client.RunCheck(ctx, "hsm") },
			seen{"POST", "/v1/checks/hsm/run", "{}"},
		},
		"report": {
			func(ctx context.Context) (any, error) {
				return client.Report(ctx, "worker", HeartbeatRequest{Passed: true, Message: "up"})
			},
			seen{"POST", "/v1/checks/worker/report", `{"passed":true,"message":"up"}`},
		},
		"drain": {
			func(ctx context.Context) (any, error) {
				return client.Drain(ctx, DrainRequest{Reason: "disk", TimeoutSeconds: 1.5})
			},
			seen{"POST", "/v1/drain", `{"reason":"disk","timeout_seconds":1.5}`},
		},
		"undrain": {
			func(ctx context.Context) (any, error) { return client.Undrain(ctx, UndrainRequest{Force: true}) },
			seen{"POST", "/v1/undrain", `{"force":true}`},
		},
		"maintenance": {
			func(ctx context.Context) (any, error) {
				return client.Maintenance(ctx, MaintenanceRequest{On: true, ForSeconds: 60})
			},
			seen{"POST", "/v1/maintenance", `{"on":true,"for_seconds":60}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := tc.call(t.Context())
			require.NoError(t, err)
			require.NotNil(t, answer)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestStatusIsDecoded(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(Status{Version: Version, State: StateDegraded, Health: Health{Roots: []string{"disk"}}})
	})
	s, err := client.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, StateDegraded, s.State)
	require.Equal(t, []string{"disk"}, s.Health.Roots)
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		status int
		body   string
		want   Error
	}{
		"with a reason": {
			403, `{"code":"forbidden","message":"uid 1000 (alice) may not change this node","hint":"use sudo"}`,
			Error{Status: 403, Code: "forbidden", Message: "uid 1000 (alice) may not change this node", Hint: "use sudo"},
		},
		"no JSON":    {404, "404 page not found\n", Error{Status: 404, Code: "internal", Message: "the agent answered 404 Not Found without saying why"}},
		"no message": {500, `{"code":"internal"}`, Error{Status: 500, Code: "internal", Message: "the agent answered 500 Internal Server Error without saying why"}},
		"a redirect": {302, "", Error{Status: 302, Code: "internal", Message: "the agent answered 302 Found without saying why"}},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://192.0.2.1/")
				w.WriteHeader(tc.status)
				_, _ = io.WriteString(w, tc.body)
			})
			_, err := client.Status(t.Context())
			refusal, ok := errors.AsType[*Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, tc.want, *refusal)
		})
	}
}

func TestAnswersWithoutSense(t *testing.T) {
	for name, tc := range map[string]struct{ body, want string }{
		"no JSON":       {"hello", "decode the agent's answer to GET /v1/status: invalid character 'h' looking for beginning of value"},
		"empty":         {"", "decode the agent's answer to GET /v1/status: unexpected end of JSON input"},
		"wrong type":    {`{"version":1,"state":7}`, "decode the agent's answer to GET /v1/status: json: cannot unmarshal number into Go struct field Status.state of type control.State"},
		"other version": {`{"version":2}`, "the agent speaks version 2 of the control protocol, this command version 1"},
		"endless":       {strings.Repeat(" ", maxAnswer+1), "the agent's answer to GET /v1/status is larger than 8 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, tc.body) })
			_, err := client.Status(t.Context())
			require.EqualError(t, err, tc.want)
		})
	}
}

func TestUnreachable(t *testing.T) {
	missing := NewClient("/nonexistent/control.sock")

	abandoned := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: abandoned, Net: "unix"})
	require.NoError(t, err)
	l.SetUnlinkOnClose(false)
	require.NoError(t, l.Close())

	mute := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	cut := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, `{"version":1`)
	})

	for name, tc := range map[string]struct {
		client *Client
		reason string
		is     error
	}{
		"no file":          {missing, "no such file", fs.ErrNotExist},
		"nobody listens":   {NewClient(abandoned), "connection refused", syscall.ECONNREFUSED},
		"hangs up":         {mute, "the agent closed the connection without an answer", io.EOF},
		"hangs up halfway": {cut, "the agent closed the connection without an answer", io.ErrUnexpectedEOF},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tc.client.Status(t.Context())
			unreachable, ok := errors.AsType[*UnreachableError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, tc.reason, unreachable.Reason)
			require.Equal(t, tc.client.Socket(), unreachable.Socket)
			require.ErrorIs(t, err, tc.is)
			require.EqualError(t, err, "reach the agent at "+tc.client.Socket()+": "+tc.reason)
		})
	}
}

// The tests may run as root, whom no socket refuses.
func TestPermissionDenied(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", syscall.EACCES)}
	err := NewClient("/run/s").unreachable(t.Context(), request{}, &url.Error{Op: "Get", URL: "http://fleet-agent/", Err: dial})
	require.EqualError(t, err, "reach the agent at /run/s: permission denied")
	require.ErrorIs(t, err, fs.ErrPermission)
}

// A caller that gives up gets its own error, not one about the agent.
func TestCallerGivesUp(t *testing.T) {
	asked := make(chan struct{})
	client := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	_, err := client.Status(ctx)
	require.ErrorIs(t, err, context.Canceled)
	_, isUnreachable := errors.AsType[*UnreachableError](err)
	require.False(t, isUnreachable)
}

// An agent that takes the connection and says nothing is not waited for long.
func TestHangingAgent(t *testing.T) {
	client := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	_, err := call[Status](t.Context(), client, request{http.MethodGet, "/v1/status", nil, 20e6})
	unreachable, ok := errors.AsType[*UnreachableError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "no answer within 20ms", unreachable.Reason)
}
