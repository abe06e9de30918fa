package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/apply"
	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

const (
	planGroup      = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod"
	planGallery    = planGroup + "/providers/Microsoft.Compute/galleries/galProd"
	planDefinition = planGallery + "/images/ubuntu-app"
)

// planFile declares a foundation and a scale set.
const planFile = `version: 1
name: pay
subscription: ${AZURE_SUBSCRIPTION_ID}
resource_group: rg-pay-prod
location: eastus
tags: {owner: payments}
gallery:
  name: galProd
  manage: full
  image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}
bake:
  identity: id-aib
  source: {publisher: Canonical, offer: 0001-com-ubuntu-server-jammy, sku: 22_04-lts-gen2, version: latest}
  vm_size: Standard_D2as_v5
  version: 1.8.{n}
  customize:
    - {name: cis, script: "https://stbuild.blob.core.windows.net/scripts/cis.sh", sha256: 9f2c1a7be0d34c5f8a6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b}
scale_sets:
  vmss-authz:
    manage: observe
    id: /subscriptions/${AZURE_SUBSCRIPTION_ID}/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/virtualMachineScaleSets/vmss-authz
`

// notPermitted is a subscription in which the caller is no Owner.
const notPermitted = `
resource_group: rg-pay-prod
location: eastus
caller: {not_actions: ["Microsoft.Authorization/*/Write", "Microsoft.Authorization/*/Delete"]}
`

// A hurriedSim is a simulated subscription whose time runs a thousand times as fast.
type hurriedSim struct {
	*arm.Server

	t        *testing.T
	endpoint *httptest.Server
	file     string
}

func newHurriedSim(t *testing.T, file string) *hurriedSim {
	t.Helper()
	server, err := arm.New(arm.Config{Clock: arm.NewClock(simStart(), 1000), Unthrottled: true})
	require.NoError(t, err)
	s := &hurriedSim{Server: server, t: t, endpoint: armjudge.Serve(t, server), file: filepath.Join(t.TempDir(), "fleet.yaml")}
	t.Cleanup(s.endpoint.Close)
	require.NoError(t, os.WriteFile(s.file, []byte(file), 0o600))
	return s
}

// run runs fleetctl, and returns what it printed and its exit code.
func (s *hurriedSim) run(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	var out, errs bytes.Buffer
	code = run(append(args, "--file", s.file), &out, &errs, func(name string) string {
		return map[string]string{
			azure.EndpointVariable: s.endpoint.URL, subscriptionVariable: arm.DefaultSubscription, "LANG": "C.UTF-8", "COLUMNS": "80",
		}[name]
	})
	return out.String(), requestID.ReplaceAllString(errs.String(), "request ID"), code
}

// requestID is what no two runs have the same of.
var requestID = regexp.MustCompile(`request [0-9a-f-]{36}`)

