package imds

import "github.com/fleet-agent/fleet-agent/internal/sim/steer"

// A span is a duration that is written like "30s", in JSON and in YAML.
type span = steer.Span
