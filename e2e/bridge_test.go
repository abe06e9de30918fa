//go:build e2e

package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// bridge asks the bridge as the agent does; its socket is reached through the root
// directory of the node's PID 1.
func (n *node) bridge(verb, unit string) (answer string, err error) {
	pid, err := nodeScript("pid", n.name)
	if err != nil {
		return "", err
	}
	conn, err := net.DialTimeout("unix", "/proc/"+pid+"/root/run/fleet-bridge.socket", 5*time.Second)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "%s %s\n", verb, unit); err != nil {
		return "", err
	}
	out, err := io.ReadAll(io.LimitReader(conn, 1<<16))
	return strings.TrimSpace(string(out)), err
}
