package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/safefile"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// maxBrief bounds the output of `status -o brief`, in bytes. Azure's Run Command
// hands out the last 4,096 bytes of what a script prints.
const maxBrief = 3000

// What `status -o brief` waits for, together less than 10 s: the agent, and when it
// does not answer systemctl and journalctl.
const (
	briefAgentTimeout   = 4 * time.Second
	briefSystemdTimeout = 1500 * time.Millisecond
	// briefKillDelay is for a program that has been killed and whose output
	// somebody still holds.
	briefKillDelay = 200 * time.Millisecond
)

// The bounds of what is said in brief, in bytes. What comes once has a bound of its
// own; a list has what is left, and at least briefList. The sum of all of them is at
// most maxBrief.
const (
	briefHeadline = 300 // the state
	briefItem     = 240 // a line of a list
	briefLine     = 200 // any other line
	briefShort    = 120 // a line with little to say
	briefName     = 64  // the name of a check or a step
	briefList     = 280 // of a list: one line, and how many are left out
	// stampLimit is how much of the image's release stamp is read.
	stampLimit = 4 << 10
	// logLines is how many lines of the journal are asked for.
	logLines = 10
)

// A briefing is the lines of `status -o brief`, the most important first. Every line
// says by its first word what it is about, and the last one has the state again: who
// is left with the end of it still knows what it is.
type briefing struct {
	blocks []briefBlock
}

// briefBlock is a line, or a list of which not all may fit.
type briefBlock struct {
	lines []string
	more  string // what is left out; empty: a line
}

// line adds a line of at most limit bytes, unless it is empty. The text may come
// from anywhere.
func (b *briefing) line(limit int, label, text string) {
	if text != "" {
		b.blocks = append(b.blocks, briefBlock{lines: []string{safetext.Line(label+": "+text, limit)}})
	}
}

// list adds a list of texts, each in a line.
func (b *briefing) list(label, more string, texts []string) {
	if len(texts) == 0 {
		return
	}
	block := briefBlock{more: more}
	for _, text := range texts {
		block.lines = append(block.lines, safetext.Line(label+": "+text, briefItem))
	}
	b.blocks = append(b.blocks, block)
}

// size is what the first n lines of a block take, with the line that counts the
// others.
func (b briefBlock) size(n int) int {
	size := 0
	for _, line := range b.lines[:n] {
		size += len(line) + 1
	}
	if n < len(b.lines) {
		size += len(b.rest(n)) + 1
	}
	return size
}

// rest says how many lines are left out after the first n.
func (b briefBlock) rest(n int) string {
	return fmt.Sprintf("and %d more %s", len(b.lines)-n, b.more)
}

// least is what a block takes at least.
func (b briefBlock) least() int {
	if b.more == "" {
		return b.size(len(b.lines))
	}
	return min(b.size(len(b.lines)), briefList)
}

// text is the whole, in at most maxBrief bytes: earlier lists take the room that
// later blocks do not need.
func (b *briefing) text() string {
	room := maxBrief
	for _, block := range b.blocks {
		room -= block.least()
	}
	var out strings.Builder
	for _, block := range b.blocks {
		room += block.least()
		n := len(block.lines)
		for n > 0 && block.size(n) > room {
			n--
		}
		room -= block.size(n)
		for _, line := range block.lines[:n] {
			out.WriteString(line + "\n")
		}
		if n < len(block.lines) {
			out.WriteString(block.rest(n) + "\n")
		}
	}
	return out.String()
}

// briefly prints the node's own words, whoever is there to say them.
func (g *globals) briefly(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, briefAgentTimeout)
	defer cancel()
	client := g.client()
	status, err := client.Status(bounded)
	switch {
	case err == nil:
		if err := g.printBrief(g.briefStatus(status)); err != nil {
			return err
		}
		return cli.Exit(statusExit(status.State))
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		err = &control.UnreachableError{Socket: client.Socket(), Reason: "no answer within " + cli.Duration(briefAgentTimeout), Err: err}
	}
	explained := g.explainError(err)
	if err := g.printBrief(g.briefAbsence(ctx, explained)); err != nil {
		return err
	}
	if coded, ok := errors.AsType[*cli.Error](explained); ok && coded.Code != 0 {
		return cli.Exit(coded.Code)
	}
	return cli.Exit(cli.ExitError)
}

func (g *globals) printBrief(b *briefing) error {
	_, err := io.WriteString(g.out.Out, b.text())
	return err
}

