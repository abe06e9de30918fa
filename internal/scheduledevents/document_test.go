package scheduledevents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

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
		"the last year":        {"9999-12-31T23:59:59Z", time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), ""},
		"after the last year":  {"9999-12-31T23:59:59-01:00", time.Time{}, "9999-12-31T23:59:59-01:00"},
		"before the first":     {"0000-01-01T00:00:00+01:00", time.Time{}, "0000-01-01T00:00:00+01:00"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			text, err := json.Marshal(test.text)
			require.NoError(t, err)
			doc, err := Parse(fmt.Appendf(nil, `{"DocumentIncarnation":1,"Events":[{"EventId":"a","EventType":"Reboot","EventStatus":"Scheduled","Resources":["vm_0"],"NotBefore":%s}]}`, text))
			require.NoError(t, err)
			require.Equal(t, test.want, doc.Events[0].NotBefore)
			if test.unread == "" {
				require.Empty(t, doc.Oddities)
				return
			}
			require.Equal(t, []string{`event a: its NotBefore does not read, and is taken for now: "` + test.unread + `"`}, doc.Oddities)
			require.False(t, doc.Absent("a"))
			require.True(t, doc.Absent("b"))
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

// TestParseRefuses holds what is no document at all.
func TestParseRefuses(t *testing.T) {
	tests := map[string]struct{ document, text string }{
		"empty body":       {``, "read events document: it is not JSON"},
		"not an object":    {`[]`, "it is not a JSON object"},
		"null":             {`null`, "it is not a JSON object"},
		"empty object":     {`{}`, "events document is partial: no Events"},
		"no Events":        {`{"DocumentIncarnation":1}`, "events document is partial: no Events"},
		"Events null":      {`{"DocumentIncarnation":1,"Events":null}`, "events document is partial: Events is not a list"},
		"Events an object": {`{"DocumentIncarnation":1,"Events":{}}`, "events document is partial: Events is not a list"},
		"a key like it":    {`{"DocumentIncarnation":1,"Event\u017f":[]}`, "events document is partial: no Events"},
		"cut short":        {documented[:len(documented)-2], "read events document: it is not JSON"},
		"two documents":    {documented + documented, "read events document: it is not JSON"},
		"more after it":    {documented + "x", "read events document: it is not JSON"},
		"a mark before it": {"\ufeff" + documented, "read events document: it is not JSON"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse([]byte(test.document))
			require.ErrorContains(t, err, test.text)
			require.Zero(t, doc)
		})
	}
}

// ours is an eviction of this VM, ready to be made odd.
const ours = `"EventId":"A","EventType":"Preempt","EventStatus":"Scheduled","ResourceType":"VirtualMachine","Resources":["web_7"],` +
	`"NotBefore":"Wed, 01 Apr 2026 22:26:58 GMT","Description":"","EventSource":"Platform","DurationInSeconds":-1`

// theirs is an event of another VM.
const theirs = `{"EventId":"T","EventType":"Freeze","EventStatus":"Scheduled","Resources":["web_1"]}`

func document(elements ...string) string {
	return `{"DocumentIncarnation":3,"Events":[` + strings.Join(elements, ",") + `]}`
}

