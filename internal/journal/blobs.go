package journal

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/azure"
)

// blobs are a path in a container.
type blobs struct {
	client    *azure.Client
	container string // its URL
	prefix    string // "PATH/", or ""
}

func newBlobs(address string, client *azure.Client) (*blobs, error) {
	if _, err := azure.BlobAccount(address); err != nil {
		return nil, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, err
	}
	container, rest, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if container == "" || path.Clean(rest) != rest && rest != "" {
		return nil, fmt.Errorf("%q names no path in a container: write https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH", address)
	}
	if client == nil {
		return nil, errors.New("a journal in Azure Storage needs a sign-in")
	}
	b := &blobs{client: client, container: u.Scheme + "://" + u.Host + "/" + container}
	if rest != "" {
		b.prefix = rest + "/"
	}
	return b, nil
}

// address is the URL of a blob by its name in the container.
func (b *blobs) address(name string) string {
	return b.container + (&url.URL{Path: "/" + name}).EscapedPath()
}

func (b *blobs) store(id string) store { return &blobStore{b, b.prefix + id + "/"} }

func (b *blobs) list(ctx context.Context) ([]Listed, error) {
	found, err := b.client.ListBlobs(ctx, b.container, b.prefix)
	if errors.Is(err, &azure.Error{Kind: azure.NotFound}) {
		err = fmt.Errorf("%w: %w", ErrNoPlace, err)
	}
	if err != nil {
		return nil, err
	}
	var all []Listed
	for _, blob := range found {
		id, ok := strings.CutSuffix(strings.TrimPrefix(blob.Name, b.prefix), "/"+journalName)
		if ok && validID.MatchString(id) {
			all = append(all, Listed{ID: id, Begun: blob.Created, Written: blob.Modified})
		}
	}
	return all, nil
}

// A blobStore keeps one rollout.
type blobStore struct {
	*blobs

	base string // "PATH/ID/"
}

func (s *blobStore) at(name string) string { return s.address(s.base + name) }

func (s *blobStore) name() string { return s.at(journalName) }

func (s *blobStore) read(ctx context.Context, from int64) ([]byte, error) {
	text, err := s.readFrom(ctx, from)
	if err == nil && len(text) > 0 && text[len(text)-1] != '\n' {
		err = fmt.Errorf("%s: %w", s.name(), damaged("the last one has no end"))
	}
	return text, err
}

// readFrom reads the journal from an offset on.
func (s *blobStore) readFrom(ctx context.Context, from int64) ([]byte, error) {
	var all []byte
	for {
		text, size, err := s.client.ReadBlob(ctx, s.name(), from+int64(len(all)), maxJournal)
		if errors.Is(err, &azure.Error{Kind: azure.NotFound}) && len(all) == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, text...)
		if size > maxJournal+maxEntry {
			return nil, fmt.Errorf("%s is larger than %d bytes", s.name(), maxJournal)
		}
		if len(text) == 0 || from+int64(len(all)) >= size {
			return all, nil
		}
	}
}

// retryAfter is the wait before an append is tried again. The client has tried more
// than once by then.
const retryAfter = time.Second

// write appends, and looks at the journal after each answer that leaves a doubt.
func (s *blobStore) write(ctx context.Context, at int64, line []byte, may func() error) error {
	made := false
	for {
		if err := may(); err != nil {
			return err
		}
		err := s.client.AppendBlob(ctx, s.name(), at, line)
		switch {
		case err == nil:
			return nil
		case at == 0 && !made && errors.Is(err, &azure.Error{Kind: azure.NotFound}):
			if err := s.client.CreateAppendBlob(ctx, s.name()); err != nil {
				return err
			}
			made = true
			continue
		case !errors.Is(err, azure.ErrMoved) && !azure.Doubtful(err):
			return err
		}
		there, readErr := s.readFrom(ctx, at)
		switch {
		case readErr != nil && !azure.Doubtful(readErr):
			return errors.Join(err, readErr)
		case readErr == nil && strings.HasPrefix(string(there), string(line)):
			return nil // the line is there: its answer was lost
		case readErr == nil && (len(there) > 0 || errors.Is(err, azure.ErrMoved)):
			return errMoved
		}
		select {
		case <-time.After(retryAfter):
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		}
	}
}

