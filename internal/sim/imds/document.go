package imds

import (
	"net/http"
	"slices"
)

// The document on the wire, in the order of the published sample.
type (
	wireDocument struct {
		DocumentIncarnation int64
		Events              []wireEvent
	}
	wireEvent struct {
		EventID           string `json:"EventId"`
		EventStatus       Status
		EventType         string
		ResourceType      string
		Resources         []string
		NotBefore         string
		Description       *string `json:",omitempty"`
		EventSource       *string `json:",omitempty"`
		DurationInSeconds *int    `json:",omitempty"`
	}
)

// document renders what m sees in an API version; s.mu is held.
func (s *Server) document(m *vm, version string) wireDocument {
	doc := wireDocument{DocumentIncarnation: m.incarnation, Events: []wireEvent{}}
	for _, e := range s.live {
		if !s.shows(m, e, version) {
			continue
		}
		w := wireEvent{
			EventID: e.ID, EventStatus: e.Status, EventType: e.Type,
			ResourceType: "VirtualMachine", Resources: slices.Clone(e.Resources),
		}
		if e.Status == Scheduled {
			w.NotBefore = e.NotBefore.UTC().Format(http.TimeFormat)
		}
		if version < "2017-08-01" {
			for i := range w.Resources {
				w.Resources[i] = "_" + w.Resources[i]
			}
		}
		if version >= "2019-04-01" {
			w.Description = &e.Description
		}
		if version >= "2019-08-01" {
			w.EventSource = &e.Source
		}
		if version >= "2020-07-01" {
			w.DurationInSeconds = &e.DurationSeconds
		}
		doc.Events = append(doc.Events, w)
	}
	return doc
}

// shows reports whether m finds e in its document of an API version.
func (s *Server) shows(m *vm, e *event, version string) bool {
	return version >= typeOf(e.Type).since && s.sees(m, e)
}