// briefStatus tells what a node is doing.
func (g *globals) briefStatus(s *control.Status) *briefing {
	b := new(briefing)
	h := s.Health
	b.line(briefHeadline, "state", string(s.State)+sinceText(s.Since, s.Now)+colon(s.Reason))
	b.line(briefLine, "healthz", healthText(h))
	b.line(briefLine, "readyz", readyText(s))
	if !h.Live {
		b.line(briefShort, "livez", "the agent's loops stand still")
	}
	b.list("failing", "checks that fail", briefFailures(s))
	if d := s.Drain; d != nil {
		b.line(briefLine, "drain", drainText(d, s.Now))
		b.line(briefLine, "step", stepText(d))
	}
	if m := s.Maintenance; m != nil {
		b.line(briefShort, "maintenance", "until "+stamp(m.Until)+colon(m.Reason))
	}
	if s.IMDS.State == imdsBlind {
		b.line(briefLine, "blind", "scheduled events are not known"+colon(cmp.Or(s.IMDS.Error, s.IMDS.Class)))
	}
	b.list("event", "events for this VM", briefEvents(s.Events))
	b.list("warning", "warnings", s.Warnings)
	b.line(briefLine, "node", nodeLine(s.Node))
	g.briefRelease(b, s.Agent.Version)
	b.line(briefShort, "end", string(s.State)+", "+briefCount(h.Checks))
	return b
}

// briefRelease says which agent this is, and what the image was built from.
func (g *globals) briefRelease(b *briefing, release string) {
	b.line(briefShort, "agent", "fleet-agent "+release)
	b.line(briefLine, "image-release", readStamp(filepath.Join(filepath.Dir(g.configPath), "image-release")))
}

// readStamp reads the image's release stamp in one line; empty: there is none.
// Checksums are left out: they would be most of it.
func readStamp(path string) string {
	file, err := safefile.OpenRegular(path, os.O_RDONLY, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, stampLimit))
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	lines = slices.DeleteFunc(lines, func(line string) bool { return strings.Contains(line, "SHA256=") })
	return strings.Join(lines, " ")
}

// stamp is a time for who reads elsewhere.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// sinceText says since when something is so, and for how long.
func sinceText(since, now time.Time) string {
	if since.IsZero() {
		return ""
	}
	return " since " + stamp(since) + " (" + cli.Countdown(max(now.Sub(since), 0)) + ")"
}

