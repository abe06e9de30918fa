package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/judgeproxy"
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
	"github.com/fleet-agent/fleet-agent/internal/testkit/armjudge"
)

const ownSets = theGroup + "virtualMachineScaleSets/"

// The scale sets that a file of these tests may have.
const (
	ownAuthz  = "  vmss-authz: {id: " + ownSets + "vmss-authz}\n"
	ownGate   = "  vmss-gate: {id: " + ownSets + "vmss-gate}\n"
	ownCreate = "create: {capacity: 3, vm_size: Standard_D2as_v5, zones: [1, 2, 3], network: {subnet: /subscriptions/" + arm.DefaultSubscription +
		"/resourceGroups/rg-pay-prod/providers/Microsoft.Network/virtualNetworks/vnet-eastus/subnets/app}, admin: azureuser, ssh_key: pay.pub}"
	ownNew = "  vmss-new:\n    " + ownCreate + `
    autoscale:
      min: 3
      max: 30
      default: 3
      out: {metric: Percentage CPU, above: 70, over: 5m, by: 2, cooldown: 5m}
      in: {metric: Percentage CPU, below: 30, over: 10m, by: 1, cooldown: 10m}
`
)

// newOwnWorld is a world whose file has these scale sets, and whose time passes only where
// somebody waits.
func newOwnWorld(t *testing.T, sets ...string) *releaseWorld {
	t.Helper()
	const from = "testdata/own/"
	scenario, err := arm.LoadScenario(from + "scenario.yaml")
	require.NoError(t, err)
	types, err := loadTypes(testkit.Published(t, "types"))
	require.NoError(t, err)
	w := &releaseWorld{}
	w.server, err = arm.New(arm.Config{Clock: arm.NewClock(simStart(), 0), Unthrottled: true, Rules: scenario.Rules()})
	require.NoError(t, err)
	require.NoError(t, w.server.Apply(scenario))
	w.sleep = func(ctx context.Context, d time.Duration) error {
		w.server.Advance(d)
		return ctx.Err()
	}
	judge := judgeproxy.New(judgeproxy.Config{Next: w.server, Types: types})
	moves := standstill.Handler(w.server, judge)
	var one sync.Mutex
	web := armjudge.Serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.before != nil {
			one.Lock()
			w.before(r)
			one.Unlock()
		}
		moves.ServeHTTP(rw, r)
	}))
	w.url = web.URL
	t.Cleanup(func() {
		web.Close() // nothing is under way any more
		require.Empty(t, judge.Report().Findings)
	})

	dir := t.TempDir()
	for _, name := range []string{"fleet.yaml", "pay.pub"} {
		text, err := os.ReadFile(from + name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	w.file = filepath.Join(dir, "fleet.yaml")
	w.write(t, sets...)
	return w
}

// write has the file of a world have these scale sets.
func (w *releaseWorld) write(t *testing.T, sets ...string) {
	t.Helper()
	text, err := os.ReadFile(w.file)
	require.NoError(t, err)
	head, _, _ := strings.Cut(string(text), "\nscale_sets:\n")
	require.NoError(t, os.WriteFile(w.file, []byte(head+"\nscale_sets:\n"+strings.Join(sets, "")), 0o600))
}

// settle brings a world to its file.
func (w *releaseWorld) settle(t *testing.T) {
	t.Helper()
	_, stderr, code := w.run(t, "apply", "-y", "--exit-code")
	require.Zero(t, code, stderr)
}

// patch is what another tool does to a scale set.
func (w *releaseWorld) patch(t *testing.T, set, body string) {
	t.Helper()
	w.ask(t, http.MethodPatch, ownSets+set, body, http.StatusOK)
	w.server.Advance(time.Minute) // and it is over
}

// goldenOwn compares what commands said but for what no two runs have the same of.
func goldenOwn(t *testing.T, name, text string) {
	t.Helper()
	text = regexp.MustCompile(`(at: )\S+/(fleet\.yaml)`).ReplaceAllString(text, "$1$2")
	text = regexp.MustCompile(`\S+/fleet\.yaml is not a public\s+key in`).ReplaceAllString(text, "fleet.yaml is not a public key\n    in")
	for line := range strings.Lines(text) {
		copied := strings.HasPrefix(line, "    ") && strings.ContainsAny(line, "[{$\\") || strings.Contains(line, "//")
		if !copied && !strings.Contains(line, "fleetctl: ") && !strings.HasPrefix(line, "$ ") {
			require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), 80, line)
		}
	}
	golden(t, "own/"+name, text)
}

