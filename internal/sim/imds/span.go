package imds

import (
	"encoding/json"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
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
	if node.Kind != yaml.ScalarNode {
		return lineError(node.Line, `not a duration: write a number with a unit, like 30s`)
	}
	if err := s.parse(node.Value); err != nil {
		return lineError(node.Line, err.Error())
	}
	return nil
}

func (s *span) parse(text string) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration: write a number with a unit, like 30s or 5m", text)
	}
	*s = span(d)
	return nil
}

// lineError is an error in the form that the YAML decoder collects.
func lineError(line int, text string) error {
	return &yaml.TypeError{Errors: []string{fmt.Sprintf("line %d: %s", line, text)}}
}