// colon is a reason behind what it is the reason of.
func colon(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// unmet says which checks keep a gate from passing, those first that fail.
func unmet(h control.Health, gate string) string {
	for _, one := range []struct{ status, is string }{
		{checkFailing, "fails"}, {checkUnknown, "has no result yet"}, {checkBlocked, "is blocked"},
	} {
		first, others := "", 0
		for _, c := range byUrgency(h) {
			switch {
			case c.Status != one.status || !slices.Contains(c.Gates, gate):
			case first == "":
				first = c.Name
			default:
				others++
			}
		}
		switch {
		case first == "":
		case others == 0:
			return safetext.Line(first, briefName) + " " + one.is
		default:
			return fmt.Sprintf("%s %s, and %d more", safetext.Line(first, briefName), one.is, others)
		}
	}
	return ""
}

// healthText is the verdict of /healthz.
func healthText(h control.Health) string {
	if h.State == "healthy" { // held, or on its way back: what does not pass decides nothing
		return h.State
	}
	return h.State + colon(unmet(h, "health"))
}

// readyText is the verdict of /readyz.
func readyText(s *control.Status) string {
	switch {
	case s.Health.Ready:
		return "ready"
	case s.State == control.StateDraining, s.State == control.StateDrained, s.State == control.StateMaintenance:
		return "not ready: " + string(s.State)
	case len(s.Health.Returning) > 0:
		return "not ready: waiting for " + strings.Join(s.Health.Returning, ", ")
	}
	return "not ready" + colon(cmp.Or(unmet(s.Health, "ready"), s.Reason))
}

// byUrgency returns the checks, roots first that gate, warnings last.
func byUrgency(h control.Health) []control.Check {
	checks := slices.Clone(h.Checks)
	slices.SortStableFunc(checks, func(a, b control.Check) int { return cmp.Compare(rank(h, a), rank(h, b)) })
	return checks
}

// briefFailures are the checks that fail, the gating ones first.
func briefFailures(s *control.Status) []string {
	var texts []string
	for _, c := range byUrgency(s.Health) {
		if c.Status != checkFailing {
			continue
		}
		weight := "gates nothing"
		if c.Severity != "warning" && len(c.Gates) > 0 {
			weight = "gates " + strings.Join(c.Gates, " and ")
		}
		texts = append(texts, fmt.Sprintf("%s (%s, %s)%s%s",
			safetext.Line(c.Name, briefName), c.Kind, weight, sinceText(c.Since, s.Now), colon(c.Error)))
	}
	return texts
}

// drainText says how far a drain is, and why it began.
func drainText(d *control.Drain, now time.Time) string {
	text := d.Phase + sinceText(d.StartedAt, now)
	switch {
	case d.EndedAt != nil:
		text = d.Phase + " at " + stamp(*d.EndedAt)
	case d.Deadline != nil:
		text += ", deadline " + stamp(*d.Deadline)
	}
	return text + ", " + causeText(d.Cause) + colon(d.Error)
}

// stepText is the step of a drain that matters: the one that runs, or the last one
// that did not go well.
func stepText(d *control.Drain) string {
	of := func(statuses ...string) int {
		return slices.IndexFunc(d.Steps, func(st control.Step) bool { return slices.Contains(statuses, st.Status) })
	}
	i := of(stepRunning)
	if i < 0 {
		i = of(stepFailed, stepTimedOut)
	}
	if i < 0 {
		return ""
	}
	st := d.Steps[i]
	return fmt.Sprintf("%d of %d, %s (%s) %s %s%s", i+1, len(d.Steps), safetext.Line(st.Name, briefName), st.Kind, st.Status, stepTime(st), colon(st.Error))
}

// briefEvents are the events that name this VM.
func briefEvents(events []control.Event) []string {
	var texts []string
	for _, e := range events {
		if !e.Mine {
			continue
		}
		text := e.Type + " " + e.Status
		if e.NotBefore != nil {
			text += ", not before " + stamp(*e.NotBefore)
		}
		if e.Action != "" {
			text += ", action " + e.Action
		}
		texts = append(texts, text+colon(e.Reason))
	}
	return texts
}

// nodeLine says which VM this is, and of which image.
func nodeLine(n control.Node) string {
	var words []string
	for _, cell := range nodeText(n) {
		if cell.Text != "" {
			words = append(words, cell.Text)
		}
	}
	return strings.Join(words, ", ")
}

// briefCount counts the checks by status.
func briefCount(checks []control.Check) string {
	var words []string
	for _, cell := range countChecks(checks) {
		words = append(words, cell.Text)
	}
	return "checks: " + strings.Join(words, ", ")
}

// briefAbsence tells why the agent does not answer, as far as systemd knows.
func (g *globals) briefAbsence(ctx context.Context, err error) *briefing {
	b := new(briefing)
	state := "unknown" // it answered, and made no sense
	if _, ok := errors.AsType[*control.UnreachableError](err); ok {
		state = "unreachable"
	}
	b.line(briefHeadline, "state", state+colon(err.Error()))
	if e, ok := errors.AsType[*cli.Error](err); ok {
		b.line(briefLine, "hint", e.Hint)
	}
	unit, showErr := briefOutput(ctx, "systemctl", "show", "--no-pager", "-p", strings.Join(unitProperties, ","), "--", agentService)
	if showErr != nil {
		b.line(briefLine, "unit", "systemd does not say: "+showErr.Error())
	} else {
		says := unitValues(unit)
		b.line(briefLine, "unit", unitText(says))
		b.line(briefLine, "unit said", says["StatusText"])
	}
	journal, journalErr := briefOutput(ctx, "journalctl", "--no-pager", "--quiet", "--output", "cat", "--lines", strconv.Itoa(logLines), "--unit", agentService)
	if journalErr == nil && journal != "" {
		lines := strings.Split(journal, "\n")
		slices.Reverse(lines) // so that what is cut is what is older
		b.list("log", "lines of the log", lines[:min(len(lines), logLines)])
	}
	g.briefRelease(b, command.ReadVersion(version).Release+", this program")
	b.line(briefShort, "end", state+", the agent does not say how the node is")
	return b
}

// agentService is the unit that the daemon runs as.
const agentService = "fleet-agent.service"

// unitProperties is what is asked of systemd.
var unitProperties = []string{
	"LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "ExecMainCode", "ExecMainStatus", "NRestarts",
	"StateChangeTimestamp", "StatusText",
}

// unitValues reads the answer of `systemctl show`.
func unitValues(text string) map[string]string {
	values := make(map[string]string)
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = value
		}
	}
	return values
}

// unitText says in one line how the unit is.
func unitText(v map[string]string) string {
	if state := v["LoadState"]; state != "loaded" {
		return agentService + " is " + cmp.Or(state, "not known")
	}
	text := fmt.Sprintf("%s is %s (%s)", agentService, v["ActiveState"], v["SubState"])
	if since := v["StateChangeTimestamp"]; since != "" {
		text += " since " + since
	}
	if result := v["Result"]; result != "" && result != "success" {
		text += ", result " + result
	}
	// The codes of waitid: 1 is an exit, 2 and 3 are ends by a signal.
	switch status := v["ExecMainStatus"]; v["ExecMainCode"] {
	case "1":
		text += ", exit code " + status
	case "2", "3":
		text += ", signal " + status
	}
	if n := v["NRestarts"]; n != "" && n != "0" {
		text += ", restarts " + n
	}
	if enabled := v["UnitFileState"]; enabled != "" && enabled != "enabled" {
		text += ", " + enabled
	}
	return text
}

// briefOutput returns what a program prints, or why it did not, in little time.
func briefOutput(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, briefSystemdTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = briefKillDelay
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return "", fmt.Errorf("%s: no answer within %s", name, cli.Duration(briefSystemdTimeout))
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && len(exit.Stderr) > 0 {
		return "", fmt.Errorf("%s: %s", name, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return strings.TrimSpace(string(out)), nil
}
