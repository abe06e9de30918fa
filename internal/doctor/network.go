package doctor

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/imds"
)

// lookMetadata asks who this VM is, as the user who looks.
func (f *facts) lookMetadata(ctx context.Context) {
	client, err := imds.New(imds.Config{Endpoint: f.conf.IMDS.Endpoint})
	if err != nil {
		f.instanceErr = err
		return
	}
	f.instance, f.instanceErr = client.Instance(ctx)
}

// answerFacts is what the health extension gets when it asks.
type answerFacts struct {
	url    string
	status int
	state  string // Healthy or Unhealthy; empty: the extension would say Unknown
	err    error  // no answer
}

// probeURL is what the health extension asks for: as its settings say or, without
// them, as they should say.
func (f *facts) probeURL() string {
	if s := f.extension.settings; s != nil && (s.Protocol == "http" || s.Protocol == "https") {
		return f.extension.url()
	}
	_, port, _ := net.SplitHostPort(f.probeAddress())
	return f.scheme() + "://localhost:" + port + "/healthz"
}

// probeAddress is where the agent answers probes, or should.
func (f *facts) probeAddress() string {
	if f.status != nil && f.status.Agent.ProbeAddress != "" {
		return f.status.Agent.ProbeAddress
	}
	return f.conf.Listen.Probe
}

func (f *facts) scheme() string {
	if f.conf.Listen.TLS.CertFile != "" {
		return "https"
	}
	return "http"
}

// lookAnswer asks as version 2 of the extension does: no redirects, any
// certificate, and a 2xx with one JSON object that has the state, or else Unknown.
func lookAnswer(ctx context.Context, url string) answerFacts {
	a := answerFacts{url: url}
	client := &http.Client{
		Timeout: 3 * time.Second,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, // as the extension
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		a.err = err
		return a
	}
	req.Header.Set("User-Agent", control.DoctorUserAgent)
	resp, err := client.Do(req)
	if err != nil {
		a.err = err
		return a
	}
	defer resp.Body.Close()
	a.status = resp.StatusCode
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var answer struct{ ApplicationHealthState, CustomMetrics string }
	if err == nil && a.status/100 == 2 && json.Unmarshal(body, &answer) == nil &&
		(answer.ApplicationHealthState == "Healthy" || answer.ApplicationHealthState == "Unhealthy") {
		a.state = answer.ApplicationHealthState
	}
	return a
}

// lookListeners reads the listening TCP sockets (proc_net_tcp).
func (f *facts) lookListeners() ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text := f.read(file)
		if text == "" && file == "/proc/net/tcp" {
			return nil, errors.New("/proc/net/tcp cannot be read")
		}
		for line := range strings.Lines(text) {
			const listen = "0A"
			if fields := strings.Fields(line); len(fields) > 3 && fields[3] == listen {
				if at, err := parseSocket(fields[1]); err == nil {
					list = append(list, at)
				}
			}
		}
	}
	return list, nil
}

// parseSocket reads an address such as 0100007F:1F90: words in the byte order of
// the machine, and the port.
func parseSocket(text string) (netip.AddrPort, error) {
	host, portText, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, fmt.Errorf("read address %q", text)
	}
	for i := 0; i < len(raw); i += 4 {
		binary.BigEndian.PutUint32(raw[i:], binary.NativeEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	port, err := strconv.ParseUint(portText, 16, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, fmt.Errorf("read address %q", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}
