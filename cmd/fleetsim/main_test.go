package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"fleetsim": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready":   ready,
			"imds":    imdsRequest,
			"http":    httpRequest,
			"waitfor": waitFor,
			"await":   await,
		},
	})
}

// ready waits for a ready file and sets CONTROL, FLEETSIM_CONTROL and, for each
// machine, its name in capitals: ready FILE.
func ready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready FILE")
	}
	var r readiness
	data, err := os.ReadFile(ts.MkAbs(args[0]))
	for deadline := time.Now().Add(time.Minute); err != nil; data, err = os.ReadFile(ts.MkAbs(args[0])) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s is not there after a minute", args[0])
		}
		<-time.After(10 * time.Millisecond)
	}
	ts.Check(json.Unmarshal(data, &r))
	ts.Setenv(controlVariable, r.Control)
	ts.Setenv("ENDPOINT", r.Endpoint)
	for _, m := range r.VMs {
		ts.Setenv(strings.ToUpper(m.Name), m.Endpoint)
	}
}

// imdsRequest sends a request to a metadata service and prints status and body
// to standard output: imds METHOD URL [BODY]. With ! the status is not 200.
func imdsRequest(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: imds METHOD URL [BODY]")
	}
	status := request(ts, &http.Transport{}, http.Header{"Metadata": {"true"}}, args)
	if neg == (status == http.StatusOK) {
		ts.Fatalf("unexpected status %d", status)
	}
}

// httpRequest sends a request and prints status and body to standard output:
// http [--ca FILE] [--token TOKEN] METHOD URL [BODY]. With ! the status is an error's.
func httpRequest(ts *testscript.TestScript, neg bool, args []string) {
	transport, header := &http.Transport{}, http.Header{"Content-Type": {"application/json"}}
	for len(args) > 1 && strings.HasPrefix(args[0], "--") {
		switch args[0] {
		case "--ca":
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM([]byte(ts.ReadFile(args[1])))
			transport.TLSClientConfig = &tls.Config{RootCAs: pool}
		case "--token":
			header.Set("Authorization", "Bearer "+args[1])
		}
		args = args[2:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: http [--ca FILE] [--token TOKEN] METHOD URL [BODY]")
	}
	status := request(ts, transport, header, args)
	if neg == (status < 400) {
		ts.Fatalf("unexpected status %d", status)
	}
}

func request(ts *testscript.TestScript, transport *http.Transport, header http.Header, args []string) int {
	req, err := http.NewRequest(args[0], args[1], strings.NewReader(strings.Join(args[2:], " ")))
	ts.Check(err)
	req.Header = header
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	_, err = io.WriteString(ts.Stdout(), resp.Status+"\n"+string(body)+"\n")
	ts.Check(err)
	return resp.StatusCode
}

// await waits until a file has a text: await FILE TEXT.
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE TEXT")
	}
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		data, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(data), args[1]) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not have %q after a minute: %s", args[0], args[1], data)
		}
	}
}

// waitFor waits until the first event has a status: waitfor STATUS.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitfor STATUS")
	}
	client := imds.NewControlClient(ts.Getenv(controlVariable))
	for deadline := time.Now().Add(time.Minute); ; <-time.After(10 * time.Millisecond) {
		events, err := client.Events(context.Background())
		ts.Check(err)
		if len(events) > 0 && string(events[0].Status) == args[0] {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("no event is %s after a minute: %v", args[0], events)
		}
	}
}
