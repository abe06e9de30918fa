package roll

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

const (
	// notifyWithin bounds all tries to tell the webhook.
	notifyWithin = 45 * time.Second
	notifyTries  = 3
)

// A notice is what the webhook is told. Text is the whole of it in a sentence, for
// services that show nothing else.
type notice struct {
	Version int       `json:"version"` // of this document
	Text    string    `json:"text"`
	Fleet   string    `json:"fleet"`
	Image   string    `json:"image_version"`
	Event   string    `json:"event"`
	Why     string    `json:"why,omitempty"`
	At      time.Time `json:"at"`
}

// notify tells the webhook. Its URL is a secret, and in no error.
func notify(ctx context.Context, r *Runner, p *rollout.Plan, a *rollout.Action) rollout.Result {
	if r.Spec.Rollout == nil || r.Spec.Rollout.OnHalt.Notify == "" {
		return rollout.Result{Outcome: rollout.Denied, Text: "the file has no webhook any more"}
	}
	text := fmt.Sprintf("fleet %s, rollout of %s: %s", p.Fleet, p.Version, a.Name)
	if a.Why != "" && a.Why != p.Version {
		text += ": " + a.Why
	}
	body, err := json.Marshal(notice{
		Version: 1, Text: text, Fleet: p.Fleet, Image: p.Version, Event: a.Name, Why: a.Why, At: r.now().UTC(),
	})
	if err != nil {
		return rollout.Result{Outcome: rollout.Errored, Text: err.Error()}
	}
	for try := 1; ; try++ {
		again, err := r.post(ctx, r.Spec.Rollout.OnHalt.Notify, body)
		if err == nil {
			return rollout.Result{Outcome: rollout.Done}
		}
		if !again || try == notifyTries || r.Wait(ctx, time.Duration(try)*time.Second) != nil {
			return rollout.Result{Outcome: rollout.Errored, Text: line("the webhook was not told: " + err.Error())}
		}
	}
}

// post sends one notice, and says whether another try makes sense.
func (r *Runner) post(ctx context.Context, address string, body []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("its URL is none")
	}
	req.Header.Set("Content-Type", "application/json")
	_, status, err := r.exchange(req)
	switch {
	case err != nil:
		return true, err
	case status/100 == 2:
		return false, nil
	}
	return status == http.StatusTooManyRequests || status >= 500, fmt.Errorf("it answered %d %s", status, http.StatusText(status))
}
