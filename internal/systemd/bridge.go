package systemd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// BridgeSocket is where fleet-bridge.socket listens on machines whose polkit is
// too old to tell units apart (before 0.106: Ubuntu 22.04).
const BridgeSocket = "/run/fleet-bridge.socket"

// maxBridgeAnswer bounds what is read of the bridge's answer.
const maxBridgeAnswer = 4 << 10

// errNoBridge says that nobody listens at the bridge's socket.
var errNoBridge = errors.New("no bridge")

// bridgeJob lets the bridge start or stop a unit, and waits until it has. The
// request is one line, "start UNIT" or "stop UNIT"; so is the answer: "done",
// "refused: REASON" or "failed: REASON".
func (m *Manager) bridgeJob(ctx context.Context, verb, name string) error {
	if m.bridge == "" {
		return errNoBridge
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", m.bridge)
	if err != nil {
		return errNoBridge
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()

	_, err = io.WriteString(conn, verb+" "+name+"\n")
	var answer string
	if err == nil {
		answer, err = bufio.NewReader(io.LimitReader(conn, maxBridgeAnswer)).ReadString('\n')
	}
	if ctx.Err() != nil {
		return fmt.Errorf("wait for the bridge: %w", context.Cause(ctx))
	}
	if err != nil {
		return fmt.Errorf("ask the bridge: %w", err)
	}
	result, reason, _ := strings.Cut(strings.TrimSpace(answer), ":")
	reason = strings.TrimSpace(reason)
	switch result {
	case "done":
		return nil
	case "refused":
		return fmt.Errorf("%w: %s", ErrDenied, reason)
	case "failed":
		return fmt.Errorf("job failed: %s", reason)
	}
	return fmt.Errorf("ask the bridge: unexpected answer %q", answer)
}