// TestOwn runs plan and apply and keeps what they say.
func TestOwn(t *testing.T) {
	notice := func(minutes string) string {
		return `{"properties":{"virtualMachineProfile":{"scheduledEventsProfile":{"terminateNotificationProfile":{"enable":true,"notBeforeTimeout":"PT` + minutes + `M"}}}}}`
	}
	for name, tt := range map[string]struct {
		sets     []string
		prepare  func(t *testing.T, w *releaseWorld)
		commands []string
	}{
		"from-nothing": {sets: []string{ownNew}, commands: []string{"plan --exit-code", "apply -y --exit-code", "apply -y --exit-code", "plan --exit-code"}},
		"no-image": {sets: []string{ownNew}, prepare: func(t *testing.T, w *releaseWorld) {
			_, stderr, code := w.run(t, "demote", "1.7.1")
			require.Zero(t, code, stderr)
		}, commands: []string{"apply", "apply --exit-code", "apply --image 1.9.0", "plan --image 1.8.0", "plan --image latest"}},
		"no-key": {sets: []string{strings.Replace(ownNew, "pay.pub", "fleet.yaml", 1)}, commands: []string{"plan", "apply"}},
		"gate":   {sets: []string{ownGate}, commands: []string{"plan --exit-code", "apply -y", "plan --without-evidence", "apply -y --without-evidence", "apply"}},
		"drifted": {sets: []string{ownAuthz, ownNew}, prepare: func(t *testing.T, w *releaseWorld) {
			w.settle(t)
			w.write(t, strings.Replace(ownAuthz, "{id", "{tags: {team: pay}, id", 1)) // so that it is marked
			w.settle(t)
			w.patch(t, "vmss-authz", notice("9"))
		}, commands: []string{"plan", "apply -y", "apply"}},
		"immutable": {sets: []string{"  vmss-authz:\n    " + strings.Replace(ownCreate, "[1, 2, 3]", "[1, 2]", 1) + "\n    spot: {eviction: deallocate}\n    terminate_notice: off\n"}, commands: []string{"plan --exit-code", "apply -y"}},
		"manage":    {sets: []string{"  vmss-legacy: {manage: image, id: " + ownSets + "vmss-legacy}\n", strings.Replace(ownAuthz, "{id", "{manage: observe, id", 1)}, commands: []string{"plan --exit-code", "apply"}},
		"members":   {sets: []string{strings.Replace(ownAuthz, "}", ", terminate_notice: 7m}", 1)}, commands: []string{"plan", "apply -y", "apply"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOwnWorld(t, tt.sets...)
			if tt.prepare != nil {
				tt.prepare(t, w)
			}
			goldenOwn(t, name, w.told(t, tt.commands...))
		})
	}
}

// What cannot be changed has its line, also where the file has no create for the set, and
// where it does not say it any more.
func TestOwnImmutableLines(t *testing.T) {
	w := newOwnWorld(t, "  vmss-new:\n    "+ownCreate+"\n    spot: {eviction: deallocate}\n    terminate_notice: off\n")
	w.settle(t)
	for set, line := range map[string]string{
		"  vmss-new:\n    " + ownCreate + "\n":           ":17:5 scale_sets.vmss-new.spot",
		"  vmss-new:\n    id: " + ownSets + "vmss-new\n": ":17:5 scale_sets.vmss-new.spot",
		"  vmss-new:\n    id: " + ownSets + "vmss-new\n    terminate_notice: off\n    spot:\n      eviction: delete\n": ":20:17 scale_sets.vmss-new.spot.eviction",
	} {
		w.write(t, set)
		stdout, stderr, code := w.run(t, "plan")
		require.Zero(t, code, stderr)
		require.Contains(t, stdout, "at: "+w.file+line)
	}
}

