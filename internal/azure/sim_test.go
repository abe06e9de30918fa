package azure

import (
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// simulated starts a simulator with a scenario. Its clock stands still, so that what
// is read from it is the same each time.
func simulated(t *testing.T, scenario string, pageSize int) (*arm.Server, *Client) {
	t.Helper()
	start := time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)
	server, err := arm.New(arm.Config{Clock: arm.NewClock(start, 0), PageSize: pageSize})
	require.NoError(t, err)
	file, err := arm.Example(scenario)
	require.NoError(t, err)
	require.NoError(t, server.Apply(file))
	endpoint := httptest.NewServer(server)
	t.Cleanup(endpoint.Close)
	return server, clientOf(t, endpoint)
}

// A simulator's fleet is the same in pages of one, of fifty and of a thousand.
func TestSimulatedFleet(t *testing.T) {
	for _, scenario := range []string{"article", "traps"} {
		var want fleet.Fleet
		for _, size := range []int{1000, 50, 1} {
			t.Run(scenario+" "+strconv.Itoa(size), func(t *testing.T) {
				_, client := simulated(t, scenario, size)
				got, err := client.Fleet(t.Context(), everything())
				require.NoError(t, err)
				require.NotEmpty(t, got.Sets)
				require.NotEmpty(t, got.Galleries)
				got.At = time.Time{}
				if size == 1000 {
					want = got
				}
				require.Equal(t, want, got)
			})
		}
	}
}

// A thousand members cost the requests that are allowed for, whatever a page is.
func TestSimulatedBudget(t *testing.T) {
	for _, size := range []int{50} {
		server, client := simulated(t, "thousand", size)
		scope := everything()
		scope.Templates, scope.Providers = false, false
		got, err := client.Fleet(t.Context(), scope)
		require.NoError(t, err)
		members, versions, pages := 0, 0, 5 // one page each of sets, settings, galleries, images and versions
		for _, s := range got.Sets {
			members += len(s.Members)
			pages += 2 * ((len(s.Members) + size - 1) / size)
		}
		for _, g := range got.Galleries {
			for _, d := range g.Definitions {
				versions += len(d.Versions)
			}
		}
		require.Equal(t, 1000, members)
		requests := 0
		for _, c := range server.Counts() {
			requests += c.Count
		}
		require.LessOrEqual(t, requests, pages+5*len(got.Sets)+3*versions)
		t.Logf("pages of %d: %d requests", size, requests)
	}
}
