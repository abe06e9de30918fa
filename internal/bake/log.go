package bake

import (
	"context"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

const (
	// logChunk is read of customization.log at once, and logChunks of them at a time:
	// what is more comes with the next look.
	logChunk  = 1 << 20
	logChunks = 16
	// maxReads bounds how often a log is read on to its end: 128 MB.
	maxReads = 8
	// maxShown bounds a line of the log as it is told.
	maxShown = 400
	// logContainer is where Image Builder keeps its logs.
	logContainer = "packerlogs"
	logName      = "customization.log"
)

// A logReader reads customization.log on.
type logReader struct {
	address string // of the blob; "": not found yet
	account string // URL of the blob service
	at      int64
	parsed  fleet.BuildLog
	problem string // why it cannot be read; then it is left alone
}

// follow tells what the log of a build that runs has more. That it cannot be read is
// told once, and nothing else: the build does not depend on it.
func (r *Runner) follow(ctx context.Context, t *fleet.BakeTemplate) {
	if r.log == nil {
		r.log = &logReader{}
	}
	if r.log.problem != "" {
		return
	}
	before := r.log.parsed.Running
	lines, err := r.readLog(ctx, t)
	if err != nil && ctx.Err() == nil {
		r.log.problem = err.Error()
		r.note("the log of the build cannot be read: %v", err)
	}
	for _, line := range lines {
		if r.Follow {
			r.tell(Event{Kind: Line, Text: safetext.Line(line, maxShown)})
		}
	}
	if now := r.log.parsed.Running; now != before {
		r.tell(Event{Kind: Customizer, Text: now})
	}
}

// readLog reads on, and finds the log before if need be. There is none until the build
// VM runs.
func (r *Runner) readLog(ctx context.Context, t *fleet.BakeTemplate) ([]string, error) {
	l := r.log
	if l.address == "" {
		if err := r.findLog(ctx, t); err != nil || l.address == "" {
			return nil, err
		}
	}
	var lines []string
	for range logChunks {
		text, size, err := r.Azure.ReadBlob(ctx, l.address, l.at, logChunk)
		if err != nil {
			return lines, err
		}
		l.at += int64(len(text))
		lines = append(lines, l.parsed.Add(text)...)
		if l.at >= size || len(text) == 0 {
			break
		}
	}
	return lines, nil
}

// findLog finds the newest log in the storage account of the staging resource group.
func (r *Runner) findLog(ctx context.Context, t *fleet.BakeTemplate) error {
	l := r.log
	if l.account == "" {
		if t.Staging() == "" {
			return nil
		}
		accounts, err := r.Azure.Resources(ctx, t.Staging()+"/providers/Microsoft.Storage/storageAccounts", "")
		if err != nil || len(accounts) == 0 {
			return err
		}
		l.account = strings.TrimSuffix(fleet.BlobService(accounts[0]), "/")
	}
	if l.account == "" {
		return nil
	}
	blobs, err := r.Azure.ListBlobs(ctx, l.account+"/"+logContainer, "")
	if isNotFound(err) {
		return nil // there is none yet
	}
	if err != nil {
		return err
	}
	var newest time.Time
	for _, b := range blobs {
		if strings.HasSuffix(b.Name, "/"+logName) && !b.Modified.Before(newest) {
			newest, l.address = b.Modified, l.account+"/"+logContainer+"/"+b.Name
		}
	}
	return nil
}

// explainBuild adds to a failed build which customizer failed, its last lines and where
// the log is. Without the log Azure's message has to do.
func (r *Runner) explainBuild(ctx context.Context, t *fleet.BakeTemplate, f *fleet.BakeError) {
	if r.log == nil {
		r.log = &logReader{}
	}
	f.Log, f.Exit = fleet.LogURL(f.Said), fleet.ExitStatus(f.Said)
	if f.Log != "" && f.Log != r.log.address {
		r.log = &logReader{address: f.Log}
	}
	for range maxReads {
		before := r.log.at
		if _, err := r.readLog(ctx, t); err != nil {
			f.LogProblem = err.Error()
			return
		}
		if r.log.at == before {
			break
		}
	}
	if f.Log == "" {
		f.Log = r.log.address
	}
	f.AddLog(r.Spec, &r.log.parsed)
	for i, line := range f.Lines {
		f.Lines[i] = safetext.Line(line, maxShown)
	}
}
