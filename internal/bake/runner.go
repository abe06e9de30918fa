package bake

import (
	"context"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A Runner bakes. All fields but Tell and Follow are needed.
type Runner struct {
	Azure   *azure.Client
	Spec    *fleet.Spec
	Content *fleet.Content
	Now     func() time.Time
	// Wait sleeps; the error is that of the context.
	Wait func(ctx context.Context, d time.Duration) error
	Tell func(Event) // of progress; nil: nobody listens
	// Call is a random id of this call: what it has reserved is told from what another
	// one has.
	Call string
	// NoBootTest leaves the boot test out. The version is not proven then, and a later
	// bake of the same content goes on with its test.
	NoBootTest bool
	// Follow tells the lines of customization.log as they come.
	Follow bool
}
