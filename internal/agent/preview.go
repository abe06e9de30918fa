package agent

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
)

// usualNotice is the shortest notice that Azure promises for each type of event
// (Scheduled Events documentation; for Terminate the least that can be set).
// For a Preempt it is best effort.
var usualNotice = map[string]time.Duration{
	"Freeze":    15 * time.Minute,
	"Reboot":    15 * time.Minute,
	"Redeploy":  10 * time.Minute,
	"Preempt":   30 * time.Second,
	"Terminate": 5 * time.Minute,
}

// eventReserve is what is kept free before NotBefore when an event leaves so much
// time (docs/adr/0011-short-notices.md).
func eventReserve(reserve, left time.Duration) time.Duration { return min(reserve, left/2) }

// A PreviewRequest names an event that has not happened.
type PreviewRequest struct {
	Event string // its type, in any letter case
	// Notice is the time to its NotBefore, 0 for an event that has started;
	// without HasNotice it is the shortest that Azure promises for the type.
	Notice    time.Duration
	HasNotice bool
}

// Preview tells what the configuration would do about an event: which steps,
// for how long, and what would be left out. It does none of it.
func Preview(conf *config.Config, req PreviewRequest) (control.PlanPreview, error) {
	name, rule, err := eventRule(conf, req.Event)
	if err != nil {
		return control.PlanPreview{}, err
	}
	if req.HasNotice && req.Notice < 0 {
		return control.PlanPreview{}, fmt.Errorf("plan a drain: notice %s is negative", req.Notice)
	}
	plan, err := buildPlan(conf, planContext{runDir: conf.RunDir})
	if err != nil {
		return control.PlanPreview{}, err
	}
	out := control.PlanPreview{Version: control.Version, Event: name, Action: rule.Action, Ack: rule.Ack, Steps: []control.PlannedStep{}}
	notice, bounded := req.Notice, req.HasNotice
	if !bounded {
		notice, bounded = usualNotice[name]
	}
	if bounded {
		out.NoticeSeconds = new(notice.Seconds())
	}
	settle, available := conf.Drain.Settle.D(), time.Duration(0)
	switch {
	case !bounded:
	case notice == 0: // as for an event that has started
		settle, bounded = 0, false
	default:
		available = notice - eventReserve(conf.Drain.Reserve.D(), notice)
		out.AvailableSeconds = new(available.Seconds())
	}
	schedule := plan.FitAfter(settle, available, !bounded)
	out.SettleSeconds, out.Enough = schedule.Settle.Seconds(), schedule.Enough
	for _, s := range schedule.Steps {
		out.Steps = append(out.Steps, plannedStep(s))
	}
	return out, nil
}

func plannedStep(s drain.Scheduled) control.PlannedStep {
	return control.PlannedStep{
		Name: s.Name, Kind: s.Kind, Optional: s.Optional, Shed: s.Shed, Why: s.Why,
		OffsetSeconds: s.Offset.Seconds(), LimitSeconds: s.Budget.Seconds(),
		MinSeconds: s.Min.Seconds(), MaxSeconds: s.Max.Seconds(),
	}
}

// eventRule finds the policy for a type of event in any letter case.
func eventRule(conf *config.Config, event string) (string, config.EventPolicy, error) {
	for name, rule := range conf.ScheduledEvents.Events {
		if strings.EqualFold(name, event) {
			return name, rule, nil
		}
	}
	known := slices.Sorted(maps.Keys(conf.ScheduledEvents.Events))
	return "", config.EventPolicy{}, fmt.Errorf("plan a drain: unknown event type %q, want one of %s", event, strings.Join(known, ", "))
}
