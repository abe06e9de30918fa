package systemd

import (
	"context"
	"fmt"
	"path"
	"slices"
)

// Socket is a socket unit and what it starts.
type Socket struct {
	UnitState
	// Service is the unit that a connection starts; zero for a socket that
	// starts one for each connection.
	Service UnitState
}

// Sockets returns the sockets that start with a target and stop with it: those
// that it wants and that are PartOf= it, by name. There are none while the target
// itself is not active.
func (m *Manager) Sockets(ctx context.Context, target string) ([]Socket, error) {
	list, err := m.sockets(ctx, target)
	if err != nil {
		return nil, fmt.Errorf("look at the sockets of %s: %w", target, err)
	}
	return list, nil
}

func (m *Manager) sockets(ctx context.Context, target string) ([]Socket, error) {
	var wants, parts []string
	var active string
	for key, field := range map[string]any{"Wants": &wants, "ConsistsOf": &parts, "ActiveState": &active} {
		if err := m.link.property(ctx, unitPath(target), systemdUnit, key, field); err != nil {
			return nil, err
		}
	}
	var list []Socket
	for _, name := range slices.Sorted(slices.Values(parts)) {
		if active != "active" || path.Ext(name) != ".socket" || !slices.Contains(wants, name) {
			continue
		}
		s, err := m.socket(ctx, name)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func (m *Manager) socket(ctx context.Context, name string) (Socket, error) {
	var s Socket
	var triggers []string
	err := m.link.property(ctx, unitPath(name), systemdUnit, "Triggers", &triggers)
	if err == nil {
		s.UnitState, err = m.unitState(ctx, name)
	}
	if err == nil && len(triggers) == 1 {
		s.Service, err = m.unitState(ctx, triggers[0])
	}
	return s, err
}
