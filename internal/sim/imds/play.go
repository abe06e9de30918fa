package imds

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Play makes the steps of a scenario happen, each when its time has come, and
// returns when the last one has or when ctx is done. Times are those of the
// file divided by the server's speed. A step that has become impossible, such
// as the cancelling of an event that has started, is reported and left out.
func (s *Server) Play(ctx context.Context, sc *Scenario) error {
	begin := time.Now()
	ids := map[string]string{} // name in the file to event id
	for i, step := range sc.steps {
		if step.At != nil && !s.pause(ctx, begin.Add(s.span(time.Duration(*step.At)))) {
			return nil
		}
		if step.When.what != "" {
			var met, possible bool
			decided := s.await(ctx, func() bool {
				met, possible = s.meets(step.When, ids)
				return met || !possible
			})
			if !decided {
				return nil
			}
			if !met {
				s.log.Warn("scenario step left out", "step", i+1, "err", "its event vanished without having been "+step.When.what)
				continue
			}
		}
		if step.After > 0 && !s.pause(ctx, time.Now().Add(s.span(time.Duration(step.After)))) {
			return nil
		}
		if err := s.perform(step, ids); errors.Is(err, ErrTransition) {
			s.log.Warn("scenario step left out", "step", i+1, "err", err)
		} else if err != nil {
			return fmt.Errorf("play step %d of scenario %s: %w", i+1, sc.Name, err)
		}
	}
	s.log.Info("scenario finished", "scenario", sc.Name)
	return nil
}

// pause waits until t and reports whether it got there before ctx ended.
func (s *Server) pause(ctx context.Context, t time.Time) bool {
	return sleep(ctx, time.Until(t)) && ctx.Err() == nil
}

// meets reports whether a condition is met, and whether it still can be.
func (s *Server) meets(c condition, ids map[string]string) (met, possible bool) {
	e, ok := s.Event(ids[c.event])
	vanished := e.Status == Completed || e.Status == Cancelled
	switch {
	case !ok:
		return false, false // forgotten long ago
	case c.what == "acked":
		return e.Acks > 0, !vanished
	case c.what == "started":
		return !e.StartedAt.IsZero(), !vanished
	default:
		return vanished, true
	}
}

func (s *Server) perform(step scenarioStep, ids map[string]string) error {
	switch {
	case step.Publish != nil:
		spec := step.Publish.spec()
		spec.ID = ""
		ids[step.Publish.ID] = s.Publish(spec)
		return nil
	case step.Start != "":
		return s.Start(ids[step.Start])
	case step.Complete != "":
		return s.Complete(ids[step.Complete])
	case step.Cancel != "":
		return s.Cancel(ids[step.Cancel])
	case step.Fault != nil:
		return s.SetFault(step.Fault.fault())
	case step.ClearFaults:
		s.ClearFaults()
		return nil
	case step.ResetIncarnation != nil:
		s.ResetIncarnation(*step.ResetIncarnation)
		return nil
	default:
		s.SetInstance(step.SetInstance.VM, step.SetInstance.Instance)
		return nil
	}
}
