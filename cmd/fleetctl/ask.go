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

// confirm asks on a terminal, and takes anything but yes for no. Where nobody can be
// asked, --yes has to say it.
func (g *globals) confirm(ctx context.Context, cmd *cobra.Command, question string) error {
	if g.yes {
		return nil
	}
	in, isFile := cmd.InOrStdin().(*os.File)
	if g.json() || !isFile || !term.IsTerminal(int(in.Fd())) {
		err := usage.Error(cmd, errors.New("there is nobody to ask"))
		if e, ok := errors.AsType[*cli.Error](err); ok {
			e.Hint = "look at the plan, and say --yes"
		}
		return err
	}
	_, _ = fmt.Fprintf(g.out.Err, "%s [y/N] ", question)
	yes, err := answer(ctx, in)
	if err != nil {
		return err
	}
	if !yes {
		return &cli.Error{Err: errors.New("not confirmed: nothing was written")}
	}
	return nil
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 100

// answer reads yes or no. The reading goes on when the context ends: the process does
// not.
func answer(ctx context.Context, in io.Reader) (bool, error) {
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(in, maxAnswer)).ReadString('\n') // an end is no answer
		said <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-said:
		return line == "y" || line == "yes", nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}
