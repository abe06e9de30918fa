package agent

import (
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
)

// drainStatus is the drain in effect, or nil.
func (a *Agent) drainStatus() *control.Drain {
	s := a.runner.Status()
	if s.Phase == drain.PhaseNone {
		return nil
	}
	d := &control.Drain{
		ID: s.DrainID, Phase: string(s.Phase), Joined: []control.Cause{}, Steps: []control.Step{},
		StartedAt: s.StartedAt, EndedAt: timeOrNil(s.EndedAt), Deadline: timeOrNil(s.Deadline),
		Error: s.Error, Resumed: s.Resumed, Starting: s.Starting,
	}
	for i, c := range s.Causes {
		if i == 0 {
			d.Cause = wireCause(c)
			continue
		}
		d.Joined = append(d.Joined, wireCause(c))
	}
	for _, p := range s.Steps {
		d.Steps = append(d.Steps, control.Step{
			Name: p.Name, Kind: p.Kind, Status: string(p.Status), Optional: p.Optional,
			ElapsedSeconds: p.Elapsed.Seconds(), LimitSeconds: p.Limit.Seconds(), Error: p.Error,
		})
	}
	return d
}

// wireRecord is one drain of the past.
func wireRecord(r drain.Record) control.DrainRecord {
	w := control.DrainRecord{
		ID: r.ID, Causes: []control.Cause{}, Steps: []control.Step{},
		StartedAt: r.StartedAt, EndedAt: timeOrNil(r.EndedAt), Result: string(r.Result), Error: r.Error, Ack: wireAck(r.Ack),
	}
	if !r.EndedAt.IsZero() {
		w.DurationSeconds = r.EndedAt.Sub(r.StartedAt).Seconds()
	}
	if !r.NotBefore.IsZero() {
		w.NoticeSeconds = r.NotBefore.Sub(r.StartedAt).Seconds()
	}
	for _, c := range r.Causes {
		w.Causes = append(w.Causes, wireCause(c))
	}
	for _, s := range r.Steps {
		step := control.Step{Name: s.Name, Kind: s.Kind, Status: string(s.Status), LimitSeconds: s.Limit.Seconds(), Error: s.Error}
		if !s.StartedAt.IsZero() && !s.EndedAt.IsZero() {
			step.ElapsedSeconds = s.EndedAt.Sub(s.StartedAt).Seconds()
		}
		w.Steps = append(w.Steps, step)
	}
	return w
}

func wireAck(k drain.EntryKind) string {
	switch k {
	case drain.Acked:
		return ackAccepted
	case drain.AckFailed:
		return ackFailed
	case drain.AckIntended:
		return ackSending
	default:
		return ""
	}
}