func (s *blobStore) lock(ctx context.Context, by Owner, at time.Time) (grip, error) {
	x := draw(16)
	g := &lease{s, x[:8] + "-" + x[8:12] + "-4" + x[13:16] + "-a" + x[17:20] + "-" + x[20:]}
	err := s.client.AcquireLease(ctx, s.at(lockName), g.id, leaseTime)
	if errors.Is(err, &azure.Error{Kind: azure.NotFound}) {
		if err := s.client.WriteBlob(ctx, s.at(lockName), nil); err != nil && !errors.Is(err, &azure.Error{Kind: azure.Conflict}) {
			return nil, err // in a conflict, somebody else was faster
		}
		err = s.client.AcquireLease(ctx, s.at(lockName), g.id, leaseTime)
	}
	if errors.Is(err, azure.ErrLeaseHeld) {
		return nil, s.held(ctx)
	}
	if err != nil {
		return nil, err
	}
	err = s.client.SetBlobMetadata(ctx, s.at(lockName), g.id, map[string]string{
		"owner": url.QueryEscape(by.Name), "host": url.QueryEscape(by.Host), "pid": strconv.Itoa(by.PID), "since": at.UTC().Format(time.RFC3339Nano),
	})
	if err != nil { // a minute of a lock that names nobody would be the next one's riddle
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseWithin)
		defer cancel()
		return nil, errors.Join(err, g.release(ctx))
	}
	return g, nil
}

// held is the error that says who has the lease.
func (s *blobStore) held(ctx context.Context) error {
	state, err := s.client.BlobState(ctx, s.at(lockName))
	if err != nil {
		return err
	}
	return heldBy(state)
}

func heldBy(state azure.BlobState) *HeldError {
	held := &HeldError{Owner: Owner{Name: unescape(state.Metadata["owner"]), Host: unescape(state.Metadata["host"])}}
	held.PID, _ = strconv.Atoi(state.Metadata["pid"]) // 0: it does not say
	held.Since, _ = time.Parse(time.RFC3339Nano, state.Metadata["since"])
	held.Age = max(state.Asked.Sub(state.Modified), 0) // both by Azure's clock
	return held
}

// maxName bounds a name that was read.
const maxName = 200

func unescape(text string) string {
	plain, err := url.QueryUnescape(text)
	if err != nil {
		plain = text
	}
	return strings.ToValidUTF8(plain[:min(len(plain), maxName)], "")
}

func (s *blobStore) holder(ctx context.Context) (*HeldError, error) {
	state, err := s.client.BlobState(ctx, s.at(lockName))
	if errors.Is(err, &azure.Error{Kind: azure.NotFound}) {
		return nil, nil
	}
	if err != nil || !state.Leased {
		return nil, err
	}
	return heldBy(state), nil
}

func (s *blobStore) unlock(ctx context.Context) error {
	return s.client.BreakLease(ctx, s.at(lockName))
}

// A lease is the lock of a blobStore.
type lease struct {
	store *blobStore
	id    string
}

func (g *lease) lasts() time.Duration { return leaseTime }

func (g *lease) renew(ctx context.Context) error {
	return leaseLost(g.store.client.RenewLease(ctx, g.store.at(lockName), g.id))
}

func (g *lease) still() error { return nil }

func (g *lease) release(ctx context.Context) error {
	err := leaseLost(g.store.client.ReleaseLease(ctx, g.store.at(lockName), g.id))
	if errors.Is(err, ErrLost) {
		return nil
	}
	return err
}

// leaseLost says that the lock is lost when its lease is, or its blob.
func leaseLost(err error) error {
	if errors.Is(err, azure.ErrLeaseLost) || errors.Is(err, &azure.Error{Kind: azure.NotFound}) {
		return lost("somebody unlocked it, or has it now")
	}
	return err
}

func (s *blobStore) put(ctx context.Context, name string, request []byte) error {
	return s.client.WriteBlob(ctx, s.at(requestsName+"/"+name), request)
}

func (s *blobStore) names(ctx context.Context) ([]string, error) {
	prefix := s.base + requestsName + "/"
	found, err := s.client.ListBlobs(ctx, s.container, prefix)
	var names []string
	for _, blob := range found {
		names = append(names, strings.TrimPrefix(blob.Name, prefix))
	}
	return names, err
}

func (s *blobStore) get(ctx context.Context, name string) ([]byte, error) {
	data, _, err := s.client.ReadBlob(ctx, s.at(requestsName+"/"+name), 0, maxRequest+1)
	if errors.Is(err, &azure.Error{Kind: azure.NotFound}) {
		return nil, nil
	}
	return append([]byte{}, data...), err
}

func (s *blobStore) remove(ctx context.Context, name string) error {
	return s.client.DeleteBlob(ctx, s.at(requestsName+"/"+name))
}
