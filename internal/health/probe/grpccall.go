package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	// maxHealthMessage bounds what is read of an answer, in bytes; a health
	// message has two.
	maxHealthMessage = 4 << 10
	// grpcPrefix is the length of what comes before each message: a flag for
	// compression, and the message's length.
	grpcPrefix = 5
)

// checkHealth makes one unary call of grpc.health.v1.Health/Check over HTTP/2
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) and returns
// the ServingStatus. What the server says instead is a *grpcError.
//
// The request has one field, string service = 1; the answer one, enum status =
// 1. See docs/adr/0010-grpc-health.md for why this is no library.
func checkHealth(ctx context.Context, transport http.RoundTripper, base, service string) (status uint64, err error) {
	message := []byte{}
	if service != "" {
		message = protowire.AppendString(protowire.AppendTag(message, 1, protowire.BytesType), service)
	}
	body := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/grpc.health.v1.Health/Check", bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d", resp.StatusCode)
	}
	if kind := resp.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/grpc") {
		return 0, fmt.Errorf("content type %s is not gRPC", quote(kind))
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthMessage+1))
	if err != nil {
		return 0, err
	}
	if len(answer) > maxHealthMessage {
		return 0, fmt.Errorf("answer is longer than %d bytes", maxHealthMessage)
	}
	// The status is in the trailers, which are there once the body has been
	// read, or in the headers when there is nothing else.
	if err := grpcStatus(resp.Trailer, resp.Header); err != nil {
		return 0, err
	}
	return parseHealthAnswer(answer)
}

// parseHealthAnswer reads the status of a HealthCheckResponse in its frame. A
// field that is absent is zero, as everywhere in protobuf.
func parseHealthAnswer(answer []byte) (status uint64, err error) {
	if len(answer) < grpcPrefix || int64(binary.BigEndian.Uint32(answer[1:])) != int64(len(answer)-grpcPrefix) {
		return 0, errors.New("answer is not one gRPC message")
	}
	if answer[0] != 0 {
		return 0, errors.New("answer is compressed, which was not asked for")
	}
	for message := answer[grpcPrefix:]; len(message) > 0; {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return 0, errors.New("answer is not protobuf")
		}
		message = message[n:]
		if number == 1 && kind == protowire.VarintType {
			status, n = protowire.ConsumeVarint(message)
		} else {
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return 0, errors.New("answer is not protobuf")
		}
		message = message[n:]
	}
	return status, nil
}

// A grpcError is what a server says when it does not answer.
type grpcError struct {
	code    string
	message string
}

func (e *grpcError) Error() string { return e.code + " " + quote(e.message) }

// grpcCodes are the names of the status codes
// (https://github.com/grpc/grpc/blob/master/doc/statuscodes.md).
var grpcCodes = [...]string{
	"ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
	"permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
	"internal", "unavailable", "data_loss", "unauthenticated",
}

// grpcStatus reads the status of a call from the first of some headers that has
// one.
func grpcStatus(headers ...http.Header) error {
	for _, h := range headers {
		text := h.Get("Grpc-Status")
		if text == "" {
			continue
		}
		code, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return fmt.Errorf("grpc-status %s is no number", quote(text))
		}
		if code == 0 {
			return nil
		}
		e := &grpcError{code: "code " + text, message: h.Get("Grpc-Message")}
		if code < uint64(len(grpcCodes)) {
			e.code = grpcCodes[code]
		}
		if decoded, err := url.PathUnescape(e.message); err == nil { // percent-encoded on the wire
			e.message = decoded
		}
		return e
	}
	return errors.New("answer has no grpc-status")
}
