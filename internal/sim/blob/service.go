package blob

import (
	"crypto/md5" //nolint:gosec // the protocol's checksum, which protects nothing
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// A Request is one of a client's, split at the account.
type Request struct {
	Method    string
	Container string // "" is the service itself
	Blob      string // "" is the container
	Query     url.Values
	Header    http.Header
	Body      []byte
	Now       time.Time
	Endpoint  string // of the account, for lists: "http://127.0.0.1:8080/blob/stbuild/"
}

// A Response is what it is answered.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// version is the protocol's version that is spoken when a client names none.
const version = "2025-01-05"

// Do answers a request. Whoever calls guards the account.
func (a *Account) Do(contents Contents, q *Request) Response {
	c := &call{Request: q, account: a, contents: contents}
	r, err := c.route()
	if err != nil {
		f, known := errors.AsType[*failure](err)
		if !known {
			f = &failure{status: http.StatusInternalServerError, code: "InternalError", message: "fleetsim failed: " + err.Error()}
		}
		r = f.response(q.Now)
	}
	if r.Header == nil {
		r.Header = http.Header{}
	}
	v := q.Header.Get("X-Ms-Version")
	if v == "" {
		v = version
	}
	r.Header.Set("X-Ms-Version", v)
	r.Header.Set("Date", q.Now.UTC().Format(http.TimeFormat))
	if id := q.Header.Get("X-Ms-Client-Request-Id"); id != "" {
		r.Header.Set("X-Ms-Client-Request-Id", id)
	}
	return r
}

// A call is a request that is being answered.
type call struct {
	*Request

	account  *Account
	contents Contents
}

// containerName is the rule for names of containers.
var containerName = regexp.MustCompile(`^(\$root|\$logs|\$web|[a-z0-9](-?[a-z0-9]){2,62})$`)

// route finds who answers.
func (c *call) route() (Response, error) {
	comp := strings.ToLower(c.Query.Get("comp"))
	what := c.Method + " comp=" + comp
	switch {
	case c.Container == "":
		if c.Method == http.MethodGet && comp == "list" {
			return c.listContainers()
		}
		return Response{}, notSimulated(what + " of the account")
	case !containerName.MatchString(c.Container) || len(c.Blob) > maxName || !utf8.ValidString(c.Blob):
		return Response{}, errResourceName
	case c.Blob == "":
		return c.routeContainer(comp, what)
	case c.Query.Get("snapshot") != "" || c.Query.Get("versionid") != "":
		return Response{}, notSimulated("snapshots and versions")
	}
	return c.routeBlob(comp, what)
}

func (c *call) routeContainer(comp, what string) (Response, error) {
	if !strings.EqualFold(c.Query.Get("restype"), "container") {
		return Response{}, notSimulated(what + " without restype=container")
	}
	switch c.Method + " " + comp {
	case "PUT ":
		return c.createContainer()
	case "GET ", "HEAD ", "GET metadata", "HEAD metadata":
		return c.showContainer()
	case "DELETE ":
		if c.account.Containers[c.Container] == nil {
			return Response{}, errNoContainer
		}
		delete(c.account.Containers, c.Container)
		return Response{Status: http.StatusAccepted}, nil
	case "GET list":
		return c.listBlobs()
	}
	return Response{}, notSimulated(what + " of a container")
}

func (c *call) routeBlob(comp, what string) (Response, error) {
	container := c.account.Containers[c.Container]
	if container == nil {
		return Response{}, errNoContainer
	}
	b := container.Blobs[c.Blob]
	if c.Method == http.MethodPut && comp == "" {
		return c.put(container, b)
	}
	if b == nil {
		return Response{}, errNoBlob
	}
	switch c.Method + " " + comp {
	case "GET ", "HEAD ", "HEAD metadata", "GET metadata":
		return c.get(b)
	case "DELETE ":
		return c.remove(container, b)
	case "PUT appendblock":
		return c.appendBlock(b)
	case "PUT metadata":
		return c.setMetadata(b)
	case "PUT properties":
		return c.setHeaders(b)
	case "PUT lease":
		return c.lease(b)
	}
	return Response{}, notSimulated(what)
}

func (c *call) createContainer() (Response, error) {
	if c.account.Containers[c.Container] != nil {
		return Response{}, errContainerExists
	}
	c.account.Create(c.Container, c.Now)
	made := c.account.Containers[c.Container]
	made.Metadata = metadata(c.Header)
	return Response{Status: http.StatusCreated, Header: tagged(made.ETag, made.Modified)}, nil
}

func (c *call) showContainer() (Response, error) {
	container := c.account.Containers[c.Container]
	if container == nil {
		return Response{}, errNoContainer
	}
	h := tagged(container.ETag, container.Modified)
	h.Set("X-Ms-Lease-State", "available")
	h.Set("X-Ms-Lease-Status", "unlocked")
	h.Set("X-Ms-Has-Immutability-Policy", "false")
	h.Set("X-Ms-Has-Legal-Hold", "false")
	addMetadata(h, container.Metadata)
	return Response{Status: http.StatusOK, Header: h}, nil
}

// tagged are the headers that say which state of something is meant.
func tagged(etag string, modified time.Time) http.Header {
	return http.Header{"Etag": {etag}, "Last-Modified": {modified.UTC().Format(http.TimeFormat)}}
}

// metaPrefix begins the names of the headers with metadata.
const metaPrefix = "X-Ms-Meta-"

// metadata are the headers x-ms-meta-NAME.
func metadata(h http.Header) map[string]string {
	found := map[string]string{}
	for name := range h {
		if meta, ok := strings.CutPrefix(http.CanonicalHeaderKey(name), metaPrefix); ok {
			found[strings.ToLower(meta)] = h.Get(name)
		}
	}
	return found
}

func addMetadata(h http.Header, meta map[string]string) {
	for name, value := range meta {
		h.Set(metaPrefix+name, value)
	}
}

// contentHeaders are the headers of a blob's content: what a client sets with
// x-ms-blob-NAME is returned as NAME.
var contentHeaders = []string{"Content-Type", "Content-Encoding", "Content-Language", "Cache-Control", "Content-Disposition"}

// blobHeaders are those that a request sets.
func blobHeaders(h http.Header) map[string]string {
	set := map[string]string{}
	for _, name := range contentHeaders {
		if v := h.Get("X-Ms-Blob-" + name); v != "" {
			set[name] = v
		}
	}
	return set
}

// put makes a blob, or makes it anew.
func (c *call) put(container *Container, old *Blob) (Response, error) {
	if c.Header.Get("X-Ms-Copy-Source") != "" {
		return Response{}, notSimulated("copies")
	}
	kind := c.Header.Get("X-Ms-Blob-Type")
	switch kind {
	case "":
		return Response{}, needHeader("x-ms-blob-type")
	case block:
	case appended:
		if len(c.Body) > 0 {
			return Response{}, badHeader("Content-Length", strconv.Itoa(len(c.Body)))
		}
	default:
		return Response{}, notSimulated(kind)
	}
	if err := c.mayWrite(old); err != nil {
		return Response{}, err
	}
	if old == nil && len(container.Blobs) >= maxBlobs {
		return Response{}, errTooMany
	}
	b := &Blob{Type: kind, Created: c.Now, Metadata: metadata(c.Header), Headers: blobHeaders(c.Header)}
	if b.Headers["Content-Type"] == "" {
		b.Headers["Content-Type"] = "application/octet-stream"
		if given := c.Header.Get("Content-Type"); given != "" {
			b.Headers["Content-Type"] = given
		}
	}
	if old != nil {
		b.Created, b.Lease = old.Created, old.Lease.keptAt(c.Now)
	}
	sum := checksum(c.Body)
	if kind == block {
		if err := c.checkMD5(sum); err != nil {
			return Response{}, err
		}
		part, err := keep(c.contents, c.Body)
		if err != nil {
			return Response{}, err
		}
		b.Parts = []Part{part}
		b.Headers["Content-Md5"] = sum
	}
	c.account.touch(b, c.Now)
	container.Blobs[c.Blob] = b
	h := tagged(b.ETag, b.Modified)
	h.Set("Content-Md5", sum)
	h.Set("X-Ms-Request-Server-Encrypted", "true")
	return Response{Status: http.StatusCreated, Header: h}, nil
}

func checksum(data []byte) string {
	sum := md5.Sum(data) //nolint:gosec // the protocol's checksum
	return base64.StdEncoding.EncodeToString(sum[:])
}

// checkMD5 compares the body's checksum with what the client says.
func (c *call) checkMD5(sum string) error {
	if given := c.Header.Get("Content-Md5"); given != "" && given != sum {
		return errMD5
	}
	return nil
}

// appendBlock adds to an append blob, where the client expects its end.
func (c *call) appendBlock(b *Blob) (Response, error) {
	if b.Type != appended {
		return Response{}, errBlobType
	}
	if err := c.mayWrite(b); err != nil {
		return Response{}, err
	}
	if len(c.Body) == 0 {
		return Response{}, badHeader("Content-Length", "0")
	}
	size := b.size()
	position, given, err := c.number("X-Ms-Blob-Condition-Appendpos")
	if err != nil {
		return Response{}, err
	}
	limit, limited, err := c.number("X-Ms-Blob-Condition-Maxsize")
	switch {
	case err != nil:
		return Response{}, err
	case given && position != size:
		return Response{}, errPosition
	case limited && size+int64(len(c.Body)) > limit:
		return Response{}, errMaxSize
	case len(b.Parts) >= maxBlocks:
		return Response{}, errBlocks
	}
	sum := checksum(c.Body)
	if err := c.checkMD5(sum); err != nil {
		return Response{}, err
	}
	part, err := keep(c.contents, c.Body)
	if err != nil {
		return Response{}, err
	}
	b.Parts = append(b.Parts, part)
	c.written(b)
	h := tagged(b.ETag, b.Modified)
	h.Set("Content-Md5", sum)
	h.Set("X-Ms-Blob-Append-Offset", strconv.FormatInt(size, 10))
	h.Set("X-Ms-Blob-Committed-Block-Count", strconv.Itoa(len(b.Parts)))
	h.Set("X-Ms-Request-Server-Encrypted", "true")
	return Response{Status: http.StatusCreated, Header: h}, nil
}

// number is a header that holds a whole number.
func (c *call) number(name string) (n int64, given bool, err error) {
	v := c.Header.Get(name)
	if v == "" {
		return 0, false, nil
	}
	n, err = strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return 0, false, badHeader(name, v)
	}
	return n, true, nil
}

