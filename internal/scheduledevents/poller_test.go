package scheduledevents

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// TestAckIsOnePost: the wire contract, and that neither success nor failure is
// followed by another request.
func TestAckIsOnePost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{}
		p := start(t, s, nil)
		p.stop()
		s.requests = nil
		require.NoError(t, p.Ack(t.Context(), "C7061BAC-AFDC-4513-B24B-AA5F13A16123"))
		require.Equal(t, []string{`api-version=2020-07-01 {"StartRequests":[{"EventId":"C7061BAC-AFDC-4513-B24B-AA5F13A16123"}]}`}, s.acks)

		for _, fault := range []struct {
			http.RoundTripper
			class imds.Class
		}{{fixed(400, ""), imds.ClassBadRequest}, {fixed(500, ""), imds.ClassServerError}, {silence, imds.ClassTimeout}} {
			s.set(fault)
			err := p.Ack(t.Context(), "a")
			require.Equal(t, fault.class, imds.Classify(err))
			require.ErrorContains(t, err, "ack scheduled event: ")
		}
		require.Len(t, s.requests, 4)

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		require.ErrorIs(t, p.Ack(ctx, "a"), context.Canceled)
		require.EqualError(t, p.Ack(t.Context(), ""), "ack scheduled event: no event id")
		require.Equal(t, map[string]float64{"ok": 1, "bad-request": 1, "server-error": 1, "timeout": 1}, counts(t, p.registry, "fleet_agent_acks_total"))
	})
}

// TestAckWhilePollHangs: a poll that waits does not hold up an ack.
func TestAckWhilePollHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{fault: silence}
		w := start(t, s, nil)
		s.set(nil)
		before := time.Now()
		require.NoError(t, w.Ack(t.Context(), "a"))
		require.Zero(t, time.Since(before))
	})
}

// TestApply: a reload changes the cadence and the version at once.
func TestApply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var versions []string
		s := &service{}
		s.set(roundTripper(func(r *http.Request) (*http.Response, error) {
			versions = append(versions, r.URL.Query().Get("api-version"))
			return respond(200, string(encode(Document{}))), nil
		}))
		w := start(t, s, func(cfg *Config) { cfg.Interval = time.Hour })
		require.NoError(t, w.Apply(Config{Interval: 10 * time.Second, APIVersion: "2021-01-01"}))
		w.sleep(25 * time.Second)
		require.Equal(t, []string{"2020-07-01", "2021-01-01", "2021-01-01", "2021-01-01"}, versions)
		require.Error(t, w.Apply(Config{Interval: -1}))
		require.Len(t, w.seen, 1, "the same events, polled otherwise")
	})
}

func TestNewRefuses(t *testing.T) {
	client, err := imds.New(imds.Config{})
	require.NoError(t, err)
	_, err = New(Config{})
	require.EqualError(t, err, "scheduled events need an imds client")
	_, err = New(Config{Client: client, Interval: -time.Second})
	require.ErrorContains(t, err, "must be positive")
	_, err = New(Config{Client: client, Timeout: -time.Second})
	require.ErrorContains(t, err, "must be positive")
	registry := prometheus.NewRegistry()
	_, err = New(Config{Client: client, Registerer: registry})
	require.NoError(t, err)
	_, err = New(Config{Client: client, Registerer: registry})
	require.ErrorContains(t, err, "register scheduled events metrics: ")
}
