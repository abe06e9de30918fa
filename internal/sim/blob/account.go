package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The bounds of what is kept.
const (
	// MaxBody is how large the body of one request may be.
	MaxBody = 64 << 20
	// maxBlocks is how many blocks an append blob has at most, as in Azure.
	maxBlocks = 50_000
	// maxName is how long a blob's name may be, as in Azure.
	maxName = 1024
	// maxBlobs bounds the blobs of a container.
	maxBlobs = 100_000
)

// The types of blobs.
const (
	block    = "BlockBlob"
	appended = "AppendBlob"
)

// An Account is the containers of a storage account.
type Account struct {
	Seq        int64                 `json:"seq"` // of ETags
	Containers map[string]*Container `json:"containers"`
}

// A Container holds blobs by name.
type Container struct {
	Blobs    map[string]*Blob  `json:"blobs"`
	ETag     string            `json:"etag"`
	Modified time.Time         `json:"modified"`
	Metadata map[string]string `json:"metadata,omitempty"`
}

// A Blob is what is known of a blob but its content.
type Blob struct {
	Type     string            `json:"type"`
	Parts    []Part            `json:"parts"`
	Headers  map[string]string `json:"headers,omitempty"` // Content-Type and its like
	Metadata map[string]string `json:"metadata,omitempty"`
	ETag     string            `json:"etag"`
	Created  time.Time         `json:"created"`
	Modified time.Time         `json:"modified"`
	Lease    *Lease            `json:"lease,omitempty"`
}

// A Part is a piece of a blob's content.
type Part struct {
	Sum  string `json:"sha256"`
	Size int64  `json:"size"`
}

// size is the length of the blob.
func (b *Blob) size() int64 {
	var n int64
	for _, p := range b.Parts {
		n += p.Size
	}
	return n
}

// Contents keeps contents by their SHA-256, in hexadecimal.
type Contents interface {
	Put(data []byte) (sum string, err error)
	Get(sum string) ([]byte, error)
}

// Sum is the name of a content.
func Sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// Create makes a container, unless it is there.
func (a *Account) Create(name string, now time.Time) {
	if a.Containers == nil {
		a.Containers = map[string]*Container{}
	}
	if a.Containers[name] == nil {
		a.Containers[name] = &Container{Blobs: map[string]*Blob{}, ETag: a.tag(now), Modified: now}
	}
}

// Names are the names of the containers, in order.
func (a *Account) Names() []string { return slices.Sorted(maps.Keys(a.Containers)) }

// ValidContainer says whether a container may have a name.
func ValidContainer(name string) bool { return containerName.MatchString(name) }

// Append adds text to an append blob, which is made when it is not there, with its
// container.
func (a *Account) Append(contents Contents, container, name string, text []byte, now time.Time) error {
	part, err := keep(contents, text)
	if err != nil {
		return err
	}
	a.Create(container, now)
	blobs := a.Containers[container].Blobs
	b := blobs[name]
	if b == nil {
		b = &Blob{Type: appended, Created: now, Headers: map[string]string{"Content-Type": "text/plain"}}
		blobs[name] = b
	}
	if len(b.Parts) >= maxBlocks {
		return fmt.Errorf("append to %s/%s: it has %d blocks", container, name, maxBlocks)
	}
	b.Parts = append(b.Parts, part)
	a.touch(b, now)
	return nil
}

// Read returns the content of a blob; fs.ErrNotExist says that there is none.
func (a *Account) Read(contents Contents, container, name string) ([]byte, error) {
	if c := a.Containers[container]; c != nil && c.Blobs[name] != nil {
		return read(contents, c.Blobs[name].Parts)
	}
	return nil, fmt.Errorf("blob %s/%s: %w", container, name, fs.ErrNotExist)
}

// Sums tells every content that the account uses.
func (a *Account) Sums(use func(sum string)) {
	for _, c := range a.Containers {
		for _, b := range c.Blobs {
			for _, p := range b.Parts {
				use(p.Sum)
			}
		}
	}
}

// touch gives a blob a new ETag.
func (a *Account) touch(b *Blob, now time.Time) {
	b.ETag, b.Modified = a.tag(now), now
}

// tag makes an ETag in Azure's form.
func (a *Account) tag(now time.Time) string {
	a.Seq++
	return `"0x8D` + strings.ToUpper(strconv.FormatInt(now.Unix()<<16|a.Seq&0xffff, 16)) + `"`
}

// keep puts a content and returns the part that it is; nothing is no part.
func keep(contents Contents, data []byte) (Part, error) {
	sum, err := contents.Put(data)
	return Part{Sum: sum, Size: int64(len(data))}, err
}

// read joins the contents of parts.
func read(contents Contents, parts []Part) ([]byte, error) {
	var all []byte
	for _, p := range parts {
		data, err := contents.Get(p.Sum)
		if err != nil {
			return nil, err
		}
		all = append(all, data...)
	}
	return all, nil
}
