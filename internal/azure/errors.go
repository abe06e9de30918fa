package azure

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// Kind says what sort of failure an Error is: who has to do something about it.
type Kind int

// The kinds of failures.
const (
	Failed      Kind = iota // Azure says that it failed, or what it says is odd
	Usage                   // the flags or the environment make no sense
	SignIn                  // there is no token, or it is not accepted
	Denied                  // the identity may not do that
	NotFound                // there is no such thing
	Conflict                // something else is being done to it, or it was changed
	Throttled               // too much was asked
	Unreachable             // no answer
	Garbled                 // an answer that is not Azure's
)

// An Error is a question that Azure did not answer. Its text is the question and what
// came back.
type Error struct {
	Kind Kind
	Op   string // what was to be done: "list the scale sets of rg-pay-prod"; may be empty
	Text string // what came back
	Hint string // what to do about it; may be empty
	Err  error
	// After is how long Azure asks to wait when it is Throttled; 0: it does not say.
	After time.Duration
	// Resent says that an earlier try was lost that Azure may have taken: a Conflict may be
	// with that.
	Resent bool
}

func (e *Error) Error() string {
	if e.Op == "" {
		return e.Text
	}
	return e.Op + ": " + e.Text
}

func (e *Error) Unwrap() error { return e.Err }

// Is lets errors.Is compare the kind: errors.Is(err, &Error{Kind: NotFound}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Op == "" && t.Text == "" && t.Kind == e.Kind
}

// Unsure says whether Azure may have done what was asked for although it answered with
// an error: the answer is one of a server that failed in the middle.
func Unsure(err error) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.StatusCode >= http.StatusInternalServerError
}

// Resent says whether an error is that of a write of which an earlier try was lost, so that
// what is in its way may be its own deed.
func Resent(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Resent
}

// usageError says that flags or the environment make no sense, and what would.
func usageError(err error, hint string) error {
	return &Error{Kind: Usage, Text: err.Error(), Hint: hint, Err: err}
}

// isNotFound says whether Azure says that there is no such thing.
func isNotFound(err error) bool { return errors.Is(err, &Error{Kind: NotFound}) }

// hintProxy is what to do about an answer that is whole, and not Azure's.
const hintProxy = "a proxy may answer in the place of Azure; look with --debug"

// maxText bounds what an error repeats of an answer.
const maxText = 400

// explain makes the error of the operation op from what the SDK returned. An end that
// was asked for stays what it is.
func explain(op string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	e := &Error{Op: op, Err: err}
	if known, ok := errors.AsType[*Error](err); ok { // of the credential, or of an inner question
		return known
	}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		e.fromAnswer(answer)
	} else {
		e.fromTransport(err)
	}
	e.Text = safetext.Line(e.Text, maxLine)
	return e
}

// fromTransport says why there was no answer, or none that could be read.
func (e *Error) fromTransport(err error) {
	e.Kind = Unreachable
	var dns *net.DNSError
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var foreign *foreignLinkError
	var syntax *json.SyntaxError
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.Is(err, errHangs):
		e.Text, e.Hint = errHangs.Error(), "the service or a proxy before it hangs; look at https://azure.status.microsoft, and try again"
	case errors.Is(err, context.DeadlineExceeded):
		e.Text, e.Hint = "the time of --timeout is over", "give it more time"
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Kind, e.Text, e.Hint = Garbled, "the answer ends too early", "a proxy may have cut it; try again"
	case errors.Is(err, errEmpty):
		e.Kind, e.Text, e.Hint = Garbled, errEmpty.Error(), hintProxy
	case errors.Is(err, errTooLarge):
		e.Kind, e.Text, e.Hint = Garbled, errTooLarge.Error(), "that is not Azure's; look at what answers there with --debug"
	case errors.As(err, &foreign):
		e.Kind, e.Text, e.Hint = Garbled, foreign.Error(), "nothing was sent there; something between here and Azure changes its answers"
	case errors.As(err, &certificate):
		e.Text = "the certificate is not trusted: " + cause(certificate.Err)
		e.Hint = "behind a proxy that looks into TLS, name its authority with SSL_CERT_FILE"
	case errors.As(err, &record):
		e.Text, e.Hint = "the answer is not TLS", "something else listens there; look at HTTPS_PROXY"
	case errors.As(err, &dns):
		e.Text, e.Hint = fmt.Sprintf("the name %s cannot be resolved", dns.Name), "is this machine online? behind a proxy, set HTTPS_PROXY"
	case errors.As(err, &syntax), errors.As(err, &wrongType), strings.Contains(err.Error(), "unmarshalling type"), strings.Contains(err.Error(), "unexpected end of JSON input"):
		e.Kind, e.Text, e.Hint = Garbled, garbled(err), "a proxy may have cut or changed it; try again, and look with --debug"
	default:
		e.Text, e.Hint = cause(err), "is Azure reachable from here? behind a proxy, set HTTPS_PROXY"
	}
}

