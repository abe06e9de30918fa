package arm

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrBuildGone says that a build is not wanted any more: its run was canceled, or its
// template is gone.
var ErrBuildGone = errors.New("the run is over")

// A BuildJob is a build that waits for somebody outside to perform it.
type BuildJob struct {
	ID       string          // of the run
	Template string          // the template's id
	Name     string          // the template's name
	Body     json.RawMessage // the template as Azure returns it
	Timeout  time.Duration   // of real time: the simulation does not enforce it
}

// A BuildResult is how a build went that was performed outside.
type BuildResult struct {
	// Failure is why it failed, or "": it did not. It becomes a part of the message of
	// the run.
	Failure string
	// Image is what was made, in the words of who made it. It is kept with the version.
	Image string
}

// Wake returns a channel that gets a value when a build may be ready to be performed,
// or may not be wanted any more. Time alone wakes nobody: ask from time to time.
func (s *Server) Wake() <-chan struct{} { return s.woken }

// wake fills the channel, unless it is full.
func (s *Server) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// NextBuild hands out the build that has waited longest, once.
func (s *Server) NextBuild() (job BuildJob, found bool) {
	_ = s.within(func(tx *txn) error { // what cannot be saved is handed out once more after a restart
		var first *run
		var template *resource
		for _, r := range tx.list(templateType, "/subscriptions/"+s.cfg.Subscription) {
			x := runOf(r)
			if x != nil && x.Ready && !x.Handed && !x.Over && (first == nil || x.Since.Before(first.Since)) {
				first, template = x, r
			}
		}
		if first == nil {
			return nil
		}
		body, err := json.Marshal(template.Body)
		if err != nil {
			return fmt.Errorf("hand out the build of %s: %w", template.name(), err)
		}
		first.Handed = true
		tx.keepRun(template.ID, first)
		job = BuildJob{ID: first.ID, Template: template.ID, Name: template.name(), Body: body, Timeout: buildTimeout(template.Body)}
		found = true
		return nil
	})
	return job, found
}

// handBack makes builds that were handed out before a restart ready again.
func (s *Server) handBack() {
	tx := &txn{server: s, store: s.store}
	for _, r := range tx.list(templateType, "/subscriptions/"+s.cfg.Subscription) {
		if x := runOf(r); x != nil && x.Handed && !x.Over {
			x.Handed = false
			tx.keepRun(r.ID, x)
		}
	}
}

// build does something with a build that was handed out.
func (s *Server) build(id string, f func(tx *txn, template *resource, x *run)) error {
	return s.within(func(tx *txn) error {
		for _, r := range tx.list(templateType, "/subscriptions/"+s.cfg.Subscription) {
			if x := runOf(r); x != nil && x.ID == id && x.Handed && !x.Over {
				f(tx, r, x)
				return nil
			}
		}
		return fmt.Errorf("build %s: %w", id, ErrBuildGone)
	})
}

// BuildStage says what a build does now: a sub-state such as "Validating".
func (s *Server) BuildStage(id, subState string) error {
	return s.build(id, func(tx *txn, template *resource, x *run) { tx.showStage(template.ID, x, subState) })
}

// BuildOutput appends whole lines to the log of a build, as Packer prints them on
// standard output or on standard error. Nothing only asks whether the build is still
// wanted.
func (s *Server) BuildOutput(id, text string, stderr bool) error {
	return s.build(id, func(tx *txn, _ *resource, x *run) {
		if text == "" {
			return
		}
		var lines []logLine
		for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
			lines = append(lines, logLine{Text: line, Err: stderr})
		}
		tx.logRun(x, lines)
		tx.undo = append(tx.undo, func() {}) // so that it is saved
	})
}

// BuildDone ends a build: what was made is distributed by the simulation.
func (s *Server) BuildDone(id string, result BuildResult) error {
	return s.build(id, func(tx *txn, template *resource, x *run) {
		x.Ready, x.Handed, x.Image = false, false, result.Image
		if result.Failure != "" {
			tx.endRun(template.ID, x, statusFailed, "Failed while waiting for packerizer: Microservice has failed: Failed while processing request: "+
				"Error when executing packerizer: "+strings.TrimSuffix(result.Failure, ".")+"."+tx.seeLog(x))
			return
		}
		x.Steps = []step{{State: stateDistributing, At: tx.now.Sub(x.Began)}}
		tx.keepRun(template.ID, x)
		tx.next(template.ID, x, 0)
	})
}
