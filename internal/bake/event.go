package bake

import (
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// An EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	Note       EventKind = "note"       // something that its reader should know
	Stage      EventKind = "stage"      // what the bake is at from now on: Text names it
	Customizer EventKind = "customizer" // the build runs the customizer Text from now on
	Line       EventKind = "line"       // a line of customization.log
	Regions    EventKind = "regions"    // how far replication is
	Boot       EventKind = "boot"       // how far the boot test is
)

// The stages of a bake, in order. Between Building and Replicating those of Image
// Builder are told in its own words (runSubState).
const (
	StageUploading   = "uploading files"
	StageCreating    = "creating the template"
	StageRunning     = "starting the build"
	StageReplicating = "replicating"
	StageBootTest    = "boot test"
	StageDone        = "done"
)

// An Event is progress, as it is told.
type Event struct {
	Kind    EventKind
	At      time.Time
	Version string // "" before there is a number
	Text    string
	Regions []fleet.Region // of Regions
}