// A member that does not become Healthy is waited for as long as it may take, and no more.
func TestOwnNeverHealthy(t *testing.T) {
	w := newOwnWorld(t, ownNew)
	_, stderr, code := w.run(t, "apply", "-y", "--image", "1.8.0")
	require.Equal(t, exitRefused, code, stderr)
	require.Contains(t, stderr, "running members are not Healthy")
	require.Contains(t, stderr, "for 10m0s now: it was not waited for any longer")
	require.Contains(t, stderr, "--without-evidence")
}

// A second apply writes nothing, and neither does a plan.
func TestOwnWritesNothing(t *testing.T) {
	w := newOwnWorld(t, ownAuthz, ownNew)
	w.settle(t)
	writes := w.writes()
	require.NotZero(t, writes)
	for _, command := range []string{"apply", "plan"} {
		_, stderr, code := w.run(t, command, "--exit-code")
		require.Zero(t, code, stderr)
		require.Equal(t, writes, w.writes(), command)
	}
}

// What an unfinished rollout holds is not written, and the rest is.
func TestOwnHeld(t *testing.T) {
	w := newOwnWorld(t, strings.Replace(ownAuthz, "}", ", tags: {team: pay}}", 1), ownNew)
	key := filepath.Join(filepath.Dir(w.file), "pay.pub")
	w.held(t, rollout.Rolling) // in a directory of its own
	require.NoError(t, os.Link(key, filepath.Join(filepath.Dir(w.file), "pay.pub")))
	goldenOwn(t, "held", w.told(t, "plan", "apply -y"))
	require.Nil(t, w.ask(t, http.MethodGet, ownSets+"vmss-authz", "", http.StatusOK)["tags"])
	w.ask(t, http.MethodGet, ownSets+"vmss-new", "", http.StatusOK)
}

// Another tool changes a set while the question waits, and between two writes: the new plan
// is shown, and asked for.
func TestOwnMeanwhile(t *testing.T) {
	w := newOwnWorld(t, strings.Replace(ownAuthz, "}", ", tags: {team: pay}}", 1))
	again := 0
	w.answers = &somebodyWho{func() {
		again++
		w.patch(t, "vmss-authz", `{"tags":{"team":"theirs"}}`)
	}, "y\ny\n"}
	stdout, stderr, code := w.run(t, "apply")
	require.Zero(t, code, stderr)
	goldenOwn(t, "meanwhile", stdout+stderr)
	require.Equal(t, "pay", w.ask(t, http.MethodGet, ownSets+"vmss-authz", "", http.StatusOK)["tags"].(map[string]any)["team"])
}

// Another tool changes a set right before its first write: its new plan is asked for, too,
// and without a yes nothing is written.
func TestOwnChangedBeforeTheWrite(t *testing.T) {
	for answers, want := range map[string]string{"y\ny\n": "pay", "y\nn\n": "theirs"} {
		w := newOwnWorld(t, strings.Replace(ownAuthz, "}", ", tags: {team: pay}}", 1))
		gets := 0
		w.before = func(r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Path == ownSets+"vmss-authz" {
				if gets++; gets == 3 { // after the plan, and the look after the answer
					w.patch(t, "vmss-authz", `{"tags":{"team":"theirs"}}`)
				}
			}
		}
		w.answers = strings.NewReader(answers)
		stdout, stderr, code := w.run(t, "apply")
		require.Equal(t, want == "theirs", code == 1, stderr)
		require.Contains(t, stderr, "fleetctl: vmss-authz: somebody else changed it meanwhile (tags.team is something else than before); this is its plan now\n")
		require.Contains(t, stdout, "tags.team: \"theirs\" → \"pay\"")
		require.Equal(t, want, fleet.TextAt(w.ask(t, http.MethodGet, ownSets+"vmss-authz", "", http.StatusOK), "tags", "team"))
	}
}

