package azure

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// The activity log is asked for a group and a time. What is no entry is left out.
func TestActivities(t *testing.T) {
	at := time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)
	asked := ""
	client, _ := with(t, transportFunc(func(req *http.Request) (*http.Response, error) {
		asked = req.URL.Path + " " + req.URL.Query().Get("$filter") + " " + req.URL.Query().Get("api-version")
		return &http.Response{StatusCode: http.StatusOK, Header: make(http.Header), Request: req, Body: io.NopCloser(strings.NewReader(`{"value":[
			{"eventTimestamp":"2026-03-05T13:59:00.1234567Z","operationName":{"value":"Microsoft.Compute/virtualMachines/delete","localizedValue":"Delete"},
			 "status":{"value":"Succeeded"},"caller":"ops@example.com","resourceId":"/subscriptions/s/vm"},
			{"eventTimestamp":7,"operationName":"odd"}, null, {}]}`))}, nil
	}))
	got, err := client.Activities(t.Context(), subscription, "rg-pay-prod", at.Add(-time.Hour), at)
	require.NoError(t, err)
	require.Equal(t, []Activity{{
		At: at.Add(-time.Minute).Add(123456700), Operation: "Microsoft.Compute/virtualMachines/delete", Status: "Succeeded",
		Caller: "ops@example.com", Resource: "/subscriptions/s/vm",
	}}, got)
	require.Equal(t, "/subscriptions/"+subscription+"/providers/Microsoft.Insights/eventtypes/management/values "+
		"eventTimestamp ge '2026-03-05T13:00:00Z' and eventTimestamp le '2026-03-05T14:00:00Z' and resourceGroupName eq 'rg-pay-prod' 2015-04-01", asked)
}

// A member that failed to provision says why, in Azure's words.
func TestFailureMapping(t *testing.T) {
	for status, want := range map[string]fleet.Failure{
		`{"code":"ProvisioningState/failed/AllocationFailed","message":"no room"}`:  {Code: "AllocationFailed", Message: "no room"},
		`{"code":"ProvisioningState/failed","displayStatus":"Provisioning failed"}`: {Message: "Provisioning failed"},
		`{"code":"ProvisioningState/succeeded"}`:                                    {},
	} {
		vm := document(t, `{"name":"a","properties":{"provisioningState":"Failed","instanceView":{"statuses":[`+status+`]}}}`)
		require.Equal(t, want, fleet.ReadMachine(vm).Failure, status)
	}
	vm := document(t, `{"name":"a","properties":{"provisioningState":"Updating","instanceView":{"statuses":[{"code":"ProvisioningState/failed/Old"}]}}}`)
	require.Empty(t, fleet.ReadMachine(vm).Failure, "it is of an earlier try")
}

// An action that has nothing to say ends like any other, and a token is for whom it is
// asked.
func TestNothingToSay(t *testing.T) {
	_, client := hurried(t, "article")
	op, err := client.Send(t.Context(), fleet.Write{
		Method: http.MethodPost, ID: writeGroup + "/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz", Action: "setOrchestrationServiceState",
		Body: fleet.Document{"serviceName": "AutomaticRepairs", "action": "Suspend"},
	})
	require.NoError(t, err)
	_, err = op.Wait(t.Context())
	require.NoError(t, err)
	token, err := client.Token(t.Context(), "https://prometheus.monitor.azure.com/.default")
	require.NoError(t, err)
	require.Equal(t, "simulator", token)
}
