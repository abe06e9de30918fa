// Command mutants breaks the product on purpose, one promise at a time, and sees
// whether a test notices. Each patch of internal/mutants/patches is applied to a
// copy of the tree, where the tests that it names have to fail; without the patch
// they have to pass. A mutant that lives, and a patch that no longer applies, is a
// failure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const folder = "internal/mutants/patches"

func main() {
	only := flag.String("only", "", "regular expression: only the mutants whose name matches")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants: error:", err)
		os.Exit(1) //nolint:gocritic // stop has nothing left to do
	}
}

// run tries every mutant and says what became of it.
func run(ctx context.Context, out io.Writer, only string) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("read -only: %w", err)
	}
	mutants, err := readMutants(folder)
	if err != nil {
		return err
	}
	l, err := newLab(ctx)
	if err != nil {
		return err
	}
	defer l.close()
	begin, tried := time.Now(), 0
	var failed []string
	for _, m := range mutants {
		if !chosen.MatchString(m.name) {
			continue
		}
		tried++
		start := time.Now()
		killer, err := l.try(ctx, m)
		if ctx.Err() != nil {
			return errors.New("interrupted")
		}
		if err != nil {
			failed = append(failed, m.name)
			_, _ = fmt.Fprintf(out, "FAIL    %-34s %4.1fs  %v\n", m.name, time.Since(start).Seconds(), err)
			continue
		}
		_, _ = fmt.Fprintf(out, "killed  %-34s %4.1fs  %s\n", m.name, time.Since(start).Seconds(), killer)
	}
	_, _ = fmt.Fprintf(out, "%d of %d mutants killed in %.0f s\n", tried-len(failed), tried, time.Since(begin).Seconds())
	if tried == 0 {
		return fmt.Errorf("no mutant matches %q", only)
	}
	if len(failed) > 0 {
		return fmt.Errorf("not killed: %s", strings.Join(failed, ", "))
	}
	return nil
}
