package blob

import (
	"encoding/xml"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memory keeps contents for a test.
type memory map[string][]byte

func (m memory) Put(data []byte) (string, error) {
	m[Sum(data)] = data
	return Sum(data), nil
}

func (m memory) Get(sum string) ([]byte, error) { return m[sum], nil }

// A desk makes requests to one account.
type desk struct {
	*testing.T

	account  *Account
	contents memory
	now      time.Time
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, account: &Account{}, contents: memory{}, now: time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)}
	d.do("PUT", "con?restype=container", "").want(201, "")
	return d
}

// answer is what a request was answered.
type answer struct {
	t *testing.T
	Response
}

// do makes a request for CONTAINER/BLOB?QUERY; further arguments are pairs of a
// header's name and value.
func (d *desk) do(method, path, body string, headers ...string) answer {
	d.Helper()
	path, query, _ := strings.Cut(path, "?")
	container, name, _ := strings.Cut(path, "/")
	values, err := url.ParseQuery(query)
	require.NoError(d, err)
	h := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		h.Set(headers[i], headers[i+1])
	}
	return answer{d.T, d.account.Do(d.contents, &Request{
		Method: method, Container: container, Blob: name, Query: values, Header: h, Body: []byte(body), Now: d.now, Endpoint: "http://sim/blob/acct/",
	})}
}

// want asserts status and code of the answer.
func (a answer) want(status int, code string) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.Status, string(a.Body))
	require.Equal(a.t, code, a.Header.Get("X-Ms-Error-Code"))
	if code != "" && status != http.StatusNotModified {
		require.Contains(a.t, string(a.Body), "<Code>"+code+"</Code>")
	}
	return a
}