// TestPresence holds what an odd document still says: our event stands and is
// drained for, whatever is odd in it that decides nothing, or beside it.
func TestPresence(t *testing.T) {
	change := func(key, value string) string {
		with := regexp.MustCompile(`"`+key+`":("[^"]*"|\[[^]]*\]|-?\d+)`).ReplaceAllLiteralString(ours, `"`+key+`":`+value)
		require.NotEqual(t, ours, with)
		return document("{" + with + "}")
	}
	tests := map[string]struct {
		document string
		partial  bool
		blind    string
	}{
		"ours": {document: document("{" + ours + "}")},
		// Values that decide nothing, or are taken for the worst.
		"duration empty":              {document: change("DurationInSeconds", `""`)},
		"duration a fraction":         {document: change("DurationInSeconds", `1.5`)},
		"duration huge":               {document: change("DurationInSeconds", `1e400`)},
		"duration an object":          {document: change("DurationInSeconds", `{}`)},
		"duration true":               {document: change("DurationInSeconds", `true`)},
		"source a number":             {document: change("EventSource", `7`)},
		"description a list":          {document: change("Description", `[1]`)},
		"resource type null":          {document: change("ResourceType", `null`)},
		"NotBefore a number":          {document: change("NotBefore", `1775082418`)},
		"NotBefore null":              {document: change("NotBefore", `null`)},
		"NotBefore soon":              {document: change("NotBefore", `"soon"`)},
		"NotBefore in the year 10000": {document: change("NotBefore", `"9999-12-31T23:59:59-10:00"`)},
		"a name beside ours null":     {document: change("Resources", `["web_7",null]`)},
		"a name beside ours odd":      {document: change("Resources", `[5,"web_7",{}]`)},
		"incarnation a fraction":      {document: `{"DocumentIncarnation":1.5,"Events":[{` + ours + `}]}`},
		"no incarnation":              {document: `{"Events":[{` + ours + `}]}`},
		// Neighbours.
		"null beside it":         {document: document("null", "{"+ours+"}"), partial: true, blind: "an event that may be for this VM: its EventId does not read"},
		"a word beside it":       {document: document("{"+ours+"}", `"x"`), partial: true, blind: "does not read"},
		"a list beside it":       {document: document("{"+ours+"}", `[{`+ours+`}]`), partial: true, blind: "does not read"},
		"an id beside it":        {document: document("{"+ours+"}", `{"EventId":"B"}`), blind: "event B: its EventType does not read"},
		"no id beside it":        {document: document("{"+ours+"}", `{"EventType":"Reboot","EventStatus":"Started","Resources":["web_1"]}`), partial: true},
		"no id, nobody's":        {document: document("{"+ours+"}", `{"EventType":"Reboot","EventStatus":"Started","Resources":[]}`), partial: true, blind: "an event of type Reboot: its EventId does not read"},
		"no id, and ours":        {document: document("{"+ours+"}", `{"EventId":9,"EventType":"Reboot","EventStatus":"Started","Resources":["WEB_7"]}`), partial: true, blind: "its EventId does not read"},
		"another's, odd":         {document: document("{"+ours+"}", `{"EventId":"B","EventType":7,"EventStatus":"Started","Resources":["web_1"]}`)},
		"an endless id":          {document: document("{"+ours+"}", `{"EventId":"`+strings.Repeat("x", 300)+`","EventType":"Freeze","EventStatus":"Started","Resources":["web_7"]}`), partial: true, blind: "its EventId does not read"},
		"a second list, empty":   {document: `{"Events":[{` + ours + `}],"events":[]}`, partial: true, blind: "does not read"},
		"a first list, empty":    {document: `{"EVENTS":[],"Events":[{` + ours + `}]}`, partial: true, blind: "does not read"},
		"a second list, no list": {document: `{"Events":[{` + ours + `}],"events":null}`, partial: true, blind: "does not read"},
		"another key twice":      {document: `{"a":1,"A":2,"Events":[{` + ours + `}]}`, partial: true, blind: "does not read"},
		// Keys of ours that are there twice: both readings stand.
		"its names twice":        {document: document("{" + ours + `,"resources":[]}`), partial: true},
		"its names twice, first": {document: document(`{"RESOURCES":["web_1"],` + ours + `}`), partial: true},
		"its id twice":           {document: document("{" + ours + `,"eventid":""}`), partial: true},
		"another id":             {document: document("{" + ours + `,"eventid":"B"}`), partial: true},
		"its type twice":         {document: document("{" + ours + `,"eventType":"Freeze"}`), partial: true},
		"its status twice":       {document: document("{" + ours + `,"eventStatus":"Zzz"}`), partial: true},
		"an unknown key twice":   {document: document("{" + ours + `,"x":1,"X":2}`), partial: true},
		"the same again":         {document: document("{"+ours+"}", "{"+ours+"}")},
		"again, of another type": {document: document(`{"EventId":"A","EventType":"Freeze","EventStatus":"Scheduled","Resources":["web_7"]}`, "{"+ours+"}")},
		"again, for others":      {document: document("{"+ours+"}", `{"EventId":"A","EventType":"Preempt","EventStatus":"Scheduled","Resources":["web_1"]}`)},
		"again, without a type":  {document: document(`{"EventId":"A"}`, "{"+ours+"}")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse([]byte(test.document))
			require.NoError(t, err)
			i := slices.IndexFunc(doc.Events, func(e Event) bool { return e.ID == "A" })
			require.GreaterOrEqual(t, i, 0)
			d := policy.Decide(doc.Events[i], self)
			require.Equal(t, ActionDrain, d.Action, d.Reason)
			require.False(t, d.Unsure)
			require.False(t, doc.Absent("A"))
			require.Equal(t, !test.partial, doc.Absent("another"))
			err = doc.Blind(self)
			if test.blind == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.blind)
			require.NotEmpty(t, doc.Oddities)
		})
	}
}

