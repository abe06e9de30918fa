package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
)

// Limits on what strangers can put into a message, in bytes.
const (
	maxMessage = 480 // a whole message
	maxQuote   = 120 // a quotation inside a message
	maxTarget  = 160 // where it was looked
	maxWant    = 120 // what was wanted
)

// Error is what every probe returns when it does not pass.
type Error struct {
	Kind   string // kind of the check, such as "http"
	Target string // address or path that was looked at, without secrets
	Seen   string
	Want   string
	Err    error // what Seen describes, nil when nothing went wrong but the answer

	undecided bool
}

// Undecided reports whether the finding is neither a pass nor a failure: there
// is nothing to judge yet.
func (e *Error) Undecided() bool { return e.undecided }

// Error gives the whole finding in one printable line of at most 480 bytes. A
// part that is too long is cut, never left out: what was wanted comes last.
func (e *Error) Error() string {
	where := e.Kind + " " + clean(e.Target, maxTarget) + ": "
	want := ", want " + clean(e.Want, maxWant)
	return where + clean(e.Seen, maxMessage-len(where)-len(want)) + want
}

// Unwrap lets a caller tell its own cancellation from a failure.
func (e *Error) Unwrap() error { return e.Err }

// describe says what went wrong without repeating the target, which the
// messages of package net carry several times over, and without the URL, whose
// query may hold a secret.
func describe(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case isTimeout(err):
		return "timed out"
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
		if isAlert(e) {
			return "refused by the peer: " + err.Error()
		}
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.PathError](err); ok {
		err = e.Err
	}
	return err.Error()
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

// quote makes text from outside safe to print, and tells it from our own words.
func quote(s string) string { return `"` + clean(s, maxQuote) + `"` }

// clean makes s one printable line of at most limit bytes.
func clean(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("…")], "") + "…"
}

// days writes a duration as operators of certificates think of it: 14d, 3d4h,
// and below a day as 5h or 20m0s.
func days(d time.Duration) string {
	const day = 24 * time.Hour
	if d < time.Hour {
		return d.Truncate(time.Second).String()
	}
	n, hours := d/day, d%day/time.Hour
	switch {
	case n == 0:
		return fmt.Sprintf("%dh", hours)
	case hours == 0:
		return fmt.Sprintf("%dd", n)
	default:
		return fmt.Sprintf("%dd%dh", n, hours)
	}
}

// hostPort checks an address of the form host:port.
func hostPort(key, address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return fmt.Errorf("%s %q: want host:port, such as 127.0.0.1:8080 or [::1]:8080", key, address)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%s %q: want a port from 1 to 65535", key, address)
	}
	return nil
}

// isAlert reports whether the peer ended TLS with an alert, which crypto/tls
// passes on in no other form.
func isAlert(err error) bool {
	e, ok := errors.AsType[*net.OpError](err)
	return ok && e.Op == "remote error"
}

// isReset reports whether the peer tore the connection down.
func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
