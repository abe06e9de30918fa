package arm

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// A Disk is an OS disk of a member of a scale set: which version of its image a member
// has, or had, from when to when. It is what really was there, whatever answers to
// clients say.
type Disk struct {
	Set     string    `json:"set"`    // resource id
	Member  string    `json:"member"` // name
	VMID    string    `json:"vm_id"`  // another one when a name is used again
	Version string    `json:"version"`
	From    time.Time `json:"from"`
	Ran     time.Time `json:"ran,omitzero"`   // when the member first ran from it; zero: never
	Until   time.Time `json:"until,omitzero"` // zero: it is there
}

// maxDisks bounds the disks that are remembered after they went; the oldest half goes
// first.
const maxDisks = 100_000

// Disks returns the disks that members of scale sets have and had, the oldest first.
func (s *Server) Disks() ([]Disk, error) {
	var all []Disk
	err := s.within(func(tx *txn) error {
		all = slices.Clone(tx.store.Disks)
		for _, r := range tx.list(vmType, "/subscriptions/"+s.cfg.Subscription) {
			if r.Disk != nil {
				all = append(all, *r.Disk)
			}
		}
		return nil
	})
	slices.SortStableFunc(all, func(a, b Disk) int {
		return cmp.Or(a.From.Compare(b.From), strings.Compare(a.Set, b.Set), strings.Compare(a.Member, b.Member))
	})
	return all, err
}

// noteDisk keeps the record of a machine's disk, before a change of the machine is
// stored. A change to the same version is no other disk here.
func (tx *txn) noteDisk(r *resource) {
	if r.Type != vmType || setOf(r) == "" {
		return
	}
	version := str(r.Body, "properties.storageProfile.imageReference.exactVersion")
	if version == "" {
		return
	}
	running := str(r.Hidden, "power") == "running"
	is, vmID := r.Disk, str(r.Body, "properties.vmId")
	if is != nil && is.Version == version && is.VMID == vmID && (!running || !is.Ran.IsZero()) {
		return
	}
	if is == nil || is.Version != version || is.VMID != vmID {
		tx.endDisk(is)
		is = &Disk{Set: setOf(r), Member: r.name(), VMID: vmID, Version: version, From: tx.now}
	}
	d := *is
	if running && d.Ran.IsZero() {
		d.Ran = tx.now
	}
	r.Disk = &d
}

// endDisk remembers a disk that goes now. One of no duration was never there.
func (tx *txn) endDisk(d *Disk) {
	if d == nil || d.From.Equal(tx.now) {
		return
	}
	before := tx.store.Disks
	if len(before) >= maxDisks {
		tx.store.Disks = slices.Clone(before[maxDisks/2:])
	}
	gone := *d
	gone.Until = tx.now
	tx.store.Disks = append(tx.store.Disks, gone) // in place: an undo brings the old length back
	tx.undo = append(tx.undo, func() { tx.store.Disks = before })
}