// TestOddEventOfOurs: what decides must read. What does not is neither acted on
// nor over, and the agent says that it is blind.
func TestOddEventOfOurs(t *testing.T) {
	for name, element := range map[string]string{
		"no type":            `{"EventId":"A","EventStatus":"Scheduled","Resources":["web_7"]}`,
		"type a number":      `{"EventId":"A","EventType":5,"EventStatus":"Scheduled","Resources":["web_7"]}`,
		"type blank":         `{"EventId":"A","EventType":" ","EventStatus":"Scheduled","Resources":["web_7"]}`,
		"no status":          `{"EventId":"A","EventType":"Preempt","Resources":["web_7"]}`,
		"status null":        `{"EventId":"A","EventType":"Preempt","EventStatus":null,"Resources":["web_7"]}`,
		"no names":           `{"EventId":"A","EventType":"Preempt","EventStatus":"Scheduled"}`,
		"names in one word":  `{"EventId":"A","EventType":"Preempt","EventStatus":"Scheduled","Resources":"web_7"}`,
		"names of no letter": `{"EventId":"A","EventType":5,"EventStatus":"Scheduled","Resources":[null]}`,
	} {
		t.Run(name, func(t *testing.T) {
			doc, err := Parse([]byte(document(theirs, element)))
			require.NoError(t, err)
			require.Len(t, doc.Events, 2)
			require.False(t, doc.Absent("A"))
			require.True(t, doc.Absent("B"), "it is known by its id")
			require.Error(t, doc.Blind(self))
			require.NotEmpty(t, doc.Oddities)
			d := policy.Decide(doc.Events[1], self)
			require.True(t, d.Unsure)
			require.False(t, d.Known)
			require.Empty(t, d.Action)
			require.Equal(t, doc.Events[1].Unread(), d.Reason)
		})
	}
}

// TestUnknownStatusIsNotAbsence, and neither is a type that has changed.
func TestUnknownStatusIsNotAbsence(t *testing.T) {
	doc, err := Parse([]byte(document(`{"EventId":"A","EventType":"Preempt","EventStatus":"Zzz","Resources":["web_7"]}`)))
	require.NoError(t, err)
	require.False(t, doc.Absent("A"))
	require.NoError(t, doc.Blind(self), "it reads")
	d := policy.Decide(doc.Events[0], self)
	require.True(t, d.Unsure)
	require.Equal(t, `unknown status "Zzz"`, d.Reason)
}

