package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/imds"
)

func TestMayListen(t *testing.T) {
	tests := map[string]struct {
		address            string
		metadata, remote   bool
		refused, mentioned bool
	}{
		"loopback":                     {address: "127.0.0.1:80"},
		"loopback of IPv6":             {address: "[::1]:80"},
		"localhost":                    {address: "localhost:80"},
		"the real address":             {address: "169.254.169.254:80", metadata: true, mentioned: true},
		"the real address for control": {address: "169.254.169.254:80", refused: true},
		"any address":                  {address: "0.0.0.0:80", metadata: true, refused: true},
		"no address":                   {address: ":80", metadata: true, refused: true},
		"a private address":            {address: "10.0.0.1:80", metadata: true, refused: true},
		"a name":                       {address: "example.com:80", metadata: true, refused: true},
		"allowed":                      {address: "0.0.0.0:80", remote: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			s := &simulation{allowRemote: tt.remote, log: slog.New(slog.NewTextHandler(&log, nil))}
			err := s.mayListen(tt.address, tt.metadata)
			require.Equal(t, tt.refused, err != nil, err)
			require.Equal(t, tt.mentioned, strings.Contains(log.String(), "link-local"))
		})
	}
}

func TestSpread(t *testing.T) {
	tests := map[string]struct {
		listen []string
		n      int
		want   []string
	}{
		"free ports":        {[]string{"127.0.0.1:0"}, 2, []string{"127.0.0.1:0", "127.0.0.1:0"}},
		"consecutive ports": {[]string{"[::1]:9000"}, 3, []string{"[::1]:9000", "[::1]:9001", "[::1]:9002"}},
		"one each":          {[]string{"127.0.0.1:1", "127.0.0.2:1"}, 2, []string{"127.0.0.1:1", "127.0.0.2:1"}},
		"up to the last":    {[]string{"127.0.0.1:65534"}, 2, []string{"127.0.0.1:65534", "127.0.0.1:65535"}},
		"beyond the last":   {[]string{"127.0.0.1:65535"}, 2, nil},
		"no port":           {[]string{"127.0.0.1"}, 2, nil},
		"name of a port":    {[]string{"127.0.0.1:http"}, 2, nil},
		"too many":          {[]string{"127.0.0.1:0", "127.0.0.1:0"}, 3, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := spread(tt.listen, tt.n)
			require.Equal(t, tt.want == nil, err != nil, err)
			require.Equal(t, tt.want, got)
		})
	}
}

// TestEndsWithRequestsThatHang: a request that hangs on purpose does not keep
// the simulation from ending.
func TestEndsWithRequestsThatHang(t *testing.T) {
	server := imds.New(imds.Config{})
	require.NoError(t, server.SetFault(imds.Fault{Kind: imds.FaultHang, Count: 1}))
	file := filepath.Join(t.TempDir(), "ready.json")
	s := &simulation{
		server: server, scenario: &imds.Scenario{}, listen: []string{"127.0.0.1:0"}, control: "127.0.0.1:0",
		readyFile: file, out: io.Discard, log: slog.New(slog.DiscardHandler),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx) }()

	var ready readiness
	require.Eventually(t, func() bool {
		data, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(data, &ready) == nil
	}, time.Minute, 5*time.Millisecond)

	asked := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ready.VMs[0].Endpoint+"/metadata/scheduledevents", http.NoBody)
		if err == nil {
			var resp *http.Response
			if resp, err = http.DefaultTransport.RoundTrip(req); err == nil {
				err = resp.Body.Close()
			}
		}
		asked <- err
	}()
	require.Eventually(t, func() bool { return len(server.Faults()) == 0 }, time.Minute, 5*time.Millisecond, "the request hangs")
	cancel()
	require.NoError(t, <-served)
	require.Error(t, <-asked)
	require.NoFileExists(t, file)
}
