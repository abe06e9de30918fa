package scheduledevents

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// documented is the sample of Azure's documentation, wrong weekday included.
const documented = `{"DocumentIncarnation":2,"Events":[{"EventId":"C7061BAC-AFDC-4513-B24B-AA5F13A16123","EventStatus":"Scheduled","EventType":"Freeze","ResourceType":"VirtualMachine","Resources":["WestNO_0","WestNO_1"],"NotBefore":"Mon, 11 Apr 2026 22:26:58 GMT","Description":"Virtual machine is being paused because of a memory-preserving Live Migration operation.","EventSource":"Platform","DurationInSeconds":5}]}`

func TestParseDocumented(t *testing.T) {
	doc, err := Parse([]byte(documented))
	require.NoError(t, err)
	require.Equal(t, Document{Incarnation: 2, Events: []Event{{
		ID:              "C7061BAC-AFDC-4513-B24B-AA5F13A16123",
		Type:            Freeze,
		Status:          Scheduled,
		ResourceType:    "VirtualMachine",
		Resources:       []string{"WestNO_0", "WestNO_1"},
		NotBefore:       time.Date(2026, 4, 11, 22, 26, 58, 0, time.UTC),
		Description:     "Virtual machine is being paused because of a memory-preserving Live Migration operation.",
		Source:          "Platform",
		DurationSeconds: new(5),
	}}}, doc)
}

// TestParseNotBefore holds every form that Azure and its mock server write.
func TestParseNotBefore(t *testing.T) {
	at := time.Date(2026, 4, 1, 22, 26, 58, 0, time.UTC)
	tests := map[string]struct {
		text   string
		want   time.Time
		unread string
	}{
		"RFC 1123":             {"Wed, 01 Apr 2026 22:26:58 GMT", at, ""},
		"wrong weekday":        {"Mon, 01 Apr 2026 22:26:58 GMT", at, ""},
		"day without a zero":   {"Wed, 1 Apr 2026 22:26:58 GMT", at, ""},
		"UTC by name":          {"Wed, 01 Apr 2026 22:26:58 UTC", at, ""},
		"numeric zone":         {"Wed, 01 Apr 2026 15:26:58 -0700", at, ""},
		"RFC 3339":             {"2026-04-01T22:26:58Z", at, ""},
		"RFC 3339 with a zone": {"2026-04-02T00:26:58+02:00", at, ""},
		"RFC 3339 fractional":  {"2026-04-01T22:26:58.250Z", at.Add(250 * time.Millisecond), ""},
		"ISO without a zone":   {"2026-04-01T22:26:58", at, ""},
		"padding":              {"  Wed, 01 Apr 2026 22:26:58 GMT ", at, ""},
		"blank":                {"", time.Time{}, ""},
		"spaces":               {"  ", time.Time{}, ""},
		"another zone by name": {"Wed, 01 Apr 2026 22:26:58 PST", time.Time{}, "Wed, 01 Apr 2026 22:26:58 PST"},
		"no time":              {"soon", time.Time{}, "soon"},
		"no such day":          {"Wed, 31 Apr 2026 22:26:58 GMT", time.Time{}, "Wed, 31 Apr 2026 22:26:58 GMT"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(test.text)
			require.NoError(t, err)
			doc, err := Parse(fmt.Appendf(nil, `{"DocumentIncarnation":1,"Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Scheduled","Resources":["vm_0"],"NotBefore":%s}]}`, text))
			require.NoError(t, err)
			require.Equal(t, test.want, doc.Events[0].NotBefore)
			require.Equal(t, test.unread, doc.Events[0].UnreadNotBefore)
		})
	}
}