// ask is what another tool does; it is over when it returns.
func (s *hurriedSim) ask(method, id string, body fleet.Document) {
	s.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(s.t, err)
	resource := fleet.ResourceID(strings.TrimSuffix(id, "/unregister"))
	r := httptest.NewRequestWithContext(s.t.Context(), method, id+"?api-version="+fleet.APIVersion(resource), bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	require.Less(s.t, w.Code, 300, "%s %s: %s", method, id, w.Body)
	s.Advance(10 * time.Minute)
}

// account is the storage account that the file's script is in.
func (s *hurriedSim) account() {
	s.t.Helper()
	const id = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-build"
	s.ask(http.MethodPut, id, fleet.Document{"location": "eastus"})
	s.ask(http.MethodPut, id+"/providers/Microsoft.Storage/storageAccounts/stbuild", fleet.Document{
		"location": "eastus", "kind": "StorageV2", "sku": fleet.Document{"name": "Standard_LRS"},
	})
}

// mayNot refuses the caller writes of roles.
func (s *hurriedSim) mayNot() {
	s.t.Helper()
	for _, name := range []string{"roleDefinitions", "roleAssignments"} {
		require.NoError(s.t, s.SetFault(arm.Fault{
			Kind: arm.FaultError, Method: http.MethodPut, Path: name, Status: 403, Code: "AuthorizationFailed",
			Message: "The client 'ci' does not have authorization to perform action 'Microsoft.Authorization/" + name + "/write' over scope '" + planGroup + "'.",
		}))
	}
}

func applied(s *hurriedSim) {
	_, stderr, code := s.run("apply", "-y", "--exit-code")
	require.Zero(s.t, code, stderr)
}

// What plan and apply show, a golden file each.
func TestPlanPages(t *testing.T) {
	observed := strings.Replace(planFile, "manage: full", "manage: observe", 1)
	for name, tt := range map[string]struct {
		file    string
		prepare func(*hurriedSim)
		args    []string
		code    int
	}{
		"nothing":  {args: []string{"plan", "--exit-code"}, prepare: (*hurriedSim).account, code: exitChanges},
		"there":    {args: []string{"plan", "--exit-code"}, prepare: func(s *hurriedSim) { s.account(); applied(s) }},
		"observed": {args: []string{"plan", "--exit-code"}, file: observed, code: exitChanges},
		"drifted": {args: []string{"plan"}, prepare: func(s *hurriedSim) {
			s.account()
			applied(s)
			s.ask(http.MethodPatch, planGallery, fleet.Document{"tags": fleet.Document{"owner": "somebody", "cost": "7"}})
			s.ask(http.MethodPatch, planGroup, fleet.Document{"tags": fleet.Document{"owner": nil}})
		}},
		"refused": {args: []string{"plan"}, file: strings.Replace(planFile, "sku: app-jammy", "sku: app-noble", 1), prepare: func(s *hurriedSim) {
			s.account()
			s.ask(http.MethodPut, planGroup, fleet.Document{"location": "westeurope"})
			s.ask(http.MethodPut, planGallery, fleet.Document{"location": "eastus"})
			s.ask(http.MethodPut, planDefinition, fleet.Document{"location": "eastus", "properties": fleet.Document{
				"osType": "Linux", "osState": "Generalized", "hyperVGeneration": "V2", "features": []any{},
				"identifier": fleet.Document{"publisher": "kloudvin", "offer": "ubuntu", "sku": "app-jammy"},
			}})
		}},
		"provider": {args: []string{"plan"}, prepare: func(s *hurriedSim) {
			s.account()
			s.ask(http.MethodPost, "/subscriptions/"+arm.DefaultSubscription+"/providers/Microsoft.VirtualMachineImages/unregister", nil)
		}},
		"not-permitted": {args: []string{"plan", "--exit-code"}, code: exitChanges, prepare: func(s *hurriedSim) {
			scenario, err := arm.ParseScenario("not-permitted", []byte(notPermitted))
			require.NoError(s.t, err)
			require.NoError(s.t, s.Apply(scenario))
		}},
		"apply": {args: []string{"apply", "-y", "--exit-code"}, prepare: (*hurriedSim).account},
		"apply-nothing": {args: []string{"apply", "--exit-code"}, prepare: func(s *hurriedSim) {
			s.account()
			applied(s)
		}},
		"apply-not-permitted": {args: []string{"apply", "-y", "--exit-code"}, code: exitChanges, prepare: func(s *hurriedSim) {
			s.account()
			s.mayNot()
		}},
		"apply-refused": {args: []string{"apply", "-y"}, file: strings.Replace(planFile, "sku: app-jammy", "sku: app-noble", 1), code: exitRefused, prepare: func(s *hurriedSim) {
			file, err := os.ReadFile(s.file)
			require.NoError(s.t, err)
			require.NoError(s.t, os.WriteFile(s.file, []byte(planFile), 0o600))
			applied(s)
			require.NoError(s.t, os.WriteFile(s.file, file, 0o600))
		}},
		"apply-failed": {args: []string{"apply", "-y"}, code: 1, prepare: func(s *hurriedSim) {
			s.account()
			require.NoError(s.t, s.SetFault(arm.Fault{Kind: arm.FaultOperation, Method: http.MethodPut, Path: "ubuntu-app", Code: "QuotaExceeded", Message: "There is no room."}))
		}},
		"apply-unasked": {args: []string{"apply"}, prepare: (*hurriedSim).account, code: exitUsage},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.file == "" {
				tt.file = planFile
			}
			s := newHurriedSim(t, tt.file)
			if tt.prepare != nil {
				tt.prepare(s)
			}
			stdout, stderr, code := s.run(tt.args...)
			require.Equal(t, tt.code, code, stderr)
			got := stdout
			if stderr != "" {
				got += "\n-- stderr --\n" + stderr
			}
			golden(t, "plan/"+name, got)
			for line := range strings.Lines(stdout) {
				if !strings.HasPrefix(line, "az ") { // which is to be copied
					require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
				}
			}
		})
	}
}

