//go:build e2e

// Command notifyd is a workload for the checks: a service of Type=notify that
// takes longer to stop than its TimeoutStopSec= and asks for the time it needs.
//
// It says what it does in one line each on standard output: started, stopping,
// stopped.
package main

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// extension is what each message asks for; the next one comes long before it is
// over.
const extension = 3 * time.Second

func main() {
	work := flag.Duration("work", 0, "how long it goes on after SIGTERM")
	fail := flag.Bool("fail", false, "end with an error then")
	flag.Parse()
	if err := run(*work, *fail); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

// run serves until SIGTERM, and then for as long as work.
func run(work time.Duration, fail bool) error {
	signal.Ignore(syscall.SIGPIPE) // standard output ends when journald does
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	if err := notify("READY=1"); err != nil {
		return err
	}
	fmt.Println("started")
	<-term
	fmt.Println("stopping")
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	done := time.After(work)
	for {
		if err := notify(fmt.Sprintf("STOPPING=1\nEXTEND_TIMEOUT_USEC=%d", extension.Microseconds())); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-done:
			if fail {
				return errors.New("told to fail")
			}
			fmt.Println("stopped")
			return nil
		}
	}
}

// notify sends a message as sd_notify(3) does.
func notify(message string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: os.Getenv("NOTIFY_SOCKET"), Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("notify the service manager: %w", err)
	}
	defer conn.Close()
	_, err = conn.Write([]byte(message))
	return err
}
