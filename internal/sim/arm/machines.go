package arm

import (
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
)

// The types of scheduled events that a member is told of.
const (
	eventPreempt   = "Preempt"
	eventTerminate = "Terminate"
)

// A Machine is what shall stand behind a member of a scale set now: a process or a
// virtual machine outside of the simulation. Whoever runs it reports what becomes of it.
type Machine struct {
	ID, Name, VMID, ComputerName          string
	ScaleSet                              string // its name
	Subscription, ResourceGroup, Location string
	Zone, Size, Priority                  string
	Tags                                  map[string]string

	Image   string // resource id of the image that it was made from, with the version
	Version string // the image's exact version
	// Build is what a builder calls the version's image; "" when the version was not
	// built by one.
	Build string
	// Boot is another number after each boot: with another disk, or with the same one.
	Boot    int
	Health  *HealthExtension // nil: nobody asks for its health
	Event   *MachineEvent    // nil: none is scheduled
	Command *MachineCommand  // nil: nothing is to be run
}

// A HealthExtension is the Application Health extension of a machine with its settings.
// Without any of them it has no Protocol.
type HealthExtension struct {
	Rich     bool // version 2 and later
	Protocol string
	Port     int
	Path     string
	Interval time.Duration
	Probes   int
	Grace    time.Duration
}

// A MachineEvent is the scheduled event that a machine is told of. When it is over, or
// acknowledged, the machine goes.
type MachineEvent struct {
	ID     string
	Type   string        // Preempt or Terminate
	Notice time.Duration // what is left of it; simulated
}

// A MachineCommand is a script that a Run Command runs on a machine. After a restart of
// the simulation it is to be run once more.
type MachineCommand struct {
	ID     string // of the operation
	Script string
	Left   time.Duration // until the operation fails; simulated
}

// A CommandResult is what became of a script. With a Failure the operation fails.
type CommandResult struct {
	Stdout, Stderr string
	Failure        string
}

// Real says whether the members of some scale sets have a machine outside.
func (s *Server) Real() bool { return len(s.rules.Machines.Real) > 0 }

// Clock is the simulation's.
func (s *Server) Clock() *Clock { return s.clock }

// Machines returns the machines that shall run now, in the order of their ids. A clock
// that runs wakes nobody: ask every so often.
func (s *Server) Machines() ([]Machine, error) {
	var all []Machine
	err := s.within(func(tx *txn) error {
		for _, r := range tx.list(vmType, "/subscriptions/"+s.cfg.Subscription) {
			if tx.real(r) && up(r) && !boolean(r.Hidden, "vanished") {
				all = append(all, tx.machine(r))
			}
		}
		return nil
	})
	return all, err
}

// real says whether a machine outside stands behind a virtual machine.
func (tx *txn) real(r *resource) bool {
	id := setOf(r)
	name := id[strings.LastIndexByte(id, '/')+1:]
	return id != "" && slices.ContainsFunc(tx.server.rules.Machines.Real, func(pattern string) bool { return matchName(pattern, name) })
}

// matchName says whether a pattern such as boot-* fits a name; "" fits all.
func matchName(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	fits, _ := path.Match(strings.ToLower(pattern), strings.ToLower(name)) // it was checked
	return fits
}

func (tx *txn) machine(r *resource) Machine {
	boot, _ := integer(r.Hidden, "boot")
	ref := sub(r.Body, "properties.storageProfile.imageReference")
	setID := setOf(r)
	m := Machine{
		ID: r.ID, Name: r.name(), VMID: str(r.Body, "properties.vmId"), ComputerName: str(r.Body, "properties.osProfile.computerName"),
		ScaleSet: setID[strings.LastIndexByte(setID, '/')+1:], Subscription: tx.server.cfg.Subscription,
		ResourceGroup: scopeOf(r.ID)[strings.LastIndexByte(scopeOf(r.ID), '/')+1:], Location: location(str(r.Body, "location")),
		Zone: zoneOf(r), Size: str(r.Body, "properties.hardwareProfile.vmSize"), Priority: str(r.Body, "properties.priority"),
		Tags: map[string]string{}, Image: str(ref, "id"), Version: str(ref, "exactVersion"), Boot: boot,
		Health: healthExtension(r),
	}
	for name, value := range sub(r.Body, "tags") {
		m.Tags[name], _ = value.(string)
	}
	if v := tx.versionOf(r); v != nil {
		m.Image, m.Build = v.ID, str(v.Hidden, "image")
	}
	if told := sub(r.Hidden, "event"); told != nil {
		at, _ := time.Parse(time.RFC3339Nano, str(told, "notBefore")) // we wrote it
		m.Event = &MachineEvent{ID: str(told, "id"), Type: str(told, "type"), Notice: max(at.Sub(tx.now), 0)}
	}
	if o := tx.commandOf(r); o != nil {
		m.Command = &MachineCommand{ID: o.ID, Script: str(o.Args, "script"), Left: max(o.Start.Add(runCommandMost).Sub(tx.now), 0)}
	}
	return m
}

