package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// exitUnreachable is the code of every command that needs the daemon and does
// not reach it.
const exitUnreachable = 4

// explainError gives an error of the control client its exit code and a hint.
func (g *globals) explainError(err error) error {
	if e, ok := errors.AsType[*control.UnreachableError](err); ok {
		return &cli.Error{Code: exitUnreachable, Err: err, Hint: g.unreachableHint(e)}
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		hint := e.Hint
		if hint == "" && e.Status == http.StatusForbidden {
			hint = "use sudo, or join the group fleet-admin"
		}
		return &cli.Error{Err: err, Hint: hint}
	}
	return err
}

func (g *globals) unreachableHint(e *control.UnreachableError) string {
	// The socket was looked for in the default run_dir when the
	// configuration could not be read; then that is the likely reason.
	if g.socket == "" {
		if _, err := readConfig(g.configPath, agentUser); err != nil {
			return fmt.Sprintf("%s is not valid, so this is the default socket: see %s config validate, or use --socket", g.configPath, g.self)
		}
	}
	switch {
	case errors.Is(e, fs.ErrPermission):
		return "use sudo, or join the group fleet-agent (to look) or fleet-admin (to change)"
	case errors.Is(e, fs.ErrNotExist):
		return "is the agent running? systemctl status fleet-agent"
	case errors.Is(e, syscall.ECONNREFUSED):
		return "the agent left its socket behind and is gone: systemctl status fleet-agent"
	}
	return "does the agent hang? journalctl -u fleet-agent -n 50"
}
