package imds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Class says what kind of answer a request had, by what there is to do about
// it. The set is closed: it labels metrics.
type Class string

// The classes.
const (
	ClassOK          Class = "ok"
	ClassDenied      Class = "denied"       // 403, 421: a policy of the Metadata Security Protocol refuses this process
	ClassGone        Class = "gone"         // 410: the service is moving; it promises to be back within 70 s
	ClassThrottled   Class = "throttled"    // 429: all processes of the VM together ask too often
	ClassServerError Class = "server-error" // 5xx
	ClassBadRequest  Class = "bad-request"  // 400 and other 4xx: unknown api-version, method refused
	ClassNotFound    Class = "not-found"    // 404: the service does not offer this
	ClassEmpty       Class = "empty"        // 200 without a body: not a document without events
	ClassInvalid     Class = "invalid"      // 200 with something else than the whole document; a redirect
	ClassTimeout     Class = "timeout"      // no answer in time
	ClassUnreachable Class = "unreachable"  // no connection
)

// Classes returns every class, ClassOK first.
func Classes() []Class {
	return []Class{
		ClassOK, ClassDenied, ClassGone, ClassThrottled, ClassServerError, ClassBadRequest,
		ClassNotFound, ClassEmpty, ClassInvalid, ClassTimeout, ClassUnreachable,
	}
}

// ErrPartial is returned by Instance when the answer lacks what identifies the
// VM: Azure may answer 200 with a part of the data while one of its sources
// fails. Such an answer must not be kept.
var ErrPartial = errors.New("instance metadata is partial")

// Error is an answer that is not a document, or the lack of an answer.
type Error struct {
	Class Class
	// Status is the HTTP status; 0 without an answer.
	Status int
	// Body is the beginning of the answer, printable and at most 256 bytes.
	Body string
	// RetryAfter is what the answer asked to wait; 0 when it did not, at most
	// an hour.
	RetryAfter time.Duration
	// Err is what went wrong below HTTP or with the answer's content; may be
	// nil.
	Err error
}

func (e *Error) Error() string {
	var b strings.Builder
	switch e.Class {
	case ClassTimeout:
		b.WriteString("no answer in time")
	case ClassUnreachable:
		b.WriteString("no connection")
	default:
		fmt.Fprintf(&b, "answer %d %s", e.Status, http.StatusText(e.Status))
	}
	switch e.Class {
	case ClassDenied:
		b.WriteString(": denied by policy (Metadata Security Protocol)")
	case ClassGone:
		b.WriteString(": the metadata service is moving and will be back within 70 s")
	case ClassThrottled:
		b.WriteString(": this VM's processes together ask more than 5 times a second")
	case ClassEmpty:
		b.WriteString(" with an empty body")
	default:
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	if e.Body != "" {
		fmt.Fprintf(&b, ": %q", e.Body)
	}
	return b.String()
}

// Unwrap returns the error below, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Classify returns the class of an error of this package: ClassOK for nil, and
// ClassUnreachable for an error that is none of this package's.
func Classify(err error) Class {
	if err == nil {
		return ClassOK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	switch {
	case errors.Is(err, ErrPartial):
		return ClassInvalid
	case errors.Is(err, context.DeadlineExceeded):
		return ClassTimeout
	default:
		return ClassUnreachable
	}
}

// transportError classifies an error of net/http. A cancelled context stays
// what it is.
func transportError(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, which the reader knows
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return &Error{Class: ClassTimeout, Err: err}
	}
	return &Error{Class: ClassUnreachable, Err: err}
}

// statusError classifies an answer other than 200.
func statusError(resp *http.Response, body []byte) error {
	e := &Error{Status: resp.StatusCode, Body: snippet(body)}
	switch code := resp.StatusCode; {
	case code == http.StatusForbidden, code == http.StatusMisdirectedRequest:
		e.Class = ClassDenied
	case code == http.StatusGone:
		e.Class = ClassGone
	case code == http.StatusTooManyRequests:
		e.Class = ClassThrottled
	case code == http.StatusNotFound:
		e.Class = ClassNotFound
	case code >= 500:
		e.Class = ClassServerError
	case code >= 400:
		e.Class = ClassBadRequest
	case code >= 300:
		e.Class = ClassInvalid
		e.Err = errors.New("a redirect, which the metadata service never sends: something else answers")
	default: // 201 to 299: the contract knows 200 only
		e.Class = ClassInvalid
	}
	e.RetryAfter = retryAfter(resp.Header.Get("Retry-After"))
	return e
}

// retryAfter reads both forms of the header.
func retryAfter(value string) time.Duration {
	const most = time.Hour
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, most)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), 0), most)
	}
	return 0
}

// snippet is the beginning of a body in a form that can go into a log line.
func snippet(body []byte) string {
	text := strings.ToValidUTF8(string(body[:min(len(body), maxErrorBody)]), "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text))
}
