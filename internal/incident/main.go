// Command incident replays the incident that the product is made for: an image whose
// members cannot reach the HSM. The real fleetctl rolls it out to real agents in a
// simulated Azure, and every fact that is told was looked at: it exits with 1 when one
// does not hold.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fleet-agent/fleet-agent/internal/stage"
)

// bound is the longest that the incident may take.
const bound = 3 * time.Minute

func main() {
	bin := flag.String("bin", "bin", "directory of the built commands")
	seed := flag.Uint64("seed", rand.Uint64N(1_000_000), "`N` picks the entry at which fleetctl is killed")
	only := flag.Int("act", 0, "play act `N` alone")
	flag.Parse()
	if flag.NArg() > 0 || *only < 0 || *only > len(acts) {
		flag.Usage()
		os.Exit(2)
	}
	if err := tell(*bin, *seed, *only); err != nil {
		fmt.Fprintln(os.Stderr, "\nincident: error:", err)
		os.Exit(1)
	}
}

// An act is a part of the story. It returns what it has proven.
type act struct {
	title   string
	setting setting
	play    func(*incident, context.Context) (string, error)
}

var acts = []act{
	{"as the article tells it: automatic OS upgrade, and the canary region only", setting{AutoOS: true}, (*incident).asTold},
	{"the default way: batches, and one member first", setting{Soak: "1h", Repairs: true}, (*incident).byDefault},
	{"noise in the middle of a good rollout", setting{Soak: "10m", Spot: true}, (*incident).noise},
	{"fleetctl is killed, and another one goes on", setting{Journal: "https://stpay.blob.core.windows.net/fleetctl/pay"}, (*incident).killed},
}

// lanes are the acts that play one after the other. They wait more than they work, so that
// two can play at a time, each in an Azure of its own.
var lanes = [][]int{{0, 3}, {1, 2}}

// tell tells the story and cleans up after it, also when it is interrupted.
func tell(bin string, seed uint64, only int) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("not done after %s", bound))
	defer cancel()
	t := stage.NewTeller(os.Stdout)
	fmt.Println("Two acts play at a time, each in a simulated Azure of its own with 15 real\nagents. They are told one after the other, each with its own time. What has a ✓\nwas looked at, and is so.")
	told := newCurtains(os.Stdout, len(acts))
	proven := make([]string, len(acts))
	lane, ctx := errgroup.WithContext(ctx)
	for _, numbers := range lanes {
		lane.Go(func() error {
			for _, n := range numbers {
				if only != 0 && only != n+1 {
					told.end(n)
					continue
				}
				var err error
				if proven[n], err = play(ctx, told.act(n), bin, seed, n); err != nil {
					return fmt.Errorf("act %d: %w", n+1, err)
				}
				told.end(n)
			}
			return nil
		})
	}
	if err := lane.Wait(); err != nil {
		told.all()
		return err
	}
	fmt.Println("\nWhat the compiled fleetctl has proven with real agents:")
	for _, text := range slices.DeleteFunc(proven, func(text string) bool { return text == "" }) {
		t.Note("%s", text)
	}
	fmt.Printf("%.0f s in all. go run ./internal/incident -seed %d plays it again.\n", t.Took().Seconds(), seed)
	return nil
}

// play plays one act.
func play(ctx context.Context, out io.Writer, bin string, seed uint64, n int) (proven string, err error) {
	i := &incident{Teller: stage.NewTeller(out), seed: seed, setting: acts[n].setting}
	_, _ = io.WriteString(out, "\n") // when it fails there is nobody to tell
	i.Say("Act %d, %s", n+1, acts[n].title)
	if i.stage, err = stage.New(bin); err != nil {
		return "", err
	}
	defer i.stage.Close()
	if i.hsm, err = newHSM(ctx, i.stage.Dir); err != nil {
		return "", err
	}
	defer i.hsm.close()
	text, err := acts[n].play(i, ctx)
	return fmt.Sprintf("Act %d, %.0f s: %s", n+1, i.Took().Seconds(), text), err
}

// incident is an act under way.
type incident struct {
	*stage.Teller

	stage *stage.Stage
	hsm   *hsm
	seed  uint64

	setting setting
}

// look is the time between two looks at a condition.
const look = 200 * time.Millisecond

// await asks until done says yes, ctx ends, or a minute is over.
func (i *incident) await(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("not within a minute"))
	defer cancel()
	last := time.Time{}
	return i.stage.Await(ctx, what, func() (bool, error) {
		if time.Since(last) < look {
			return false, nil
		}
		defer func() { last = time.Now() }()
		return done()
	})
}

// holds is an error that says what does not hold, unless it does.
func holds(is bool, format string, args ...any) error {
	if is {
		return nil
	}
	return fmt.Errorf("this does not hold: "+format, args...)
}

// curtains keep what acts tell until those before them have ended.
type curtains struct {
	out io.Writer

	mu    sync.Mutex // guards what follows
	open  int        // the act that is told
	ended []bool
	kept  []bytes.Buffer
}

func newCurtains(out io.Writer, acts int) *curtains {
	return &curtains{out: out, ended: make([]bool, acts), kept: make([]bytes.Buffer, acts)}
}

// act is where an act is told.
func (c *curtains) act(n int) io.Writer { return &curtain{c, n} }

// end says that an act has ended.
func (c *curtains) end(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.ended[n] = true; c.open < len(c.ended) && c.ended[c.open]; {
		c.open++
		if c.open < len(c.kept) {
			_, _ = c.kept[c.open].WriteTo(c.out)
		}
	}
}

// all tells what is kept.
func (c *curtains) all() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for n := range c.kept {
		_, _ = c.kept[n].WriteTo(c.out)
	}
	c.open = len(c.kept)
}

// A curtain is that of one act.
type curtain struct {
	*curtains

	n int
}

// Write tells something, now or later.
func (c *curtain) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == c.open {
		return c.out.Write(p)
	}
	return c.kept[c.n].Write(p)
}
