package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
	"github.com/fleet-agent/fleet-agent/internal/health"
	"github.com/fleet-agent/fleet-agent/internal/scheduledevents"
)

// maxHeartbeatMessage bounds what an application says with a heartbeat, in bytes.
const maxHeartbeatMessage = 1 << 10

// controlOps is the agent as the control socket sees it.
type controlOps struct{ a *Agent }

// Status is everything that an operator may want to know, as of now.
func (o *controlOps) Status() control.Status {
	a := o.a
	state, reason := a.nodeState()
	a.observer.mu.Lock()
	since, transitions := a.observer.since, slices.Clone(a.observer.transitions)
	if a.observer.state != state { // the observer is about to see it too
		since = time.Now()
	}
	a.observer.mu.Unlock()
	report := a.monitor.Report()
	s := control.Status{
		Version: control.Version, Now: time.Now(),
		State: state, Reason: reason, Since: since,
		Health: control.Health{
			State: string(report.State), Ready: report.Ready(), Live: a.live.alive(),
			Checks: []control.Check{}, Roots: append([]string{}, report.Roots...), Returning: report.Returning,
		},
		Events:      a.eventList(),
		Drain:       a.drainStatus(),
		Maintenance: a.maintenanceStatus(),
		IMDS:        a.imdsStatus(),
		Node:        a.node(),
		Probes:      a.probesStatus(),
		Agent: control.Agent{
			Version: a.cfg.Version, PID: os.Getpid(), StartedAt: a.started,
			ConfigFiles: append([]string{}, a.conf.Load().Files()...), ProbeAddress: *a.probeAddr.Load(),
		},
		Transitions: append([]control.Transition{}, transitions...),
		Warnings:    a.warnings(),
	}
	if a.scrapes != nil && a.scrapes.bound.Load() != nil {
		s.Agent.MetricsAddress = *a.scrapes.bound.Load()
	}
	for _, c := range report.Checks {
		s.Health.Checks = append(s.Health.Checks, wireCheck(c))
	}
	return s
}

// Events is what is scheduled, and the drains of the past.
func (o *controlOps) Events() control.Events {
	e := control.Events{
		Version: control.Version, Now: time.Now(), IMDS: o.a.imdsStatus(),
		Events: o.a.eventList(), History: []control.DrainRecord{},
	}
	for _, r := range o.a.journal.History() {
		e.History = append(e.History, wireRecord(r))
	}
	return e
}

// Explain says why a check is what it is.
func (o *controlOps) Explain(name string) (control.Explanation, error) {
	x, ok := o.a.monitor.Explain(name)
	if !ok {
		return control.Explanation{}, o.unknownCheck(name)
	}
	e := control.Explanation{
		Version: control.Version, Now: time.Now(), Check: wireCheck(x.Check),
		IntervalSeconds: x.Interval.Seconds(), TimeoutSeconds: x.Timeout.Seconds(),
		FailAfter: x.FailAfter, PassAfter: x.PassAfter,
		DependsOn: append([]string{}, x.DependsOn...), Blocks: append([]string{}, x.Blocks...),
		Consecutive: x.Consecutive, NextRun: timeOrNil(x.NextRun), Results: []control.CheckResult{},
	}
	for _, r := range x.Results {
		e.Results = append(e.Results, wireResult(r))
	}
	return e, nil
}

// RunCheck runs one check now.
func (o *controlOps) RunCheck(ctx context.Context, name string) (control.CheckResult, error) {
	r, err := o.a.monitor.RunCheck(ctx, name)
	if errors.Is(err, health.ErrUnknownCheck) {
		return control.CheckResult{}, o.unknownCheck(name)
	}
	if err != nil {
		return control.CheckResult{}, err
	}
	return wireResult(r), nil
}

// ReportHeartbeat takes an application's word.
func (o *controlOps) ReportHeartbeat(name string, r control.HeartbeatRequest) (control.Accepted, error) {
	if len(r.Message) > maxHeartbeatMessage {
		return control.Accepted{}, badRequest("message: %d bytes, at most %d", len(r.Message), maxHeartbeatMessage)
	}
	h := o.a.sources.Load().byName[name]
	if h == nil {
		if _, ok := o.a.monitor.Explain(name); ok {
			return control.Accepted{}, conflict("an application reports for a check with heartbeat: {…}", "check %q is not of kind heartbeat", name)
		}
		return control.Accepted{}, o.unknownCheck(name)
	}
	h.Report(r.Passed, r.Message)
	return control.Accepted{Version: control.Version, Message: "reported"}, nil
}

func (o *controlOps) unknownCheck(name string) error {
	e := notFound("there is no check %q", name)
	e.Hint = "fleet-agent status -v lists the checks"
	return e
}

// Drain begins an operator's drain.
func (o *controlOps) Drain(ctx context.Context, by string, r control.DrainRequest) (control.Accepted, error) {
	return o.a.coordinator.Drain(ctx, by, r)
}

// Undrain ends it.
func (o *controlOps) Undrain(ctx context.Context, by string, r control.UndrainRequest) (control.Accepted, error) {
	return o.a.coordinator.Undrain(ctx, by, r)
}

// Maintenance begins or ends maintenance.
func (o *controlOps) Maintenance(ctx context.Context, by string, r control.MaintenanceRequest) (control.Accepted, error) {
	return o.a.coordinator.Maintenance(ctx, by, r)
}

// eventList is the last valid document with the agent's decisions; mine first.
func (a *Agent) eventList() []control.Event {
	list := []control.Event{}
	v := a.coordinator.view.Load()
	if v == nil {
		return list
	}
	for _, mine := range []bool{true, false} {
		for _, e := range v.events {
			if e.decision.Mine == mine {
				list = append(list, wireEvent(e))
			}
		}
	}
	return list
}

