package azure

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

const journalBlob = "https://stpay.blob.core.windows.net/fleetctl/pay/7/journal"

// stored is a simulator with a container, whose clock stands still.
func stored(t *testing.T) (*arm.Server, *Client) {
	t.Helper()
	server, err := arm.New(arm.Config{Clock: arm.NewClock(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC), 0), Unthrottled: true})
	require.NoError(t, err)
	scenario, err := arm.ParseScenario("s.yaml", []byte("storage_accounts: [{name: stpay, containers: [fleetctl]}]"))
	require.NoError(t, err)
	require.NoError(t, server.Apply(scenario))
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	return server, clientOf(t, endpoint)
}

func TestAppendBlob(t *testing.T) {
	server, c := stored(t)
	require.ErrorIs(t, c.AppendBlob(t.Context(), journalBlob, 0, []byte("one\n")), &Error{Kind: NotFound})
	_, err := c.BlobState(t.Context(), journalBlob)
	require.ErrorIs(t, err, &Error{Kind: NotFound})
	require.NoError(t, c.CreateAppendBlob(t.Context(), journalBlob))
	require.NoError(t, c.AppendBlob(t.Context(), journalBlob, 0, []byte("one\n")))
	require.NoError(t, c.CreateAppendBlob(t.Context(), journalBlob), "it is left as it is")
	err = c.AppendBlob(t.Context(), journalBlob, 0, []byte("two\n"))
	require.ErrorIs(t, err, ErrMoved)
	require.ErrorIs(t, err, &Error{Kind: Conflict})
	require.EqualError(t, err, "append to blob stpay/fleetctl/pay/7/journal: AppendPositionConditionNotMet: The append position condition specified was not met.")
	server.Advance(time.Minute)
	require.NoError(t, c.AppendBlob(t.Context(), journalBlob, 4, []byte("two\n")))
	text, size, err := c.ReadBlob(t.Context(), journalBlob, 0, 100)
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\n 8", fmt.Sprint(string(text), " ", size))
	state, err := c.BlobState(t.Context(), journalBlob)
	require.NoError(t, err)
	at := time.Date(2026, 11, 2, 9, 1, 0, 0, time.UTC)
	require.Equal(t, BlobState{Size: 8, Modified: at, Asked: at, Metadata: map[string]string{}}, state)
	all, err := c.ListBlobs(t.Context(), "https://stpay.blob.core.windows.net/fleetctl", "pay/")
	require.NoError(t, err)
	require.Equal(t, []Blob{{Name: "pay/7/journal", Size: 8, Created: at.Add(-time.Minute), Modified: at}}, all)
	require.NoError(t, c.DeleteBlob(t.Context(), journalBlob))
	require.NoError(t, c.DeleteBlob(t.Context(), journalBlob))
	require.ErrorIs(t, c.DeleteBlob(t.Context(), "https://stpay.blob.core.windows.net/other/x"), &Error{Kind: NotFound})
	require.ErrorIs(t, c.DeleteBlob(t.Context(), "https://example.com/fleetctl/x"), &Error{Kind: Usage})
}

// An append whose answer was lost is sent again, and then does not fit any more.
func TestAppendBlobAgain(t *testing.T) {
	var asked atomic.Int64
	server, _ := stored(t)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "appendblock") && asked.Add(1) == 1 {
			server.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		server.ServeHTTP(w, r)
	}))
	defer endpoint.Close()
	c := clientOf(t, endpoint)
	require.NoError(t, c.CreateAppendBlob(t.Context(), journalBlob))
	require.ErrorIs(t, c.AppendBlob(t.Context(), journalBlob, 0, []byte("one\n")), ErrMoved)
	text, _, err := c.ReadBlob(t.Context(), journalBlob, 0, 100)
	require.NoError(t, err)
	require.Equal(t, "one\n", string(text))
}

// What Azure Storage says is shown, and not taken for a web page.
func TestStorageMessage(t *testing.T) {
	for body, want := range map[string]string{
		"\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>AuthorizationPermissionMismatch</Code><Message>This request is not authorized.\nRequestId:1\nTime:2</Message></Error>": "This request is not authorized.",
		"<?xml version=\"1.0\"?>\n<Error><Code>X</Code><Message>No.</Message></Error>":                                                                                                       "No.",
		"<html><body>Sign in</body></html>":          "",
		"<Error><Message>No code.</Message></Error>": "",
		"": "",
	} {
		got, ok := storageMessage([]byte(body))
		require.Equal(t, want, got)
		require.Equal(t, want != "", ok)
	}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Ms-Error-Code", "AuthorizationPermissionMismatch")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprint(w, "<?xml version=\"1.0\"?><Error><Code>AuthorizationPermissionMismatch</Code><Message>This request is not authorized.</Message></Error>")
	}))
	defer endpoint.Close()
	err := clientOf(t, endpoint).AppendBlob(t.Context(), journalBlob, 0, []byte("x"))
	require.ErrorIs(t, err, &Error{Kind: Denied})
	require.ErrorContains(t, err, "not allowed: AuthorizationPermissionMismatch: This request is not authorized.")
}
