package agent

import (
	"os"
	"os/user"
	"strconv"
	"sync"
	"time"
)

const (
	// lookupBound is how long anybody waits for a look-up of a user or a group, and
	// maxLookups how many may hang at once.
	lookupBound = time.Second
	maxLookups  = 8
)

// accounts knows users and groups by name and number. A look-up may hang, with the
// disk that has the files: nobody waits longer than lookupBound, and what was known
// last counts on. It is safe for concurrent use.
type accounts struct {
	owner uint32 // whom the agent runs as
	// The system's look-ups, or a test's.
	groupID  func(name string) (gid uint32, ok bool)
	userName func(uid string) (name string, ok bool)
	slots    chan struct{}

	mu    sync.Mutex
	known map[string]uint32 // groups, as last looked up
}

func newAccounts() *accounts {
	return &accounts{
		owner: uint32(os.Geteuid()), groupID: lookUpGroup, userName: lookUpUser,
		slots: make(chan struct{}, maxLookups), known: map[string]uint32{},
	}
}

// group returns the number of a group; ok is false where it does not exist. It is
// looked up on every call, for a group may be made after the agent started.
func (a *accounts) group(name string) (gid uint32, ok bool) {
	type answer struct {
		gid uint32
		ok  bool
	}
	got, answered := bounded(a.slots, func() answer {
		gid, ok := a.groupID(name)
		return answer{gid, ok}
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	if !answered {
		gid, ok = a.known[name]
		return gid, ok
	}
	if got.ok {
		a.known[name] = got.gid
	} else {
		delete(a.known, name)
	}
	return got.gid, got.ok
}

// privileged reports whether the peer may change the node, by what is known: it
// looks up nothing.
func (a *accounts) privileged(p peer) bool {
	return accessOf(p, a.owner, func(name string) (uint32, bool) {
		a.mu.Lock()
		defer a.mu.Unlock()
		gid, ok := a.known[name]
		return gid, ok
	}) == change
}

// describe names the peer for logs and for the cause of a drain.
func (a *accounts) describe(p peer) string {
	uid := strconv.FormatUint(uint64(p.uid), 10)
	name, answered := bounded(a.slots, func() string {
		name, _ := a.userName(uid)
		return name
	})
	if !answered || name == "" {
		return "uid " + uid
	}
	return "uid " + uid + " (" + name + ")"
}

// bounded calls f when there is a slot for it, and waits lookupBound in all. A call
// that hangs cannot be ended: it keeps its slot.
func bounded[T any](slots chan struct{}, f func() T) (result T, answered bool) {
	timer := time.NewTimer(lookupBound)
	defer timer.Stop()
	select {
	case slots <- struct{}{}:
	case <-timer.C:
		return result, false
	}
	done := make(chan T, 1)
	go func() {
		defer func() { <-slots }()
		done <- f()
	}()
	select {
	case result = <-done:
		return result, true
	case <-timer.C:
		return result, false
	}
}

func lookUpGroup(name string) (gid uint32, ok bool) {
	g, err := user.LookupGroup(name)
	if err != nil {
		return 0, false
	}
	id, err := strconv.ParseUint(g.Gid, 10, 32)
	return uint32(id), err == nil
}

func lookUpUser(uid string) (name string, ok bool) {
	u, err := user.LookupId(uid)
	if err != nil {
		return "", false
	}
	return u.Username, true
}
