package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/fleet-agent/fleet-agent/internal/cli"
)

// maxAnswer bounds what is read of all the answers of a command.
const maxAnswer = 1 << 20

// terminalInput is standard input if somebody can answer there, or nil.
func terminalInput() *bufio.Reader {
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stderr.Fd())) {
		return answersFrom(os.Stdin)
	}
	return nil
}

func answersFrom(in io.Reader) *bufio.Reader { return bufio.NewReader(io.LimitReader(in, maxAnswer)) }

// mayAsk says no where nobody can be asked and --yes was not given: the hint is how to do
// without. Whoever wants JSON is a program.
func (g *globals) mayAsk(cmd *cobra.Command, hint string) error {
	if g.yes || g.answers != nil && !g.json() {
		return nil
	}
	err := usage.Error(cmd, errors.New("there is nobody to ask"))
	if e, ok := errors.AsType[*cli.Error](err); ok {
		e.Hint = hint
	}
	return err
}

// ask asks a question on the terminal, and returns the answer in small letters. The end
// of the input is the error [io.EOF]. A terminal cannot be told to stop reading, so when
// the context ends the reading goes on to the end of the process.
func (g *globals) ask(ctx context.Context, question string) (string, error) {
	if _, err := fmt.Fprint(g.out.Err, question+" "); err != nil {
		return "", err
	}
	type answer struct {
		text string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		text, err := g.answers.ReadString('\n')
		got <- answer{text, err}
	}()
	select {
	case a := <-got:
		if a.err == nil {
			return strings.ToLower(strings.TrimSpace(a.text)), nil
		}
		g.out.Say("") // what comes next is not behind the question
		return "", a.err
	case <-ctx.Done():
		g.out.Say("")
		return "", ctx.Err()
	}
}

// confirm asks whether something shall be done, and takes anything but yes for no.
func (g *globals) confirm(ctx context.Context, question string) error {
	if g.yes {
		return nil
	}
	answer, err := g.ask(ctx, question+" [y/N]")
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && (answer == "y" || answer == "yes"):
		return nil
	}
	return &cli.Error{Err: errors.New("not confirmed: nothing was written")}
}