// Nobody is asked with --yes: a set that is another one than was planned stops the apply.
func TestOwnChangedWithYes(t *testing.T) {
	w := newOwnWorld(t, strings.Replace(ownAuthz, "}", ", tags: {team: pay}}", 1))
	gets := 0
	w.before = func(r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == ownSets+"vmss-authz" {
			if gets++; gets == 2 { // right before the write
				w.patch(t, "vmss-authz", `{"properties":{"automaticRepairsPolicy":{"enabled":false}}}`)
			}
		}
	}
	_, stderr, code := w.run(t, "apply", "-y")
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, "vmss-authz: somebody else has changed it since")
	require.Contains(t, stderr, "hint: run fleetctl apply again, and look at the plan")
	require.NotContains(t, w.ask(t, http.MethodGet, ownSets+"vmss-authz", "", http.StatusOK), "tags")
}

// The activity log need not be readable: that is told, and no error.
func TestOwnWritersUnread(t *testing.T) {
	w := newOwnWorld(t, strings.Replace(ownAuthz, "}", ", tags: {team: pay}}", 1))
	w.settle(t)
	w.patch(t, "vmss-authz", `{"tags":{"team":"theirs","fleetctl-applied":"`+appliedTag(t, w)+`"}}`)
	require.NoError(t, w.server.SetFault(arm.Fault{
		Kind: arm.FaultError, Path: "/eventtypes/", Status: 403, Code: "AuthorizationFailed",
		Message: "The client 'ci' does not have authorization to perform action 'Microsoft.Insights/eventtypes/values/read' over scope '" + planGroup + "'.",
	}))
	stdout, stderr, code := w.run(t, "plan")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "    somebody else changed it\n")
	require.Contains(t, strings.Join(strings.Fields(stdout), " "), "who changed it is not known: the activity log of rg-pay-prod was not read: ")
}

// appliedTag is the mark of the last apply.
func appliedTag(t *testing.T, w *releaseWorld) string {
	t.Helper()
	return fleet.TextAt(w.ask(t, http.MethodGet, ownSets+"vmss-authz", "", http.StatusOK), "tags", fleet.TagApplied)
}

// A key that is no public key is not sent, and its text stands in no error.
func TestReadSSHKeys(t *testing.T) {
	dir := t.TempDir()
	for text, want := range map[string]string{
		"ssh-ed25519 AAAA ops\n":                        "",
		"ecdsa-sha2-nistp256 AAAA":                      "",
		"-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n": "is a private key: name the public one, which is beside it with .pub",
		"ssh-rsa AAAA a\nssh-rsa BBBB b\n":              "is not a public key in one line",
		"ssh-rsa":                                       "is not a public key in one line",
		"secret":                                        "is not a public key in one line",
		"":                                              "is not a public key in one line",
	} {
		path := filepath.Join(dir, "key")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		spec := &fleet.Spec{ScaleSets: map[string]fleet.SetSpec{"a": {Manage: fleet.ManageFull, Create: &fleet.CreateSpec{SSHKey: path}}}}
		keys, unread := readSSHKeys(spec)
		if want == "" {
			require.Equal(t, map[string]string{"a": strings.TrimSpace(text)}, keys)
			continue
		}
		require.Empty(t, keys)
		require.ErrorContains(t, unread["a"], want)
		require.NotContains(t, unread["a"].Error(), "secret")
	}
}

// An apply that is interrupted says what it has done.
func TestOwnInterrupted(t *testing.T) {
	w := newOwnWorld(t, ownNew)
	puts := 0
	w.before = func(r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == ownSets+"vmss-new/virtualMachines" {
			if puts++; puts == 1 {
				w.cancel()
			}
		}
	}
	_, stderr, code := w.run(t, "apply", "-y")
	require.NotZero(t, code, stderr)
	require.Contains(t, stderr, "fleetctl: interrupted: 1 created, 0 changed; fleetctl apply goes on from here\n")
	w.settle(t)
}