// The plan for programs has the requests with their bodies, and only then.
func TestPlanJSON(t *testing.T) {
	s := newHurriedSim(t, planFile)
	s.account()
	stdout, stderr, code := s.run("plan", "-o", "json", "--exit-code")
	require.Equal(t, exitChanges, code, stderr)
	var view planView
	require.NoError(t, json.Unmarshal([]byte(stdout), &view))
	require.Equal(t, 1, view.Version)
	require.Equal(t, planCounts{Create: 7}, view.Counts)
	definition := view.Changes[3].Request
	require.Equal(t, http.MethodPut, definition.Method)
	require.Equal(t, "2025-12-03", definition.APIVersion)
	require.Equal(t, "V2", definition.Body["properties"].(map[string]any)["hyperVGeneration"])
	require.Nil(t, view.Changes[5].Request, "the principal is not known yet")

	stdout, stderr, code = s.run("apply", "-o", "json")
	require.Equal(t, exitUsage, code, "nobody is asked")
	require.Empty(t, stdout)
	require.Contains(t, stderr, "--yes")
	// What an error stopped is told, too.
	require.NoError(t, s.SetFault(arm.Fault{
		Kind: arm.FaultError, Method: http.MethodPut, Path: "/galleries/", Status: http.StatusForbidden, Code: "RequestDisallowedByPolicy", Message: "RequestDisallowedByPolicy: no galleries",
	}))
	stdout, stderr, code = s.run("apply", "-o", "json", "-y")
	require.Equal(t, exitUnauthorised, code, stderr)
	result := applyJSON(t, stdout)
	require.Equal(t, 2, result.Created)
	require.Len(t, result.Failed, 1)
	require.Equal(t, "RequestDisallowedByPolicy", result.Failed[0].Code)
	require.Equal(t, "gallery", result.Failed[0].Causes[0].Key)
	s.ClearFaults()

	stdout, stderr, code = s.run("apply", "-o", "json", "-y")
	require.Zero(t, code, stderr)
	result = applyJSON(t, stdout)
	require.Equal(t, 5, result.Created)
	require.Equal(t, planCounts{None: 7}, result.Left.Counts)
}

// The commands that are printed are one line each, and a shell takes them for what they
// are.
func TestPlanCommands(t *testing.T) {
	s := newHurriedSim(t, planFile)
	s.account()
	s.mayNot()
	stdout, _, code := s.run("apply", "-y")
	require.Zero(t, code, "without --exit-code, what could be done is done")
	commands := regexp.MustCompile(`(?m)^az .*$`).FindAllString(stdout, -1)
	require.Len(t, commands, 3)
	for _, command := range commands {
		out := shellWords(t, command)
		require.Equal(t, "az", out[0])
		if strings.HasPrefix(command, "az role definition") {
			require.Len(t, out, 6)
			require.True(t, json.Valid([]byte(out[5])), out[5])
		} else {
			require.Len(t, out, 12)
			require.Regexp(t, `^[0-9a-f-]{36}$`, out[5])
		}
	}
}

// A change is confirmed by a line that says yes, and by nothing else.
func TestConfirm(t *testing.T) {
	for text, want := range map[string]bool{"y\n": true, "YES \n": true, "yes": false, "n\n": false, "\n": false, "": false, "yesterday\n": false} {
		var errs bytes.Buffer
		g := newGlobals(new(bytes.Buffer), &errs, func(string) string { return "" })
		g.answers = answersFrom(strings.NewReader(text))
		err := g.confirm(t.Context(), "Make it so?")
		require.Equal(t, want, err == nil, "%q: %v", text, err)
		require.Contains(t, errs.String(), "Make it so? [y/N] ")
	}
}

// Whoever is asked and says nothing is not waited for any longer than the context lasts;
// what is told next has a line of its own.
func TestConfirmInterrupted(t *testing.T) {
	silent, terminal := io.Pipe()
	defer terminal.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errs bytes.Buffer
	g := newGlobals(new(bytes.Buffer), &errs, func(string) string { return "" })
	g.answers = answersFrom(silent)
	require.ErrorIs(t, g.confirm(ctx, "Make it so?"), context.Canceled)
	require.Equal(t, "Make it so? [y/N] \n", errs.String())
}

