// Command incident replays the incident that the product is made for: an image whose
// members cannot reach the HSM. The real fleetctl rolls it out to real agents in a
// simulated Azure, and every fact that is told was looked at: it exits with 1 when one
// does not hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// bound is the longest that the incident may take.
const bound = 3 * time.Minute

func main() {
	bin := flag.String("bin", "bin", "directory of the built commands")
	seed := flag.Uint64("seed", rand.Uint64N(1_000_000), "what picks the entry at which fleetctl is killed")
	only := flag.Int("act", 0, "one act only")
	flag.Parse()
	if err := tell(*bin, *seed, *only); err != nil {
		fmt.Fprintln(os.Stderr, "incident: error:", err)
		os.Exit(1)
	}
}

// An act is a part of the story. It returns what it has proven.
type act struct {
	title string
	play  func(*incident, context.Context) (string, error)
}

var acts = []act{
	{"as the article tells it: automatic OS upgrade, and the canary region only", (*incident).asTold},
}

// tell tells the story and cleans up after it, also when it is interrupted.
func tell(bin string, seed uint64, only int) (err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not done after %s", bound))
	defer cancel()
	i := &incident{Teller: stage.NewTeller(), seed: seed}
	if i.stage, err = stage.New(bin); err != nil {
		return err
	}
	defer i.stage.Close()
	if i.hsm, err = newHSM(ctx, i.stage.Dir); err != nil {
		return err
	}
	defer i.hsm.close()
	var proven []string
	for n, a := range acts {
		if only != 0 && only != n+1 {
			continue
		}
		began := time.Now()
		fmt.Println()
		i.Say("Act %d, %s", n+1, a.title)
		text, err := a.play(i, ctx)
		if err != nil {
			return fmt.Errorf("act %d: %w", n+1, err)
		}
		proven = append(proven, fmt.Sprintf("Act %d, %2.0f s: %s", n+1, time.Since(began).Seconds(), text))
	}
	fmt.Println()
	i.Say("what was proven, with real agents and the compiled fleetctl:")
	for _, text := range proven {
		i.Fact("%s", text)
	}
	i.Note("seed %d: go run ./internal/incident -seed %d plays it again; %.0f s in all", seed, seed, i.Took().Seconds())
	return nil
}

// incident is the story under way.
type incident struct {
	*stage.Teller

	stage *stage.Stage
	hsm   *hsm
	seed  uint64
}

// await asks until done says yes, or ctx ends.
func (i *incident) await(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	return i.stage.Await(ctx, what, done)
}

// holds is an error that says what does not hold, unless it does.
func holds(is bool, format string, args ...any) error {
	if is {
		return nil
	}
	return fmt.Errorf("it does not hold: "+format, args...)
}
