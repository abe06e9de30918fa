package arm

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/sim/blob"
)

// blobPrefix begins the paths of blobs on the endpoint: what Azure has at
// https://ACCOUNT.blob.core.windows.net/C/B is at /blob/ACCOUNT/C/B.
const blobPrefix = "/blob/"

// A blobPath is a path of a blob, taken apart.
type blobPath struct{ account, container, name string }

// parseBlobPath reads an escaped path; ok is false when it is none of a blob.
func parseBlobPath(escaped string) (p blobPath, ok bool) {
	rest, ok := strings.CutPrefix(escaped, blobPrefix)
	if !ok {
		return p, false
	}
	parts := append(strings.SplitN(rest, "/", 3), "", "")
	for i, to := range []*string{&p.account, &p.container, &p.name} {
		plain, err := url.PathUnescape(parts[i])
		if err != nil {
			plain = parts[i] // which no blob has
		}
		*to = plain
	}
	return p, true
}

// blobAddress takes https://ACCOUNT.blob.core.windows.net/C/B apart.
func blobAddress(address string) (p blobPath, ok bool) {
	u, err := url.Parse(address)
	if err != nil {
		return p, false
	}
	account, isBlob := strings.CutSuffix(strings.ToLower(u.Hostname()), ".blob.core.windows.net")
	if !isBlob {
		return p, false
	}
	return parseBlobPath(blobPrefix + account + u.EscapedPath())
}

// blobService answers a request below /blob/.
func (s *Server) blobService(r *http.Request, p blobPath, body []byte, unread error) answer {
	if s.cfg.RequireToken && s.authenticate(r) != nil {
		return plainAnswer(http.StatusUnauthorized, http.Header{
			"X-Ms-Error-Code":  {"NoAuthenticationInformation"},
			"Www-Authenticate": {"Bearer authorization_uri=" + base(r) + "/" + tenantID + "/oauth2/authorize resource_id=https://storage.azure.com"},
		}, "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.")
	}
	if unread != nil {
		return plainAnswer(http.StatusRequestEntityTooLarge, http.Header{"X-Ms-Error-Code": {"RequestBodyTooLarge"}}, unread.Error())
	}
	query := url.Values{}
	for name, values := range r.URL.Query() {
		query[strings.ToLower(name)] = values
	}
	var a answer
	err := s.within(func(tx *txn) error {
		account := tx.account(p.account)
		if account == nil {
			a = plainAnswer(http.StatusNotFound, nil, "fleetsim: there is no storage account "+p.account+"; Azure's name would not resolve")
			return nil
		}
		got := tx.blobs(account).Do(s.contents, &blob.Request{
			Method: r.Method, Container: p.container, Blob: p.name, Query: query, Header: r.Header, Body: body, Now: tx.now,
			Endpoint: base(r) + blobPrefix + account.name() + "/",
		})
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			s.dirty = true
			tx.undo = append(tx.undo, func() {}) // what is refused has changed nothing
		}
		a = answer{Status: got.Status, Header: got.Header, Raw: append([]byte{}, got.Body...)}
		return nil
	})
	if err != nil {
		return s.refusal(err)
	}
	return a
}

// plainAnswer is an answer in plain text.
func plainAnswer(status int, h http.Header, text string) answer {
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Type", "text/plain; charset=utf-8")
	return answer{Status: status, Header: h, Raw: []byte(text + "\n")}
}

// BlobAt returns the blob at an address of Azure's form,
// https://ACCOUNT.blob.core.windows.net/CONTAINER/BLOB. The error of what is not there
// is fs.ErrNotExist.
func (s *Server) BlobAt(address string) (data []byte, err error) {
	err = s.within(func(tx *txn) error {
		data, _, err = tx.blobAt(address)
		return err
	})
	return data, err
}

// blobAt reads a blob by its address; known is false when its account is not one of
// the simulation.
func (tx *txn) blobAt(address string) (data []byte, known bool, err error) {
	p, ok := blobAddress(address)
	if !ok {
		return nil, false, fmt.Errorf("%s is no address of a blob: %w", address, fs.ErrNotExist)
	}
	account := tx.account(p.account)
	if account == nil {
		return nil, false, fmt.Errorf("storage account %s: %w", p.account, fs.ErrNotExist)
	}
	data, err = tx.blobs(account).Read(tx.server.contents, p.container, p.name)
	return data, true, err
}

// maxContents bounds what all blobs of a simulation hold.
const maxContents = 1 << 30

// contents keeps what is in blobs, in memory or in a directory. The server's mutex
// guards it.
type contents struct {
	dir   string // "" is memory
	held  map[string][]byte
	sizes map[string]int64
	total int64
}

func newContents() *contents {
	return &contents{held: map[string][]byte{}, sizes: map[string]int64{}}
}

// Put keeps a content.
func (c *contents) Put(data []byte) (string, error) {
	sum := blob.Sum(data)
	if _, known := c.sizes[sum]; known {
		return sum, nil
	}
	if c.total+int64(len(data)) > maxContents {
		return "", fmt.Errorf("the simulation keeps no more than %d bytes in blobs", maxContents)
	}
	if c.dir == "" {
		c.held[sum] = slices.Clone(data)
	} else if err := writeContent(c.dir, sum, data); err != nil {
		return "", err
	}
	c.sizes[sum] = int64(len(data))
	c.total += int64(len(data))
	return sum, nil
}

// writeContent writes a file in one step.
func writeContent(dir, sum string, data []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of blobs: %w", err)
	}
	f, err := os.CreateTemp(dir, unsaved)
	if err != nil {
		return fmt.Errorf("write a blob: %w", err)
	}
	defer os.Remove(f.Name()) // gone when all went well
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, sum))
	}
	if err != nil {
		return fmt.Errorf("write a blob: %w", err)
	}
	return nil
}

// Get returns a content.
func (c *contents) Get(sum string) ([]byte, error) {
	if c.dir == "" {
		return c.held[sum], nil
	}
	data, err := os.ReadFile(filepath.Join(c.dir, sum))
	if err != nil {
		return nil, fmt.Errorf("read a blob: %w", err)
	}
	return data, nil
}

// open keeps the contents in a directory, and takes up what accounts use of it. The
// rest is removed: blobs that are gone, and files that were not finished.
func (c *contents) open(dir string, accounts map[string]*blob.Account) error {
	c.dir = dir
	used := map[string]bool{}
	for _, a := range accounts {
		a.Sums(func(sum string) { used[sum] = true })
	}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it is made with the first blob
		return fmt.Errorf("read the directory of blobs: %w", err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && !used[e.Name()] {
			err = os.Remove(filepath.Join(dir, e.Name()))
		} else if err == nil {
			c.sizes[e.Name()] = info.Size()
			c.total += info.Size()
		}
		if err != nil {
			return fmt.Errorf("tidy the directory of blobs: %w", err)
		}
	}
	return nil
}

// forgetBlobs drops the blobs of accounts that are gone.
func (s *Server) forgetBlobs() {
	kept := map[string]*blob.Account{}
	tx := &txn{server: s, store: s.store}
	for _, r := range s.store.within("/subscriptions/"+s.cfg.Subscription, storageType) {
		id := str(r.Hidden, "blobs")
		if id == "" {
			id = guid("blobs", key(r.ID))
		}
		if s.store.Blobs[id] != nil {
			kept[id] = tx.blobs(r)
		}
	}
	s.store.Blobs = kept
}
