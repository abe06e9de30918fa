package azure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const bootVM = fleet.ResourceID(compute + "virtualMachines/boot-ubuntu-app-1-8-3_a1")

// commanded answers a Run Command with a body, after one poll.
func commanded(t *testing.T, output string) (*httptest.Server, *string) {
	t.Helper()
	var sent string
	polls := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After-Ms", "1")
		if r.Method == http.MethodPost {
			var body json.RawMessage
			_ = json.NewDecoder(r.Body).Decode(&body)
			sent = r.URL.Path + " " + string(body)
			w.Header().Set("Location", "http://"+r.Host+groupID+"/operationResults/1?api-version=2026-04-01")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		if polls++; polls == 1 {
			w.Header().Set("Location", "http://"+r.Host+r.URL.RequestURI())
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, output)
	}))
	t.Cleanup(server.Close)
	return server, &sent
}

func TestRunCommand(t *testing.T) {
	server, sent := commanded(t, `{"value":[{"code":"ProvisioningState/succeeded","message":"Enable succeeded: \n[stdout]\nhello\n\n[stderr]\nwarning\n"}]}`)
	stdout, stderr, err := clientOf(t, server).RunCommand(t.Context(), bootVM, []string{"#!/bin/sh", `echo "hello"`})
	require.NoError(t, err)
	require.Equal(t, "hello\n", stdout)
	require.Equal(t, "warning\n", stderr)
	require.Equal(t, string(bootVM)+`/runCommand {"commandId":"RunShellScript","script":["#!/bin/sh","echo \"hello\""]}`, *sent)
}

func TestRunOutput(t *testing.T) {
	for _, tt := range []struct{ output, stdout, stderr, fails string }{
		{`{"value":[{"message":"Enable succeeded: \n[stdout]\n\n[stderr]\n"}]}`, "", "", ""},
		{`{"value":[{"message":"Enable succeeded: \n[stdout]\n[stderr]\nx"}]}`, "", "x", ""},
		{`{"value":[{"message":"Enable succeeded: \r\n[stdout]\r\na\r\n\r\n[stderr]\r\nb"}]}`, "a\n", "b", ""},
		{`{"value":[{"message":"Enable succeeded: \n[stdout]\nonly"}]}`, "only", "", ""},
		{`{"value":[{"message":"Enable failed: failed to execute command: command terminated with exit status=3\n[stdout]\na\n[stderr]\nb"}]}`, "a", "b", ""},
		{`{"value":[{"message":"Enable succeeded: \n[stdout]\na\n[stdout]\n[stderr]\nb\n[stderr]\nc"}]}`, "a\n[stdout]\n[stderr]\nb", "c", ""},
		{`{"value":[{"code":"ComponentStatus/StdOut/succeeded","message":"a"},{"code":"ComponentStatus/StdErr/succeeded","message":"b"}]}`, "a", "b", ""},
		{`{"value":[{"code":"ComponentStatus/StdErr/succeeded","message":"b"}]}`, "", "b", ""},
		{`{"value":[{"code":"ProvisioningState/failed","message":"the agent is not ready"}]}`, "", "", "the answer has no output: the agent is not ready"},
		{`{"value":[{"code":"ProvisioningState/failed"}]}`, "", "", "ProvisioningState/failed"},
		{`{"value":[null,1,{"code":2}]}`, "", "", "no output came back"},
		{`{}`, "", "", "no output came back"},
	} {
		var body fleet.Document
		require.NoError(t, json.Unmarshal([]byte(tt.output), &body))
		stdout, stderr, err := runOutput(body)
		if tt.fails != "" {
			require.ErrorContains(t, err, tt.fails)
			continue
		}
		require.NoError(t, err, tt.output)
		require.Equal(t, tt.stdout, stdout, tt.output)
		require.Equal(t, tt.stderr, stderr, tt.output)
	}
	server, _ := commanded(t, `{}`)
	_, _, err := clientOf(t, server).RunCommand(t.Context(), bootVM, []string{"true"})
	require.ErrorIs(t, err, &Error{Kind: Garbled})
	require.ErrorContains(t, err, "run a command on boot-ubuntu-app-1-8-3_a1: no output came back")
}

// Whatever a script prints, nothing but the marks is lost of it.
func FuzzSplitStreams(f *testing.F) {
	for _, seed := range [][2]string{{"hello\n", "warning\n"}, {"", ""}, {"[stdout]\n", "[stderr]"}, {"\n[stderr]\n", "x"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, stdout, stderr string) {
		stdout, stderr = strings.ReplaceAll(stdout, "\r", ""), strings.ReplaceAll(stderr, "\r", "")
		out, errs, ok := splitStreams("Enable succeeded: \n[stdout]\n" + stdout + "\n[stderr]\n" + stderr)
		require.True(t, ok)
		require.Equal(t, stdout+stderrMark+stderr, out+stderrMark+errs)
		if !strings.Contains("\n"+stderr, stderrMark) {
			require.Equal(t, stderr, errs)
		}
		_, _, _ = splitStreams(stdout)
	})
}

func TestFailureOf(t *testing.T) {
	for body, want := range map[string]fleet.Failure{
		`409 {"error":{"code":"AllocationFailed","message":"Allocation failed."}}`:                                                                    {Code: "AllocationFailed", Message: "Allocation failed."},
		`403 {"error":{"code":"RequestDisallowedByPolicy","message":"Resource 'x' was disallowed by policy."}}`:                                       {Code: "RequestDisallowedByPolicy", Message: "Resource 'x' was disallowed by policy."},
		`403 {"error":{"code":"AuthorizationFailed","message":"The client does not have authorization to perform action 'a/write' over scope '/s'"}}`: {Code: "AuthorizationFailed", Message: "not allowed: a/write on /s"},
	} {
		status, answer, _ := strings.Cut(body, " ")
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			code := map[string]int{"409": http.StatusConflict, "403": http.StatusForbidden}[status]
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = fmt.Fprint(w, answer)
		}))
		defer server.Close()
		_, err := clientOf(t, server).Send(t.Context(), fleet.Write{Method: http.MethodPut, ID: authz, Body: fleet.Document{}})
		require.Error(t, err)
		require.Equal(t, want, FailureOf(err))
	}
	require.Equal(t, fleet.Failure{Code: "TooManyRequests", Message: "throttled"}, FailureOf(&Error{Kind: Throttled, Text: "throttled"}))
	require.Equal(t, fleet.Failure{Message: "x"}, FailureOf(&Error{Kind: Unreachable, Op: "read", Text: "x"}))
}
