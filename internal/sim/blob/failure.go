package blob

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// A failure is an error as the blob service words it.
type failure struct {
	status  int
	code    string
	message string
	header  http.Header // further headers of the answer
}

func (f *failure) Error() string { return f.code + ": " + f.message }

// The failures that need no more words.
var (
	errNoContainer     = &failure{status: http.StatusNotFound, code: "ContainerNotFound", message: "The specified container does not exist."}
	errContainerExists = &failure{status: http.StatusConflict, code: "ContainerAlreadyExists", message: "The specified container already exists."}
	errNoBlob          = &failure{status: http.StatusNotFound, code: "BlobNotFound", message: "The specified blob does not exist."}
	errBlobExists      = &failure{status: http.StatusConflict, code: "BlobAlreadyExists", message: "The specified blob already exists."}
	errCondition       = &failure{status: http.StatusPreconditionFailed, code: "ConditionNotMet", message: "The condition specified using HTTP conditional header(s) is not met."}
	errNotModified     = &failure{status: http.StatusNotModified, code: "ConditionNotMet", message: "The condition specified using HTTP conditional header(s) is not met."}
	errBlobType        = &failure{status: http.StatusConflict, code: "InvalidBlobType", message: "The blob type is invalid for this operation."}
	errPosition        = &failure{status: http.StatusPreconditionFailed, code: "AppendPositionConditionNotMet", message: "The append position condition specified was not met."}
	errMaxSize         = &failure{status: http.StatusPreconditionFailed, code: "MaxBlobSizeConditionNotMet", message: "The max blob size condition specified was not met."}
	errBlocks          = &failure{status: http.StatusConflict, code: "BlockCountExceedsLimit", message: "The committed block count cannot exceed the maximum limit of 50,000 blocks."}
	errTooMany         = &failure{status: http.StatusInsufficientStorage, code: "NotSimulated", message: "fleetsim keeps no more blobs in one container."}
	errMD5             = &failure{status: http.StatusBadRequest, code: "Md5Mismatch", message: "The MD5 value specified in the request did not match with the MD5 value calculated by the server."}
	errResourceName    = &failure{status: http.StatusBadRequest, code: "InvalidResourceName", message: "The specified resource name contains invalid characters."}
	errLeaseMissing    = &failure{status: http.StatusPreconditionFailed, code: "LeaseIdMissing", message: "There is currently a lease on the blob and no lease ID was specified in the request."}
	errLeaseOther      = &failure{status: http.StatusPreconditionFailed, code: "LeaseIdMismatchWithBlobOperation", message: "The lease ID specified did not match the lease ID for the blob."}
	errLeaseLost       = &failure{status: http.StatusPreconditionFailed, code: "LeaseLost", message: "A lease ID was specified, but the lease for the blob has expired."}
	errLeaseNone       = &failure{status: http.StatusPreconditionFailed, code: "LeaseNotPresentWithBlobOperation", message: "There is currently no lease on the blob."}
	errLeased          = &failure{status: http.StatusConflict, code: "LeaseAlreadyPresent", message: "There is already a lease present."}
	errLeaseBreaking   = &failure{status: http.StatusConflict, code: "LeaseIsBreakingAndCannotBeAcquired", message: "The lease ID matched, but the lease is currently in breaking state and cannot be acquired until it is broken."}
	errLeaseBroken     = &failure{status: http.StatusConflict, code: "LeaseIsBrokenAndCannotBeRenewed", message: "The lease ID matched, but the lease has been broken explicitly and cannot be renewed."}
	errNoLease         = &failure{status: http.StatusConflict, code: "LeaseNotPresentWithLeaseOperation", message: "There is currently no lease on the blob."}
	errLeaseID         = &failure{status: http.StatusConflict, code: "LeaseIdMismatchWithLeaseOperation", message: "The lease ID specified did not match the lease ID for the blob."}
)

// badHeader refuses a header's value.
func badHeader(name, value string) *failure {
	return &failure{status: http.StatusBadRequest, code: "InvalidHeaderValue", message: fmt.Sprintf("The value for one of the HTTP headers is not in the correct format: %s: %s.", name, value)}
}

// needHeader refuses a request without a header.
func needHeader(name string) *failure {
	return &failure{status: http.StatusBadRequest, code: "MissingRequiredHeader", message: "An HTTP header that's mandatory for this request is not specified: " + name + "."}
}

// badRange refuses a range behind the end.
func badRange(size int64) *failure {
	return &failure{
		status: http.StatusRequestedRangeNotSatisfiable, code: "InvalidRange", message: "The range specified is invalid for the current size of the resource.",
		header: http.Header{"Content-Range": {"bytes */" + strconv.FormatInt(size, 10)}},
	}
}

// notSimulated refuses what is not known here.
func notSimulated(what string) *failure {
	return &failure{status: http.StatusNotImplemented, code: "NotSimulated", message: "fleetsim does not know " + what + " of blobs."}
}

// response is the failure as an answer.
func (f *failure) response(now time.Time) Response {
	h := f.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("X-Ms-Error-Code", f.code)
	if f.status == http.StatusNotModified {
		return Response{Status: f.status, Header: h}
	}
	h.Set("Content-Type", "application/xml")
	var text bytes.Buffer
	_ = xml.EscapeText(&text, []byte(f.message)) // a buffer takes everything
	body := fmt.Sprintf("\ufeff<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>%s</Code><Message>%s\nTime:%s</Message></Error>",
		f.code, text.String(), now.UTC().Format("2006-01-02T15:04:05.0000000Z"))
	return Response{Status: f.status, Header: h, Body: []byte(body)}
}