// garbled says what is wrong with an answer that should be JSON.
func garbled(err error) string {
	switch text := err.Error(); {
	case strings.Contains(text, "unexpected end of JSON input"), strings.Contains(text, "unexpected EOF"):
		return "the answer ends too early"
	case strings.Contains(text, "invalid character '<'"):
		return "the answer is a web page, and not Azure's"
	default:
		return "the answer is not what Azure says: " + text[strings.LastIndex(text, ": ")+1:]
	}
}

// cause is the innermost error's text, without the URL of the request.
func cause(err error) string {
	if inner, ok := errors.AsType[*net.OpError](err); ok {
		return inner.Error()
	}
	return withoutURL(err).Error()
}

// fromAnswer says what an answer means that is not a success.
func (e *Error) fromAnswer(answer *azcore.ResponseError) {
	message, html := messageOf(answer)
	e.Text = fmt.Sprintf("%d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	if answer.ErrorCode != "" {
		e.Text = answer.ErrorCode
	}
	if message != "" {
		e.Text += ": " + message
	}
	switch code := answer.StatusCode; {
	case html, code >= 300 && code < 400:
		e.Kind, e.Text = Garbled, fmt.Sprintf("%d, and the answer is a web page, not Azure's", code)
		e.Hint = "a proxy or a portal that wants a sign-in answers in its place; look at HTTPS_PROXY"
	case code == http.StatusUnauthorized:
		e.Kind, e.Text = SignIn, "the token is not accepted: "+e.Text
		e.Hint = "sign in again (az login), in the tenant of this subscription"
	case code == http.StatusForbidden:
		e.denied(message)
	case code == http.StatusNotFound:
		e.Kind, e.Hint = NotFound, "look at the names, and at the subscription"
	case code == http.StatusConflict, code == http.StatusPreconditionFailed:
		e.Kind, e.Hint = Conflict, "something else changes it; look at what, and try again"
	case code == http.StatusTooManyRequests:
		e.throttled(answer.RawResponse)
	case code >= 500:
		e.Hint = "Azure failed; look at https://azure.status.microsoft, and try again"
	}
	if id := requestID(answer.RawResponse); id != "" && e.Kind == Failed {
		e.Text += " (request " + id + ")"
	}
}

// The parts of the message of AuthorizationFailed and LinkedAuthorizationFailed, which
// begins with what is allowed.
var (
	deniedAction = regexp.MustCompile(`(?:not have permission to perform action\(s\)|not have authorization to perform action) '([^']+)'`)
	deniedScope  = regexp.MustCompile(`(?:over scope|on the linked scope\(s\)) '([^']+)'`)
)

// denied says which action is missing where, which is all that its reader needs.
func (e *Error) denied(message string) {
	e.Kind, e.Hint = Denied, "the identity needs a role with that action there; one that was just assigned takes some minutes"
	action, scope := deniedAction.FindStringSubmatch(message), deniedScope.FindStringSubmatch(message)
	if action == nil {
		e.Text = "not allowed: " + e.Text
		return
	}
	e.Text = "not allowed: " + action[1]
	if scope != nil {
		e.Text += " on " + scope[1]
	}
	if strings.HasSuffix(action[1], "/read") {
		e.Hint = "the identity needs the role Reader there; one that was just assigned takes some minutes"
	}
}

// throttled says which limit was reached, and when it is time again.
func (e *Error) throttled(resp *http.Response) {
	e.Kind, e.Text, e.Hint = Throttled, "throttled", "others ask much, too; try again later"
	if resp == nil {
		return
	}
	w := waitOf(resp, retryAfter(resp.Header, time.Now()))
	e.Text = "throttled by " + w.Service
	if w.Limit != "" {
		e.Text += " (" + w.Limit + ")"
	}
	if e.After = w.For; w.For > 0 {
		e.Text += ", which asks to wait " + w.For.Round(time.Second).String()
		e.Hint = "try again after that, or with a --timeout that allows for it"
	}
}

// messageOf returns the message of an answer, and whether it is a page for people.
func messageOf(answer *azcore.ResponseError) (message string, html bool) {
	if answer.RawResponse == nil {
		return "", false
	}
	body, err := runtime.Payload(answer.RawResponse)
	if err != nil {
		return "", false
	}
	var parsed struct {
		Error   struct{ Message string }
		Message string
	}
	if json.Unmarshal(body, &parsed) != nil {
		if message, ok := storageMessage(body); ok {
			return message, false
		}
		return "", bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
	}
	if parsed.Error.Message != "" {
		parsed.Message = parsed.Error.Message
	}
	return safetext.Line(parsed.Message, maxText), false
}