// TestParseTolerates holds what Azure may vary.
func TestParseTolerates(t *testing.T) {
	tests := map[string]struct {
		document string
		want     []Event
	}{
		"no events": {`{"DocumentIncarnation":1,"Events":[]}`, []Event{}},
		"unknown type and status": {
			`{"DocumentIncarnation":1,"Events":[{"EventId":"a","EventType":"SpotRebalance","EventStatus":"Advised","Resources":["vm_0"]}]}`,
			[]Event{{ID: "a", Type: "SpotRebalance", Status: "Advised", Resources: []string{"vm_0"}}},
		},
		"keys and words in another letter case": {
			`{"documentincarnation":1,"EVENTS":[{"eventid":"A","eventtype":"preempt","eventstatus":"STARTED","resources":["vm_0"],"notbefore":""}]}`,
			[]Event{{ID: "A", Type: Preempt, Status: Started, Resources: []string{"vm_0"}}},
		},
		"unknown keys": {
			`{"DocumentIncarnation":1,"Next":{"a":[1]},"Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"],"Extra":{"b":null}}]}`,
			[]Event{{ID: "a", Type: Reboot, Status: Started, Resources: []string{"vm_0"}}},
		},
		"nulls": {
			`{"DocumentIncarnation":1,"Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"],"NotBefore":null,"Description":null,"EventSource":null,"DurationInSeconds":null}]}`,
			[]Event{{ID: "a", Type: Reboot, Status: Started, Resources: []string{"vm_0"}}},
		},
		"numbers as strings": {
			`{"DocumentIncarnation":"1","Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"],"DurationInSeconds":"-1"}]}`,
			[]Event{{ID: "a", Type: Reboot, Status: Started, Resources: []string{"vm_0"}, DurationSeconds: new(-1)}},
		},
		"names nobody": {
			`{"DocumentIncarnation":1,"Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":[]}]}`,
			[]Event{{ID: "a", Type: Reboot, Status: Started, Resources: []string{}}},
		},
		"the same event twice": {
			`{"DocumentIncarnation":1,"Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"]},{"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"]}]}`,
			[]Event{{ID: "a", Type: Reboot, Status: Started, Resources: []string{"vm_0"}}},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse([]byte(test.document))
			require.NoError(t, err)
			require.Equal(t, Document{Incarnation: 1, Events: test.want}, doc)
		})
	}
}

// TestParseRefuses holds that a document with a part missing is refused as a
// whole: what is missing might be an event.
func TestParseRefuses(t *testing.T) {
	event := func(fields string) string {
		return `{"DocumentIncarnation":1,"Events":[{"EventId":"good","EventType":"Freeze","EventStatus":"Started","Resources":["vm_0"]},{` + fields + `}]}`
	}
	tests := map[string]struct{ document, text string }{
		"an endless id":          {event(`"EventId":"` + strings.Repeat("x", 300) + `","EventType":"Freeze","EventStatus":"Started","Resources":["vm_0"]`), "events[1] is partial: an EventId of 300 bytes, more than 256"},
		"empty body":             {``, "read events document: "},
		"not an object":          {`[]`, "read events document: "},
		"null":                   {`null`, "events document is partial: no DocumentIncarnation"},
		"empty object":           {`{}`, "events document is partial: no DocumentIncarnation"},
		"no Events":              {`{"DocumentIncarnation":1}`, "events document is partial: no Events"},
		"Events null":            {`{"DocumentIncarnation":1,"Events":null}`, "events document is partial: no Events"},
		"Events an object":       {`{"DocumentIncarnation":1,"Events":{}}`, "read events document: "},
		"Events only":            {`{"Events":[]}`, "events document is partial: no DocumentIncarnation"},
		"incarnation a fraction": {`{"DocumentIncarnation":1.5,"Events":[]}`, "read DocumentIncarnation: "},
		"cut short":              {documented[:len(documented)-2], "read events document: "},
		"two documents":          {documented + documented, "read events document: "},
		"event null":             {`{"DocumentIncarnation":1,"Events":[null]}`, "events[0] is partial: no EventId"},
		"no EventId":             {event(`"EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"]`), "events[1] is partial: no EventId"},
		"blank EventId":          {event(`"EventId":" ","EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"]`), "events[1] is partial: no EventId"},
		"no EventType":           {event(`"EventId":"a","EventStatus":"Started","Resources":["vm_0"]`), "events[1] is partial: no EventType"},
		"no EventStatus":         {event(`"EventId":"a","EventType":"Reboot","Resources":["vm_0"]`), "events[1] is partial: no EventStatus"},
		"no Resources":           {event(`"EventId":"a","EventType":"Reboot","EventStatus":"Started"`), "events[1] is partial: no Resources"},
		"Resources a string":     {event(`"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":"vm_0"`), "read events document: "},
		"duration a fraction":    {event(`"EventId":"a","EventType":"Reboot","EventStatus":"Started","Resources":["vm_0"],"DurationInSeconds":1.5`), "events[1] is partial: read DurationInSeconds: "},
		"contradiction":          {event(`"EventId":"good","EventType":"Freeze","EventStatus":"Scheduled","Resources":["vm_0"]`), `events[1] contradicts another event with the same EventId "good"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse([]byte(test.document))
			require.ErrorContains(t, err, test.text)
			require.Zero(t, doc)
		})
	}
}

func TestSameEvents(t *testing.T) {
	base := func() Event {
		return Event{
			ID: "a", Type: Reboot, Status: Scheduled, ResourceType: "VirtualMachine", Resources: []string{"vm_0", "vm_1"},
			NotBefore: time.Date(2026, 4, 1, 22, 26, 58, 0, time.UTC), Description: "d", Source: "Platform", DurationSeconds: new(5),
		}
	}
	b := Event{ID: "b", Type: Freeze, Status: Started}
	same := base()
	same.NotBefore = same.NotBefore.In(time.FixedZone("elsewhere", 3600))
	require.True(t, sameEvents(Document{Incarnation: 9, Events: []Event{base(), b}}, Document{Incarnation: 1, Events: []Event{b, same}}),
		"the order of events and the incarnation mean nothing")
	require.True(t, sameEvents(Document{}, Document{Incarnation: 1, Events: []Event{}}))

	for name, change := range map[string]func(*Event){
		"id":           func(e *Event) { e.ID = "z" },
		"type":         func(e *Event) { e.Type = Redeploy },
		"status":       func(e *Event) { e.Status = Started },
		"kind":         func(e *Event) { e.ResourceType = "" },
		"resources":    func(e *Event) { e.Resources = []string{"vm_0"} },
		"first listed": func(e *Event) { e.Resources = []string{"vm_1", "vm_0"} },
		"not before":   func(e *Event) { e.NotBefore = e.NotBefore.Add(time.Second) },
		"unread":       func(e *Event) { e.UnreadNotBefore = "soon" },
		"description":  func(e *Event) { e.Description = "" },
		"source":       func(e *Event) { e.Source = SourceUser },
		"duration":     func(e *Event) { e.DurationSeconds = new(6) },
		"no duration":  func(e *Event) { e.DurationSeconds = nil },
	} {
		changed := base()
		change(&changed)
		before, after := Document{Events: []Event{base(), b}}, Document{Events: []Event{changed, b}}
		require.False(t, sameEvents(before, after), name)
		require.False(t, sameEvents(after, before), name)
	}
	require.False(t, sameEvents(Document{Events: []Event{base(), b}}, Document{Events: []Event{base()}}))
}

// FuzzParse holds that no answer makes Parse panic, and that what it accepts is
// fit to be acted on and means the same when written and read again.
func FuzzParse(f *testing.F) {
	f.Add([]byte(documented))
	f.Add([]byte(`{"DocumentIncarnation":1,"Events":[]}`))
	f.Add([]byte(`{"DocumentIncarnation":"1","Events":[{"EventId":"a","eventtype":"Preempt","EventStatus":"Started","Resources":["vm_0"],"NotBefore":"2026-04-01T22:26:58Z","DurationInSeconds":"-1"},{"EventId":"a"}]}`))
	f.Add([]byte(`{"DocumentIncarnation":1,"Events":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse(data)
		if err != nil {
			require.Zero(t, doc)
			return
		}
		require.NotNil(t, doc.Events)
		ids := map[string]bool{}
		for _, event := range doc.Events {
			require.NotEmpty(t, strings.TrimSpace(event.ID))
			require.NotEmpty(t, event.Type)
			require.NotEmpty(t, event.Status)
			require.False(t, ids[event.ID], "every id is there once")
			ids[event.ID] = true
			require.Equal(t, time.UTC, event.NotBefore.Location())
			policy.Decide(event, "vm_0")
		}
		again, err := Parse(encode(doc))
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(doc, again))
		slices.Reverse(again.Events)
		require.True(t, sameEvents(doc, again))
	})
}

