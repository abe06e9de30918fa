// Package release answers: how does an image version become usable, or stop being so?
//
// An [Editor] changes a version that others may write as well. What shall change is a
// [fleet.VersionEdit], a pure function of what was read; so a write is computed anew as
// often as it takes until the version, read after the last write has ended, is as it
// shall be:
//
//	read ──Updating?──▶ wait ─▶ read
//	 │ ▲
//	 │ └──────────── ended, refused as a conflict ────────────┐
//	 ▼                                                        │
//	edit ─▶ nothing to do: done       edit ─▶ PATCH ─▶ wait ──┘   at most five times
//
// Azure's gallery knows no precondition (its API has no If-Match), so nothing can make
// the read and the write one. What can be done is done: the read comes right before the
// write, nothing is written while another write is under way, a PATCH holds no more
// than what changes and the target regions, which are one value to Azure, and what is
// there in the end is read and compared.
//
// It starts no goroutines.
package release

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

const (
	// maxWrites bounds the writes for one edit: others write as well.
	maxWrites = 5
	// maxLooks bounds the looks for what was just written, before it is written again.
	maxLooks = 2
	// lookAfter is how long to wait between two looks when Azure does not say.
	lookAfter = 10 * time.Second
	// maxWait bounds the wait for another write, and the whole of an edit when its
	// context has no end. A version that goes to many regions takes long.
	maxWait = 30 * time.Minute
	// tellEvery is how often a wait is told.
	tellEvery = 5 * time.Minute
)

// The states in which something is being done to a version, in Azure's words.
var underWay = []string{fleet.Updating, "Creating", "Migrating", "Deleting"}

// An Editor changes image versions, one at a time. It is safe for use by several
// goroutines; make it with [NewEditor].
type Editor struct {
	azure *azure.Client
	wait  func(context.Context, time.Duration) error
	tell  func(string)
	turn  chan struct{} // holds one value: whose turn it is
}

// NewEditor returns an Editor. Wait sleeps until a span or its context is over; tell is
// given a line about what takes time, and what went another way than usual.
func NewEditor(client *azure.Client, wait func(context.Context, time.Duration) error, tell func(string)) *Editor {
	return &Editor{azure: client, wait: wait, tell: tell, turn: make(chan struct{}, 1)}
}

// Sleep is the wait of an Editor that nobody simulates.
func Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// A Result is what became of an edit.
type Result struct {
	Version fleet.Document // as it was read last
	Written bool           // something had to be written
	Pending bool           // it was accepted, and nobody waited for it
}

// Edit makes a version what edit asks for, and returns when that is to be seen, or
// with noWait when Azure has accepted it. The error of edit is returned as it is. When
// it ends early, Azure goes on with a write that it has accepted, and Edit says so.
func (e *Editor) Edit(ctx context.Context, id fleet.ResourceID, edit fleet.VersionEdit, noWait bool) (Result, error) {
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return Result{}, ctx.Err()
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, maxWait)
		defer cancel()
	}
	w := &writing{Editor: e, id: id, edit: edit, noWait: noWait}
	result, err := w.run(ctx)
	if err != nil && w.accepted && ctx.Err() != nil {
		e.tell("Azure goes on with the write of " + id.Name() + ": fleetctl images shows how it is")
	}
	return result, err
}

// writing is an edit under way.
type writing struct {
	*Editor

	id       fleet.ResourceID
	edit     fleet.VersionEdit
	noWait   bool
	accepted bool // the last write was accepted, and its end was not seen
}

