package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes that mean the same for every command. What a command exits with
// besides is in its help.
const (
	ExitOK          = 0
	ExitError       = 1
	ExitInterrupted = 130 // as a shell reports a death by SIGINT
)

// An Error is an error that knows what to do about itself: the code that the
// command exits with and a hint for whoever reads the message.
type Error struct {
	Code int    // 0 means ExitError
	Err  error  // nil: the output has said it all, only the code is left to say
	Hint string // one line, what to do or to look at; may be empty
}

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// Exit returns an error that prints nothing and makes the command exit with
// code, or nil when code is 0.
func Exit(code int) error {
	if code == ExitOK {
		return nil
	}
	return &Error{Code: code}
}

// Hint attaches a hint to err.
func Hint(err error, format string, args ...any) error {
	return &Error{Err: err, Hint: fmt.Sprintf(format, args...)}
}

// Run runs a command with a context that an interrupt or SIGTERM ends; a second
// one ends the process. The error of a command that ended for that reason becomes
// ExitInterrupted.
func Run(command func(ctx context.Context) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	err := command(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return Exit(ExitInterrupted)
	}
	return err
}

// Report prints err and its hints for the command called name, and returns the
// code to exit with. Errors that were joined are printed one by one.
func Report(w io.Writer, style Style, name string, err error) int {
	if err == nil {
		return ExitOK
	}
	report(w, style, name, err)
	if coded, ok := errors.AsType[*Error](err); ok && coded.Code != 0 {
		return coded.Code
	}
	return ExitError
}

func report(w io.Writer, style Style, name string, err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // only the outermost layer is a list
		for _, one := range joined.Unwrap() {
			report(w, style, name, one)
		}
		return
	}
	e, ok := errors.AsType[*Error](err)
	if ok && e.Err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		say(w, "%s: %s %s", name, style.Paint(Red, "error:"), Clean(line))
	}
	if ok && e.Hint != "" {
		say(w, "%s: %s %s", name, style.Paint(Cyan, "hint:"), Clean(e.Hint))
	}
}
