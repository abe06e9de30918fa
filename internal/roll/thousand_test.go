package roll_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A tick with nothing to do over a thousand members in ten sets asks for no more than
// status does.
func TestThousand(t *testing.T) {
	t.Parallel()
	clock := arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 0)
	server, err := arm.New(arm.Config{Clock: clock, Unthrottled: true})
	require.NoError(t, err)
	scenario, err := arm.Example("thousand")
	require.NoError(t, err)
	require.NoError(t, server.Apply(scenario))
	var asked atomic.Int64
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		server.ServeHTTP(w, r)
	}))
	defer endpoint.Close()
	client, err := azure.New(azure.Config{Auth: "default", Getenv: func(name string) string {
		if name == azure.EndpointVariable {
			return endpoint.URL
		}
		return ""
	}})
	require.NoError(t, err)

	regions := []string{"eastus", "eastus2", "westus2", "westus3", "centralus", "northeurope", "westeurope", "uksouth", "swedencentral", "southeastasia"}
	var text strings.Builder
	text.WriteString("version: 1\nname: pay\nsubscription: " + arm.DefaultSubscription + "\nresource_group: rg-pay-prod\nlocation: eastus\n" +
		"gallery:\n  name: galProd\n  image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}\nscale_sets:\n")
	for i, region := range regions {
		fmt.Fprintf(&text, "  s%d: {manage: image, location: %s, id: %s/vmss-authz-%02d}\n", i, region, sets, i+1)
	}
	text.WriteString("rollout:\n  waves: [{name: all, scale_sets: [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9], approve: true}]\n  journal: rollouts\n")
	file, err := fleetfile.Read("fleet.yaml", []byte(text.String()), os.LookupEnv)
	require.NoError(t, err)
	journal := &memory{world: &world{t: t}}
	r := &roll.Runner{Azure: client, Spec: file.Spec, Journal: journal, Now: clock.Now, Wait: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
	_, refusals, err := r.Start(t.Context(), "1.7.0", rollout.Options{})
	require.NoError(t, err)
	require.Empty(t, refusals)
	_, err = r.Advance(t.Context())
	require.NoError(t, err)

	asked.Store(0)
	scope := azure.Scope{Subscription: arm.DefaultSubscription, Members: true, Upgrades: true, History: true, Autoscale: true, Images: true}
	for name := range file.Spec.ScaleSets {
		scope.Sets = append(scope.Sets, file.Spec.SetID(name))
	}
	scope.GalleryIDs = append(scope.GalleryIDs, file.Spec.GalleryID())
	_, err = client.Fleet(t.Context(), scope)
	require.NoError(t, err)
	status := asked.Swap(0)
	s, err := r.Advance(t.Context())
	require.NoError(t, err)
	require.False(t, s.Due)
	require.Equal(t, rollout.Asking, s.State.Waves[0].Step)
	require.Len(t, s.Observation.Sets, 10)
	require.Len(t, s.Observation.Sets["s9"].Members, 100)
	tick := asked.Load()
	require.LessOrEqual(t, tick, status)
	t.Logf("%d requests, and %d for status", tick, status)
}