func (w *writing) run(ctx context.Context) (Result, error) {
	var wrote fleet.Document // as the version should be after the last write
	var last error           // of the last write
	for writes, looks := 0, 0; ; {
		version, after, err := w.settled(ctx)
		if err != nil {
			return Result{}, err
		}
		patch, err := w.edit(version)
		switch {
		case err != nil:
			return Result{Version: version, Written: writes > 0}, err
		case patch == nil:
			w.tellOthers(version, wrote)
			return Result{Version: version, Written: writes > 0}, nil
		case looks > 0: // what was just written may take a moment to be seen
			looks--
			if err := w.wait(ctx, after); err != nil {
				return Result{}, err
			}
			continue
		case writes == maxWrites:
			return Result{Version: version, Written: true}, w.undone(version, patch, last)
		case writes > 0:
			w.tell("something else wrote " + w.id.Name() + " meanwhile; once more, from what is there now")
		}
		last = w.write(ctx, patch)
		writes++
		switch {
		case last == nil && w.noWait:
			return Result{Version: fleet.Patched(version, patch), Written: true, Pending: true}, nil
		case last == nil:
			wrote, looks = fleet.Patched(version, patch), maxLooks
		case !errors.Is(last, &azure.Error{Kind: azure.Conflict}):
			return Result{Version: version, Written: w.accepted}, w.seen(ctx, last)
		default:
			if err := w.wait(ctx, after); err != nil {
				return Result{}, err
			}
		}
	}
}

// undone is the error of an edit that was written as often as it may be, last with the
// error last.
func (w *writing) undone(version, patch fleet.Document, last error) error {
	if last != nil {
		return last
	}
	return &azure.Error{
		Kind: azure.Conflict, Op: "change version " + w.id.Name(),
		Text: fmt.Sprintf("something else undid it %d times: %s", maxWrites, strings.Join(fleet.Unlike(version, patch), "; ")),
		Hint: "find out what else writes the version, with the activity log of its gallery, and run this again",
	}
}

// write sends a PATCH and waits for its end.
func (w *writing) write(ctx context.Context, patch fleet.Document) error {
	operation, err := w.azure.Send(ctx, fleet.Write{Method: http.MethodPatch, ID: w.id, Body: patch})
	if err != nil || w.noWait {
		return err
	}
	w.accepted = true
	w.tell("version " + w.id.Name() + " is being written: waiting until Azure has done it")
	if _, err = operation.Wait(ctx); err == nil {
		w.accepted = false
	}
	return err
}

// seen adds to the error of a write whether the change is there nevertheless: a write
// of a version ends with an error too when a region did not get it.
func (w *writing) seen(ctx context.Context, failed error) error {
	if !w.accepted || ctx.Err() != nil {
		return failed
	}
	read, err := w.azure.Resource(ctx, w.id, "ReplicationStatus")
	if err != nil {
		return failed
	}
	if patch, err := w.edit(read.Body); err == nil && patch == nil {
		return fmt.Errorf("the change is there, but the write of version %s failed: %w", w.id.Name(), failed)
	}
	return failed
}

// settled reads the version when nothing is being done to it, and says how long to
// wait before another look.
func (w *writing) settled(ctx context.Context) (fleet.Document, time.Duration, error) {
	var waited, told time.Duration
	for {
		read, err := w.azure.Resource(ctx, w.id, "ReplicationStatus")
		if err != nil {
			return nil, 0, err
		}
		after := read.After
		if after <= 0 {
			after = lookAfter
		}
		state := fleet.ProvisioningState(read.Body)
		if !slices.Contains(underWay, state) {
			return read.Body, after, nil
		}
		if waited >= maxWait {
			return nil, 0, &azure.Error{
				Kind: azure.Conflict, Op: "change version " + w.id.Name(), Text: fmt.Sprintf("it is %s, for %s already", state, waited.Round(time.Second)),
				Hint: "nothing was written meanwhile; fleetctl images shows which region it waits for",
			}
		}
		if waited == 0 || waited-told >= tellEvery {
			w.tell(fmt.Sprintf("version %s is %s: waiting until that is over", w.id.Name(), state))
			told = waited
		}
		if err := w.wait(ctx, after); err != nil {
			return nil, 0, err
		}
		waited += after
	}
}

// tellOthers says what of the version is not as it was written: somebody else wrote it
// after that.
func (w *writing) tellOthers(version, wrote fleet.Document) {
	if wrote == nil {
		return
	}
	if others := fleet.Unlike(version, fleet.Written(wrote)); len(others) > 0 {
		w.tell(fmt.Sprintf("something else changed %s meanwhile: %s", w.id.Name(), strings.Join(others, "; ")))
	}
}
