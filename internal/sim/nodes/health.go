package nodes

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// The states of health, as Azure names them. A version 1.0 of the extension knows the
// second and the third only.
const (
	initializing = "Initializing"
	healthy      = "Healthy"
	unhealthy    = "Unhealthy"
	unknown      = "Unknown"
)

// An Answer is what a machine answers to a probe.
type Answer struct {
	Status int // of HTTP; 0 of a TCP connection that was made
	Body   []byte
}

// An extension is the Application Health extension on one machine, as its version 1 or 2
// behaves: how answers become a state. Since the start it was configured once.
type extension struct {
	settings arm.HealthExtension
	started  time.Time
	inGrace  bool   // version 2 only
	state    string // what is reported; "" before the first report
	seen     string // what the last probes found
	times    int    // how many of them in a row
}

func newExtension(settings arm.HealthExtension, now time.Time) *extension {
	e := &extension{settings: settings, started: now}
	switch {
	case settings.Protocol == "":
		e.state = healthy // nothing is asked for, ever
	case settings.Rich:
		e.state, e.inGrace = initializing, true
	}
	return e
}

// probes says whether the extension asks at all.
func (e *extension) probes() bool { return e.settings.Protocol != "" }

// observe takes what a probe found, and returns the state to report; "" is none.
func (e *extension) observe(now time.Time, a Answer, err error) string {
	found := e.judge(a, err)
	if found != e.seen {
		e.seen, e.times = found, 0
	}
	e.times++
	switch {
	case e.inGrace && now.Sub(e.started) >= e.settings.Grace:
		// The probe at the end of the grace period is not heard.
		e.inGrace, e.state = false, unknown
		if e.settings.Protocol == "tcp" {
			e.state = unhealthy
		}
		e.seen, e.times = "", 0
	case e.inGrace:
		if found != unknown && e.times >= e.settings.Probes {
			e.inGrace, e.state = false, found
		}
	case !e.settings.Rich && e.state == "" && found == healthy, e.times >= e.settings.Probes:
		e.state = found
	}
	return e.state
}

// judge is the state that one answer stands for.
func (e *extension) judge(a Answer, err error) string {
	switch {
	case e.settings.Protocol == "tcp":
		if err != nil {
			return unhealthy
		}
		return healthy
	case !e.settings.Rich:
		if err != nil || a.Status != 200 {
			return unhealthy
		}
		return healthy
	case err != nil || a.Status < 200 || a.Status > 299:
		return unknown
	}
	var body struct {
		State   string `json:"applicationHealthState"`
		Metrics string `json:"customMetrics"`
	}
	dec := json.NewDecoder(bytes.NewReader(a.Body))
	if dec.Decode(&body) != nil {
		return unknown
	}
	if _, more := dec.Token(); !errors.Is(more, io.EOF) {
		return unknown
	}
	if body.State != healthy && body.State != unhealthy {
		return unknown
	}
	return body.State
}
