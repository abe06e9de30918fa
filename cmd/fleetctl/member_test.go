package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

const (
	theGroup = "/subscriptions/" + arm.DefaultSubscription + "/resourceGroups/rg-pay-prod/providers/Microsoft.Compute/"
	theBatch = theGroup + "virtualMachines/vmss-batch_2"
)

// ask sends a request of somebody else to a world.
func (w *releaseWorld) ask(t *testing.T, method, path, body string, status int) fleet.Document {
	t.Helper()
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(method, "http://127.0.0.1"+path+"?api-version=2026-04-01", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w.server.ServeHTTP(rec, r)
	require.Equal(t, status, rec.Code, rec.Body.String())
	var answer fleet.Document
	if rec.Body.Len() > 0 {
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &answer))
	}
	return answer
}

// instance is a member as its scale set sees it.
func (w *releaseWorld) instance(t *testing.T, name string) fleet.Instance {
	t.Helper()
	set, _, _ := strings.Cut(name, "_")
	return fleet.InstanceOf(w.ask(t, http.MethodGet, theGroup+"virtualMachineScaleSets/"+set+"/virtualMachines/"+name, "", http.StatusOK))
}

// told runs commands one after the other and keeps what they say.
func (w *releaseWorld) told(t *testing.T, commands ...string) string {
	t.Helper()
	var text strings.Builder
	for _, command := range commands {
		stdout, stderr, code := w.run(t, strings.Fields(command)...)
		fmt.Fprintf(&text, "$ fleetctl %s\n%s%s(exit %d)\n\n", command, stdout, stderr, code)
	}
	return text.String()
}

func newMemberWorld(t *testing.T) *releaseWorld {
	t.Helper()
	return newWorldOf(t, "testdata/member/", 1000)
}

// newFrozenWorld is one whose time passes only where a command waits.
func newFrozenWorld(t *testing.T) *releaseWorld {
	t.Helper()
	w := newWorldOf(t, "testdata/member/", 0)
	w.sleep = func(ctx context.Context, d time.Duration) error {
		w.server.Advance(d)
		return ctx.Err()
	}
	return w
}

func TestProtect(t *testing.T) {
	w := newMemberWorld(t)
	goldenIn(t, "member", "protect", w.told(t,
		"protect vmss-authz/vmss-authz_1 VMSS-AUTHZ/vmss-authz_1",
		"protect vmss-authz/vmss-authz_1",
		"protect vmss-authz/vmss-authz_2 vmss-authz/vmss-authz_3 vmss-batch/vmss-batch_3 --from scale-in",
		"protect vmss-batch/vmss-batch_1 --from set-actions",
		"unprotect vmss-authz/vmss-authz_3 vmss-authz/vmss-authz_2 --from scale-in",
		"unprotect vmss-authz/vmss-authz_3 --from set-actions",
		"unprotect vmss-authz/vmss-authz_3 vmss-authz/vmss-authz_2",
		"unprotect vmss-authz/vmss-authz_2",
		"protect vmss-batch/vmss-batch_2 --no-wait",
		"protect -g rg-pay-prod --subscription "+arm.DefaultSubscription+" vmss-auto/vmss-auto_1",
	))
	require.Equal(t, fleet.Protection{ScaleIn: true, SetActions: true}, w.instance(t, "vmss-authz_1").Protection)
	require.Equal(t, fleet.Protection{}, w.instance(t, "vmss-authz_2").Protection)
	require.Equal(t, fleet.Protection{ScaleIn: true}, w.instance(t, "vmss-batch_3").Protection)
	require.True(t, *w.instance(t, "vmss-authz_1").LatestModel, "the body is the least that Azure takes")
}

