// Package journal answers: what has a rollout decided and done, and who may go on with
// it?
//
// A [Place] is a directory, or a path in a container of Azure Storage. Below it, each
// rollout has what its id names:
//
//	ID/journal          lines that are only ever added to: an append blob, or a file
//	ID/lock             a blob whose lease is the lock, or a file that is locked
//	ID/requests/NAME    what operators ask for, one each, written without the lock
//
// # Lines
//
//	1 SEQUENCE TIME WRITER LENGTH CHECKSUM ENTRY
//
// The format's version, the line's number from 1, seconds since 1970, eight digits that
// each Lock draws for itself, the bytes of the entry, the CRC-32C of all of the line but
// itself, and the entry: one JSON document that means nothing to this package. Whoever
// reads checks all of it. A last line without an end, which a crash leaves in a file, is
// left out and said; anything else that is not right is an error that names the line.
//
// # Why nothing is lost, doubled or written by two
//
// A line says where it goes: an append is done only if the journal ends where its writer
// thinks that it ends (in Azure, x-ms-blob-condition-appendpos). So there is one history,
// and an append that is sent again after its answer was lost cannot be there twice: it is
// refused, its writer looks at what stands in its place, and knows its own line.
//
// The first thing that a holder of the lock writes is a fence, a line without an entry.
// What the holder before it sends from then on does not fit any more, and it notices.
// [Journal.Unlock] writes one too. This is why the journal has no lease of its own: that
// would be a second thing to renew and to lose, and fences say the same in files.
//
// An append that fails ends its [Lock]: whether the line arrives later is not known, and
// reading again is what finds out.
//
// # The lock
//
//	Acquire ─▶ held ──(renewed every 15 s)──▶ held ─▶ Release
//	             │ no renewal was sent for 60 s, somebody broke it, or an append failed
//	             └─▶ lost, for good
//
// In Azure it is a lease of 60 s. What counts is when a renewal was sent, by a clock that
// goes on while the machine sleeps. [Lock.Guard] says whether 20 s of it are left, which
// is asked before each write to Azure that follows from the journal. On a disk it is
// flock, which ends with its process, whatever is written in the file.
//
// Acquire starts a goroutine that renews a lease; Release ends it and waits for it.
// Nothing else here starts any.
package journal
