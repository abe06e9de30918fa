package arm

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
)

// A txn is what a kind's function works with: the store at one instant. What it
// changed is undone when the function returns an error.
type txn struct {
	now    time.Time
	server *Server
	store  *store
	by     string   // who asks: a client, autoscale, or "" for the platform
	undo   []func() // in the order of the changes
}

// rollback takes back every change.
func (tx *txn) rollback() {
	for _, back := range slices.Backward(tx.undo) {
		back()
	}
	tx.undo = nil
}

// changed says whether the transaction changed anything.
func (tx *txn) changed() bool { return len(tx.undo) > 0 }

// get returns the resource with an id, or nil. It must not be changed: see edit.
func (tx *txn) get(id string) *resource { return tx.store.Resources[key(id)] }

// put stores a resource under its id, with a new ETag.
func (tx *txn) put(r resource) *resource {
	k := key(r.ID)
	old := tx.store.Resources[k]
	tx.undo = append(tx.undo, func() { tx.store.set(k, old) })
	if old != nil {
		r.Created, r.Disk = old.Created, old.Disk
	} else if r.Created.IsZero() {
		r.Created = tx.now
	}
	r.Changed = tx.now
	r.ETag = `"` + strconv.FormatInt(tx.store.next(), 10) + `"`
	tx.noteDisk(&r)
	tx.store.set(k, &r)
	return &r
}

// edit changes a copy of a resource and puts it. It returns nil when there is no
// such resource.
func (tx *txn) edit(id string, change func(r *resource)) *resource {
	old := tx.get(id)
	if old == nil {
		return nil
	}
	r := *old
	r.Body, r.Hidden = clone(old.Body), clone(old.Hidden)
	change(&r)
	return tx.put(r)
}

// editHidden changes a copy of what only the simulator knows of a resource. The ETag
// stays as it is, for no client sees a difference of its own making.
func (tx *txn) editHidden(id string, change func(hidden object)) {
	old := tx.get(id)
	if old == nil {
		return
	}
	r := *old
	r.Hidden = clone(old.Hidden)
	if r.Hidden == nil {
		r.Hidden = object{}
	}
	change(r.Hidden)
	tx.noteDisk(&r)
	k := key(id)
	tx.store.set(k, &r)
	tx.undo = append(tx.undo, func() { tx.store.set(k, old) })
}

// delete removes a resource and everything below it.
func (tx *txn) delete(id string) {
	gone := tx.store.within(id, "")
	if r := tx.get(id); r != nil {
		gone = append(gone, r)
	}
	for _, r := range gone {
		tx.store.set(key(r.ID), nil)
		tx.endDisk(r.Disk)
	}
	tx.undo = append(tx.undo, func() {
		for _, r := range gone {
			tx.store.set(key(r.ID), r)
		}
	})
}

// list returns the resources of a type below a scope, by id.
func (tx *txn) list(typ, scope string) []*resource { return tx.store.within(scope, typ) }

// schedule lets a transition of a kind happen later: at now or before means at the
// end of this request.
func (tx *txn) schedule(at time.Time, kind, id, name string, args object) {
	d := due{At: at, Seq: tx.store.next(), Kind: kind, ID: id, Name: name, Args: args}
	heap.Push(&tx.store.Agenda, d)
	tx.undo = append(tx.undo, func() {
		tx.store.Agenda = slices.DeleteFunc(tx.store.Agenda, func(e due) bool { return e.Seq == d.Seq })
		heap.Init(&tx.store.Agenda)
	})
}

// unschedule takes back what was scheduled for a resource under a name.
func (tx *txn) unschedule(id, name string) {
	var gone []due
	tx.store.Agenda = slices.DeleteFunc(tx.store.Agenda, func(e due) bool {
		if key(e.ID) != key(id) || e.Name != name {
			return false
		}
		gone = append(gone, e)
		return true
	})
	heap.Init(&tx.store.Agenda)
	tx.undo = append(tx.undo, func() {
		tx.store.Agenda = append(tx.store.Agenda, gone...)
		heap.Init(&tx.store.Agenda)
	})
}

// start begins a long-running operation on a resource. It ends by itself after a
// time, by the transition end of its kind, or, when takes is negative, when finish
// is called.
func (tx *txn) start(o operation, takes time.Duration) *operation {
	o.ID = guid("operation", strconv.FormatInt(tx.store.next(), 10))
	o.Status, o.Start = statusInProgress, tx.now
	if takes >= 0 {
		o.Due = tx.now.Add(takes)
	}
	tx.store.Operations[o.ID] = &o
	tx.undo = append(tx.undo, func() { delete(tx.store.Operations, o.ID) })
	if takes >= 0 {
		tx.schedule(o.Due, operationKind, o.ID, "end", nil)
	}
	return &o
}

// finish ends an operation, with an error when it failed. An operation that has
// ended stays as it is.
func (tx *txn) finish(id string, err *armError) {
	status := statusSucceeded
	if err != nil {
		status = statusFailed
	}
	tx.conclude(id, status, err)
}

// cancel ends an operation that another one takes the place of.
func (tx *txn) cancel(id string, err *armError) { tx.conclude(id, statusCanceled, err) }

func (tx *txn) conclude(id, status string, err *armError) {
	old := tx.store.Operations[id]
	if old == nil || old.Status != statusInProgress {
		return
	}
	o := *old
	o.End, o.Status, o.Error = tx.now, status, err
	tx.store.Operations[id] = &o
	tx.undo = append(tx.undo, func() { tx.store.Operations[id] = old })
	tx.noteEnd(&o)
	tx.settleResource(&o)
}

// update changes a copy of an operation that is under way.
func (tx *txn) update(id string, change func(o *operation)) {
	old := tx.store.Operations[id]
	if old == nil {
		return
	}
	o := *old
	o.Args = maps.Clone(old.Args)
	change(&o)
	tx.store.Operations[id] = &o
	tx.undo = append(tx.undo, func() { tx.store.Operations[id] = old })
}

// guid makes an id from words: the same words make the same id.
func guid(words ...string) string {
	h := sha256.Sum256(fmt.Append(nil, words))
	x := hex.EncodeToString(h[:16])
	return x[:8] + "-" + x[8:12] + "-4" + x[13:16] + "-a" + x[17:20] + "-" + x[20:]
}
