// Package blob answers: what would Azure's blob service say to this request, at this
// moment?
//
// It knows the wire protocol of block blobs, append blobs, their conditions and their
// leases, and lists; what it does not know it refuses with NotSimulated. It has no
// clock and no network: a request says when it is made, and who calls guards the
// account. The JSON of an [Account] is all of it but the contents, which are kept
// apart under their SHA-256.
package blob
