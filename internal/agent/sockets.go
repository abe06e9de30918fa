package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

const (
	// socketsLook is how often adopted sockets are looked at beside each change
	// of a drain, and socketsTimeout bounds one look.
	socketsLook    = 10 * time.Second
	socketsTimeout = 5 * time.Second
)

// A socketWatch tells of adopted sockets that do not listen although the node is
// in service: every check may pass and the port refuse.
type socketWatch struct {
	a    *Agent
	deaf atomic.Pointer[[]systemd.Socket] // nil: none, or not known
}

// Run looks until ctx is done.
func (w *socketWatch) Run(ctx context.Context) error {
	for {
		changed := w.a.runner.Changed()
		w.look(ctx)
		select {
		case <-changed:
		case <-time.After(socketsLook):
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *socketWatch) look(ctx context.Context) {
	deaf := w.find(ctx)
	before := w.deaf.Swap(&deaf)
	if before == nil || !slices.Equal(names(*before), names(deaf)) {
		for _, s := range deaf {
			w.a.logger.Warn("adopted socket does not listen", "unit", s.Name, "state", s.ActiveState, "result", s.Result)
		}
		w.a.observer.poke()
	}
}

// find returns the sockets that do not listen. In a drain, and without systemd,
// there are none to speak of.
func (w *socketWatch) find(ctx context.Context) []systemd.Socket {
	if w.a.drainStatus() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, socketsTimeout)
	defer cancel()
	var list []systemd.Socket
	for _, step := range w.a.conf.Load().Drain.Plan {
		if step.Target == "" {
			continue
		}
		sockets, err := w.a.manager.Sockets(ctx, step.Target)
		if err != nil {
			return nil // busWatch says so
		}
		list = append(list, slices.DeleteFunc(sockets, listens)...)
	}
	return list
}

func listens(s systemd.Socket) bool { return s.ActiveState == "active" || s.Job }

func names(sockets []systemd.Socket) []string {
	list := make([]string, len(sockets))
	for i, s := range sockets {
		list[i] = s.Name
	}
	return list
}

// found is what the last look has found. It does not block.
func (w *socketWatch) found() []systemd.Socket {
	if deaf := w.deaf.Load(); deaf != nil && w.a.drainStatus() == nil {
		return *deaf
	}
	return nil
}

// reason is what is wrong, in a few words; "" when nothing is.
func (w *socketWatch) reason() string {
	switch found := names(w.found()); len(found) {
	case 0:
		return ""
	case 1:
		return found[0] + " does not listen"
	default:
		return strings.Join(found, ", ") + " do not listen"
	}
}

// warnings are one for each socket, with what mends it.
func (w *socketWatch) warnings() []string {
	var list []string
	for _, s := range w.found() {
		list = append(list, socketWarning(s))
	}
	return list
}

// socketWarning says what is wrong with a socket and what mends it. A socket
// cannot be started while its service runs.
func socketWarning(s systemd.Socket) string {
	state, fix := s.ActiveState, "sudo systemctl start "+s.Name
	if s.Result != "" && s.Result != "success" {
		state += " (" + s.Result + ")"
	}
	if v := s.Service; v.Name != "" && v.ActiveState != "inactive" && v.ActiveState != "failed" {
		fix = fmt.Sprintf("sudo systemctl stop %s && sudo systemctl start %s %s", v.Name, s.Name, v.Name)
	}
	return fmt.Sprintf("the adopted socket %s does not listen, it is %s: %s", s.Name, state, fix)
}
