package scheduledevents

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The types of events that Azure documents. A newer api-version may send
// others.
const (
	Freeze    = "Freeze"    // the VM pauses, usually for seconds
	Reboot    = "Reboot"    // memory is lost
	Redeploy  = "Redeploy"  // the VM moves to another host: memory and temporary disk are lost
	Preempt   = "Preempt"   // a Spot VM is evicted, often within ten seconds
	Terminate = "Terminate" // the VM is deleted
)

// The statuses of events that Azure documents. There is none for completed or
// cancelled: the event vanishes from the document.
const (
	Scheduled = "Scheduled" // will start at NotBefore, or when it is acked
	Started   = "Started"   // happens now
)

// SourceUser is the Source of an event that somebody asked for.
const SourceUser = "User"

var (
	knownTypes    = []string{Freeze, Reboot, Redeploy, Preempt, Terminate}
	knownStatuses = []string{Scheduled, Started}
)

// Event is one thing that Azure is about to do, or does, to one or more VMs.
type Event struct {
	// ID stays the same from Scheduled to Started.
	ID string
	// Type and Status are as Azure wrote them, in the spelling of the
	// constants above where it is one of those.
	Type, Status string
	ResourceType string
	// Resources names every VM that the event is for, in Azure's order: the
	// first may be elected to ack.
	Resources []string
	// NotBefore is the earliest start, in UTC; zero when Azure gives none, as
	// for a started event.
	NotBefore time.Time
	// UnreadNotBefore is what Azure wrote when it is in no known format of
	// time; NotBefore is zero then.
	UnreadNotBefore string
	Description     string
	// Source is Platform or User; empty under old api-versions.
	Source string
	// DurationSeconds is the expected interruption: 0 none, -1 unknown; nil
	// under old api-versions.
	DurationSeconds *int
}

// Document is one whole answer of the service: an event that is not in it does
// not exist (any more). It is shared and must not be changed.
type Document struct {
	// Incarnation changes with the events. Azure starts it again from the
	// beginning now and then, so it orders nothing.
	Incarnation int64
	Events      []Event
}

// wireDocument and wireEvent are the answer as JSON. Pointers tell what is
// absent from what is empty. encoding/json matches keys in any letter case and
// skips unknown ones.
type wireDocument struct {
	DocumentIncarnation *json.Number
	Events              *[]wireEvent
}

type wireEvent struct {
	EventID           string `json:"EventId"`
	EventType         string
	EventStatus       string
	ResourceType      string
	Resources         *[]string
	NotBefore         string
	Description       string
	EventSource       string
	DurationInSeconds *json.Number
}

// Parse reads an answer of the service. What Azure varies is tolerated: unknown
// keys, types and statuses, two formats of time, a wrong weekday. What would
// make an event disappear is not: an answer without the key Events, or with an
// event that lacks its id, type, status or resources, is an error as a whole,
// since half a document must not be taken for "the other half is over".
func Parse(data []byte) (Document, error) {
	var wire wireDocument
	if err := json.Unmarshal(data, &wire); err != nil {
		return Document{}, fmt.Errorf("read events document: %w", err)
	}
	if wire.DocumentIncarnation == nil {
		return Document{}, errors.New("events document is partial: no DocumentIncarnation")
	}
	if wire.Events == nil {
		return Document{}, errors.New("events document is partial: no Events")
	}
	incarnation, err := wire.DocumentIncarnation.Int64()
	if err != nil {
		return Document{}, fmt.Errorf("read DocumentIncarnation: %w", err)
	}
	doc := Document{Incarnation: incarnation, Events: make([]Event, 0, len(*wire.Events))}
	seen := make(map[string]int, len(*wire.Events))
	for i := range *wire.Events {
		event, err := (*wire.Events)[i].event()
		if err != nil {
			return Document{}, fmt.Errorf("events[%d] is partial: %w", i, err)
		}
		if first, ok := seen[event.ID]; ok {
			if !equal(doc.Events[first], event) {
				return Document{}, fmt.Errorf("events[%d] contradicts another event with the same EventId %q", i, event.ID)
			}
			continue
		}
		seen[event.ID] = len(doc.Events)
		doc.Events = append(doc.Events, event)
	}
	return doc, nil
}

// maxEventID bounds an EventId, which is a GUID of 36 bytes: it is journaled and
// compared whole.
const maxEventID = 256

func (w *wireEvent) event() (Event, error) {
	switch {
	case strings.TrimSpace(w.EventID) == "":
		return Event{}, errors.New("no EventId")
	case len(w.EventID) > maxEventID:
		return Event{}, fmt.Errorf("an EventId of %d bytes, more than %d", len(w.EventID), maxEventID)
	case strings.TrimSpace(w.EventType) == "":
		return Event{}, errors.New("no EventType")
	case strings.TrimSpace(w.EventStatus) == "":
		return Event{}, errors.New("no EventStatus")
	case w.Resources == nil:
		return Event{}, errors.New("no Resources")
	}
	event := Event{
		ID:           w.EventID,
		Type:         canonical(w.EventType, knownTypes),
		Status:       canonical(w.EventStatus, knownStatuses),
		ResourceType: w.ResourceType,
		Resources:    *w.Resources,
		Description:  w.Description,
		Source:       w.EventSource,
	}
	if text := strings.TrimSpace(w.NotBefore); text != "" {
		var ok bool
		if event.NotBefore, ok = parseTime(text); !ok {
			event.UnreadNotBefore = text
		}
	}
	if w.DurationInSeconds != nil {
		seconds, err := w.DurationInSeconds.Int64()
		if err != nil {
			return Event{}, fmt.Errorf("read DurationInSeconds: %w", err)
		}
		event.DurationSeconds = new(int(seconds))
	}
	return event, nil
}

// canonical returns the known word that name is, or name itself.
func canonical(name string, known []string) string {
	name = strings.TrimSpace(name)
	for _, word := range known {
		if strings.EqualFold(word, name) {
			return word
		}
	}
	return name
}

// timeLayouts: Azure documents the first, its mock server and some versions
// write RFC 3339. GMT is literal, since time.Parse gives the names of other
// zones an offset of zero. The weekday is not checked against the date, which
// is as well: Azure's own sample has a wrong one.
var timeLayouts = []string{
	"Mon, 2 Jan 2006 15:04:05 GMT",
	time.RFC3339,
	"Mon, 2 Jan 2006 15:04:05 UTC",
	"Mon, 2 Jan 2006 15:04:05 -0700",
	"2006-01-02T15:04:05",
}

func parseTime(text string) (time.Time, bool) {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// sameEvents says whether two documents tell the same, whatever the order of
// their events and their incarnation.
func sameEvents(a, b Document) bool {
	if len(a.Events) != len(b.Events) {
		return false
	}
	byID := make(map[string]Event, len(a.Events))
	for _, event := range a.Events {
		byID[event.ID] = event
	}
	for _, event := range b.Events {
		before, ok := byID[event.ID]
		if !ok || !equal(before, event) {
			return false
		}
	}
	return true
}

func equal(a, b Event) bool {
	return a.ID == b.ID && a.Type == b.Type && a.Status == b.Status &&
		a.ResourceType == b.ResourceType && slices.Equal(a.Resources, b.Resources) &&
		a.NotBefore.Equal(b.NotBefore) && a.UnreadNotBefore == b.UnreadNotBefore &&
		a.Description == b.Description && a.Source == b.Source &&
		equalDuration(a.DurationSeconds, b.DurationSeconds)
}

func equalDuration(a, b *int) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