// encode writes a document as Azure would.
func encode(doc Document) []byte {
	events := make([]map[string]any, 0, len(doc.Events))
	for _, e := range doc.Events {
		event := map[string]any{
			"EventId": e.ID, "EventType": e.Type, "EventStatus": e.Status, "ResourceType": e.ResourceType,
			"Resources": e.Resources, "NotBefore": e.UnreadNotBefore, "Description": e.Description, "EventSource": e.Source,
		}
		if !e.NotBefore.IsZero() {
			event["NotBefore"] = e.NotBefore.Format(time.RFC3339Nano)
		}
		if e.DurationSeconds != nil {
			event["DurationInSeconds"] = *e.DurationSeconds
		}
		events = append(events, event)
	}
	data, err := json.Marshal(map[string]any{"DocumentIncarnation": doc.Incarnation, "Events": events})
	if err != nil {
		panic(err) // strings and numbers always encode
	}
	return data
}

func BenchmarkParse(b *testing.B) {
	doc := Document{Incarnation: 1}
	for i := range 1000 {
		doc.Events = append(doc.Events, Event{
			ID: fmt.Sprintf("C7061BAC-AFDC-4513-B24B-%012d", i), Type: Freeze, Status: Scheduled, ResourceType: "VirtualMachine",
			Resources: []string{fmt.Sprintf("web_%d", i)}, NotBefore: time.Unix(1_800_000_000, 0).UTC(), Source: "Platform", DurationSeconds: new(5),
		})
	}
	data := encode(doc)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