// TestProtectNames: nothing is written when one name of several leads to nothing.
func TestProtectNames(t *testing.T) {
	w := newMemberWorld(t)
	flags := " -g rg-pay-prod --subscription " + arm.DefaultSubscription
	goldenIn(t, "member", "names", w.told(t,
		"protect vmss-authz/vmss-authz_1 vmss-authz/vmss-auhtz_2",
		"protect vmss-authz/3",
		"protect vmss-authz/vmss-authz_4",
		"unprotect vmss-auth/vmss-authz_1",
		"protect vmss-btach/vmss-batch_1"+flags,
		"evict vmss-batch/vmss-authz_1",
		"evict vmss-batch/vmss-batch_22",
		"protect",
		"protect vmss-authz",
		"protect vmss-authz/a/b",
		"protect vmss-authz/.. --from scale-in",
		"protect vmss-authz/vmss-authz_1 --from upgrades",
		"protect vmss-authz/vmss-authz_1 --from=",
		"evict vmss-batch/vmss-batch_1 vmss-batch/vmss-batch_2",
	))
	require.Zero(t, w.writes())
}

func TestProtectJSON(t *testing.T) {
	w := newMemberWorld(t)
	stdout, stderr, code := w.run(t, "protect", "vmss-authz/vmss-authz_1", "--from", "scale-in", "-o", "json")
	require.Zero(t, code, stderr)
	goldenIn(t, "member", "protect.json", stdout)
}

// TestProtectDrift: a model that is another one after the write is said.
func TestProtectDrift(t *testing.T) {
	w := newMemberWorld(t)
	member := theGroup + "virtualMachineScaleSets/vmss-authz/virtualMachines/vmss-authz_1"
	var gets atomic.Int32
	w.before = func(r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == member && gets.Add(1) == 2 { // somebody's round trip, in between
			round := w.ask(t, http.MethodGet, member, "", http.StatusOK)
			text, err := json.Marshal(round)
			require.NoError(t, err)
			w.ask(t, http.MethodPut, member, string(text), http.StatusOK)
		}
	}
	goldenIn(t, "member", "drift", w.told(t, "protect vmss-authz/vmss-authz_1"))
	require.False(t, *w.instance(t, "vmss-authz_1").LatestModel)
}

// TestProtectBetween: somebody else changes the protection between read and write. What
// they did is kept.
func TestProtectBetween(t *testing.T) {
	w := newMemberWorld(t)
	member := theGroup + "virtualMachineScaleSets/vmss-authz/virtualMachines/vmss-authz_1"
	var puts atomic.Int32
	w.before = func(r *http.Request) {
		if r.Method == http.MethodPut && puts.Add(1) == 1 {
			w.ask(t, http.MethodPut, member, `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":true,"protectFromScaleSetActions":true}}}`, http.StatusOK)
		}
	}
	stdout, stderr, code := w.run(t, "protect", "vmss-authz/vmss-authz_1", "--from", "scale-in")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "protected from scale-in and scale-set-actions already")
	require.Equal(t, fleet.Protection{ScaleIn: true, SetActions: true}, w.instance(t, "vmss-authz_1").Protection)
}

// TestProtectPart: one of several fails, and the others are told.
func TestProtectPart(t *testing.T) {
	w := newMemberWorld(t)
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodPut, Path: "/vmss-authz_2", Status: 403, Code: "AuthorizationFailed", Message: "not that one"}))
	stdout, stderr, code := w.run(t, "protect", "vmss-authz/vmss-authz_1", "vmss-authz/vmss-authz_2")
	require.Equal(t, exitUnauthorised, code, stderr)
	require.Contains(t, stdout, "vmss-authz/vmss-authz_1")
	require.Contains(t, stdout, "vmss-authz/vmss-authz_2")
	require.Contains(t, stdout, "failed:")
	require.Contains(t, stderr, "1 of 2 members failed")
	require.True(t, w.instance(t, "vmss-authz_1").SetActions)
	require.False(t, w.instance(t, "vmss-authz_2").ScaleIn)

	stdout, _, _ = w.run(t, "protect", "vmss-authz/vmss-authz_2", "vmss-authz/vmss-authz_1", "-o", "json")
	var view fleet.ProtectView
	require.NoError(t, json.Unmarshal([]byte(stdout), &view))
	require.Contains(t, view.Members[0].Error, "not allowed")
	require.Empty(t, view.Members[0].Protected, "it is as it was")
	require.Empty(t, view.Members[0].Warnings)
	require.Equal(t, []string{fleet.FromScaleIn, fleet.FromSetActions}, view.Members[1].Protected)

	stdout, stderr, code = w.run(t, "protect", "vmss-authz/vmss-authz_2", "-o", "json")
	require.Equal(t, exitUnauthorised, code, stderr)
	require.NoError(t, json.Unmarshal([]byte(stdout), &view), "a single one that fails is told, too")
	require.Len(t, view.Members, 1)
	require.Contains(t, view.Members[0].Error, "not allowed")
}

