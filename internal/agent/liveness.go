package agent

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// liveness tells whether the agent's own loops make progress. The watchdog and
// /livez read it; a hung probe or a silent metadata service does not make a
// loop stand still, a deadlock does.
type liveness struct {
	mu    sync.Mutex
	loops []*loop
}

type loop struct {
	name  string
	limit time.Duration
	epoch time.Time
	// last is the time of the last beat, in nanoseconds since epoch; negative
	// when the loop is not running.
	last atomic.Int64
}

// loop registers a loop that promises a beat at least every limit. The loop is
// judged from its first beat on.
func (l *liveness) loop(name string, limit time.Duration) *loop {
	p := &loop{name: name, limit: limit, epoch: time.Now()}
	p.last.Store(-1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loops = append(l.loops, p)
	return p
}

// beat says that the loop has made progress. It is safe for concurrent use.
func (p *loop) beat() { p.last.Store(int64(time.Since(p.epoch))) }

// end says that the loop has ended by design and is no longer judged.
func (p *loop) end() { p.last.Store(-1) }

// stalled names the loops whose last beat is older than their limit.
func (l *liveness) stalled() []string {
	l.mu.Lock()
	loops := slices.Clone(l.loops)
	l.mu.Unlock()
	var names []string
	for _, p := range loops {
		last := p.last.Load()
		if last >= 0 && time.Since(p.epoch)-time.Duration(last) > p.limit {
			names = append(names, p.name)
		}
	}
	return names
}

// alive reports whether every loop makes progress. It is cheap enough for a
// request path.
func (l *liveness) alive() bool { return len(l.stalled()) == 0 }
