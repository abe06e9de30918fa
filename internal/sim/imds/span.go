package imds

import (
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// A span is a duration that is written like "30s", in JSON and in YAML.
type span time.Duration

// MarshalJSON writes the span as time.Duration prints it.
func (s span) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(s).String())
}

// UnmarshalJSON reads a string; a number is an error that says what to write.
func (s *span) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf(`%s is not a duration: write a string with a unit, like "30s"`, data)
	}
	return s.parse(text)
}

// UnmarshalYAML is UnmarshalJSON for scenario files.
func (s *span) UnmarshalYAML(node *yaml.Node) error {
	d, err := strict.DecodeDuration(node)
	*s = span(d)
	return err
}

func (s *span) parse(text string) error {
	d, err := strict.ParseDuration(text)
	*s = span(d)
	return err
}