// held makes the file of a world one with a rollout of vmss-authz and vmss-batch that has
// come to a phase. It returns the directory of its journals.
func (w *releaseWorld) held(t *testing.T, phase rollout.Phase) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "rollouts")
	text, err := os.ReadFile(w.file)
	require.NoError(t, err)
	w.file = filepath.Join(t.TempDir(), "fleet.yaml")
	require.NoError(t, os.WriteFile(w.file, fmt.Appendf(text,
		"rollout: {waves: [{name: all, scale_sets: [vmss-authz], soak: 1h}], drain: run-command, journal: %q}\n", dir), 0o600))
	if phase != "" {
		begin(t, dir, "1", phase)()
	}
	return dir
}

// TestProtectHeld: what an unfinished rollout refuses.
func TestProtectHeld(t *testing.T) {
	w := newMemberWorld(t)
	w.held(t, rollout.Rolling)
	goldenIn(t, "member", "held", w.told(t,
		"protect vmss-authz/vmss-authz_1",
		"unprotect vmss-authz/vmss-authz_3",
		"protect vmss-authz/vmss-authz_3",
		"protect vmss-batch/vmss-batch_1",
		"protect vmss-authz/vmss-authz_2 --from scale-in",
	))
	require.Equal(t, fleet.Protection{ScaleIn: true, SetActions: true}, w.instance(t, "vmss-authz_3").Protection)

	// One that has ended waits for members that it could not reach.
	w = newMemberWorld(t)
	w.held(t, rollout.Incomplete)
	_, stderr, code := w.run(t, "protect", "vmss-authz/vmss-authz_1")
	require.Equal(t, exitRefused, code, stderr)
	_, stderr, code = w.run(t, "unprotect", "vmss-authz/vmss-authz_3")
	require.Zero(t, code, stderr)
	require.Equal(t, fleet.Protection{}, w.instance(t, "vmss-authz_3").Protection)
}

// TestProtectBetweenHeld: what somebody else changes between read and write may be what a
// rollout holds.
func TestProtectBetweenHeld(t *testing.T) {
	w := newMemberWorld(t)
	w.told(t, "protect vmss-authz/vmss-authz_2 --from scale-in")
	w.held(t, rollout.Rolling)
	member := theGroup + "virtualMachineScaleSets/vmss-authz/virtualMachines/vmss-authz_2"
	var puts atomic.Int32
	w.before = func(r *http.Request) {
		if r.Method == http.MethodPut && puts.Add(1) == 1 {
			w.ask(t, http.MethodPut, member, `{"location":"eastus","properties":{"protectionPolicy":{"protectFromScaleIn":true,"protectFromScaleSetActions":true}}}`, http.StatusOK)
		}
	}
	_, stderr, code := w.run(t, "unprotect", "vmss-authz/vmss-authz_2")
	require.Equal(t, exitRefused, code, stderr)
	require.Contains(t, stderr, "it holds scale set vmss-authz")
	require.Equal(t, fleet.Protection{ScaleIn: true, SetActions: true}, w.instance(t, "vmss-authz_2").Protection)
}

// TestMembersUnread: a journal that cannot be read lets nobody write to a member.
func TestMembersUnread(t *testing.T) {
	w := newMemberWorld(t)
	journal := filepath.Join(w.held(t, rollout.Rolling), "1", "journal")
	require.NoError(t, os.WriteFile(journal, []byte("no journal\n"), 0o600))
	for _, command := range []string{"protect vmss-authz/vmss-authz_1", "unprotect vmss-authz/vmss-authz_3", "evict vmss-batch/vmss-batch_2 -y"} {
		_, stderr, code := w.run(t, strings.Fields(command)...)
		require.Equal(t, 1, code, command)
		require.Contains(t, stderr, "whether a rollout is under way is not known, so nothing was written: ", command)
	}
	require.Zero(t, w.writes())
}

