package roll_test

import (
	"context"
	"flag"
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
	"github.com/fleet-agent/fleet-agent/internal/sim/standstill"
)

var everyMoment = flag.Bool("every-moment", false, "count the requests of a thousand members in a batch and in a soak, too")

// A tick with nothing to do over a thousand members in ten sets asks for no more than
// status does: while the wave waits for an approval; and, with -every-moment, in the middle
// of a batch of all of them, and in the soak.
func TestThousand(t *testing.T) {
	t.Parallel()
	clock := arm.NewClock(time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC), 0)
	server, err := arm.New(arm.Config{Clock: clock, Unthrottled: true})
	require.NoError(t, err)
	scenario, err := arm.Example("thousand")
	require.NoError(t, err)
	require.NoError(t, server.Apply(scenario))
	var asked atomic.Int64
	handler := standstill.Handler(server, server)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		handler.ServeHTTP(w, r)
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
		"gallery:\n  name: galProd\n  image: {name: ubuntu-app, publisher: kloudvin, offer: ubuntu, sku: app-jammy}\n" +
		"defaults:\n  upgrade: {driver: batches, batch: 100%, order: name}\nscale_sets:\n")
	for i, region := range regions {
		fmt.Fprintf(&text, "  s%d: {manage: image, location: %s, id: %s/vmss-authz-%02d}\n", i, region, sets, i+1)
	}
	text.WriteString("rollout:\n  waves: [{name: all, scale_sets: [s0, s1, s2, s3, s4, s5, s6, s7, s8, s9], approve: true, soak: 1h}]\n  journal: rollouts\n")
	file, err := fleetfile.Read("fleet.yaml", []byte(text.String()), os.LookupEnv)
	require.NoError(t, err)
	journal := &memory{world: &world{t: t}}
	r := &roll.Runner{Azure: client, Spec: file.Spec, Journal: journal, Now: clock.Now, Wait: func(ctx context.Context, d time.Duration) error {
		server.Advance(d)
		return ctx.Err()
	}}
	_, refusals, err := r.Start(t.Context(), "1.7.0", rollout.Options{})
	require.NoError(t, err)
	require.Empty(t, refusals)

	asked.Store(0)
	scope := azure.Scope{Subscription: arm.DefaultSubscription, Members: true, Upgrades: true, History: true, Autoscale: true, Images: true}
	for name := range file.Spec.ScaleSets {
		scope.Sets = append(scope.Sets, file.Spec.SetID(name))
	}
	scope.GalleryIDs = append(scope.GalleryIDs, file.Spec.GalleryID())
	_, err = client.Fleet(t.Context(), scope)
	require.NoError(t, err)
	status := asked.Load()
	for i, moment := range []struct {
		name  string
		there func(*rollout.State) bool
	}{
		{"it waits for an approval", func(s *rollout.State) bool { return s.Waves[0].Step == rollout.Asking }},
		{"a batch is upgraded", func(s *rollout.State) bool {
			b := s.Sets["s9"].Batch
			return b != nil && b.Step == rollout.Upgrading
		}},
		{"it soaks", func(s *rollout.State) bool { return s.Waves[0].Step == rollout.Soaking }},
	} {
		if i > 0 && !*everyMoment {
			break
		}
		s, err := r.Advance(t.Context())
		for range 20 {
			require.NoError(t, err)
			if moment.there(&s.State) {
				break
			}
			if s.State.Waves[0].Step == rollout.Asking {
				journal.ask("1", `{"do":"approve","wave":"all"}`)
			} else {
				server.Advance(time.Minute)
			}
			s, err = r.Advance(t.Context())
		}
		asked.Store(0)
		s, err = r.Advance(t.Context())
		require.NoError(t, err)
		require.True(t, moment.there(&s.State), moment.name)
		require.False(t, s.Due, moment.name)
		require.Len(t, s.Observation.Sets, 10)
		require.Len(t, s.Observation.Sets["s9"].Members, 100)
		tick := asked.Load()
		require.LessOrEqual(t, tick, status, moment.name)
		t.Logf("%s: %d requests, and %d for status", moment.name, tick, status)
	}
}
