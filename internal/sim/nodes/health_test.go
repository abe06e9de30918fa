package nodes

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

var errRefused = errors.New("connection refused")

func TestJudge(t *testing.T) {
	const good = `{"ApplicationHealthState":"Healthy"}`
	for name, tc := range map[string]struct {
		settings arm.HealthExtension
		status   int
		body     string
		err      error
		want     string
	}{
		"200":                      {arm.HealthExtension{Protocol: "http"}, 200, "", nil, healthy},
		"201 is not 200":           {arm.HealthExtension{Protocol: "http"}, 201, good, nil, unhealthy},
		"the body is not read":     {arm.HealthExtension{Protocol: "http"}, 200, `{"ApplicationHealthState":"Unhealthy"}`, nil, healthy},
		"refused":                  {arm.HealthExtension{Protocol: "http"}, 0, "", errRefused, unhealthy},
		"tcp":                      {arm.HealthExtension{Protocol: "tcp", Rich: true}, 0, "", nil, healthy},
		"tcp refused":              {arm.HealthExtension{Protocol: "tcp", Rich: true}, 0, "", errRefused, unhealthy},
		"rich":                     {arm.HealthExtension{Protocol: "http", Rich: true}, 200, good, nil, healthy},
		"rich 202":                 {arm.HealthExtension{Protocol: "http", Rich: true}, 202, `{"applicationhealthSTATE":"Unhealthy"}`, nil, unhealthy},
		"rich 503":                 {arm.HealthExtension{Protocol: "http", Rich: true}, 503, good, nil, unknown},
		"rich 301":                 {arm.HealthExtension{Protocol: "http", Rich: true}, 301, good, nil, unknown},
		"rich refused":             {arm.HealthExtension{Protocol: "https", Rich: true}, 0, "", errRefused, unknown},
		"rich without JSON":        {arm.HealthExtension{Protocol: "http", Rich: true}, 200, "OK", nil, unknown},
		"rich without a body":      {arm.HealthExtension{Protocol: "http", Rich: true}, 204, "", nil, unknown},
		"rich of another value":    {arm.HealthExtension{Protocol: "http", Rich: true}, 200, `{"ApplicationHealthState":"Draining"}`, nil, unknown},
		"rich with more behind":    {arm.HealthExtension{Protocol: "http", Rich: true}, 200, good + "{}", nil, unknown},
		"rich with metrics":        {arm.HealthExtension{Protocol: "http", Rich: true}, 200, `{"ApplicationHealthState":"Healthy","CustomMetrics":"{}"}`, nil, healthy},
		"rich with metrics object": {arm.HealthExtension{Protocol: "http", Rich: true}, 200, `{"ApplicationHealthState":"Healthy","CustomMetrics":{}}`, nil, unknown},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExtension(tc.settings, time.Time{})
			require.Equal(t, tc.want, e.judge(Answer{Status: tc.status, Body: []byte(tc.body)}, tc.err))
		})
	}
}

// TestStates: each letter is a probe, every five seconds: Healthy, Unhealthy or none.
func TestStates(t *testing.T) {
	for name, tc := range map[string]struct {
		settings arm.HealthExtension
		probes   string
		want     []string
	}{
		"grace ends at the first state":     {arm.HealthExtension{Rich: true, Probes: 1, Grace: time.Minute}, "nnH", []string{initializing, initializing, healthy}},
		"unhealthy ends it, too":            {arm.HealthExtension{Rich: true, Probes: 2, Grace: time.Minute}, "UU", []string{initializing, unhealthy}},
		"the probe at its end is not heard": {arm.HealthExtension{Rich: true, Probes: 1, Grace: 5 * time.Second}, "nHH", []string{initializing, unknown, healthy}},
		"a flip counts anew":                {arm.HealthExtension{Rich: true, Probes: 2, Grace: time.Minute}, "HHUHUU", []string{initializing, healthy, healthy, healthy, healthy, unhealthy}},
		"none after grace":                  {arm.HealthExtension{Rich: true, Probes: 1, Grace: time.Minute}, "Hn", []string{healthy, unknown}},
		"binary says nothing at first":      {arm.HealthExtension{Probes: 2}, "nn", []string{"", unhealthy}},
		"binary is healthy at once":         {arm.HealthExtension{Probes: 3}, "HnnnHHH", []string{healthy, healthy, healthy, unhealthy, unhealthy, unhealthy, healthy}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.settings.Protocol = "http"
			now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
			e := newExtension(tc.settings, now)
			var got []string
			for _, p := range tc.probes {
				a, err := Answer{Status: 200, Body: []byte(`{"ApplicationHealthState":"Healthy"}`)}, error(nil)
				switch {
				case p == 'n':
					err = errRefused
				case p == 'U' && tc.settings.Rich:
					a.Body = []byte(`{"ApplicationHealthState":"Unhealthy"}`)
				}
				got = append(got, e.observe(now, a, err))
				now = now.Add(5 * time.Second)
			}
			require.Equal(t, tc.want, got)
		})
	}
	e := newExtension(arm.HealthExtension{Rich: true}, time.Time{})
	require.False(t, e.probes())
	require.Equal(t, healthy, e.state, "without settings nobody asks")
}
