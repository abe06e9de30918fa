package nodes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A Builder performs the build of an image template. What it prints goes to the log, and
// stage says what it is at. An error is of the builder's own; a customizer that fails is
// a result.
type Builder interface {
	Build(ctx context.Context, job arm.BuildJob, log *BuildLog, stage func(subState string)) (arm.BuildResult, error)
}

// A BuildControl hands builds out and is told how they go: an arm.Server.
type BuildControl interface {
	NextBuild() (arm.BuildJob, bool)
	Wake() <-chan struct{}
	BuildStage(id, subState string) error
	BuildOutput(id, text string, stderr bool) error
	BuildDone(id string, result arm.BuildResult) error
}

// buildPause is between two looks at whether there is a build, and whether it is still
// wanted. What it printed meanwhile is taken to the log at once: each time costs.
const buildPause = 200 * time.Millisecond

// RunBuilds performs builds, one at a time, until ctx is done.
func RunBuilds(ctx context.Context, control BuildControl, builder Builder, log *slog.Logger) error {
	tick := time.NewTicker(buildPause)
	defer tick.Stop()
	for ctx.Err() == nil {
		if job, found := control.NextBuild(); found {
			log.Info("build started", "template", job.Name)
			switch err := perform(ctx, control, builder, job); {
			case err == nil:
				log.Info("build ended", "template", job.Name)
			case ctx.Err() == nil:
				log.Warn("build is given up", "template", job.Name, "err", err)
			}
			continue
		}
		select {
		case <-ctx.Done():
		case <-control.Wake():
		case <-tick.C:
		}
	}
	return nil
}

// perform performs one build. When ctx ends first it is nobody's: it is handed out once
// more after a restart.
func perform(ctx context.Context, control BuildControl, builder Builder, job arm.BuildJob) error {
	life, cancel := context.WithTimeout(ctx, job.Timeout)
	defer cancel()
	printed := &BuildLog{}
	var result arm.BuildResult
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		result, failed = builder.Build(life, job, printed, func(subState string) { _ = control.BuildStage(job.ID, subState) }) // the log asks, too
	}()
	tick := time.NewTicker(buildPause)
	defer tick.Stop()
	var gone error
	for ended := false; !ended; {
		select {
		case <-done:
			printed.end()
			ended = true
		case <-tick.C:
		}
		if gone != nil {
			continue
		}
		if gone = printed.flush(control, job.ID); errors.Is(gone, arm.ErrBuildGone) {
			cancel()
		}
	}
	switch {
	case gone != nil:
		return gone
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case life.Err() != nil:
		result = arm.BuildResult{Failure: fmt.Sprintf("the build did not end within %s", job.Timeout)}
	case failed != nil:
		result = arm.BuildResult{Failure: "fleetsim: " + failed.Error()}
	}
	return control.BuildDone(job.ID, result)
}

// maxBuildLog bounds what a build may print, and maxLine one line of it.
const (
	maxBuildLog = 16 << 20
	maxLine     = 16 << 10
)

// A BuildLog collects what a build prints, in whole lines.
type BuildLog struct {
	mu      sync.Mutex // guards what follows
	waiting []printed
	partial [2]strings.Builder // lines without an end: of output and of error output
	size    int
}

type printed struct {
	text   string
	stderr bool
}

// Output is the writer for what goes to the output.
func (l *BuildLog) Output() *BuildStream { return &BuildStream{log: l} }

// Errors is the writer for what goes to the error output.
func (l *BuildLog) Errors() *BuildStream { return &BuildStream{log: l, stderr: true} }

// A BuildStream is one of the two writers of a BuildLog.
type BuildStream struct {
	log    *BuildLog
	stderr bool
}

// Write never fails.
func (s *BuildStream) Write(p []byte) (int, error) {
	l := s.log
	l.mu.Lock()
	defer l.mu.Unlock()
	part := &l.partial[0]
	if s.stderr {
		part = &l.partial[1]
	}
	for line := range strings.Lines(string(p)) {
		part.WriteString(line)
		if strings.HasSuffix(line, "\n") || part.Len() > maxLine {
			l.add(strings.TrimSuffix(part.String(), "\n")+"\n", s.stderr)
			part.Reset()
		}
	}
	return len(p), nil
}

// add takes a line. l.mu is held.
func (l *BuildLog) add(line string, stderr bool) {
	if l.size > maxBuildLog {
		return
	}
	if l.size += len(line); l.size > maxBuildLog {
		line = "fleetsim: the log ends here: the build prints too much\n"
	}
	const enough = 64 << 10 // for one report
	if n := len(l.waiting); n > 0 && l.waiting[n-1].stderr == stderr && len(l.waiting[n-1].text) < enough {
		l.waiting[n-1].text += line
		return
	}
	l.waiting = append(l.waiting, printed{line, stderr})
}

// end takes what has no end of line.
func (l *BuildLog) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.partial {
		if l.partial[i].Len() > 0 {
			l.add(l.partial[i].String()+"\n", i == 1)
			l.partial[i].Reset()
		}
	}
}

// flush tells what was printed, or asks whether the build is still wanted.
func (l *BuildLog) flush(control BuildControl, id string) error {
	l.mu.Lock()
	waiting := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	if len(waiting) == 0 {
		return control.BuildOutput(id, "", false)
	}
	for _, p := range waiting {
		if err := control.BuildOutput(id, p.text, p.stderr); err != nil {
			return err
		}
	}
	return nil
}