// versionOf is the image version that a machine runs, or nil.
func (tx *txn) versionOf(r *resource) *resource {
	ref := sub(r.Body, "properties.storageProfile.imageReference")
	definition, _, _ := cutFold(str(ref, "id"), "/versions/")
	return tx.get(definition + "/versions/" + str(ref, "exactVersion"))
}

// healthExtension is the health extension of a machine, or nil.
func healthExtension(r *resource) *HealthExtension {
	for _, e := range items(r.Hidden, "extensions") {
		if !isHealth(str(e, "publisher"), str(e, "type")) {
			continue
		}
		settings := sub(e, "settings")
		number := func(name string, otherwise int) int {
			if n, ok := integer(settings, name); ok && n > 0 {
				return n
			}
			return otherwise
		}
		interval, probes := number("intervalInSeconds", 5), number("numberOfProbes", 1)
		return &HealthExtension{
			Rich:     !strings.HasPrefix(str(e, "version"), "1."),
			Protocol: strings.ToLower(str(settings, "protocol")), Port: number("port", 0), Path: str(settings, "requestPath"),
			Interval: time.Duration(interval) * time.Second, Probes: probes,
			Grace: time.Duration(number("gracePeriod", interval*probes)) * time.Second,
		}
	}
	return nil
}

// ReportHealth says what the health extension of a machine found: a state as Azure names
// them. What is said of another boot than the machine's is too late and does nothing.
func (s *Server) ReportHealth(id string, boot int, state string) error {
	if _, known := healthTexts[state]; !known {
		return fmt.Errorf("report health of %s: %q is no state of health", id, state)
	}
	return s.within(func(tx *txn) error {
		r := tx.get(id)
		if r == nil || !up(r) || !reportsHealth(r) || str(r.Hidden, "health") == state {
			return nil
		}
		if is, _ := integer(r.Hidden, "boot"); is == boot {
			tx.editHidden(id, func(hidden object) { hidden["health"], hidden["healthAt"] = state, stamp(tx.now) })
			tx.watchRepair(id)
		}
		return nil
	})
}

// tell schedules an event for a machine, which ends after its notice.
func (tx *txn) tell(id, typ string, notice time.Duration) {
	told := object{"id": strings.ToUpper(guid("event", key(id), stamp(tx.now), typ)), "type": typ, "notBefore": stamp(tx.now.Add(notice))}
	tx.editHidden(id, func(hidden object) { hidden["event"] = told })
	if typ == eventTerminate {
		tx.schedule(tx.now.Add(notice), setType, setOf(tx.get(id)), "agreed", nil)
	}
}

// ReportAck says that a machine acknowledged its event, so that it may go before the
// notice is over.
func (s *Server) ReportAck(id, event string) error {
	return s.within(func(tx *txn) error {
		r := tx.get(id)
		if r == nil || str(r.Hidden, "event.id") != event || boolean(r.Hidden, "event.acked") {
			return nil
		}
		tx.editHidden(id, func(hidden object) { set(hidden, "event.acked", true) })
		if str(r.Hidden, "event.type") == eventPreempt {
			tx.unschedule(id, "evicted")
			tx.evicted(id)
			return nil
		}
		tx.agreed(setOf(r), nil)
		return nil
	})
}

// agreed lets the members of a set go that have acknowledged their deletion. They are held
// back by each other that waits for its own, until that one has agreed or its notice is
// over.
func (tx *txn) agreed(setID string, _ object) {
	var leaving []*resource
	for _, r := range tx.listed(setID) {
		notBefore, _ := time.Parse(time.RFC3339Nano, str(r.Hidden, "event.notBefore")) // we wrote it
		switch {
		case str(r.Hidden, "event.type") != eventTerminate, boolean(r.Hidden, "event.agreed"), !tx.now.Before(notBefore):
		case boolean(r.Hidden, "event.acked"):
			leaving = append(leaving, r)
		default:
			return
		}
	}
	for _, r := range leaving {
		tx.editHidden(r.ID, func(hidden object) { set(hidden, "event.agreed", true) })
		tx.hasten(r)
	}
}

// hasten lets a machine go now that was waiting for the end of its notice, with the
// operations that wait for it.
func (tx *txn) hasten(r *resource) {
	at := tx.now.Add(deleteTime)
	tx.unschedule(r.ID, "gone")
	tx.schedule(at, vmType, r.ID, "gone", nil)
	for _, id := range []string{r.Busy, str(r.Hidden, "event.operation")} {
		o := tx.store.Operations[id]
		if o == nil || o.Status != statusInProgress || !at.Before(o.Due) {
			continue
		}
		if o.Kind == vmType && o.Method != http.MethodDelete {
			continue
		}
		tx.unschedule(id, "end")
		tx.update(id, func(o *operation) { o.Due = at })
		tx.schedule(at, operationKind, id, "end", nil)
	}
}