func TestBlockBlob(t *testing.T) {
	d := newDesk(t)
	d.do("GET", "con/a/b.txt", "").want(404, "BlobNotFound")
	d.do("PUT", "con/a/b.txt", "hello world").want(400, "MissingRequiredHeader")
	d.do("PUT", "con/a/b.txt", "x", "x-ms-blob-type", "PageBlob").want(501, "NotSimulated")
	d.do("PUT", "con/a/b.txt", "hello", "x-ms-blob-type", "BlockBlob", "content-md5", "wrong").want(400, "Md5Mismatch")
	put := d.do("PUT", "con/a/b.txt", "hello world", "x-ms-blob-type", "BlockBlob", "x-ms-blob-content-type", "text/plain", "x-ms-meta-sha", "abc", "content-md5", "XrY7u+Ae7tCTyyK7j1rNww==").want(201, "")
	require.Equal(t, "XrY7u+Ae7tCTyyK7j1rNww==", put.Header.Get("Content-Md5"))
	tag := put.Header.Get("Etag")
	got := d.do("GET", "con/a/b.txt", "").want(200, "")
	require.Equal(t, "hello world", string(got.Body))
	for name, value := range map[string]string{
		"Etag": tag, "Content-Type": "text/plain", "X-Ms-Blob-Type": "BlockBlob", "X-Ms-Meta-Sha": "abc", "X-Ms-Lease-State": "available",
		"Last-Modified": "Mon, 02 Nov 2026 09:00:00 GMT", "X-Ms-Version": "2025-01-05", "Accept-Ranges": "bytes",
	} {
		require.Equal(t, value, got.Header.Get(name), name)
	}
	require.Equal(t, got.Body, d.do("HEAD", "con/a/b.txt", "").want(200, "").Body, "whose length it says")
	d.do("PUT", "con/a/b.txt?comp=metadata", "", "x-ms-meta-sha", "def").want(200, "")
	d.do("PUT", "con/a/b.txt?comp=properties", "", "x-ms-blob-content-type", "text/html").want(200, "")
	got = d.do("GET", "con/a/b.txt", "").want(200, "")
	require.NotEqual(t, tag, got.Header.Get("Etag"))
	require.Equal(t, "def text/html", got.Header.Get("X-Ms-Meta-Sha")+" "+got.Header.Get("Content-Type"))
	d.do("DELETE", "con/a/b.txt", "").want(202, "")
	d.do("DELETE", "con/a/b.txt", "").want(404, "BlobNotFound")
	d.do("PUT", "none/a", "", "x-ms-blob-type", "BlockBlob").want(404, "ContainerNotFound")
	_, err := d.account.Read(d.contents, "con", "a/b.txt")
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRanges(t *testing.T) {
	d := newDesk(t)
	d.do("PUT", "con/b", "0123456789", "x-ms-blob-type", "BlockBlob").want(201, "")
	d.do("PUT", "con/empty", "", "x-ms-blob-type", "BlockBlob").want(201, "")
	for _, tt := range []struct{ header, value, body, contentRange string }{
		{"Range", "bytes=2-4", "234", "bytes 2-4/10"},
		{"x-ms-range", "bytes=7-", "789", "bytes 7-9/10"},
		{"Range", "bytes=9-100", "9", "bytes 9-9/10"},
	} {
		got := d.do("GET", "con/b", "", tt.header, tt.value).want(206, "")
		require.Equal(t, tt.body, string(got.Body))
		require.Equal(t, tt.contentRange, got.Header.Get("Content-Range"))
	}
	require.Equal(t, "bytes */10", d.do("GET", "con/b", "", "Range", "bytes=10-").want(416, "InvalidRange").Header.Get("Content-Range"))
	d.do("GET", "con/empty", "", "Range", "bytes=0-").want(416, "InvalidRange")
	require.Empty(t, d.do("GET", "con/empty", "").want(200, "").Body)
	for _, ignored := range []string{"bytes=-3", "bytes=4-2", "lines=1-2", "bytes=99999999999999999999-"} {
		d.do("GET", "con/b", "", "Range", ignored).want(200, "")
	}
}

func TestConditions(t *testing.T) {
	d := newDesk(t)
	d.do("PUT", "con/b", "1", "x-ms-blob-type", "BlockBlob", "If-Match", "*").want(412, "ConditionNotMet")
	tag := d.do("PUT", "con/b", "1", "x-ms-blob-type", "BlockBlob", "If-None-Match", "*").want(201, "").Header.Get("Etag")
	d.do("PUT", "con/b", "2", "x-ms-blob-type", "BlockBlob", "If-None-Match", "*").want(409, "BlobAlreadyExists")
	d.do("PUT", "con/b", "2", "x-ms-blob-type", "BlockBlob", "If-Match", `"0x8D"`).want(412, "ConditionNotMet")
	d.do("GET", "con/b", "", "If-None-Match", tag).want(304, "ConditionNotMet")
	d.do("GET", "con/b", "", "If-Match", `"0x8D"`).want(412, "ConditionNotMet")
	d.do("GET", "con/b", "", "If-Modified-Since", "Mon, 02 Nov 2026 09:00:00 GMT").want(304, "ConditionNotMet")
	d.do("GET", "con/b", "", "If-Unmodified-Since", "Mon, 02 Nov 2026 08:59:59 GMT").want(412, "ConditionNotMet")
	d.do("DELETE", "con/b", "", "If-Modified-Since", "Mon, 02 Nov 2026 09:00:00 GMT").want(412, "ConditionNotMet")
	d.do("DELETE", "con/b", "", "If-Unmodified-Since", "Mon, 02 Nov 2026 08:59:59 GMT").want(412, "ConditionNotMet")
	require.NotEqual(t, tag, d.do("PUT", "con/b", "2", "x-ms-blob-type", "BlockBlob", "If-Match", tag).want(201, "").Header.Get("Etag"))
	d.do("DELETE", "con/b", "", "If-Match", tag).want(412, "ConditionNotMet")
	require.Equal(t, "2", string(d.do("GET", "con/b", "").Body))
}

func TestAppendBlob(t *testing.T) {
	d := newDesk(t)
	d.do("PUT", "con/log?comp=appendblock", "x").want(404, "BlobNotFound")
	d.do("PUT", "con/log", "x", "x-ms-blob-type", "AppendBlob").want(400, "InvalidHeaderValue")
	d.do("PUT", "con/log", "", "x-ms-blob-type", "AppendBlob", "If-None-Match", "*").want(201, "")
	first := d.do("PUT", "con/log?comp=appendblock", "one\n", "x-ms-blob-condition-appendpos", "0").want(201, "")
	require.Equal(t, "0 1", first.Header.Get("X-Ms-Blob-Append-Offset")+" "+first.Header.Get("X-Ms-Blob-Committed-Block-Count"))
	d.do("PUT", "con/log?comp=appendblock", "two\n", "x-ms-blob-condition-appendpos", "0").want(412, "AppendPositionConditionNotMet")
	d.do("PUT", "con/log?comp=appendblock", "two\n", "x-ms-blob-condition-appendpos", "x").want(400, "InvalidHeaderValue")
	d.do("PUT", "con/log?comp=appendblock", "two\n", "x-ms-blob-condition-maxsize", "7").want(412, "MaxBlobSizeConditionNotMet")
	d.do("PUT", "con/log?comp=appendblock", "").want(400, "InvalidHeaderValue")
	d.do("PUT", "con/log?comp=appendblock", "two\n", "If-Match", "wrong").want(412, "ConditionNotMet")
	d.do("PUT", "con/log?comp=appendblock", "two\n", "x-ms-blob-condition-maxsize", "8").want(201, "")
	got := d.do("GET", "con/log", "").want(200, "")
	require.Equal(t, "one\ntwo\n", string(got.Body))
	require.Equal(t, "AppendBlob 2", got.Header.Get("X-Ms-Blob-Type")+" "+got.Header.Get("X-Ms-Blob-Committed-Block-Count"))
	d.do("PUT", "con/block", "", "x-ms-blob-type", "BlockBlob").want(201, "")
	d.do("PUT", "con/block?comp=appendblock", "x").want(409, "InvalidBlobType")
	d.account.Containers["con"].Blobs["log"].Parts = make([]Part, maxBlocks)
	d.do("PUT", "con/log?comp=appendblock", "x").want(409, "BlockCountExceedsLimit")
	require.ErrorContains(t, d.account.Append(d.contents, "con", "log", []byte("x"), d.now), "50000 blocks")
	require.NoError(t, d.account.Append(d.contents, "new", "log", []byte("x"), d.now))
	require.Equal(t, []string{"con", "new"}, d.account.Names())
}

func TestContainers(t *testing.T) {
	d := newDesk(t)
	d.do("PUT", "con?restype=container", "").want(409, "ContainerAlreadyExists")
	d.do("GET", "con?restype=container", "").want(200, "")
	d.do("GET", "dog?restype=container", "").want(404, "ContainerNotFound")
	d.do("PUT", "C?restype=container", "").want(400, "InvalidResourceName")
	d.do("PUT", "a--b?restype=container", "").want(400, "InvalidResourceName")
	d.do("PUT", "con", "").want(501, "NotSimulated")
	d.do("PUT", "con?restype=container&comp=acl", "").want(501, "NotSimulated")
	d.do("PUT", "logs?restype=container", "", "x-ms-meta-owner", "payments").want(201, "")
	require.Equal(t, "payments", d.do("HEAD", "logs?restype=container", "").want(200, "").Header.Get("X-Ms-Meta-Owner"))
	list := string(d.do("GET", "?comp=list&maxresults=1", "").want(200, "").Body)
	require.Contains(t, list, "<Name>con</Name>")
	require.Contains(t, list, "<NextMarker>logs</NextMarker>")
	require.Contains(t, string(d.do("GET", "?comp=list&marker=logs", "").Body), "<Name>logs</Name>")
	d.do("GET", "?comp=properties&restype=account", "").want(501, "NotSimulated")
	d.do("DELETE", "logs?restype=container", "").want(202, "")
	d.do("DELETE", "logs?restype=container", "").want(404, "ContainerNotFound")
	d.do("GET", "logs?restype=container&comp=list", "").want(404, "ContainerNotFound")
	d.do("GET", "con/b?snapshot=2026", "").want(501, "NotSimulated")
	d.do("PUT", "con/b?comp=block", "").want(404, "BlobNotFound")
	d.do("GET", "con/"+strings.Repeat("x", 1025), "").want(400, "InvalidResourceName")
}

func TestList(t *testing.T) {
	d := newDesk(t)
	for _, name := range []string{"a/1", "a/2", "b/1", "c & <d>"} {
		d.do("PUT", "con/"+name, name, "x-ms-blob-type", "BlockBlob", "x-ms-meta-k", "v").want(201, "")
	}
	type page struct {
		Endpoint string `xml:"ServiceEndpoint,attr"`
		Blobs    []struct {
			Name   string
			Length int    `xml:"Properties>Content-Length"`
			Type   string `xml:"Properties>BlobType"`
			K      string `xml:"Metadata>k"`
		} `xml:"Blobs>Blob"`
		Prefixes []string `xml:"Blobs>BlobPrefix>Name"`
		Next     string   `xml:"NextMarker"`
	}
	list := func(query string) (p page, names string) {
		require.NoError(t, xml.Unmarshal(d.do("GET", "con?restype=container&comp=list"+query, "").want(200, "").Body, &p))
		var all strings.Builder
		for _, b := range p.Blobs {
			all.WriteString(b.Name + ",")
		}
		return p, all.String()
	}
	p, names := list("&include=metadata")
	require.Equal(t, "a/1,a/2,b/1,c & <d>,", names)
	require.Equal(t, "http://sim/blob/acct/", p.Endpoint)
	require.Equal(t, []any{3, "BlockBlob", "v"}, []any{p.Blobs[0].Length, p.Blobs[0].Type, p.Blobs[0].K})
	p, names = list("&maxresults=2")
	require.Equal(t, "a/1,a/2,", names)
	_, names = list("&maxresults=2&marker=" + url.QueryEscape(p.Next))
	require.Equal(t, "b/1,c & <d>,", names)
	_, names = list("&prefix=a/")
	require.Equal(t, "a/1,a/2,", names)
	p, names = list("&delimiter=/")
	require.Equal(t, "c & <d>,", names)
	require.Equal(t, []string{"a/", "b/"}, p.Prefixes)
	p, _ = list("&delimiter=/&maxresults=1")
	require.Equal(t, "b/1", p.Next)
	d.do("GET", "con?restype=container&comp=list&maxresults=0", "").want(400, "OutOfRangeQueryParameterValue")
}

func TestLease(t *testing.T) {
	d := newDesk(t)
	const one, two = "11111111-1111-4111-a111-111111111111", "22222222-2222-4222-a222-222222222222"
	d.do("PUT", "con/j", "", "x-ms-blob-type", "AppendBlob").want(201, "")
	lease := func(action string, headers ...string) answer {
		return d.do("PUT", "con/j?comp=lease", "", append([]string{"x-ms-lease-action", action}, headers...)...)
	}
	write := func(id string) answer {
		return d.do("PUT", "con/j?comp=appendblock", "x", "x-ms-lease-id", id)
	}
	state := func() string {
		h := d.do("HEAD", "con/j", "").Header
		return strings.TrimSpace(h.Get("X-Ms-Lease-State") + " " + h.Get("X-Ms-Lease-Status") + " " + h.Get("X-Ms-Lease-Duration"))
	}
	lease("renew", "x-ms-lease-id", one).want(409, "LeaseIdMismatchWithLeaseOperation")
	lease("release", "x-ms-lease-id", one).want(409, "LeaseIdMismatchWithLeaseOperation")
	lease("break").want(409, "LeaseNotPresentWithLeaseOperation")
	lease("acquire", "x-ms-lease-duration", "14").want(400, "InvalidHeaderValue")
	lease("acquire", "x-ms-lease-duration", "15", "x-ms-proposed-lease-id", "me").want(400, "InvalidHeaderValue")
	lease("acquire", "x-ms-lease-duration", "15", "If-Match", "wrong").want(412, "ConditionNotMet")
	write(one).want(412, "LeaseNotPresentWithBlobOperation")
	require.Equal(t, one, lease("acquire", "x-ms-lease-duration", "30", "x-ms-proposed-lease-id", one).want(201, "").Header.Get("X-Ms-Lease-Id"))
	require.Equal(t, "leased locked fixed", state())
	lease("acquire", "x-ms-lease-duration", "30", "x-ms-proposed-lease-id", two).want(409, "LeaseAlreadyPresent")
	lease("acquire", "x-ms-lease-duration", "30", "x-ms-proposed-lease-id", one).want(201, "")
	write("").want(412, "LeaseIdMissing")
	write(two).want(412, "LeaseIdMismatchWithBlobOperation")
	write(one).want(201, "")
	d.do("GET", "con/j", "").want(200, "")
	d.do("DELETE", "con/j", "").want(412, "LeaseIdMissing")
	d.now = d.now.Add(29 * time.Second)
	lease("renew", "x-ms-lease-id", two).want(409, "LeaseIdMismatchWithLeaseOperation")
	lease("renew", "x-ms-lease-id", one).want(200, "")
	d.now = d.now.Add(30 * time.Second)
	require.Equal(t, "expired unlocked", state())
	write(one).want(412, "LeaseLost")
	lease("renew", "x-ms-lease-id", one).want(200, "") // nobody has written meanwhile
	d.now = d.now.Add(time.Minute)
	write("").want(201, "")
	lease("renew", "x-ms-lease-id", one).want(409, "LeaseIdMismatchWithLeaseOperation")

	made := lease("acquire", "x-ms-lease-duration", "-1").want(201, "").Header.Get("X-Ms-Lease-Id")
	require.Regexp(t, leaseID, made)
	require.Equal(t, "leased locked infinite", state())
	lease("change", "x-ms-lease-id", made, "x-ms-proposed-lease-id", two).want(200, "")
	require.Equal(t, "20", lease("break", "x-ms-lease-break-period", "20").want(202, "").Header.Get("X-Ms-Lease-Time"))
	require.Equal(t, "breaking locked", state())
	lease("acquire", "x-ms-lease-duration", "15").want(409, "LeaseAlreadyPresent")
	lease("acquire", "x-ms-lease-duration", "15", "x-ms-proposed-lease-id", two).want(409, "LeaseIsBreakingAndCannotBeAcquired")
	lease("renew", "x-ms-lease-id", two).want(409, "LeaseIsBrokenAndCannotBeRenewed")
	write(two).want(201, "")
	require.Equal(t, "20", lease("break", "x-ms-lease-break-period", "30").want(202, "").Header.Get("X-Ms-Lease-Time"), "no later")
	require.Equal(t, "10", lease("break", "x-ms-lease-break-period", "10").want(202, "").Header.Get("X-Ms-Lease-Time"), "but sooner")
	d.now = d.now.Add(10 * time.Second)
	require.Equal(t, "broken unlocked", state())
	write(two).want(412, "LeaseNotPresentWithBlobOperation")
	require.Equal(t, "0", lease("break").want(202, "").Header.Get("X-Ms-Lease-Time"))
	require.Equal(t, one, lease("acquire", "x-ms-lease-duration", "60", "x-ms-proposed-lease-id", one).want(201, "").Header.Get("X-Ms-Lease-Id"))
	lease("break", "x-ms-lease-break-period", "61").want(400, "InvalidHeaderValue")
	lease("sit", "x-ms-lease-id", one).want(400, "InvalidHeaderValue")
	lease("release", "x-ms-lease-id", one).want(200, "")
	require.Equal(t, "available unlocked", state())
}

// broken keeps nothing.
type broken struct{}

func (broken) Put([]byte) (string, error) { return "", errors.New("the disk is full") }
func (broken) Get(string) ([]byte, error) { return nil, errors.New("the disk is gone") }

// TestBrokenContents: what cannot be kept is not said to be there.
func TestBrokenContents(t *testing.T) {
	d := newDesk(t)
	d.do("PUT", "con/kept", "x", "x-ms-blob-type", "BlockBlob").want(201, "")
	r := d.account.Do(broken{}, &Request{Method: "PUT", Container: "con", Blob: "b", Header: http.Header{"X-Ms-Blob-Type": {"BlockBlob"}}, Body: []byte("x"), Now: d.now})
	require.Equal(t, 500, r.Status)
	require.Contains(t, string(r.Body), "the disk is full")
	d.do("GET", "con/b", "").want(404, "BlobNotFound")
	require.Equal(t, 500, d.account.Do(broken{}, &Request{Method: "GET", Container: "con", Blob: "kept", Header: http.Header{}, Now: d.now}).Status)
	require.Error(t, d.account.Append(broken{}, "con", "b", []byte("x"), d.now))
	used := 0
	d.account.Sums(func(string) { used++ })
	require.Equal(t, 1, used)
}

// FuzzRequest: no request makes the account panic, and each gets an answer.
func FuzzRequest(f *testing.F) {
	f.Add("PUT", "con", "b", "comp=appendblock", "x-ms-blob-condition-appendpos", "0", "x")
	f.Add("PUT", "con", "b", "comp=lease", "x-ms-lease-action", "acquire", "")
	f.Add("GET", "con", "b", "", "Range", "bytes=1-", "")
	f.Add("GET", "con", "", "restype=container&comp=list&delimiter=/", "", "", "")
	f.Fuzz(func(t *testing.T, method, container, name, query, header, value, body string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		a, m, now := &Account{}, memory{}, time.Unix(1e9, 0)
		require.NoError(t, a.Append(m, "con", "b", []byte("one"), now))
		h := http.Header{}
		h.Set(header, value)
		r := a.Do(m, &Request{Method: method, Container: container, Blob: name, Query: values, Header: h, Body: []byte(body), Now: now})
		require.GreaterOrEqual(t, r.Status, 200)
		require.NotEmpty(t, r.Header.Get("X-Ms-Version"))
	})
}
