package arm

import "time"

// A replicationSpec is the key replication of a scenario: how long versions take to
// regions, and where they do not arrive.
type replicationSpec struct {
	Takes   age                     `yaml:"takes" doc:"how long a version takes to a region; 10m when it is not given"`
	Regions map[string]regionalSpec `yaml:"regions" doc:"where it is otherwise"`
}

type regionalSpec struct {
	Takes age    `yaml:"takes" doc:"how long a version takes to the region"`
	Lag   age    `yaml:"lag" doc:"how long it still lacks the version after the version has succeeded"`
	Fails string `yaml:"fails" doc:"why no version arrives there"`
}

// Rules are what the scenario says about how long things take and what fails.
func (sc *Scenario) Rules() Rules {
	r := Rules{
		Replication: time.Duration(sc.file.Replication.Takes), Regions: map[string]RegionRules{}, Machines: sc.file.machineRules(),
		Platform: sc.file.platformRules(),
	}
	for name, region := range sc.file.Replication.Regions {
		r.Regions[location(name)] = RegionRules{Replication: time.Duration(region.Takes), Lag: time.Duration(region.Lag), Fails: region.Fails}
	}
	return r
}