// TestEvict: what is refused, what is left alone, and how each policy ends.
func TestEvict(t *testing.T) {
	w := newFrozenWorld(t)
	text := w.told(t,
		"evict vmss-batch/vmss-batch_1 -y",
		"evict vmss-batch/vmss-batch_3",
		"evict vmss-batch/vmss-batch_2",
	)
	require.Zero(t, w.writes())
	text += w.told(t,
		"evict vmss-batch/vmss-batch_2 -y",
		"evict vmss-batch/vmss-batch_2 -y",
		"evict vmss-auto/vmss-auto_1 -y --no-wait",
		"evict vmss-auto/vmss-auto_1 -y",
		"evict vmss-auto/vmss-auto_1 -y",
	)
	goldenIn(t, "member", "evict", text)
}

// TestEvictHeard: the agent's words while it drains.
func TestEvictHeard(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		w := newFrozenWorld(t)
		w.held(t, "") // its file allows Run Command
		began, heard := make(chan struct{}), make(chan struct{})
		var once sync.Once
		w.before = func(r *http.Request) {
			if r.Method == http.MethodGet && !strings.Contains(r.URL.Path, "/virtualMachine") { // of an operation
				once.Do(func() { close(began) })
			}
		}
		looks := 0
		w.sleep = func(ctx context.Context, d time.Duration) error {
			if d == agentPause {
				close(heard)
				<-ctx.Done()
				return ctx.Err()
			}
			if looks++; looks > 1 {
				w.server.Advance(d)
				return ctx.Err()
			}
			for _, next := range []chan struct{}{began, heard} {
				select {
				case <-next:
				case <-ctx.Done():
					return ctx.Err()
				}
				if next == began {
					w.server.Advance(runTakes)
				}
			}
			return nil
		}
		text := w.told(t, "evict vmss-batch/vmss-batch_2 -y -o "+format)
		goldenIn(t, "member", "heard."+format, text)
	}
}

// runTakes is what a Run Command takes.
const runTakes = 21 * time.Second

// TestEvictUnheard: who may not run commands still sees the end, and a member that stays
// is said.
func TestEvictUnheard(t *testing.T) {
	w := newFrozenWorld(t)
	require.NoError(t, w.server.SetFault(arm.Fault{Kind: arm.FaultError, Method: http.MethodPost, Path: "/runCommand", Status: 403, Code: "AuthorizationFailed", Message: "not that"}))
	stdout, stderr, code := w.run(t, "evict", "vmss-batch/vmss-batch_2", "-y", "--run-command")
	require.Zero(t, code, stderr)
	require.Contains(t, stdout, "evicted and deallocated")
	require.Contains(t, stdout, "could not be asked")

	w = newFrozenWorld(t)
	w.sleep = func(ctx context.Context, _ time.Duration) error { // Azure never does it
		w.ask(t, http.MethodPost, theBatch+"/start", "", http.StatusAccepted)
		w.cancel()
		<-ctx.Done()
		return ctx.Err()
	}
	_, stderr, code = w.run(t, "evict", "vmss-batch/vmss-batch_2", "-y")
	require.NotZero(t, code, stderr)
	require.Contains(t, stderr, "Azure goes on with the eviction")
}

// TestEvictAsked: nobody says yes, and a rollout holds the set.
func TestEvictAsked(t *testing.T) {
	w := newMemberWorld(t)
	w.answers = strings.NewReader("n\n")
	_, stderr, code := w.run(t, "evict", "vmss-batch/vmss-batch_2")
	require.Equal(t, 1, code)
	require.Contains(t, stderr, "Evict vmss-batch/vmss-batch_2? [y/N]")
	require.Contains(t, stderr, "not confirmed: nothing was written")
	require.Zero(t, w.writes())

	w.held(t, rollout.Rolling)
	_, stderr, code = w.run(t, "evict", "vmss-auto/vmss-auto_1", "-y")
	require.Equal(t, exitRefused, code, stderr)
	require.Contains(t, stderr, "it holds scale set vmss-auto")
	require.Zero(t, w.writes())
	_, stderr, code = w.run(t, "evict", "vmss-batch/vmss-batch_2", "-y")
	require.Zero(t, code, stderr, "the rollout does not have this one")
}
