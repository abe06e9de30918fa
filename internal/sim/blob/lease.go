package blob

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A Lease is one on a blob. A nil lease is none.
//
//	available ─acquire─▶ leased ─release─▶ available
//	                     │    └──time──▶ expired ─acquire, renew─▶ leased
//	                     └break─▶ breaking ──time──▶ broken ─acquire─▶ leased
type Lease struct {
	ID    string    `json:"id"`
	For   int       `json:"for"`            // seconds; -1: without end
	Until time.Time `json:"until,omitzero"` // when it expires, unless it is without end
	// Breaks is when a lease that is being broken ends; zero: it is not.
	Breaks time.Time `json:"breaks,omitzero"`
}

// infinite is the duration of a lease without end.
const infinite = -1

// state is that of the lease at an instant, in Azure's words.
func (l *Lease) state(now time.Time) string {
	switch {
	case l == nil:
		return "available"
	case !l.Breaks.IsZero():
		if now.Before(l.Breaks) {
			return "breaking"
		}
		return "broken"
	case l.For == infinite || now.Before(l.Until):
		return "leased"
	}
	return "expired"
}

// locks says whether the lease keeps others from writing.
func (l *Lease) locks(now time.Time) bool {
	s := l.state(now)
	return s == "leased" || s == "breaking"
}

// keptAt is the lease after a write: one that is over is forgotten.
func (l *Lease) keptAt(now time.Time) *Lease {
	if l.locks(now) {
		return l
	}
	return nil
}

// allows says whether a write with a lease id, or with none, may be done.
func (l *Lease) allows(id string, now time.Time) error {
	switch {
	case l.locks(now) && id == "":
		return errLeaseMissing
	case l.locks(now) && !strings.EqualFold(id, l.ID):
		return errLeaseOther
	case id == "" || l.locks(now):
		return nil
	case l.state(now) == "expired":
		return errLeaseLost
	}
	return errLeaseNone
}

// describe adds the headers that tell of the lease.
func (l *Lease) describe(h http.Header, now time.Time) {
	h.Set("X-Ms-Lease-State", l.state(now))
	h.Set("X-Ms-Lease-Status", "unlocked")
	if !l.locks(now) {
		return
	}
	h.Set("X-Ms-Lease-Status", "locked")
	if l.state(now) == "leased" {
		kind := "fixed"
		if l.For == infinite {
			kind = "infinite"
		}
		h.Set("X-Ms-Lease-Duration", kind)
	}
}

// leaseID is what the id of a lease looks like.
var leaseID = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// lease does what x-ms-lease-action says.
func (c *call) lease(b *Blob) (Response, error) {
	action := strings.ToLower(c.Header.Get("X-Ms-Lease-Action"))
	if action == "acquire" {
		return c.acquire(b)
	}
	state := b.Lease.state(c.Now)
	switch {
	case state == "available" && (action == "renew" || action == "release"):
		return Response{}, errLeaseID
	case state == "available":
		return Response{}, errNoLease
	case action == "break":
		return c.breakLease(b, state)
	case !strings.EqualFold(c.Header.Get("X-Ms-Lease-Id"), b.Lease.ID):
		return Response{}, errLeaseID
	}
	switch action {
	case "renew":
		if state == "breaking" || state == "broken" {
			return Response{}, errLeaseBroken
		}
		renewed := *b.Lease
		renewed.Until = c.Now.Add(time.Duration(renewed.For) * time.Second)
		return c.leased(b, &renewed, http.StatusOK), nil
	case "change":
		id, err := c.proposed()
		if err != nil {
			return Response{}, err
		}
		if state != "leased" {
			return Response{}, errNoLease
		}
		changed := *b.Lease
		changed.ID = id
		return c.leased(b, &changed, http.StatusOK), nil
	case "release":
		b.Lease = nil
		return Response{Status: http.StatusOK, Header: tagged(b.ETag, b.Modified)}, nil
	}
	return Response{}, badHeader("x-ms-lease-action", action)
}

// proposed is the id that a client wants for a lease, or one that is made.
func (c *call) proposed() (string, error) {
	id := c.Header.Get("X-Ms-Proposed-Lease-Id")
	if id == "" {
		h := sha256.Sum256([]byte(c.Container + "/" + c.Blob + strconv.FormatInt(c.account.Seq, 10) + c.Now.String()))
		x := hex.EncodeToString(h[:16])
		return x[:8] + "-" + x[8:12] + "-4" + x[13:16] + "-a" + x[17:20] + "-" + x[20:], nil
	}
	if !leaseID.MatchString(id) {
		return "", badHeader("x-ms-proposed-lease-id", id)
	}
	return id, nil
}

func (c *call) acquire(b *Blob) (Response, error) {
	value := c.Header.Get("X-Ms-Lease-Duration")
	length, err := strconv.Atoi(value)
	if err != nil || length != infinite && (length < 15 || length > 60) {
		return Response{}, badHeader("x-ms-lease-duration", value)
	}
	id, err := c.proposed()
	if err != nil {
		return Response{}, err
	}
	if err := c.mayRead(b); err != nil {
		return Response{}, errCondition
	}
	switch state := b.Lease.state(c.Now); {
	case (state == "leased" || state == "breaking") && !strings.EqualFold(b.Lease.ID, id):
		return Response{}, errLeased
	case state == "breaking":
		return Response{}, errLeaseBreaking
	}
	c.account.Seq++
	l := &Lease{ID: id, For: length, Until: c.Now.Add(time.Duration(length) * time.Second)}
	return c.leased(b, l, http.StatusCreated), nil
}

// leased sets the lease and tells its id.
func (c *call) leased(b *Blob, l *Lease, status int) Response {
	b.Lease = l
	h := tagged(b.ETag, b.Modified)
	h.Set("X-Ms-Lease-Id", l.ID)
	return Response{Status: status, Header: h}
}

// breakLease ends a lease without its id: at once when it is without end, otherwise
// after the shorter of what the client says and what is left. One that is breaking can
// be made to break sooner.
func (c *call) breakLease(b *Blob, state string) (Response, error) {
	broken := *b.Lease
	var left time.Duration
	switch {
	case state == "breaking":
		left = broken.Breaks.Sub(c.Now)
	case state == "leased" && broken.For != infinite:
		left = broken.Until.Sub(c.Now)
	}
	if v := c.Header.Get("X-Ms-Lease-Break-Period"); v != "" {
		period, err := strconv.Atoi(v)
		if err != nil || period < 0 || period > 60 {
			return Response{}, badHeader("x-ms-lease-break-period", v)
		}
		asked := time.Duration(period) * time.Second
		if asked < left || state == "leased" && broken.For == infinite {
			left = asked
		}
	}
	if state != "broken" {
		broken.Breaks = c.Now.Add(left)
	}
	b.Lease = &broken
	h := tagged(b.ETag, b.Modified)
	h.Set("X-Ms-Lease-Time", strconv.Itoa(int(math.Ceil(left.Seconds()))))
	return Response{Status: http.StatusAccepted, Header: h}, nil
}