// storageMessage is the message of Azure Storage, which answers in XML: its first line,
// because what follows are the id of the request and the time.
func storageMessage(body []byte) (message string, ok bool) {
	var parsed struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	if xml.Unmarshal(bytes.TrimPrefix(body, []byte("\ufeff")), &parsed) != nil || parsed.Code == "" {
		return "", false
	}
	message, _, _ = strings.Cut(parsed.Message, "\n")
	return safetext.Line(message, maxText), true
}

func requestID(resp *http.Response) string {
	if resp == nil {
		return ""
	}
	return safetext.Line(resp.Header.Get("X-Ms-Request-Id"), 64)
}

// A foreignLinkError is a link to another host, in the place of the next page.
type foreignLinkError struct{ host string }

func (e *foreignLinkError) Error() string {
	return "an answer leads to " + e.host + ", which is not Azure Resource Manager"
}

// signInError says why there is no token: what was tried, and why it failed, one
// credential a line.
func signInError(way string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	attempts := attemptsOf(err.Error())
	e := &Error{Kind: SignIn, Err: err, Text: "no way to sign in works:"}
	for _, a := range attempts {
		e.Text += "\n  " + a.String()
	}
	if len(attempts) == 1 {
		e.Text = attempts[0].String()
	}
	e.Op = "sign in with --auth " + way
	e.Hint = hintOf(way, attempts)
	return e
}

// An attempt is a credential that was tried, and why it failed.
type attempt struct{ credential, why string }

func (a attempt) String() string {
	if a.credential == "" {
		return a.why
	}
	return a.credential + ": " + a.why
}

// The parts of an error of the identity module.
var (
	attemptName  = regexp.MustCompile(`^(\w+Credential)(?::| authentication failed\.?) ?(.*)`)
	attemptReply = regexp.MustCompile(`^RESPONSE (\d+):`)
	attemptWords = regexp.MustCompile(`"error_description": "((?:[^"\\]|\\.)*)"`)
	attemptHost  = regexp.MustCompile(`^(?:GET|POST) (https?://[^/]+)`)
)

// attemptsOf takes the text of a credential's error apart. It is made for people and
// repeats whole answers; what names the reason is kept.
func attemptsOf(text string) []attempt {
	var all []attempt
	host := ""
	for line := range strings.Lines(text) {
		depth := len(line) - len(strings.TrimLeft(line, "\t"))
		line = strings.TrimSpace(line)
		if m := attemptName.FindStringSubmatch(line); m != nil && depth < 2 && m[1] != "DefaultAzureCredential" && m[1] != "ChainedTokenCredential" {
			all, host = append(all, attempt{m[1], shorten(m[2])}), ""
			continue
		}
		if len(all) == 0 {
			continue
		}
		last := &all[len(all)-1]
		if m := attemptHost.FindStringSubmatch(line); m != nil {
			host = m[1]
		} else if m := attemptReply.FindStringSubmatch(line); m != nil {
			last.why = strings.TrimSpace(fmt.Sprintf("%s %s answered %s", last.why, host, m[1]))
		} else if m := attemptWords.FindStringSubmatch(line); m != nil {
			last.why += ": " + shorten(m[1])
		}
	}
	if len(all) == 0 {
		first, _, _ := strings.Cut(text, "\n")
		all = append(all, attempt{"", shorten(first)})
	}
	return all
}

// shorten drops what helps nobody at a prompt: links, trace ids, and what follows.
func shorten(why string) string {
	for _, end := range []string{". To troubleshoot", " To troubleshoot", " Trace ID:", `\r\n`, ". See https", ". Visit https"} {
		why, _, _ = strings.Cut(why, end)
	}
	return safetext.Line(strings.TrimSpace(why), maxText)
}

// hintOf says what to do when nothing could sign in.
func hintOf(way string, attempts []attempt) string {
	last := attempts[len(attempts)-1]
	switch {
	case way == authDefault && last.credential == "ManagedIdentityCredential":
		return "the metadata service, or a proxy in its place, ended the search; to go past it: --auth cli, or AZURE_TOKEN_CREDENTIALS=dev"
	case way == authDefault:
		return "az login and --auth cli on a workstation; --auth github, azure-pipelines, workload or managed-identity elsewhere"
	case way == authCLI:
		return "run az login"
	default:
		return "is this where --auth " + way + " works? it needs what the message names"
	}
}

// Doubtful says whether an error leaves it open what Azure has done, and whether another
// try may tell.
func Doubtful(err error) bool {
	for _, kind := range []Kind{Failed, Throttled, Unreachable, Garbled} {
		if errors.Is(err, &Error{Kind: kind}) {
			return true
		}
	}
	return false
}
