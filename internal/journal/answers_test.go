package journal

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/testkit/azurite"
)

// A blobRequest is one of the table that the simulator and Azurite answer both.
type blobRequest struct {
	name    string
	method  string
	path    string // below the container, with its query
	headers string // "Name: value" by line
	body    string
}

const (
	leaseOne = "11111111-1111-4111-a111-111111111111"
	leaseTwo = "22222222-2222-4222-a222-222222222222"
)

// blobRequests are made in this order.
var blobRequests = []blobRequest{
	{"nothing there", "GET", "/j", "", ""},
	{"look at nothing", "HEAD", "/j", "", ""},
	{"delete nothing", "DELETE", "/j", "", ""},
	{"append to nothing", "PUT", "/j?comp=appendblock", "x-ms-blob-condition-appendpos: 0", "one\n"},
	{"lease of nothing", "PUT", "/j?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: " + leaseOne, ""},
	{"break nothing", "PUT", "/j?comp=lease", "x-ms-lease-action: break\nx-ms-lease-break-period: 0", ""},
	{"no type", "PUT", "/j", "", ""},
	{"make", "PUT", "/j", "x-ms-blob-type: AppendBlob\nif-none-match: *", ""},
	{"make again", "PUT", "/j", "x-ms-blob-type: AppendBlob\nif-none-match: *", ""},
	{"read what is empty", "GET", "/j", "x-ms-range: bytes=0-99", ""},
	{"look at what is empty", "HEAD", "/j", "", ""},
	{"append", "PUT", "/j?comp=appendblock", "x-ms-blob-condition-appendpos: 0", "one\n"},
	{"append again", "PUT", "/j?comp=appendblock", "x-ms-blob-condition-appendpos: 0", "one\n"},
	{"append too far", "PUT", "/j?comp=appendblock", "x-ms-blob-condition-appendpos: 5", "two\n"},
	{"append two", "PUT", "/j?comp=appendblock", "x-ms-blob-condition-appendpos: 4", "two\n"},
	{"append an odd position", "PUT", "/j?comp=appendblock", "x-ms-blob-condition-appendpos: x", "three\n"},
	{"append nothing", "PUT", "/j?comp=appendblock", "x-ms-blob-condition-appendpos: 8", ""},
	{"read", "GET", "/j", "x-ms-range: bytes=0-99", ""},
	{"read the tail", "GET", "/j", "x-ms-range: bytes=4-99", ""},
	{"read part", "GET", "/j", "x-ms-range: bytes=1-2", ""},
	{"read behind the end", "GET", "/j", "x-ms-range: bytes=8-99", ""},
	{"look", "HEAD", "/j", "", ""},
	{"make a block blob", "PUT", "/lock", "x-ms-blob-type: BlockBlob\nif-none-match: *", ""},
	{"make a block blob again", "PUT", "/lock", "x-ms-blob-type: BlockBlob\nif-none-match: *", ""},
	{"append to a block blob", "PUT", "/lock?comp=appendblock", "x-ms-blob-condition-appendpos: 0", "one\n"},
	{"read an empty block blob", "GET", "/lock", "x-ms-range: bytes=0-99", ""},
	{"renew no lease", "PUT", "/lock?comp=lease", "x-ms-lease-action: renew\nx-ms-lease-id: " + leaseOne, ""},
	{"release no lease", "PUT", "/lock?comp=lease", "x-ms-lease-action: release\nx-ms-lease-id: " + leaseOne, ""},
	{"break no lease", "PUT", "/lock?comp=lease", "x-ms-lease-action: break\nx-ms-lease-break-period: 0", ""},
	{"metadata with no lease", "PUT", "/lock?comp=metadata", "x-ms-lease-id: " + leaseOne + "\nx-ms-meta-owner: ada", ""},
	{"acquire for too short", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 14\nx-ms-proposed-lease-id: " + leaseOne, ""},
	{"acquire for too long", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 61\nx-ms-proposed-lease-id: " + leaseOne, ""},
	{"acquire", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: " + leaseOne, ""},
	{"acquire again", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: " + leaseOne, ""},
	{"acquire another's", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: " + leaseTwo, ""},
	{"make what is leased", "PUT", "/lock", "x-ms-blob-type: BlockBlob\nif-none-match: *", ""},
	{"metadata", "PUT", "/lock?comp=metadata", "x-ms-lease-id: " + leaseOne + "\nx-ms-meta-owner: ada+l\nx-ms-meta-pid: 812", ""},
	{"metadata without the lease", "PUT", "/lock?comp=metadata", "x-ms-meta-owner: eve", ""},
	{"metadata of another", "PUT", "/lock?comp=metadata", "x-ms-lease-id: " + leaseTwo + "\nx-ms-meta-owner: eve", ""},
	{"look at the lock", "HEAD", "/lock", "", ""},
	{"delete what is leased", "DELETE", "/lock", "", ""},
	{"renew", "PUT", "/lock?comp=lease", "x-ms-lease-action: renew\nx-ms-lease-id: " + leaseOne, ""},
	{"renew another's", "PUT", "/lock?comp=lease", "x-ms-lease-action: renew\nx-ms-lease-id: " + leaseTwo, ""},
	{"release another's", "PUT", "/lock?comp=lease", "x-ms-lease-action: release\nx-ms-lease-id: " + leaseTwo, ""},
	{"break", "PUT", "/lock?comp=lease", "x-ms-lease-action: break\nx-ms-lease-break-period: 0", ""},
	{"break again", "PUT", "/lock?comp=lease", "x-ms-lease-action: break\nx-ms-lease-break-period: 0", ""},
	{"look at the broken lock", "HEAD", "/lock", "", ""},
	{"renew what is broken", "PUT", "/lock?comp=lease", "x-ms-lease-action: renew\nx-ms-lease-id: " + leaseOne, ""},
	{"metadata with a broken lease", "PUT", "/lock?comp=metadata", "x-ms-lease-id: " + leaseOne + "\nx-ms-meta-owner: ada", ""},
	{"acquire what was broken", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: " + leaseTwo, ""},
	{"renew what was taken", "PUT", "/lock?comp=lease", "x-ms-lease-action: renew\nx-ms-lease-id: " + leaseOne, ""},
	{"release", "PUT", "/lock?comp=lease", "x-ms-lease-action: release\nx-ms-lease-id: " + leaseTwo, ""},
	{"release again", "PUT", "/lock?comp=lease", "x-ms-lease-action: release\nx-ms-lease-id: " + leaseTwo, ""},
	{"look at the released lock", "HEAD", "/lock", "", ""},
	{"acquire to break slowly", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: " + leaseTwo, ""},
	{"break slowly", "PUT", "/lock?comp=lease", "x-ms-lease-action: break\nx-ms-lease-break-period: 60", ""},
	{"look at the breaking lock", "HEAD", "/lock", "", ""},
	{"acquire what is breaking", "PUT", "/lock?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: " + leaseOne, ""},
	{"break now", "PUT", "/lock?comp=lease", "x-ms-lease-action: break\nx-ms-lease-break-period: 0", ""},
	{"ask", "PUT", "/requests/b", "x-ms-blob-type: BlockBlob\nif-none-match: *", `{"do":"pause"}`},
	{"ask first", "PUT", "/requests/a", "x-ms-blob-type: BlockBlob\nif-none-match: *", `{}`},
	{"list", "GET", "?restype=container&comp=list", "", ""},
	{"list requests", "GET", "?restype=container&comp=list&prefix=requests/", "", ""},
	{"list nothing", "GET", "?restype=container&comp=list&prefix=none/", "", ""},
	{"list one", "GET", "?restype=container&comp=list&maxresults=1", "", ""},
	{"delete", "DELETE", "/requests/b", "", ""},
	{"acquire with no id that is one", "PUT", "/requests/a?comp=lease", "x-ms-lease-action: acquire\nx-ms-lease-duration: 60\nx-ms-proposed-lease-id: me", ""},
	{"delete again", "DELETE", "/requests/b", "", ""},
}

// tellingHeaders are those whose values a client looks at.
var tellingHeaders = []string{
	"X-Ms-Error-Code", "Content-Range", "Content-Length", "X-Ms-Blob-Type", "X-Ms-Blob-Append-Offset", "X-Ms-Blob-Committed-Block-Count",
	"X-Ms-Lease-Id", "X-Ms-Lease-State", "X-Ms-Lease-Status", "X-Ms-Lease-Duration", "X-Ms-Lease-Time", "X-Ms-Meta-Owner", "X-Ms-Meta-Pid",
}

// presentHeaders are those whose values are each service's own.
var presentHeaders = []string{"Etag", "Last-Modified", "Date"}

// excuses say where the two may differ, and why: "request", or "request: part".
var excuses = map[string]string{
	"no type":                        "Azurite refuses it before it knows which error that is: a 400 in plain text",
	"append an odd position":         "Azurite refuses it before it knows which error that is: a 400 in plain text",
	"read behind the end":            "Azure says 416 InvalidRange; Azurite sends nothing of nothing, with 206",
	"acquire with no id that is one": "Azure wants a GUID; Azurite takes everything",
}

// TestAnswers: for each request, the simulator and Azurite say the same, as far as a
// client can tell. What may differ is listed with a reason; a reason that nothing needs
// is an error.
func TestAnswers(t *testing.T) {
	services := map[string]http.Handler{"azurite": azurite.Service(t), "fleetsim": simulator(t)}
	container := fmt.Sprintf("/blob/%s/answers-%d", account, time.Now().UnixNano())
	for _, service := range services {
		require.Equal(t, "201", answerOf(service, container, blobRequest{method: "PUT", path: "?restype=container"})["status"])
	}
	needed := map[string]bool{}
	compared := 0
	for _, q := range blobRequests {
		theirs, ours := answerOf(services["azurite"], container, q), answerOf(services["fleetsim"], container, q)
		for what, value := range theirs {
			compared++
			if ours[what] == value {
				continue
			}
			part := q.name + ": " + what
			for _, key := range []string{q.name, part} {
				if _, ok := excuses[key]; ok {
					needed[key] = true
				}
			}
			if !needed[q.name] && !needed[part] {
				t.Errorf("%s: Azurite says %q, and fleetsim %q", part, value, ours[what])
			}
		}
	}
	for key := range excuses {
		require.True(t, needed[key], "nothing needs the excuse for %q", key)
	}
	t.Logf("%d requests, %d parts of answers compared, %d differ for a reason", len(blobRequests), compared, len(needed))
}

// answerOf is what a client looks at in an answer.
func answerOf(service http.Handler, container string, q blobRequest) map[string]string {
	req := httptest.NewRequest(q.method, container+q.path, strings.NewReader(q.body))
	req.RequestURI = ""
	if q.body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	}
	req.Header.Set("X-Ms-Version", "2024-11-04")
	if q.body != "" {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	for line := range strings.Lines(q.headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	service.ServeHTTP(w, req)
	h := w.Result().Header
	found := map[string]string{"status": strconv.Itoa(w.Code)}
	for _, name := range tellingHeaders {
		found[name] = h.Get(name)
	}
	for _, name := range presentHeaders {
		found[name] = strconv.FormatBool(h.Get(name) != "")
	}
	body := bytes.TrimPrefix(w.Body.Bytes(), []byte("\ufeff"))
	if q.method == http.MethodHead {
		body = nil // a recorder keeps what a server drops
	}
	if w.Code > 299 || strings.Contains(q.path, "comp=list") || q.method == http.MethodPut {
		found["Content-Length"] = "" // of XML, or of nothing
	}
	switch {
	case strings.Contains(q.path, "comp=list"):
		found["body"] = listOf(body)
	case w.Code > 299:
		var failure struct{ Code string }
		_ = xml.Unmarshal(body, &failure) // what is no XML has no code
		found["body"] = failure.Code
	default:
		found["body"] = string(body)
	}
	return found
}

// listOf is a list of blobs, without what is each service's own.
func listOf(body []byte) string {
	var list struct {
		Blobs []struct {
			Name       string
			Properties struct {
				Created  string `xml:"Creation-Time"`
				Modified string `xml:"Last-Modified"`
				Etag     string
				Length   int    `xml:"Content-Length"`
				Type     string `xml:"BlobType"`
				State    string `xml:"LeaseState"`
				Status   string `xml:"LeaseStatus"`
			}
		} `xml:"Blobs>Blob"`
		NextMarker string
	}
	if err := xml.Unmarshal(body, &list); err != nil {
		return err.Error()
	}
	var lines []string
	for _, b := range list.Blobs {
		p := b.Properties
		lines = append(lines, fmt.Sprint(b.Name, " ", p.Length, " ", p.Type, " ", p.State, " ", p.Status, " ", p.Created != "", " ", p.Modified != "", " ", p.Etag != ""))
	}
	slices.Sort(lines)
	return strings.Join(append(lines, fmt.Sprint("more: ", list.NextMarker != "")), "\n")
}
