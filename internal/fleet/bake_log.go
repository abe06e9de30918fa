package fleet

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

const (
	// logTail is how many of the last lines of a customizer are kept.
	logTail = 20
	// maxLogLine bounds a line of the log; what is longer is cut.
	maxLogLine = 4 << 10
)

// packerGivesUp is what Packer says when a customizer has failed.
const packerGivesUp = "Provisioning step had errors"

var (
	// logPrefix is what Image Builder and Packer put before each line.
	logPrefix = regexp.MustCompile(`^(?:\[[0-9A-Za-z-]+\] )?PACKER (OUT|ERR) ?(.*)$`)
	// packerPrefix is what Packer puts before what a build prints.
	packerPrefix = regexp.MustCompile(`^(?:==> |\s+)?[a-z0-9.-]+: ?(.*)$`)
	// logMarker is what the templates of bakes print around a customizer.
	logMarker = regexp.MustCompile(`^fleetctl: customizer (\S+) (begins|ends)$`)
)

// A BuildLog reads customization.log as it grows. Its zero value has read nothing.
type BuildLog struct {
	// Running is the customizer that began and did not end; "" between them.
	Running string
	// Exit is the exit code that Packer told last.
	Exit string

	rest []byte // of a line that has not ended
	tail []string
	over bool // the customizer has failed: what follows is Packer's own
}

// Add takes what the log has more, and returns what the build printed in it, one line
// each, without what Azure and Packer put before it. What Packer says of itself is
// left out.
func (l *BuildLog) Add(more []byte) []string {
	var lines []string
	data := slices.Concat(l.rest, more)
	for {
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		if !ended {
			break
		}
		data = rest
		if text, ok := l.line(string(line)); ok {
			lines = append(lines, text)
		}
	}
	if len(data) > maxLogLine {
		data = data[:maxLogLine]
	}
	l.rest = data
	return lines
}

// line takes one line, and says whether the build printed it.
func (l *BuildLog) line(line string) (text string, printed bool) {
	line = strings.TrimRight(line, "\r")
	if len(line) > maxLogLine {
		line = line[:maxLogLine]
	}
	if code := ExitStatus(line); code != "" {
		l.Exit = code
	}
	m := logPrefix.FindStringSubmatch(line)
	if m == nil || m[1] == "ERR" {
		return "", false
	}
	text = m[2]
	if p := packerPrefix.FindStringSubmatch(text); p != nil {
		text = p[1]
	}
	text = strings.TrimRight(text, " \t")
	if marker := logMarker.FindStringSubmatch(strings.TrimSpace(text)); marker != nil {
		l.tail, l.over = nil, false
		l.Running = ""
		if marker[2] == "begins" {
			l.Running, l.Exit = marker[1], ""
		}
		return text, true
	}
	if l.over = l.over || strings.HasPrefix(text, packerGivesUp); l.over {
		return text, true
	}
	l.tail = append(l.tail, text)
	if len(l.tail) > logTail {
		l.tail = l.tail[len(l.tail)-logTail:]
	}
	return text, true
}

// Tail returns the last lines of what runs.
func (l *BuildLog) Tail() []string { return l.tail }
