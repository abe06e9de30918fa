package bake_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/bake"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A call that dies at any request, before it is served or after, leaves a bake that the
// next call takes to its end: no number is reserved twice, no build runs twice, no boot
// test is left, and the version is proven. A read that was served is one that was not.
func TestKilledAnywhere(t *testing.T) {
	for _, served := range []bool{false, true} {
		deaths, again := 0, 0
		for at := 1; ; at++ {
			died, repeated := false, false
			t.Run(fmt.Sprintf("served=%v/%d", served, at), func(t *testing.T) {
				at, died, repeated = killedAt(t, at, served)
			})
			if !died || t.Failed() {
				break
			}
			deaths++
			if repeated {
				again++
			}
		}
		require.GreaterOrEqual(t, deaths, map[bool]int{false: 40, true: 7}[served])
		t.Logf("served %v: %d deaths, after %d of which there was nothing left to do", served, deaths, again)
	}
}

// killedAt lets a call die at a request or the first one after it, and another call
// finish. It says at which the first one died, if it got that far, and whether the bake
// was at its end already.
func killedAt(t *testing.T, at int, served bool) (when int, died, over bool) {
	t.Helper()
	name := fmt.Sprintf("request %d, served %v", at, served)
	w := newWorld(t, setup{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	where := ""
	die := func(n int, r *http.Request) bool {
		if n < at || served && r.Method == http.MethodGet || died {
			return false
		}
		at = n
		where = r.Method + " " + r.URL.Path
		died = true
		return true
	}
	w.killed = cancel
	if served {
		w.after = die
	} else {
		w.before = die
	}
	_, err := w.newCall("first", "1.8.{n}", "one").Run(ctx)
	if !died {
		require.NoError(t, err, name)
		return at, false, false
	}
	require.Error(t, err, name)
	w.revive()
	name += ": " + where

	over = w.over()
	second := w.newCall("second", "1.8.{n}", "one")
	result, err := second.Run(t.Context())
	require.NoError(t, err, "%s\n%s", name, strings.Join(second.told, "\n"))
	require.Equal(t, bake.Proven, result.Outcome, name)
	want := []string{"1.8.0"}
	if over {
		want = append(want, "1.8.1") // there was nothing to go on with: it is another bake
	}
	require.Equal(t, want[len(want)-1], result.Version, name)

	w.server.Advance(time.Hour)
	require.Equal(t, want, w.names(definition+"/versions"), name)
	for _, version := range want {
		template := builds + "/ubuntu-app-" + version
		require.Equal(t, 1, w.count("PUT "+template+" 201"), "%s: %s", name, version)
		require.Equal(t, 1, w.count("POST "+template+"/run 202"), "%s: %s", name, version)
		require.NotEmpty(t, w.tags(version)[fleet.TagBooted], name)
	}
	require.Empty(t, w.names(builds), name)
	require.Equal(t, []string{"vmss-authz"}, w.names(group+"/providers/Microsoft.Compute/virtualMachineScaleSets"), name)
	return at, true, over
}

// The answer to a write that was lost on the way is no second deed: a PUT that is sent
// again finds what it made itself, and a POST is not sent again.
func TestLostAnswers(t *testing.T) {
	t.Parallel() // it waits, for retries or an agent
	for _, write := range []string{"PUT " + builds, "POST " + builds, "PATCH " + definition, "DELETE " + builds, "PUT " + group + "/providers/Microsoft.Compute/virtualMachineScaleSets"} {
		w := newWorld(t, setup{})
		lost := 0
		w.lost = func(r *http.Request) bool {
			if !strings.HasPrefix(r.Method+" "+r.URL.Path, write) || lost > 0 {
				return false
			}
			lost++
			return true
		}
		c := w.newCall("a", "1.8.{n}", "one")
		result, err := c.Run(t.Context())
		require.NoError(t, err, "%s\n%s", write, strings.Join(c.told, "\n"))
		require.Equal(t, 1, lost, write)
		require.Equal(t, "1.8.0", result.Version, write)
		require.Equal(t, bake.Proven, result.Outcome, write)
		require.Equal(t, []string{"1.8.0"}, w.names(definition+"/versions"), write)
		require.Equal(t, 1, w.count("PUT "+builds, " 201"), write)
		require.Equal(t, 1, w.count("POST "+builds, "/run 202"), write)
	}
}

// over says whether a bake has done all that there is to do.
func (w *world) over() bool {
	version, ok := w.read(definition + "/versions/1.8.0")
	if !ok {
		return false
	}
	tags, _ := version["tags"].(map[string]any)
	template, ok := w.read(builds + "/ubuntu-app-1.8.0")
	if ok {
		p, _ := template["properties"].(map[string]any)
		ok = p["provisioningState"] != "Deleting"
	}
	return tags[fleet.TagBooted] != nil && !ok
}

// Two calls at once take two numbers, and neither writes what is the other's: each
// stops before its first write until the other has looked as well.
func TestTwoAtOnce(t *testing.T) {
	for _, contents := range [][2]string{{"one", "two"}, {"one", "one"}} {
		w := newWorld(t, setup{})
		both := make(chan struct{})
		arrived := 0
		w.before = func(_ int, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/imageTemplates/") {
				return false
			}
			w.mu.Lock()
			if arrived++; arrived == 2 {
				close(both)
			}
			w.mu.Unlock()
			select {
			case <-both:
			case <-time.After(time.Minute):
				t.Error("the calls do not race")
			}
			return false
		}
		results := make(chan string, 2)
		for i, content := range contents {
			c := w.newCall(fmt.Sprint("call", i), "1.8.{n}", content)
			go func() {
				result, err := c.Run(t.Context())
				if err != nil {
					results <- err.Error() + "\n" + strings.Join(c.told, "\n")
					return
				}
				results <- result.Version
			}()
		}
		got := []string{<-results, <-results}
		slices.Sort(got)
		require.Equal(t, []string{"1.8.0", "1.8.1"}, got, contents)
		for _, version := range got {
			require.Equal(t, 1, w.count("PUT "+builds+"/ubuntu-app-"+version+" 201"))
			require.Equal(t, 1, w.count("POST "+builds+"/ubuntu-app-"+version+"/run 202"))
		}
	}
}
