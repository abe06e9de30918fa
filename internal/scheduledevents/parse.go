package scheduledevents

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

const (
	// maxEventID bounds an EventId, which is a GUID of 36 bytes: it is journaled
	// and compared whole.
	maxEventID = 256
	// maxOddities bounds what is said about one document.
	maxOddities = 8
	// maxRaw bounds what is shown of a value that does not read.
	maxRaw = 160
	// maxTwice bounds how often a key is read that an event has more than once.
	maxTwice = 8
)

// Parse reads an answer of the service, which must be one whole JSON object with
// Events in it. An odd value takes with it only what it decides: everything that
// reads stands, and what does not keeps Absent from saying that something is over.
// What Azure varies is no oddity: unknown keys, types and statuses, two formats of
// time, a wrong weekday.
//
// Keys, types, statuses and sources are compared in ASCII, in any letter case.
func Parse(data []byte) (Document, error) {
	if !json.Valid(data) {
		return Document{}, errors.New("read events document: it is not JSON, or only a part of it")
	}
	keys, ok := object(data)
	if !ok {
		return Document{}, errors.New("read events document: it is not a JSON object")
	}
	if len(keys["events"]) == 0 {
		return Document{}, errors.New("events document is partial: no Events")
	}
	p := parser{seen: map[string]int{}, doc: Document{Events: []Event{}}}
	arrays := 0
	for _, raw := range keys["events"] {
		elements, ok := array(raw)
		if !ok {
			p.stray(Event{}, "Events is not a list", raw)
			continue
		}
		arrays++
		for _, element := range elements {
			p.element(element)
		}
	}
	if arrays == 0 {
		return Document{}, errors.New("events document is partial: Events is not a list")
	}
	if key, ok := twice(keys); ok { // what the one hides, the other may tell
		p.stray(Event{}, fmt.Sprintf("the document has the key %q more than once", key), nil)
	}
	p.doc.Incarnation = incarnation(keys["documentincarnation"])
	p.sum()
	return p.doc, nil
}

// A parser collects what the elements of a document say.
type parser struct {
	doc  Document
	seen map[string]int // where in Events an id is
}

// element takes one element of Events.
func (p *parser) element(raw json.RawMessage) {
	keys, ok := object(raw)
	if !ok {
		p.stray(Event{}, "an event is not an object", raw)
		return
	}
	r := reader{keys: keys}
	event := r.event()
	if key, ok := twice(keys); ok {
		p.doc.Partial = true
		r.odd(fmt.Sprintf("it has the key %q more than once", key), nil)
	}
	// A key that occurs twice can be read in two ways, and both stand.
	versions := []Event{event}
	for r.version = 1; r.version < r.versions(); r.version++ {
		versions = append(versions, r.event())
	}
	identified := slices.DeleteFunc(slices.Clone(versions), func(e Event) bool { return e.ID == "" })
	if len(identified) == 0 {
		p.stray(event, event.label()+": "+event.Unread(), raw)
		return
	}
	for _, event := range identified {
		p.stands(event)
		for _, text := range r.oddities {
			p.odd(event.label() + ": " + text)
		}
	}
}

// stands takes an event, or what is said about it once more.
func (p *parser) stands(event Event) {
	i, again := p.seen[event.ID]
	if !again {
		p.seen[event.ID] = len(p.doc.Events)
		p.doc.Events = append(p.doc.Events, event)
		return
	}
	if before := p.doc.Events[i]; !equal(before, event) {
		p.doc.Events[i] = merged(before, event)
		p.odd(event.label() + ": it is there more than once, with different contents")
	}
}

// stray takes what may be any event.
func (p *parser) stray(e Event, why string, raw json.RawMessage) {
	p.doc.Partial = true
	p.doc.Strays = append(p.doc.Strays, e)
	p.odd(why + shown(raw))
}

func (p *parser) odd(text string) { p.doc.Oddities = append(p.doc.Oddities, text) }

// sum says of each event what is missing, and puts the oddities in order.
func (p *parser) sum() {
	for i := range p.doc.Events {
		if why := p.doc.Events[i].Unread(); why != "" {
			p.odd(p.doc.Events[i].label() + ": " + why)
		}
	}
	slices.Sort(p.doc.Oddities)
	p.doc.Oddities = slices.Compact(p.doc.Oddities)
	if more := len(p.doc.Oddities) - maxOddities; more > 0 {
		p.doc.Oddities = append(p.doc.Oddities[:maxOddities:maxOddities], fmt.Sprintf("and %d more", more))
	}
}

// A reader reads an element of Events. Where a key occurs more than once, it reads
// the value number version.
type reader struct {
	keys     map[string][]json.RawMessage
	version  int
	oddities []string // of all versions
}

// versions is in how many ways the element can be read.
func (r *reader) versions() int {
	n := 1
	for _, key := range []string{"eventid", "eventtype", "eventstatus", "resources", "notbefore", "eventsource", "durationinseconds"} {
		n = max(n, len(r.keys[key]))
	}
	return min(n, maxTwice)
}

