package main

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// client returns a client of Azure, as the global flags say.
func (g *globals) client() (*azure.Client, error) {
	var debug io.Writer
	if g.debug {
		debug = g.out.Err
	}
	return azure.New(azure.Config{
		Auth: g.auth, Version: version, Getenv: g.getenv, Debug: debug,
		Waiting: func(w azure.Wait) { g.out.Say("fleetctl: %s", w) },
	})
}

// within returns the context of a command that ends after --timeout.
func (g *globals) within(ctx context.Context) (context.Context, context.CancelFunc) {
	if g.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, g.timeout)
}

// explained gives an error of Azure its exit code and its hint.
func explained(err error) error {
	if _, ok := errors.AsType[*cli.Error](err); ok {
		return err
	}
	if refused, ok := errors.AsType[*fleet.RefusedError](err); ok {
		return &cli.Error{Code: exitRefused, Err: err, Hint: refused.Hint}
	}
	if unknown, ok := errors.AsType[*fleet.UnknownError](err); ok {
		return &cli.Error{Err: err, Hint: unknown.Hint}
	}
	e, ok := errors.AsType[*azure.Error](err)
	switch {
	case !ok && errors.Is(err, context.DeadlineExceeded): // while nothing was asked
		return cli.Hint(errors.New("the time of --timeout is over"), "give it more time")
	case !ok:
		return err
	}
	return &cli.Error{Code: exitCode(e.Kind), Err: err, Hint: e.Hint}
}

// retold is an error in other words: text wraps err. Its exit code and its hint stay, and
// then, which may be empty, is said after the hint.
func retold(err, text error, then string) error {
	e := &cli.Error{}
	if known, ok := errors.AsType[*cli.Error](explained(err)); ok {
		*e = *known
	}
	e.Err = text
	if then != "" {
		e.Hint = strings.TrimPrefix(e.Hint+"; "+then, "; ")
	}
	return e
}

func exitCode(kind azure.Kind) int {
	switch kind {
	case azure.SignIn, azure.Denied:
		return exitUnauthorised
	case azure.Usage:
		return exitUsage
	default:
		return cli.ExitError
	}
}
