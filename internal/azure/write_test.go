package azure

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

const writeGroup = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"

// hurried serves a scenario whose time runs a thousand times as fast.
func hurried(t *testing.T, scenario string) (*arm.Server, *Client) {
	t.Helper()
	server, err := arm.New(arm.Config{Clock: arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 1000), Unthrottled: true})
	require.NoError(t, err)
	file, err := arm.Example(scenario)
	require.NoError(t, err)
	require.NoError(t, server.Apply(file))
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	return server, clientOf(t, endpoint)
}

// What this program knows nothing of survives a read and a write.
func TestSendKeepsWhatIsUnknown(t *testing.T) {
	_, client := hurried(t, "article")
	id := fleet.ResourceID(writeGroup + "/providers/Microsoft.Compute/galleries/galNew")
	op, err := client.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: id, IfNew: true, Body: fleet.Document{
		"location": "eastus", "properties": fleet.Document{"description": "x", "ofAnotherDay": []any{1.5, nil, "y"}},
	}})
	require.NoError(t, err)
	require.Equal(t, "Creating", op.Accepted["properties"].(fleet.Document)["provisioningState"])
	body, err := op.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, []any{1.5, nil, "y"}, body["properties"].(fleet.Document)["ofAnotherDay"])
	require.Equal(t, "Succeeded", body["properties"].(fleet.Document)["provisioningState"])

	read, err := client.Resource(t.Context(), id, "")
	require.NoError(t, err)
	require.NotEmpty(t, read.ETag)
	require.Equal(t, 10*time.Millisecond, read.After)
	all, err := client.Resources(t.Context(), id[:strings.LastIndexByte(string(id), '/')], "")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 2)

	_, err = client.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: id, IfNew: true, Body: body})
	require.ErrorIs(t, err, &Error{Kind: Conflict})
	_, err = client.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: id, IfMatch: `"another"`, Body: body})
	require.ErrorIs(t, err, &Error{Kind: Conflict})
	op, err = client.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: id, IfMatch: read.ETag, Body: body})
	require.NoError(t, err)
	_, err = op.Wait(t.Context())
	require.NoError(t, err)
	op, err = client.Send(t.Context(), fleet.Write{Method: http.MethodDelete, ID: id})
	require.NoError(t, err)
	_, err = op.Wait(t.Context())
	require.NoError(t, err)
	_, err = client.Resource(t.Context(), id, "")
	require.ErrorIs(t, err, &Error{Kind: NotFound})
}

// An operation that fails says so in Azure's words.
func TestWaitFails(t *testing.T) {
	server, client := hurried(t, "article")
	require.NoError(t, server.SetFault(arm.Fault{Kind: arm.FaultOperation, Method: http.MethodPut, Code: "QuotaExceeded", Message: "Operation could not be completed."}))
	op, err := client.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: writeGroup + "/providers/Microsoft.Compute/galleries/galNew", Body: fleet.Document{"location": "eastus"}})
	require.NoError(t, err)
	_, err = op.Wait(t.Context())
	require.ErrorContains(t, err, "PUT galleries/galNew: QuotaExceeded: Operation could not be completed.")
}

// A PUT whose answer was lost is sent again, and a POST is not.
func TestSendAgain(t *testing.T) {
	for method, times := range map[string]int64{http.MethodPut: 2, http.MethodPost: 1} {
		var asked atomic.Int64
		endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if asked.Add(1) == 1 {
				panic(http.ErrAbortHandler)
			}
			_ = json.NewEncoder(w).Encode(fleet.Document{"location": "eastus"})
		}))
		defer endpoint.Close()
		op, err := clientOf(t, endpoint).Send(t.Context(), fleet.Write{Method: method, ID: writeGroup + "/providers/Microsoft.Compute/galleries/g", Action: map[string]string{http.MethodPost: "run"}[method]})
		require.Equal(t, times, asked.Load(), method)
		if method == http.MethodPost {
			require.ErrorIs(t, err, &Error{Kind: Unreachable})
			continue
		}
		require.NoError(t, err)
		require.Equal(t, fleet.Document{"location": "eastus"}, op.Accepted)
	}
}

// An id leads to a resource of a known type, and to nothing else.
func TestSendRefusesOddIDs(t *testing.T) {
	_, client := hurried(t, "article")
	for _, id := range []fleet.ResourceID{
		"", "/", "/subscriptions/x", writeGroup + "/providers/Microsoft.Nothing/things/t",
		writeGroup + "/providers/Microsoft.Compute/galleries/g?api-version=1", writeGroup + "/providers/Microsoft.Compute//galleries/g",
	} {
		_, err := client.Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: id})
		require.ErrorIs(t, err, &Error{Kind: Usage}, string(id))
		_, err = client.Resource(t.Context(), id, "")
		require.ErrorIs(t, err, &Error{Kind: Usage}, string(id))
	}
}