// written notes a change of a blob. A lease that is over is forgotten with it.
func (c *call) written(b *Blob) {
	b.Lease = b.Lease.keptAt(c.Now)
	c.account.touch(b, c.Now)
}

func (c *call) setMetadata(b *Blob) (Response, error) {
	if err := c.mayWrite(b); err != nil {
		return Response{}, err
	}
	b.Metadata = metadata(c.Header)
	c.written(b)
	return Response{Status: http.StatusOK, Header: tagged(b.ETag, b.Modified)}, nil
}

func (c *call) setHeaders(b *Blob) (Response, error) {
	if err := c.mayWrite(b); err != nil {
		return Response{}, err
	}
	b.Headers = blobHeaders(c.Header)
	if sum := c.Header.Get("X-Ms-Blob-Content-Md5"); sum != "" {
		b.Headers["Content-Md5"] = sum
	}
	c.written(b)
	return Response{Status: http.StatusOK, Header: tagged(b.ETag, b.Modified)}, nil
}

func (c *call) remove(container *Container, b *Blob) (Response, error) {
	if err := c.mayWrite(b); err != nil {
		return Response{}, err
	}
	delete(container.Blobs, c.Blob)
	return Response{Status: http.StatusAccepted, Header: http.Header{"X-Ms-Delete-Type-Permanent": {"true"}}}, nil
}