// TestMerged holds what the same EventId twice says.
func TestMerged(t *testing.T) {
	first := `{"EventId":"A","EventType":"Reboot","EventStatus":"Started","Resources":["web_7","web_2"],"NotBefore":"2026-04-01T22:26:58Z","EventSource":"User","DurationInSeconds":9}`
	second := `{"EventId":"A","EventType":"Redeploy","EventStatus":"Scheduled","Resources":["web_1","web_7"],"NotBefore":"2026-04-01T22:20:00Z","EventSource":"Platform","DurationInSeconds":-1}`
	for name, body := range map[string]string{"one way": document(first, second), "the other": document(second, first)} {
		doc, err := Parse([]byte(body))
		require.NoError(t, err, name)
		require.Len(t, doc.Events, 1)
		e := doc.Events[0]
		require.Equal(t, Redeploy, e.Type)
		require.Equal(t, Started, e.Status)
		require.Equal(t, time.Date(2026, 4, 1, 22, 20, 0, 0, time.UTC), e.NotBefore)
		require.ElementsMatch(t, []string{"web_7", "web_1", "web_2"}, e.Resources)
		require.Empty(t, e.Source, "it is not certain that somebody asked")
		require.Equal(t, -1, *e.DurationSeconds)
		require.False(t, doc.Partial)
		require.True(t, doc.Absent("B"))
		require.Len(t, doc.Oddities, 1)
	}
}

// TestComparedInASCII: letters that only look alike are others.
func TestComparedInASCII(t *testing.T) {
	doc, err := Parse([]byte(`{"Events":[{"EventId":"A","EventType":"\u212Areboot","EventStatus":"\u017ftarted","Resources":["web_7"],"EventSource":"U\u017fer"}]}`))
	require.NoError(t, err)
	e := doc.Events[0]
	require.Equal(t, "\u017ftarted", e.Status)
	require.False(t, policy.Decide(e, self).Known)
	e.Type, e.Status = Reboot, Scheduled
	asked := Policy{Rules: map[string]Rule{Reboot: {Action: ActionDrain, Ack: AckUserInitiated}}}
	require.False(t, asked.Decide(e, self).AckAllowed)
	require.False(t, Policy{Rules: map[string]Rule{"Freeze": {Action: ActionDrain}}}.Decide(Event{ID: "A", Type: "Free\u017fe", Status: Started, Resources: []string{self}}, self).Known)
}

// TestTextsAreBounded: ids and names are as they came, the rest is for showing.
func TestTextsAreBounded(t *testing.T) {
	long := strings.Repeat("x", 900<<10)
	doc, err := Parse([]byte(document(`{"EventId":"a\u0000\n\u001b[2J","EventType":"New\u0007","EventStatus":"Started","Resources":["web\u0000"],"Description":"` + long + `"}`)))
	require.NoError(t, err)
	e := doc.Events[0]
	require.Equal(t, "a\x00\n\x1b[2J", e.ID)
	require.Equal(t, []string{"web\x00"}, e.Resources)
	require.Equal(t, `New\u0007`, e.Type)
	require.Len(t, e.Description, 1<<10)

	doc, err = Parse([]byte(document(strings.Repeat(`{"EventId":7,"x":"`+strings.Repeat("y", 1000)+`"},`, 500) + theirs)))
	require.NoError(t, err)
	require.Len(t, doc.Oddities, 1, "the same is said once")
	require.Less(t, len(doc.Oddities[0]), 300)
}

// TestManyReadingsAreBounded: a document of a megabyte is read in no time,
// however its keys repeat.
func TestManyReadingsAreBounded(t *testing.T) {
	names := strings.TrimSuffix(strings.Repeat(`"web_7",`, 50000), ",")
	doc, err := Parse([]byte(document(`{` + strings.Repeat(`"EventId":"A",`, 30000) + `"EventType":"Preempt","EventStatus":"Started","Resources":[` + names + `]}`)))
	require.NoError(t, err)
	require.Len(t, doc.Events, 1)
	require.True(t, doc.Partial)
}

