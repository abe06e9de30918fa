// Package steer answers: how is a simulation that runs told what to do, over HTTP?
//
// Both simulators have a control API of the same form: bodies are JSON, unknown keys
// are refused, spans are written like "30s", an error is {"error": "..."}. And both
// keep a [Book] of the faults that their clients shall meet.
package steer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// MaxBody bounds what a control API reads of a request.
const MaxBody = 1 << 20

// ErrNoBody says that a request has no body.
var ErrNoBody = errors.New("the request has no body")

// An ErrorReply is the body of an error.
type ErrorReply struct {
	Error string `json:"error"`
}

// Decode reads the body of a request strictly. The error is ErrNoBody when there is
// none, and holds an *http.MaxBytesError when there is too much of it.
func Decode(w http.ResponseWriter, r *http.Request, into any) error {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return ErrNoBody
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("read the request: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if dec.More() {
		return errors.New("read the request: there is more than one JSON value")
	}
	return nil
}

// Reply answers with JSON.
func Reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(body) // the client may be gone
}

// ReplyError answers with an error: 413 when the request was too large, else status.
func ReplyError(w http.ResponseWriter, status int, err error) {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		status = http.StatusRequestEntityTooLarge
	}
	Reply(w, status, ErrorReply{Error: err.Error()})
}

// A Span is a duration that is written like "30s", in JSON and in YAML.
type Span time.Duration

// MarshalJSON writes the span as time.Duration prints it.
func (s Span) MarshalJSON() ([]byte, error) {
	return json.Marshal(time.Duration(s).String())
}

// UnmarshalJSON reads a string; a number is an error that says what to write.
func (s *Span) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf(`%s is not a duration: write a string with a unit, like "30s"`, data)
	}
	d, err := strict.ParseDuration(text)
	*s = Span(d)
	return err
}

// UnmarshalYAML is UnmarshalJSON for scenario files.
func (s *Span) UnmarshalYAML(node *yaml.Node) error {
	d, err := strict.DecodeDuration(node)
	*s = Span(d)
	return err
}