func (r *reader) event() Event {
	e := Event{
		ID:              r.id(),
		Type:            canonical(r.word("eventtype"), knownTypes),
		Status:          canonical(r.word("eventstatus"), knownStatuses),
		ResourceType:    r.text("resourcetype", safetext.MaxWord),
		Resources:       r.names(),
		NotBefore:       r.notBefore(),
		Description:     r.text("description", safetext.MaxText),
		Source:          r.source(),
		DurationSeconds: r.duration(),
	}
	return e
}

// raw returns the value of a key; nil when it is not there, or null.
func (r *reader) raw(key string) json.RawMessage {
	values := r.keys[key]
	if len(values) == 0 {
		return nil
	}
	raw := values[min(r.version, len(values)-1)]
	if string(raw) == "null" {
		return nil
	}
	return raw
}

func (r *reader) odd(text string, raw json.RawMessage) {
	r.oddities = append(r.oddities, text+shown(raw))
}

func (r *reader) id() string {
	id, _ := str(r.raw("eventid"))
	if strings.TrimSpace(id) == "" || len(id) > maxEventID {
		return ""
	}
	return id
}

// text is a string to be shown.
func (r *reader) text(key string, limit int) string {
	text, _ := str(r.raw(key))
	return safetext.Line(text, limit)
}

// word is a string to be compared with words that are known.
func (r *reader) word(key string) string {
	text, _ := str(r.raw(key))
	return safetext.Line(trim(text), safetext.MaxWord)
}

func (r *reader) names() []string {
	raw := r.raw("resources")
	values, ok := array(raw)
	if !ok {
		return nil
	}
	names, odd := make([]string, 0, len(values)), false
	for _, value := range values {
		name, ok := str(value)
		odd = odd || !ok
		names = append(names, name)
	}
	if odd {
		r.odd("a name in its Resources does not read", raw)
	}
	return names
}

func (r *reader) source() string {
	raw := r.raw("eventsource")
	if _, ok := str(raw); !ok && raw != nil {
		r.odd("its EventSource does not read, and is taken for unknown", raw)
	}
	return canonical(r.word("eventsource"), knownSources)
}

func (r *reader) notBefore() time.Time {
	raw := r.raw("notbefore")
	text, ok := str(raw)
	text = trim(text)
	if ok && text == "" || raw == nil {
		return time.Time{}
	}
	at, ok := parseTime(text)
	if !ok {
		r.odd("its NotBefore does not read, and is taken for now", raw)
	}
	return at
}

func (r *reader) duration() *int {
	raw := r.raw("durationinseconds")
	text, ok := str(raw) // the metadata service has been seen to write numbers so
	if !ok {
		text = string(raw)
	}
	if text = trim(text); text == "" {
		return nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil {
		r.odd("its DurationInSeconds does not read, and is taken for unknown", raw)
		return nil
	}
	return &seconds
}

// incarnation is for the log; 0 when it does not read.
func incarnation(values []json.RawMessage) int64 {
	if len(values) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(strings.Trim(string(values[0]), `"`), 10, 64) // 0 will do
	return n
}

// object returns the values of an object by their keys in lower case, each in its
// order. encoding/json would let the last of two equal keys win, and takes letters
// beyond ASCII for equal.
func object(data []byte) (keys map[string][]json.RawMessage, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if begin, err := dec.Token(); err != nil || begin != json.Delim('{') {
		return nil, false
	}
	keys = map[string][]json.RawMessage{}
	for dec.More() {
		token, err := dec.Token()
		key, isKey := token.(string)
		var value json.RawMessage
		if err != nil || !isKey || dec.Decode(&value) != nil {
			return nil, false
		}
		key = lower(key)
		keys[key] = append(keys[key], value)
	}
	return keys, true
}

// array returns the elements of a list.
func array(raw json.RawMessage) (elements []json.RawMessage, ok bool) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, false
	}
	return elements, json.Unmarshal(raw, &elements) == nil
}

// str returns the text of a string.
func str(raw json.RawMessage) (text string, ok bool) {
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return text, json.Unmarshal(raw, &text) == nil
}

// twice returns a key that an object has more than once, the first in the
// alphabet, and whether there is one.
func twice(keys map[string][]json.RawMessage) (key string, ok bool) {
	for name, values := range keys {
		if len(values) > 1 && (!ok || name < key) {
			key, ok = name, true
		}
	}
	return safetext.Line(key, safetext.MaxWord), ok
}

// shown is a value that does not read, for the end of a message.
func shown(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	return ": " + safetext.Line(string(raw), maxRaw)
}

// canonical returns the known word that name is, or name itself.
func canonical(name string, known []string) string {
	for _, word := range known {
		if lower(word) == lower(name) {
			return word
		}
	}
	return name
}

// lower returns text with the letters of ASCII in lower case, and no others.
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, text)
}

// trim takes the spaces of ASCII from both ends.
func trim(text string) string { return strings.Trim(text, " \t\r\n") }

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

// parseTime reads a time between the years 0 and 9999 in UTC: no other can be
// written as JSON.
func parseTime(text string) (time.Time, bool) {
	for _, layout := range timeLayouts {
		if t, err := time.Parse(layout, text); err == nil {
			if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
				return time.Time{}, false
			}
			return t, true
		}
	}
	return time.Time{}, false
}
