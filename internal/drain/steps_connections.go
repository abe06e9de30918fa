package drain

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	// connectionsEvery is the time between two counts.
	connectionsEvery = 200 * time.Millisecond
	// connectionsFaults is how many counts in a row may fail: one, for want of a
	// file descriptor, must not end a wait that the next one would end well.
	connectionsFaults = 5
)

// established is TCP_ESTABLISHED, as the kernel's tcp_states.h numbers it.
const established = "01"

// A ConnectionsConfig configures a ConnectionsStep.
type ConnectionsConfig struct {
	Ports  []int // local ports, 1 to 65535
	AtMost int   // wait until so many connections or fewer are left
	// NetDir holds the files tcp and tcp6; empty: /proc/self/net, which the
	// agent can read also where /proc/net is hidden.
	NetDir string
}

type connectionsStep struct {
	ports  []uint16
	atMost int
	dir    string
}

// ConnectionsStep returns a step that waits until the established TCP connections
// on some local ports, IPv4 and IPv6, have become few.
func ConnectionsStep(cfg ConnectionsConfig) (Step, error) {
	if len(cfg.Ports) == 0 {
		return nil, errors.New("the ports are missing")
	}
	if cfg.AtMost < 0 {
		return nil, fmt.Errorf("at_most %d is negative", cfg.AtMost)
	}
	s := connectionsStep{atMost: cfg.AtMost, dir: cfg.NetDir}
	if s.dir == "" {
		s.dir = "/proc/self/net"
	}
	for _, p := range cfg.Ports {
		if p < 1 || p > 65535 {
			return nil, fmt.Errorf("port %d is not between 1 and 65535", p)
		}
		s.ports = append(s.ports, uint16(p))
	}
	return s, nil
}

func (s connectionsStep) Run(ctx context.Context) error {
	for faults := 0; ; {
		n, err := s.count()
		switch {
		case err != nil:
			if faults++; faults == connectionsFaults {
				return fmt.Errorf("count connections: %w", err)
			}
		case n <= s.atMost:
			return nil
		default:
			faults = 0
		}
		switch ended := pause(ctx, connectionsEvery); {
		case ended == nil:
		case err != nil:
			return fmt.Errorf("count connections: %w", err)
		default:
			return fmt.Errorf("%d established on %s, want at most %d", n, s.where(), s.atMost)
		}
	}
}

func (s connectionsStep) where() string {
	if len(s.ports) == 1 {
		return "port " + strconv.Itoa(int(s.ports[0]))
	}
	return "ports " + strings.Trim(fmt.Sprint(s.ports), "[]")
}

// count counts in both address families. A machine without IPv6 has no tcp6.
func (s connectionsStep) count() (int, error) {
	total := 0
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(s.dir, name))
		if name == "tcp6" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		n, err := countEstablished(f, s.ports)
		_ = f.Close() // was only read
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		total += n
	}
	return total, nil
}

// countEstablished counts the established connections on local ports in a table
// as the kernel prints it to /proc/net/tcp and tcp6 (proc_net_tcp.txt): after a
// heading, lines of "sl local_address rem_address st ...", the addresses
// ADDRESS:PORT in hexadecimal. An IPv4 connection to an IPv6 socket is in tcp6,
// with a mapped address.
func countEstablished(r io.Reader, ports []uint16) (int, error) {
	lines := bufio.NewScanner(r)
	n := 0
	for heading := true; lines.Scan(); heading = false {
		if heading {
			continue
		}
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 {
			continue
		}
		if len(fields) < 4 {
			return 0, fmt.Errorf("line %q has %d fields, want at least 4", lines.Text(), len(fields))
		}
		_, hexPort, ok := strings.Cut(fields[1], ":")
		port, err := hex.DecodeString(hexPort)
		if !ok || err != nil || len(port) != 2 {
			return 0, fmt.Errorf("local address %q is not ADDRESS:PORT in hexadecimal", fields[1])
		}
		if fields[3] == established && slices.Contains(ports, uint16(port[0])<<8|uint16(port[1])) {
			n++
		}
	}
	return n, lines.Err()
}
