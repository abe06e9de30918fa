package arm

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/blob"
)

// A resource is what the store holds under one id.
type resource struct {
	ID   string `json:"id"`   // as it was first written, with the words that are fixed in Azure's spelling
	Type string `json:"type"` // in the kind's spelling
	// Body is what was put, completed by the kind. View makes the answer of it.
	Body object `json:"body"`
	// Hidden is what only the simulator knows: no answer has it.
	Hidden  object    `json:"hidden,omitempty"`
	ETag    string    `json:"etag"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed"`
	// Busy is the id of the operation that provisions the resource, or "".
	Busy string `json:"busy,omitempty"`
	// Disk is the OS disk that a member of a scale set has now (see disks.go).
	Disk *Disk `json:"disk,omitempty"`
}

// name is the last segment of the id.
func (r *resource) name() string { return r.ID[strings.LastIndexByte(r.ID, '/')+1:] }

// state is the provisioning state.
func (r *resource) state() string { return str(r.Body, "properties.provisioningState") }

// A due is something that happens later: the named transition of a kind.
type due struct {
	At   time.Time `json:"at"`
	Seq  int64     `json:"seq"` // orders what is due at the same instant
	Kind string    `json:"kind"`
	ID   string    `json:"id"` // of the resource or the operation
	Name string    `json:"name"`
	Args object    `json:"args,omitempty"`
}

// agenda is a heap of what is due, the earliest first.
type agenda []due

// Len, Less, Swap, Push and Pop are those of heap.Interface.
func (a agenda) Len() int { return len(a) }

func (a agenda) Less(i, j int) bool {
	return cmp.Or(a[i].At.Compare(a[j].At), cmp.Compare(a[i].Seq, a[j].Seq)) < 0
}

func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }

// Push adds a due.
func (a *agenda) Push(x any) { *a = append(*a, x.(due)) }

// Pop takes the last one.
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// A store is everything that the simulation knows: its JSON is the whole of it.
type store struct {
	Seq        int64                 `json:"seq"` // of etags, operations and dues
	Resources  map[string]*resource  `json:"resources"`
	Operations map[string]*operation `json:"operations"`
	Agenda     agenda                `json:"agenda"`
	// Blobs are those of storage accounts, by an id of their own.
	Blobs map[string]*blob.Account `json:"blobs,omitempty"`
	// Events are the activity log, the oldest first.
	Events []event `json:"events,omitempty"`
	// Disks are those that members of scale sets had, the first that went first.
	Disks []Disk `json:"disks,omitempty"`

	keys []string // of Resources, in order
}

func newStore() *store {
	return &store{Resources: map[string]*resource{}, Operations: map[string]*operation{}}
}

// index makes the order of the keys anew, after the store was read from a file.
func (s *store) index() { s.keys = slices.Sorted(maps.Keys(s.Resources)) }

// set puts a resource, or takes it away when r is nil.
func (s *store) set(k string, r *resource) {
	i, found := slices.BinarySearch(s.keys, k)
	switch {
	case r == nil && found:
		s.keys = slices.Delete(s.keys, i, i+1)
	case r != nil && !found:
		s.keys = slices.Insert(s.keys, i, k)
	}
	if r == nil {
		delete(s.Resources, k)
		return
	}
	s.Resources[k] = r
}

func (s *store) next() int64 {
	s.Seq++
	return s.Seq
}

// within returns the resources below a scope, in the order of their ids. An empty
// type means all types.
func (s *store) within(scope, typ string) []*resource {
	prefix := key(scope) + "/"
	start, _ := slices.BinarySearch(s.keys, prefix)
	var found []*resource
	for _, k := range s.keys[start:] {
		if !strings.HasPrefix(k, prefix) {
			break
		}
		if r := s.Resources[k]; typ == "" || strings.EqualFold(r.Type, typ) {
			found = append(found, r)
		}
	}
	return found
}

// upcoming is the earliest entry that is due by now, which is taken out.
func (s *store) upcoming(now time.Time) (due, bool) {
	if len(s.Agenda) == 0 || s.Agenda[0].At.After(now) {
		return due{}, false
	}
	return heap.Pop(&s.Agenda).(due), true
}

// maxOperations is how many operations are kept before those are forgotten that ended
// longer than operationLife ago.
const (
	maxOperations = 10_000
	operationLife = 24 * time.Hour
)

// forget drops operations that nobody will ask for any more.
func (s *store) forget(now time.Time) {
	if len(s.Operations) < maxOperations {
		return
	}
	maps.DeleteFunc(s.Operations, func(_ string, o *operation) bool {
		return o.Status != statusInProgress && now.Sub(o.End) > operationLife
	})
}