func TestSame(t *testing.T) {
	base := func() Event {
		return Event{
			ID: "a", Type: Reboot, Status: Scheduled, ResourceType: "VirtualMachine", Resources: []string{"vm_0", "vm_1"},
			NotBefore: time.Date(2026, 4, 1, 22, 26, 58, 0, time.UTC), Description: "d", Source: "Platform", DurationSeconds: new(5),
		}
	}
	b := Event{ID: "b", Type: Freeze, Status: Started}
	elsewhere := base()
	elsewhere.NotBefore = elsewhere.NotBefore.In(time.FixedZone("elsewhere", 3600))
	require.True(t, same(&Document{Incarnation: 9, Events: []Event{base(), b}}, &Document{Incarnation: 1, Events: []Event{b, elsewhere}}),
		"the order of events and the incarnation mean nothing")
	require.True(t, same(&Document{}, &Document{Incarnation: 1, Events: []Event{}}))

	for name, change := range map[string]func(*Event){
		"id":           func(e *Event) { e.ID = "z" },
		"type":         func(e *Event) { e.Type = Redeploy },
		"status":       func(e *Event) { e.Status = Started },
		"kind":         func(e *Event) { e.ResourceType = "" },
		"resources":    func(e *Event) { e.Resources = []string{"vm_0"} },
		"first listed": func(e *Event) { e.Resources = []string{"vm_1", "vm_0"} },
		"not before":   func(e *Event) { e.NotBefore = e.NotBefore.Add(time.Second) },
		"description":  func(e *Event) { e.Description = "" },
		"source":       func(e *Event) { e.Source = SourceUser },
		"duration":     func(e *Event) { e.DurationSeconds = new(6) },
		"no duration":  func(e *Event) { e.DurationSeconds = nil },
	} {
		changed := base()
		change(&changed)
		before, after := Document{Events: []Event{base(), b}}, Document{Events: []Event{changed, b}}
		require.False(t, same(&before, &after), name)
		require.False(t, same(&after, &before), name)
	}
	require.False(t, same(&Document{Events: []Event{base(), b}}, &Document{Events: []Event{base()}}))
	require.False(t, same(&Document{}, &Document{Partial: true}))
	require.False(t, same(&Document{}, &Document{Strays: []Event{{}}}))
	require.False(t, same(&Document{}, &Document{Oddities: []string{"odd"}}))
}