// shellWords are the words that a shell makes of a command.
func shellWords(t *testing.T, command string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "for word in "+command+`; do printf '%s\n' "$word"; done`).Output()
	require.NoError(t, err, command)
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// An apply that is interrupted says what it has done and how to go on, as one does that
// fails.
func TestApplyInterrupted(t *testing.T) {
	var errs bytes.Buffer
	g := newGlobals(new(bytes.Buffer), &errs, func(string) string { return "" })
	done := &applyResult{
		foundation: apply.Result{Written: []fleet.Change{{Action: fleet.ActionCreate}}},
		sets: apply.SetResult{Written: []apply.SetWrite{
			{Set: "vmss-a", Step: fleet.SetStep{Kind: fleet.StepCreate}},
			{Set: "vmss-b", Step: fleet.SetStep{Kind: fleet.StepModel}},
			{Set: "vmss-a", Step: fleet.SetStep{Kind: fleet.StepPolicy}},
			{Set: "vmss-b", Step: fleet.SetStep{Kind: fleet.StepMembers}, Members: []string{"vm_1", "vm_2"}},
		}, Failed: []apply.SetError{
			{Set: "vmss-a", Err: fmt.Errorf("read: %w", context.Canceled)},
			{Set: "vmss-b", Err: fmt.Errorf("%w; %w: vm_3", context.Canceled, apply.ErrDrained)},
			{Set: "vmss-c", Err: errors.New("no quota")},
			{Set: "vmss-d", Err: fmt.Errorf("%w; %w", context.Canceled, apply.ErrGoesOn)},
		}},
	}
	require.ErrorIs(t, g.unfinishedApply(context.Canceled, done), context.Canceled)
	require.Equal(t, "fleetctl: vmss-b: context canceled; drained, and not undrained: vm_3\nfleetctl: vmss-c: no quota\n"+
		"fleetctl: vmss-d: context canceled; what it has begun goes on in Azure\n"+
		"fleetctl: interrupted: 2 created, 1 changed, 2 members brought to the model; fleetctl apply goes on from here\n", errs.String())

	var coded *cli.Error
	require.ErrorAs(t, g.unfinishedApply(&azure.Error{Kind: azure.Denied, Op: "PUT galleries/g", Text: "not allowed", Hint: "ask"}, done), &coded)
	require.Equal(t, exitUnauthorised, coded.Code)
	require.Equal(t, "PUT galleries/g: not allowed (before that: 2 created, 1 changed, 2 members brought to the model)", coded.Error())
	require.Equal(t, "ask; fleetctl apply goes on from here", coded.Hint)

	require.ErrorAs(t, g.unfinishedApply(context.DeadlineExceeded, done), &coded)
	require.Equal(t, "the time of --timeout is over (before that: 2 created, 1 changed, 2 members brought to the model)", coded.Error())
}

// somebodyWho is somebody at a terminal who does something before the answer.
type somebodyWho struct {
	does    func()
	answers string
}

func (s *somebodyWho) Read(p []byte) (int, error) {
	if s.answers == "" {
		return 0, io.EOF
	}
	s.does()
	n := copy(p, s.answers)
	s.answers = s.answers[n:]
	return n, nil
}

// What others write while the question waits is neither overwritten nor left out of the
// plan that was agreed to.
func TestApplyAfterTheAnswer(t *testing.T) {
	for name, tt := range map[string]struct {
		meanwhile fleet.Document
		answers   string
		code      int
		tags      map[string]any
	}{
		"a tag of others": {fleet.Document{"owner": "other", "cost": "42"}, "y\n", 0, map[string]any{"owner": "payments", "cost": "42"}},
		"ours":            {fleet.Document{"owner": "third"}, "y\nn\n", 1, map[string]any{"owner": "third"}},
		"ours, and yes":   {fleet.Document{"owner": "third"}, "y\ny\n", 0, map[string]any{"owner": "payments"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHurriedSim(t, planFile)
			s.account()
			applied(s)
			write := func(tags fleet.Document) { s.ask(http.MethodPatch, planGallery, fleet.Document{"tags": tags}) }
			write(fleet.Document{"owner": "other"})
			var out, errs bytes.Buffer
			g := newGlobals(&out, &errs, func(name string) string {
				return map[string]string{azure.EndpointVariable: s.endpoint.URL, subscriptionVariable: arm.DefaultSubscription}[name]
			})
			g.answers = answersFrom(&somebodyWho{func() { write(tt.meanwhile) }, tt.answers})
			require.Equal(t, tt.code, g.run([]string{"apply", "--file", s.file}), errs.String())
			require.Equal(t, tt.answers != "y\n", strings.Contains(errs.String(), "meanwhile, and nothing was written; this is the plan now"), errs.String())
			client, err := g.client()
			require.NoError(t, err)
			gallery, err := client.Resource(t.Context(), planGallery, "")
			require.NoError(t, err)
			require.Equal(t, tt.tags, gallery.Body["tags"])
		})
	}
}

// Where Azure refuses all that is left, and had not said so before, the commands for
// whoever may are shown all the same.
func TestApplyDenied(t *testing.T) {
	s := newHurriedSim(t, planFile)
	s.account()
	s.mayNot()
	_, _, code := s.run("apply", "-y")
	require.Zero(t, code)
	stdout, stderr, code := s.run("apply", "-y", "--exit-code")
	require.Equal(t, exitChanges, code, stderr)
	_, end, shown := strings.Cut(stdout, "nothing was written")
	require.True(t, shown, stdout)
	require.Equal(t, 3, strings.Count(end, "\naz role "), stdout)
}
