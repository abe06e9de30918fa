package main

import (
	"fmt"
	"net/http"
	"time"
)

// The bounds of the model, generous because the machine may be busy: how quick an
// agent is in quiet is measured elsewhere.
const (
	seenWithin = 4 * time.Second  // from the publication of an event to not ready
	backWithin = 10 * time.Second // from the end of the last one to ready
	ackWithin  = 15 * time.Second // from its publication to its ack
)

// A happening is an event of this machine for which it has to drain.
type happening struct {
	id        string
	published time.Time
	acked     time.Time // zero: it was not, yet
	gone      time.Time // just before it was made to vanish; zero: it is there
}

// A probe is one request and its answer.
type probe struct {
	path         string
	begun, ended time.Time
	code         int    // 0: there was no answer
	err          string // why not
}

// judge says what is wrong with an answer, once all that happened is known; empty:
// nothing.
func judge(p probe, happened []happening) string {
	switch {
	case p.err != "":
		return "no answer: " + p.err
	case p.path != readyz && p.code != http.StatusOK:
		return fmt.Sprintf("%d although all checks pass", p.code)
	case p.path != readyz:
		return ""
	}
	owed, quiet := "", true // why it has to be unready; whether nothing lets it be
	for _, h := range happened {
		during := h.gone.IsZero() || p.ended.Before(h.gone)
		switch {
		case during && !h.acked.IsZero() && h.acked.Before(p.begun):
			owed = h.id + ", which is acked"
		case during && h.published.Add(seenWithin).Before(p.begun):
			owed = h.id
		}
		if h.published.Before(p.ended) && (h.gone.IsZero() || h.gone.Add(backWithin).After(p.begun)) {
			quiet = false
		}
	}
	switch {
	case p.code == http.StatusOK && owed != "":
		return "ready in spite of " + owed
	case p.code == http.StatusServiceUnavailable && quiet:
		return "not ready, and nothing says why"
	case p.code != http.StatusOK && p.code != http.StatusServiceUnavailable:
		return fmt.Sprintf("%d, which is no answer of %s", p.code, readyz)
	}
	return ""
}

// judgeAck says what is wrong with a happening at its end, or later; empty: nothing.
func (h happening) judgeAck(accepted int) string {
	switch {
	case accepted > 1:
		return fmt.Sprintf("event %s was acked %d times", h.id, accepted)
	case h.acked.IsZero():
		return fmt.Sprintf("event %s was not acked within %s", h.id, ackWithin)
	}
	return ""
}