// What Azure refuses of scale sets is shown with the lines of the file that cause it: of
// one, and of each of several.
func TestOwnRefused(t *testing.T) {
	second := strings.Replace(ownNew, "vmss-new", "vmss-next", 1)
	for name, sets := range map[string][]string{"one": {ownNew}, "two": {ownNew, second}} {
		t.Run(name, func(t *testing.T) {
			w := newOwnWorld(t, sets...)
			require.NoError(t, w.server.SetFault(arm.Fault{
				Kind: arm.FaultError, Method: http.MethodPut, Path: "/virtualmachinescalesets/", Status: http.StatusConflict, Code: "QuotaExceeded",
				Message: "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.",
			}))
			_, stderr, code := w.run(t, "apply", "-y")
			require.Equal(t, 1, code, stderr)
			for _, set := range []string{"vmss-new", "vmss-next"}[:len(sets)] {
				require.Regexp(t, `fleet\.yaml:\d+:\d+: scale_sets\.`+set+`\.create\.vm_size: `, stderr)
				require.Regexp(t, `error: .*`+set+`: .*QuotaExceeded`, stderr)
			}
			stdout, stderr, code := w.run(t, "apply", "-y", "-o", "json")
			require.Equal(t, 1, code, stderr)
			failed := applyJSON(t, stdout).Failed
			require.Len(t, failed, len(sets))
			require.Equal(t, "vmss-new", failed[0].ScaleSet)
			require.Equal(t, "QuotaExceeded", failed[0].Code)
			require.Equal(t, "scale_sets.vmss-new.create.vm_size", failed[0].Causes[0].Key)
			require.NotZero(t, failed[0].Causes[0].Line)
		})
	}
}

// The result for programs: what was written, and what is left.
func TestOwnJSON(t *testing.T) {
	w := newOwnWorld(t, ownGate, ownNew)
	stdout, stderr, code := w.run(t, "apply", "-y", "-o", "json")
	require.Equal(t, exitRefused, code, stderr)
	result := applyJSON(t, stdout)
	require.Equal(t, 1, result.Created)
	require.Empty(t, result.Failed)
	require.Equal(t, "vmss-new", result.Written[0].ScaleSet)
	require.Equal(t, fleet.StepCreate, result.Written[0].Step)
	require.Equal(t, 1, result.Left.Counts.Blocked)
}

// An appliedJSON is the result of an apply as programs get it.
type appliedJSON struct {
	Created, Updated int
	Written          []writtenView
	Failed           []failedView
	Left             planView
}

// applyJSON reads the one document that an apply writes.
func applyJSON(t *testing.T, stdout string) (result appliedJSON) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(stdout), &result), stdout)
	return result
}

// A plan that cannot be made is told to programs with the places of the file that ask for it.
func TestOwnRefusedJSON(t *testing.T) {
	w := newOwnWorld(t, "  vmss-authz:\n    "+strings.Replace(ownCreate, "[1, 2, 3]", "[1, 2]", 1)+"\n")
	stdout, stderr, code := w.run(t, "apply", "-y", "-o", "json")
	require.Equal(t, exitRefused, code, stderr)
	result := applyJSON(t, stdout)
	require.Empty(t, result.Written)
	require.Equal(t, 1, result.Left.Counts.Refused)
	require.Equal(t, "scale_sets.vmss-authz.create.zones", result.Left.ScaleSets[0].Steps[0].Places[0].Key)
}

// Of several sets each line of progress names its own, and one that is stopped says so while
// the others go on.
func TestOwnLines(t *testing.T) {
	w := newOwnWorld(t, ownNew, strings.Replace(ownNew, "vmss-new", "vmss-next", 1))
	require.NoError(t, w.server.SetFault(arm.Fault{
		Kind: arm.FaultError, Method: http.MethodPut, Path: "/virtualmachinescalesets/vmss-next", Status: http.StatusConflict, Code: "QuotaExceeded", Message: "exceeding quota limits",
	}))
	_, stderr, code := w.run(t, "apply", "-y")
	require.Equal(t, 1, code, stderr)
	progress, _, _ := strings.Cut(stderr, "fleetctl: error: ")
	for line := range strings.Lines(progress) {
		require.Regexp(t, `^fleetctl: vmss-(new|next): `, line)
	}
	stopped := strings.Index(progress, "fleetctl: vmss-next: stopped: PUT virtualMachineScaleSets/vmss-next: QuotaExceeded: ")
	require.NotEqual(t, -1, stopped, stderr)
	require.Less(t, stopped, strings.Index(progress, "fleetctl: vmss-new: its policy is written\n"), stderr)
}

