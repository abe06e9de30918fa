package arm

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScenarioRules(t *testing.T) {
	sc, err := ParseScenario("s.yaml", []byte(`
replication:
  takes: 5m
  regions:
    West US 3: {takes: 20m, lag: 10m}
    northeurope: {fails: the storage of the region is full}
auto_os_on_flexible: true
auto_os_delay: 1h
`))
	require.NoError(t, err)
	require.Equal(t, Rules{Replication: 5 * time.Minute, Regions: map[string]RegionRules{
		"westus3":     {Replication: 20 * time.Minute, Lag: 10 * time.Minute},
		"northeurope": {Fails: "the storage of the region is full"},
	}, Platform: PlatformRules{AutoOS: true, AutoOSDelay: time.Hour}}, sc.Rules())
	_, err = ParseScenario("s.yaml", []byte("replication: {regions: {eastus: {slow: 1h}}}"))
	require.ErrorContains(t, err, "slow")
}
