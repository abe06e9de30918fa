// Command story tells how a fleet comes to be, on any machine and without Azure: from an
// empty subscription to scale sets that run a second image, one command line of fleetctl
// for each step. The real commands act on a simulated Azure whose machines are real
// fleet-agents; it looks at Azure after each step, and exits with 1 when something that
// is told is not so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// bound is the longest that the story may take.
const bound = 5 * time.Minute

func main() {
	bin := flag.String("bin", "bin", "`DIR` of the built commands")
	scripts := flag.String("scripts", "aib", "`DIR` of the scripts that images are made with")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := tell(*bin, *scripts); err != nil {
		fmt.Fprintln(os.Stderr, "\nfleet-story: error:", err)
		os.Exit(1)
	}
}

// tell tells the story and cleans up after it, also when it is interrupted.
func tell(bin, scripts string) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not done after %s", bound))
	defer cancel()
	s := &story{Teller: stage.NewTeller(os.Stdout)}
	if s.stage, err = stage.New(bin); err != nil {
		return err
	}
	defer s.stage.Close()
	if err := s.begin(ctx, scripts); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	defer s.recorder.close()
	for i := range steps {
		if err := s.step(ctx, &steps[i]); err != nil {
			return errors.Join(err, context.Cause(ctx))
		}
	}
	fmt.Println()
	s.Say("from nothing to a verified fleet, in %d command lines: done in %.0f s", len(steps), s.Took().Seconds())
	return nil
}

// A step is a command line of fleetctl, what it has to say, and what is so after it.
type step struct {
	tells string
	args  string
	code  int
	says  []string
	speed float64 // how many times as fast as real time; 0: as before
	facts func(*story, context.Context) error
}

// steps are the story.
var steps = []step{
	{
		tells: "A file says what the fleet is to be. init writes one to change.",
		args:  "init",
		says:  []string{"wrote fleet.yaml"},
		facts: (*story).filledIn,
	},
	{
		tells: "Is there a mistake in it that others made before?",
		args:  "preflight",
		says:  []string{"no trap is armed"},
	},
	{
		tells: "All that can be made is made. The scale sets wait: there is no image that they could begin with.",
		args:  "apply --yes",
		says:  []string{"the very first set begins with fleetctl apply --image VERSION"},
		facts: (*story).foundation,
	},
	{
		tells: "An image is baked, replicated, and booted once in a set that is thrown away.",
		args:  "bake",
		says:  []string{"ubuntu-app 1.8.0 is proven", "excluded from latest"},
		speed: 240,
		facts: func(s *story, ctx context.Context) error { return s.baked(ctx, "1.8.0") },
	},
	{
		tells: "Now the scale sets are made on it: in mode Manual, and each waits for evidence before the platform may do anything to its members.",
		args:  "apply --image 1.8.0 --yes",
		speed: 60,
		facts: (*story).created,
	},
	{
		tells: "A second apply finds all as it should be.",
		args:  "apply --yes",
		says:  []string{"nothing to do"},
		facts: (*story).nothingWritten,
	},
	{
		tells: "Is it right?",
		args:  "verify",
		says:  []string{"checks ok"},
		facts: func(s *story, ctx context.Context) error { return s.runs(ctx, "1.8.0") },
	},
	{
		tells: "A month later: the same template again, on a newer base image.",
		args:  "bake",
		says:  []string{"ubuntu-app 1.8.1 is proven"},
		speed: 240,
		facts: func(s *story, ctx context.Context) error { return s.baked(ctx, "1.8.1") },
	},
	{
		tells: "It reaches the fleet in waves: one member first, each drained by its own agent.",
		args:  "rollout run 1.8.1 --yes",
		says:  []string{"succeeded"},
		speed: 60,
		facts: (*story).rolledOut,
	},
	{
		tells: "And is that right?",
		args:  "verify",
		says:  []string{"checks ok"},
		facts: func(s *story, ctx context.Context) error { return s.runs(ctx, "1.8.1") },
	},
}