// Where no answer says what became of a write, nobody is told that nothing was written.
func TestOwnInDoubt(t *testing.T) {
	w := newOwnWorld(t, ownNew)
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodGet, Path: "/operations/", Status: http.StatusNotImplemented, Code: "NotImplemented", Message: "no"}))
	stdout, stderr, code := w.run(t, "apply", "-y")
	require.Equal(t, 1, code, stderr)
	w.ask(t, http.MethodGet, ownSets+"vmss-new", "", http.StatusOK) // it was made
	require.NotContains(t, stdout, "nothing was written")
	require.Contains(t, stdout, "nothing is known to be written, 1 left")
	require.Contains(t, stderr, "; it may be done in Azure all the same\n")
	w.server.ClearFaults()
	w.server.Advance(time.Hour)
	w.settle(t)
}

// Nor where its end may not be asked for any more: the token has expired.
func TestOwnExpired(t *testing.T) {
	for name, set := range map[string]string{"create": ownNew, "members": strings.Replace(ownAuthz, "}", ", terminate_notice: 7m}", 1)} {
		t.Run(name, func(t *testing.T) {
			w := newOwnWorld(t, set)
			w.before = func(r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/vmss-new") && r.Method == http.MethodPut || strings.HasSuffix(r.URL.Path, "/manualupgrade") {
					require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodGet, Path: "/operations/", Status: http.StatusUnauthorized, Code: "ExpiredAuthenticationToken", Message: "The access token has expired."}))
				}
			}
			stdout, stderr, code := w.run(t, "apply", "-y")
			require.Equal(t, exitUnauthorised, code, stderr)
			require.NotContains(t, stdout, "nothing was written")
			require.Contains(t, stderr, "the token is not accepted")
			require.Contains(t, stderr, "; what it has begun goes on in Azure\n")
			w.before = nil
			w.server.ClearFaults()
			w.server.Advance(time.Hour)
			w.settle(t)
		})
	}
}

// A set that cannot be read is waited for, some time, as its members are.
func TestOwnUnread(t *testing.T) {
	for name, tt := range map[string]struct{ status, times, code int }{
		"some time":   {http.StatusNotImplemented, 20, 0},
		"for long":    {http.StatusNotImplemented, 100, 1},
		"not allowed": {http.StatusForbidden, 1, exitUnauthorised},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOwnWorld(t, ownNew)
			begun := false
			w.before = func(r *http.Request) {
				if !begun && r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/vmss-new") {
					begun = true
					require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodGet, Path: "/vmss-new/rollingUpgrades", Status: tt.status, Code: "Down", Message: "no", Count: tt.times}))
				}
			}
			stdout, stderr, code := w.run(t, "apply", "-y", "--exit-code")
			require.Equal(t, tt.code, code, stderr)
			require.Contains(t, stdout, "1 created")
			require.Equal(t, tt.code != exitUnauthorised, strings.Contains(stderr, "fleetctl: vmss-new: waiting: read the rolling upgrade of vmss-new: "), stderr)
		})
	}
}

// What Azure refuses of members has the exit code, the hint and the line of any other refusal.
func TestOwnMembersRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		status        int
		code, message string
		exit          int
		want          string
	}{
		"not allowed": {http.StatusForbidden, "AuthorizationFailed", "The client 'ci' does not have authorization to perform action 'x' over scope '" + ownSets + "vmss-authz'.", exitUnauthorised, "fleet.yaml:16:15: scale_sets.vmss-authz: whoever runs fleetctl needs that right there"},
		"expired":     {http.StatusUnauthorized, "ExpiredAuthenticationToken", "The access token has expired.", exitUnauthorised, "the token is not accepted"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOwnWorld(t, strings.Replace(ownAuthz, "}", ", terminate_notice: 7m}", 1))
			require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodPost, Path: "/manualupgrade", Status: tt.status, Code: tt.code, Message: tt.message}))
			_, stderr, code := w.run(t, "apply", "-y")
			require.Equal(t, tt.exit, code, stderr)
			require.Contains(t, stderr, "could not be upgraded: POST virtualMachineScaleSets/vmss-authz/manualupgrade: ")
			require.Contains(t, stderr, tt.want)
		})
	}
}

