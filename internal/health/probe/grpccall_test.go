package probe

import (
	"encoding/binary"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// FuzzParseHealthAnswer holds our reading of an answer to the generated code's.
func FuzzParseHealthAnswer(f *testing.F) {
	for _, status := range []healthpb.HealthCheckResponse_ServingStatus{0, 1, 2, 3, 77} {
		message, err := proto.Marshal(&healthpb.HealthCheckResponse{Status: status})
		require.NoError(f, err)
		f.Add(frame(message))
	}
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add(frame([]byte{0x12, 3, 'a', 'b', 'c', 8, 1})) // a field of the future
	f.Fuzz(func(t *testing.T, answer []byte) {
		got, err := parseHealthAnswer(answer)
		if err != nil {
			return
		}
		var want healthpb.HealthCheckResponse
		if proto.Unmarshal(answer[grpcPrefix:], &want) == nil {
			require.Equal(t, int32(want.GetStatus()), int32(got))
		}
	})
}

func TestParseHealthAnswerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		answer []byte
		says   string
	}{
		"nothing":       {nil, "answer is not one gRPC message"},
		"half a frame":  {[]byte{0, 0, 0, 0, 9, 8}, "answer is not one gRPC message"},
		"two messages":  {append(frame([]byte{8, 1}), frame([]byte{8, 1})...), "answer is not one gRPC message"},
		"compressed":    {[]byte{1, 0, 0, 0, 2, 8, 1}, "answer is compressed, which was not asked for"},
		"not protobuf":  {frame([]byte{0xff}), "answer is not protobuf"},
		"torn protobuf": {frame([]byte{8, 0x80}), "answer is not protobuf"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseHealthAnswer(c.answer)
			require.EqualError(t, err, c.says)
		})
	}
}

func TestGRPCStatus(t *testing.T) {
	header := func(pairs ...string) http.Header {
		h := http.Header{}
		for i := 0; i < len(pairs); i += 2 {
			h.Set(pairs[i], pairs[i+1])
		}
		return h
	}
	require.NoError(t, grpcStatus(header("Grpc-Status", "0")))
	require.NoError(t, grpcStatus(header(), header("Grpc-Status", "0")), "trailers only")
	require.EqualError(t, grpcStatus(header("Grpc-Status", "14", "Grpc-Message", "caf%C3%A9 closed")), `unavailable "café closed"`)
	require.EqualError(t, grpcStatus(header("Grpc-Status", "99")), `code 99 ""`)
	require.EqualError(t, grpcStatus(header("Grpc-Status", "no")), `grpc-status "no" is no number`)
	require.EqualError(t, grpcStatus(header()), "answer has no grpc-status")
}