func wireEvent(e eventView) control.Event {
	action, reason := e.explain(time.Now())
	return control.Event{
		ID: e.event.ID, Type: e.event.Type, Status: e.event.Status, Source: e.event.Source,
		Description: e.event.Description, Resources: append([]string{}, e.event.Resources...),
		NotBefore: timeOrNil(e.event.NotBefore), DurationSeconds: e.event.DurationSeconds,
		Mine: e.decision.Mine, Action: string(action), Reason: reason, Ack: e.ack, AckReason: e.ackReason,
	}
}

// explain says what is done about the event, and why.
func (e eventView) explain(now time.Time) (scheduledevents.Action, string) {
	action, reason := e.decision.Action, e.decision.Reason
	switch {
	case e.dismissed:
		return scheduledevents.ActionIgnore, "dismissed: an operator said so, or this node was started by it"
	case action != scheduledevents.ActionIgnore && e.decision.ActAt.After(now):
		reason += ", from " + e.decision.ActAt.UTC().Format(time.RFC3339) + " on"
	case e.kept:
		reason += "; it is not over, so what was begun for it stays"
	}
	return action, reason
}

func (a *Agent) imdsStatus() control.IMDS {
	s := a.poller.Status()
	w := control.IMDS{
		State: string(s.State), Endpoint: a.client.Endpoint(),
		BlindSince: timeOrNil(s.BlindSince), LastSuccess: timeOrNil(s.LastSuccess),
		Unread: s.Oddities, ClockSkewSeconds: s.Skew.Round(time.Second).Seconds(),
	}
	if s.State != scheduledevents.StateOK && s.Err != nil {
		w.Class, w.Error = string(s.Class), s.Err.Error()
	}
	return w
}

func (a *Agent) node() control.Node {
	i := a.instance.Load()
	if i == nil {
		if v := a.coordinator.view.Load(); v != nil {
			return control.Node{Name: v.self} // from the journal
		}
		return control.Node{}
	}
	return control.Node{Name: i.Name, VMID: i.VMID, ScaleSet: i.ScaleSet, Zone: i.Zone, Priority: i.Priority, Image: i.Image}
}

func (a *Agent) maintenanceStatus() *control.Maintenance {
	m := a.journal.State().Maintenance
	if m == nil {
		return nil
	}
	return &control.Maintenance{Since: m.Since, Until: m.Until, Reason: m.Reason, By: m.By}
}

// warnings are what should be mended although the node serves.
func (a *Agent) warnings() []string {
	list := []string{}
	if err := a.journal.Degraded(); err != nil {
		list = append(list, fmt.Sprintf("the journal in %s cannot be written: %v; a crash of the machine in a drain would forget it", a.cfg.Config.StateDir, err))
	}
	if n := a.journal.Skipped(); n > 0 {
		list = append(list, fmt.Sprintf("the journal in %s was damaged: %d of its lines could not be read when the agent started, and are forgotten", a.cfg.Config.StateDir, n))
	}
	if reason := a.reload.Load(); reason != nil {
		list = append(list, "the last reload was refused, the old configuration goes on: "+*reason)
	}
	for _, field := range a.needsRestart() {
		list = append(list, "the change of "+field+" waits for a restart: systemctl restart fleet-agent")
	}
	if w := skewWarning(a.poller.Status().Skew); w != "" {
		list = append(list, w)
	}
	watches := []interface{ warning() string }{a.port, a.runDir}
	if a.certificate != nil {
		watches = append(watches, a.certificate)
	}
	if a.scrapes != nil {
		watches = append(watches, a.scrapes)
	}
	for _, w := range watches {
		if text := w.warning(); text != "" {
			list = append(list, text)
		}
	}
	if err := a.runner.UndrainError(); err != nil {
		list = append(list, "the last drain was not taken back completely: "+err.Error())
	}
	list = append(list, a.bus.warnings()...)
	list = append(list, a.sockets.warnings()...)
	list = append(list, probeWarnings(a.answers.Requests(), a.started, time.Now())...)
	for _, name := range a.live.stalled() {
		list = append(list, "the agent's "+name+" loop stands still")
	}
	return list
}

// maxSkew is how far this VM's clock may be off before status says so.
const maxSkew = 5 * time.Second

// skewWarning says that the clocks differ, and what that means for deadlines.
func skewWarning(ahead time.Duration) string {
	off := ahead.Abs().Round(time.Second)
	switch {
	case off <= maxSkew:
		return ""
	case ahead > 0:
		return fmt.Sprintf("this VM's clock is %s behind the metadata service's; deadlines of events are taken that much earlier: see timedatectl", off)
	default:
		return fmt.Sprintf("this VM's clock is %s ahead of the metadata service's, so that events seem to leave less time than they do: see timedatectl", off)
	}
}

func wireCheck(c health.CheckReport) control.Check {
	return control.Check{
		Name: c.Name, Kind: c.Kind, Status: string(c.Status), Since: c.Since, Error: c.Error,
		BlockedBy: c.BlockedBy, Severity: string(c.Severity), Gates: c.Gates.Names(), LatencyMS: milliseconds(c.Latency),
	}
}

func wireResult(r health.Result) control.CheckResult {
	return control.CheckResult{At: r.At, Passed: r.Passed(), Error: r.Error, LatencyMS: milliseconds(r.Latency)}
}

func wireCause(c drain.Cause) control.Cause {
	return control.Cause{Kind: string(c.Kind), EventID: c.EventID, EventType: c.EventType, By: c.By, Reason: c.Reason, Until: c.Until}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
