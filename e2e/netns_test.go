//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs f with the thread in the network namespace that `ip netns`
// knows by the name: sockets that f makes belong to it for good.
func inNamespace(name string, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + name)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("leave network namespace %s: %w", name, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return err
}

// listenIn listens on an address, not a name, in a namespace.
func listenIn(namespace, address string) (l net.Listener, err error) {
	err = inNamespace(namespace, func() error {
		l, err = net.Listen("tcp", address)
		return err
	})
	return l, err
}

// clientIn returns a client whose every request is a connection of its own, made
// in a namespace. It takes addresses, not names.
func clientIn(namespace string, timeout time.Duration) *http.Client {
	dialer := net.Dialer{Timeout: timeout}
	return &http.Client{
		Timeout: timeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
				err = inNamespace(namespace, func() error {
					conn, err = dialer.DialContext(ctx, network, address)
					return err
				})
				return conn, err
			},
		},
	}
}