// get answers with a blob, or with a range of it.
func (c *call) get(b *Blob) (Response, error) {
	if err := c.mayRead(b); err != nil {
		return Response{}, err
	}
	size := b.size()
	h := tagged(b.ETag, b.Modified)
	for name, value := range b.Headers {
		h.Set(name, value)
	}
	h.Set("Accept-Ranges", "bytes")
	h.Set("X-Ms-Blob-Type", b.Type)
	h.Set("X-Ms-Creation-Time", b.Created.UTC().Format(http.TimeFormat))
	h.Set("X-Ms-Server-Encrypted", "true")
	if b.Type == appended {
		h.Set("X-Ms-Blob-Committed-Block-Count", strconv.Itoa(len(b.Parts)))
	}
	b.Lease.describe(h, c.Now)
	addMetadata(h, b.Metadata)
	from, to, partial, err := byteRange(c.Header, size)
	if err != nil {
		return Response{}, err
	}
	data, err := read(c.contents, b.Parts)
	if err != nil {
		return Response{}, err
	}
	r := Response{Status: http.StatusOK, Header: h, Body: data}
	if partial && c.Method != http.MethodHead {
		r.Status, r.Body = http.StatusPartialContent, data[from:to]
		h.Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to-1, 10)+"/"+strconv.FormatInt(size, 10))
		if sum := h.Get("Content-Md5"); sum != "" {
			h.Del("Content-Md5") // of the whole
			h.Set("X-Ms-Blob-Content-Md5", sum)
		}
	}
	return r, nil
}

