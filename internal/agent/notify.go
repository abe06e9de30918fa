package agent

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/drain"
)

const (
	// notifyBound is how long a notification is tried, notifyStop what is left
	// of that when the agent stops.
	notifyBound = 30 * time.Second
	notifyStop  = 2 * time.Second
	// maxNotifications bounds how many are under way at once; more are dropped.
	maxNotifications = 32
)

// The moments that somebody can be notified of, as the configuration names them.
const (
	drainStarted  = "drain-started"
	drainFinished = "drain-finished"
	drainFailed   = "drain-failed"
)

// A notification is the body of a POST.
type notification struct {
	Version int           `json:"version"` // 1
	Kind    string        `json:"kind"`
	Time    time.Time     `json:"time"`
	Node    control.Node  `json:"node"`
	Drain   control.Drain `json:"drain"`
}

// A herald tells webhooks of the drains of this node: when one begins, when it
// has ended, when it has failed. It is beside the drain, never in its way. What
// happens is told at most once: a drain that is taken up again after a restart
// is not announced again, and one whose agent is killed between its end and the
// POST is not told of.
type herald struct {
	hooks  func() []config.Webhook
	drain  func() *control.Drain
	change func() <-chan struct{}
	node   func() control.Node
	total  *prometheus.CounterVec
	logger *slog.Logger
	last   *control.Drain // what was told of; at first what the journal had in effect
}

func newHerald(a *Agent) *herald {
	h := &herald{
		hooks:  func() []config.Webhook { return a.conf.Load().Notify },
		drain:  a.drainStatus,
		change: a.runner.Changed,
		node:   a.node,
		logger: a.logger,
		last:   a.drainStatus(),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_agent_notifications_total",
			Help: "Notifications of webhooks, by result.",
		}, []string{"result"}),
	}
	for _, result := range []string{"sent", "failed", "dropped"} {
		h.total.WithLabelValues(result)
	}
	a.registry.MustRegister(h.total)
	return h
}

// Run tells until ctx is done; what is under way then has a little time left.
func (h *herald) Run(ctx context.Context) error {
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	var posts sync.WaitGroup
	slots := make(chan struct{}, maxNotifications)

	for ended := false; ; {
		changed := h.change()
		now := h.drain()
		for _, kind := range moments(h.last, now) {
			n := notification{Version: 1, Kind: kind, Time: time.Now().UTC(), Node: h.node(), Drain: *now}
			for _, hook := range h.hooks() {
				if !slices.Contains(hook.On, kind) {
					continue
				}
				select {
				case slots <- struct{}{}:
				default:
					h.total.WithLabelValues("dropped").Inc()
					h.logger.Warn("notification dropped, too many are under way", "kind", kind)
					continue
				}
				posts.Go(func() {
					defer func() { <-slots }()
					h.post(sending, hook, n)
				})
			}
		}
		h.last = now
		if ended {
			defer time.AfterFunc(notifyStop, stopSending).Stop()
			posts.Wait()
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			ended = true // after one more look: what has just ended is told, too
		}
	}
}

// moments names what has happened between two looks at the drain.
func moments(last, now *control.Drain) []string {
	if now == nil {
		return nil
	}
	known := last != nil && last.ID == now.ID
	var kinds []string
	if !known && !now.Resumed {
		kinds = append(kinds, drainStarted)
	}
	phase := drain.Phase(now.Phase)
	if known && last.Phase == now.Phase {
		return kinds
	}
	switch phase {
	case drain.PhaseFinished:
		kinds = append(kinds, drainFinished)
	case drain.PhaseFailed:
		if now.Error != "" { // else it was cancelled
			kinds = append(kinds, drainFailed)
		}
	case drain.PhaseNone, drain.PhaseSettling, drain.PhaseRunning, drain.PhaseUndraining:
	}
	return kinds
}

// post sends one notification. Errors name scheme and host of the URL only.
func (h *herald) post(ctx context.Context, to config.Webhook, n notification) {
	hook, err := drain.NewWebhook(drain.WebhookConfig{URL: to.URL, Headers: to.Headers})
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, notifyBound)
		defer cancel()
		err = hook.Post(ctx, n)
	}
	if err != nil {
		h.total.WithLabelValues("failed").Inc()
		h.logger.Warn("notification not sent", "kind", n.Kind, "drain_id", n.Drain.ID, "err", fmt.Errorf("notify: %w", err))
		return
	}
	h.total.WithLabelValues("sent").Inc()
	h.logger.Info("notification sent", "kind", n.Kind, "drain_id", n.Drain.ID)
}