// What Azure refuses of an autoscale setting has its line, whoever has named the setting.
func TestOwnAutoscaleOfOthers(t *testing.T) {
	w := newOwnWorld(t, "  vmss-authz:\n    id: "+ownSets+"vmss-authz\n    autoscale:\n      min: 3\n      max: 30\n      default: 3\n"+
		"      out: {metric: Inbound Flows, above: 70}\n      predictive: {mode: forecast-only}\n")
	const theirs = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Insights/autoscaleSettings/theirs"
	w.ask(t, http.MethodPut, theirs, `{"location":"eastus","properties":{"enabled":true,"targetResourceUri":"`+ownSets+`vmss-authz","profiles":[{"name":"p","capacity":{"minimum":"3","maximum":"9","default":"3"},"rules":[]}]}}`, http.StatusCreated)
	const at, do = ":22:21", "predictive autoscale looks at the average of Percentage CPU alone"
	_, stderr, code := w.run(t, "apply", "-y")
	require.Equal(t, 1, code, stderr)
	require.Contains(t, stderr, w.file+at+": scale_sets.vmss-authz.autoscale.out.metric: "+do)
	stdout, _, _ := w.run(t, "apply", "-y", "-o", "json")
	require.Equal(t, "scale_sets.vmss-authz.autoscale.out.metric", applyJSON(t, stdout).Failed[0].Causes[0].Key)
}

// What is in the way of an autoscale setting is in Azure, and nothing that the file lacks.
func TestOwnAutoscaleBlocked(t *testing.T) {
	const at = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Insights/autoscaleSettings/"
	for name, tt := range map[string]struct{ setting, target, profile, want string }{
		"another set's":  {"vmss-authz-autoscale", ownSets + "vmss-theirs", "", "the autoscale setting vmss-authz-autoscale scales vmss-theirs"},
		"all that recur": {"theirs", ownSets + "vmss-authz", `"recurrence":{"frequency":"Week","schedule":{"timeZone":"UTC","days":["Monday"],"hours":[1],"minutes":[0]}},`, "every profile of theirs recurs"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOwnWorld(t, "  vmss-authz:\n    id: "+ownSets+"vmss-authz\n    autoscale:\n      min: 3\n      max: 30\n      default: 3\n      out: {above: 70}\n")
			w.ask(t, http.MethodPut, at+tt.setting, `{"location":"eastus","properties":{"enabled":true,"targetResourceUri":"`+tt.target+`","profiles":[{"name":"p",`+tt.profile+`"capacity":{"minimum":"3","maximum":"9","default":"3"},"rules":[]}]}}`, http.StatusCreated)
			_, stderr, code := w.run(t, "apply", "-y")
			require.Equal(t, exitRefused, code, stderr)
			require.Contains(t, stderr, tt.want)
			require.NotContains(t, stderr, "say in the file what is missing")
		})
	}
}

// A write whose answer is lost is sent again, and finds its own deed: that is nobody else's.
func TestOwnLost(t *testing.T) {
	w := newOwnWorld(t, ownNew)
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultLost, Method: http.MethodPut, Path: "/vmss-new", Count: 1}))
	stdout, stderr, code := w.run(t, "apply", "-y", "--exit-code")
	require.Zero(t, code, stderr)
	require.Contains(t, stderr, "fleetctl: vmss-new: creating it: something is in the way, so it is planned again (")
	require.Contains(t, stderr, "fleetctl: vmss-new: created\n")
	require.NotContains(t, stderr, "somebody else")
	require.Contains(t, stdout, "1 created, 0 changed")

	w.write(t, strings.Replace(ownNew, "\n", "\n    tags: {team: pay}\n", 1))
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultLost, Method: http.MethodPatch, Path: "/vmss-new", Count: 1}))
	stdout, stderr, code = w.run(t, "apply", "-y", "--exit-code")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "0 created, 1 changed")
}

// A flag that does nothing here says so.
func TestOwnNoWait(t *testing.T) {
	w := newOwnWorld(t, strings.Replace(ownAuthz, "}", ", tags: {team: pay}}", 1))
	for _, said := range []bool{true, false} {
		_, stderr, code := w.run(t, "apply", "-y", "--no-wait", "--exit-code")
		require.Zero(t, code, stderr)
		require.Equal(t, said, strings.Contains(stderr, "--no-wait changes nothing here"), stderr)
	}
}
