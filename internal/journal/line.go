package journal

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strconv"
	"time"
)

// The bounds of a journal.
const (
	// maxEntry is how large an entry may be: some name every member of a fleet. A block of
	// an append blob takes 4 MiB.
	maxEntry = 2 << 20
	// maxJournal is how large a journal may be.
	maxJournal = 64 << 20
	// maxLines is how many lines it may have: Azure's limit of the blocks of an append
	// blob. The last of them are for fences, so that a full journal can be locked.
	maxLines   = 50_000
	maxEntries = maxLines - 1000
	// maxHead is how long what stands before an entry may be.
	maxHead = 128
)

// version is that of the format of lines.
const version = "1"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A tail is the end of a journal: where the next line goes.
type tail struct {
	lines int
	size  int64
}

// line is the next line of a journal. No entry makes it a fence.
func (t tail) line(at time.Time, writer string, entry []byte) []byte {
	head := fmt.Appendf(nil, "%s %d %d %s %d ", version, t.lines+1, at.Unix(), writer, len(entry))
	sum := crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, entry)
	line := fmt.Appendf(head, "%08x ", sum)
	return append(append(line, entry...), '\n')
}

// after is the tail behind a line.
func (t tail) after(line []byte) tail { return tail{t.lines + 1, t.size + int64(len(line))} }

// A content is what a journal holds.
type content struct {
	entries []json.RawMessage
	began   time.Time // when the first line was written
	end     tail
	last    []byte // the last line
	torn    bool   // something follows the end that is no whole line
}

// head is what stands before an entry.
var head = regexp.MustCompile(`^1 ([1-9]\d{0,8}) (\d{1,11}) ([0-9a-f]{8}) (\d{1,7}) ([0-9a-f]{8}) `)

// otherFormat is how a line of a later format begins.
var otherFormat = regexp.MustCompile(`^([1-9]\d{0,3}) `)

// parse reads what follows in a journal that is called name on what is known of it.
func parse(name string, known content, text []byte) (content, error) {
	c := known
	c.entries, c.torn = slices.Clip(c.entries), false // others have the ones that are known
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte{'\n'})
		if !whole {
			c.torn = true
			return c, nil
		}
		at, entry, err := parseLine(line, c.end.lines+1)
		if err != nil {
			return content{}, fmt.Errorf("%s:%d: %w", name, c.end.lines+1, err)
		}
		if c.end.lines == 0 {
			c.began = at
		}
		if len(entry) > 0 {
			c.entries = append(c.entries, entry)
		}
		c.last = text[:len(line)+1]
		c.end = c.end.after(c.last)
		text = rest
	}
	return c, nil
}

// parseLine reads the line with a number.
func parseLine(line []byte, number int) (at time.Time, entry json.RawMessage, err error) {
	m := head.FindSubmatch(line[:min(len(line), maxHead)])
	if m == nil {
		if v := otherFormat.FindSubmatch(line[:min(len(line), maxHead)]); v != nil && string(v[1]) != version {
			return at, nil, fmt.Errorf("the line is of format %s, and this fleetctl reads format %s: a later fleetctl has written it, and is needed to go on", v[1], version)
		}
		return at, nil, damaged("it does not begin as a line does")
	}
	entry = line[len(m[0]):]
	switch sequence, _ := strconv.Atoi(string(m[1])); { // digits, few enough
	case sequence != number:
		return at, nil, damaged(fmt.Sprintf("it says that it is line %d", sequence))
	case string(m[4]) != strconv.Itoa(len(entry)):
		return at, nil, damaged(fmt.Sprintf("its entry has %d bytes, and should have %s", len(entry), m[4]))
	}
	before := m[0][:len(m[0])-len("01234567 ")]
	if sum := crc32.Update(crc32.Checksum(before, castagnoli), castagnoli, entry); fmt.Sprintf("%08x", sum) != string(m[5]) {
		return at, nil, damaged("its checksum is not that of what stands there")
	}
	if len(entry) > 0 && !json.Valid(entry) {
		return at, nil, damaged("its entry is not JSON")
	}
	seconds, _ := strconv.ParseInt(string(m[2]), 10, 64) // digits, few enough
	return time.Unix(seconds, 0), entry, nil
}

// damaged says what is wrong with a line.
func damaged(why string) error {
	return fmt.Errorf("the line is damaged: %s; restore the journal from a copy, or put it aside and begin a new rollout", why)
}

// compact is an entry as it is kept: on one line.
func compact(entry []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, entry); err != nil {
		return nil, fmt.Errorf("the entry is not JSON: %w", err)
	}
	if b.Len() > maxEntry {
		return nil, fmt.Errorf("the entry has %d bytes, and a journal takes at most %d", b.Len(), maxEntry)
	}
	return b.Bytes(), nil
}