// FuzzParse holds that no answer makes Parse panic, that what it accepts is fit to
// be acted on and means the same when written and read again, and that it calls an
// event absent only in a document of which nothing is left to understand.
func FuzzParse(f *testing.F) {
	f.Add([]byte(documented))
	f.Add([]byte(`{"DocumentIncarnation":1,"Events":[]}`))
	f.Add([]byte(`{"DocumentIncarnation":"1","Events":[{"EventId":"a","eventtype":"Preempt","EventStatus":"Started","Resources":["vm_0"],"NotBefore":"2026-04-01T22:26:58Z","DurationInSeconds":"-1"},{"EventId":"a"}]}`))
	f.Add([]byte(`{"DocumentIncarnation":1,"Events":null}`))
	f.Add([]byte(`{"Events":[{"EventId":"a"}],"events":[]}`))
	f.Add([]byte(`{"Events":[null,{"EventId":"a","eventid":"b","EventType":7}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse(data)
		if err != nil {
			require.Zero(t, doc)
			return
		}
		require.NotNil(t, doc.Events)
		require.LessOrEqual(t, len(doc.Oddities), maxOddities+1)
		ids := map[string]bool{}
		for _, event := range doc.Events {
			require.NotEmpty(t, strings.TrimSpace(event.ID))
			require.False(t, ids[event.ID], "every id is there once")
			ids[event.ID] = true
			require.Equal(t, time.UTC, event.NotBefore.Location())
			_, err := event.NotBefore.MarshalJSON()
			require.NoError(t, err)
			require.False(t, doc.Absent(event.ID))
			d := policy.Decide(event, "vm_0")
			require.False(t, d.Known && d.Unsure)
			require.True(t, event.Unread() == "" || d.Action == "")
		}
		for _, stray := range doc.Strays {
			require.Empty(t, stray.ID)
			require.True(t, doc.Partial)
		}
		if doc.Absent("none of them") {
			require.True(t, whole(data), "something may be hidden in it")
		}
		if doc.Partial || slices.ContainsFunc(doc.Events, func(e Event) bool { return e.Unread() != "" || slices.Contains(e.Resources, "") }) {
			return
		}
		again, err := Parse(encode(doc))
		require.NoError(t, err)
		doc.Oddities = nil
		require.Empty(t, cmp.Diff(doc, again))
		slices.Reverse(again.Events)
		require.True(t, same(&doc, &again))
	})
}

// whole reports whether every event of a document can be named. It is written
// apart from Parse, as the contract says it.
func whole(data []byte) bool {
	keysOnce := func(data []byte) (map[string]json.RawMessage, bool) {
		var values map[string]json.RawMessage
		if json.Unmarshal(data, &values) != nil || values == nil {
			return nil, false
		}
		dec, depth, key, n := json.NewDecoder(bytes.NewReader(data)), 0, true, 0
		folded := map[string]json.RawMessage{}
		for {
			token, err := dec.Token()
			if err != nil {
				return folded, n == len(folded)
			}
			switch token {
			case json.Delim('{'), json.Delim('['):
				depth++
				key = true
				continue
			case json.Delim('}'), json.Delim(']'):
				depth--
				key = true
				continue
			}
			if depth == 1 {
				if text, ok := token.(string); key && ok {
					n++
					folded[strings.ToLower(strings.Map(func(r rune) rune {
						if r > unicode.MaxASCII {
							return '!' + r // no letter of ASCII
						}
						return r
					}, text))] = values[text]
				}
				key = !key
			}
		}
	}
	keys, ok := keysOnce(data)
	var elements []json.RawMessage
	if !ok || !bytes.HasPrefix(keys["events"], []byte("[")) || json.Unmarshal(keys["events"], &elements) != nil {
		return false
	}
	for _, element := range elements {
		keys, ok := keysOnce(element)
		var id string
		if !ok || json.Unmarshal(keys["eventid"], &id) != nil || strings.TrimSpace(id) == "" || len(id) > maxEventID {
			return false
		}
	}
	return true
}

// FuzzNothingHidesAnEvent holds that an eviction of ours stands, whatever is
// beside it in the document.
func FuzzNothingHidesAnEvent(f *testing.F) {
	f.Add(`null`, `{"EventId":"A","EventType":"Freeze"}`, `"Events":[]`)
	f.Add(`[]`, `{"EventId":7,"Resources":[7]}`, `"events":null,"a":1`)
	f.Add(`{"EventId":"A","eventid":"B","Resources":"x"}`, `1`, ``)
	f.Fuzz(func(t *testing.T, before, after, keys string) {
		if !json.Valid([]byte(before)) || !json.Valid([]byte(after)) || !json.Valid([]byte("{"+keys+"}")) {
			return
		}
		if strings.TrimSpace(keys) != "" {
			keys += ","
		}
		doc, err := Parse([]byte(`{` + keys + `"Events":[` + before + `,{` + ours + `},` + after + `]}`))
		require.NoError(t, err)
		require.False(t, doc.Absent("A"))
		i := slices.IndexFunc(doc.Events, func(e Event) bool { return e.ID == "A" })
		require.GreaterOrEqual(t, i, 0)
		require.Equal(t, ActionDrain, policy.Decide(doc.Events[i], self).Action)
	})
}

// encode writes a document as Azure would.
func encode(doc Document) []byte {
	events := make([]map[string]any, 0, len(doc.Events))
	for _, e := range doc.Events {
		event := map[string]any{
			"EventId": e.ID, "EventType": e.Type, "EventStatus": e.Status, "ResourceType": e.ResourceType,
			"Resources": e.Resources, "NotBefore": "", "Description": e.Description, "EventSource": e.Source,
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