// rangeValue is what a range looks like that Azure knows.
var rangeValue = regexp.MustCompile(`^bytes=(\d{1,18})-(\d{0,18})$`)

// byteRange is the half-open range that is asked for. A range of another form is
// ignored, as HTTP says.
func byteRange(h http.Header, size int64) (from, to int64, partial bool, err error) {
	value := h.Get("X-Ms-Range")
	if value == "" {
		value = h.Get("Range")
	}
	parts := rangeValue.FindStringSubmatch(value)
	if parts == nil {
		return 0, size, false, nil
	}
	from, _ = strconv.ParseInt(parts[1], 10, 64) // digits, few enough
	to = size
	if parts[2] != "" {
		last, _ := strconv.ParseInt(parts[2], 10, 64)
		if last < from {
			return 0, size, false, nil
		}
		to = min(size, last+1)
	}
	if from >= size {
		return 0, 0, false, badRange(size)
	}
	return from, to, true, nil
}

// mayRead checks the conditions of a read.
func (c *call) mayRead(b *Blob) error {
	h := c.Header
	if v := h.Get("If-Match"); v != "" && !tagIn(v, b.ETag) {
		return errCondition
	}
	if t, ok := date(h, "If-Unmodified-Since"); ok && seconds(b.Modified).After(t) {
		return errCondition
	}
	if v := h.Get("If-None-Match"); v != "" {
		if tagIn(v, b.ETag) {
			return errNotModified
		}
		return nil
	}
	if t, ok := date(h, "If-Modified-Since"); ok && !seconds(b.Modified).After(t) {
		return errNotModified
	}
	return nil
}

// mayWrite checks the conditions and the lease of a write; b is nil when there is no
// blob yet.
func (c *call) mayWrite(b *Blob) error {
	h := c.Header
	if v := h.Get("If-Match"); v != "" && (b == nil || !tagIn(v, b.ETag)) {
		return errCondition
	}
	if b == nil {
		return nil
	}
	if v := h.Get("If-None-Match"); v != "" && tagIn(v, b.ETag) {
		if strings.TrimSpace(v) == "*" && c.Method == http.MethodPut && c.Query.Get("comp") == "" {
			return errBlobExists
		}
		return errCondition
	}
	if t, ok := date(h, "If-Unmodified-Since"); ok && seconds(b.Modified).After(t) {
		return errCondition
	}
	if t, ok := date(h, "If-Modified-Since"); ok && !seconds(b.Modified).After(t) {
		return errCondition
	}
	return b.Lease.allows(h.Get("X-Ms-Lease-Id"), c.Now)
}

// tagIn says whether a condition names an ETag.
func tagIn(value, etag string) bool {
	for part := range strings.SplitSeq(value, ",") {
		part = strings.TrimPrefix(strings.TrimSpace(part), "W/")
		if part == "*" || strings.Trim(part, `"`) == strings.Trim(etag, `"`) {
			return true
		}
	}
	return false
}

// date is a header that holds a date; one that does not read is no condition.
func date(h http.Header, name string) (time.Time, bool) {
	t, err := http.ParseTime(h.Get(name))
	return t, err == nil
}

// seconds is an instant as headers say it.
func seconds(t time.Time) time.Time { return t.Truncate(time.Second) }
