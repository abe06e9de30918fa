package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// nextAddress is how long an address may take to answer before the next one
	// is tried beside it (RFC 8305, section 5).
	nextAddress = 250 * time.Millisecond

	// maxAddresses bounds how many addresses of one name are tried.
	maxAddresses = 8
)

// A dialer connects to a name with several addresses when any of them answers in
// time. The one of package net needs more time for that than a check has: it gives
// the first address of a family two seconds, and waits for the name server's
// answers for both families.
type dialer struct {
	lookup  func(ctx context.Context, network, host string) ([]netip.Addr, error)
	connect func(ctx context.Context, network, address string) (net.Conn, error)
}

func systemDialer() dialer {
	return dialer{lookup: lookupAddresses, connect: new(net.Dialer).DialContext}
}

func lookupAddresses(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return (&net.Resolver{PreferGo: true}).LookupNetIP(ctx, network, host)
}

// dial connects to host:port over TCP. When nobody answers, the error is that of
// the first address that said no.
func (d dialer) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	addrs, err := d.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	attempts := make(chan outcome[net.Conn], len(addrs))
	attempt, cancel := context.WithCancel(ctx)
	begun := 0
	begin := func() {
		to := net.JoinHostPort(addrs[begun].String(), port)
		begun++
		go func() {
			conn, err := d.connect(attempt, "tcp", to)
			attempts <- outcome[net.Conn]{value: conn, err: err}
		}()
	}
	ended := 0
	defer func() {
		cancel()
		for ; ended < begun; ended++ {
			if late := <-attempts; late.err == nil {
				_ = late.value.Close()
			}
		}
	}()
	var first error
	for begin(); ended < begun; {
		var next <-chan time.Time
		if begun < len(addrs) {
			next = time.After(nextAddress)
		}
		select {
		case a := <-attempts:
			ended++
			if a.err == nil {
				return a.value, nil
			}
			if first == nil {
				first = a.err
			}
			if begun < len(addrs) {
				begin()
			}
		case <-next:
			begin()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, first
}

// addresses returns the addresses of a host, at least one, the families in turn.
// When one family has an answer, the other is waited for no longer than a quarter
// of the time that is left: a name server that is silent about it must not cost
// all of it.
func (d dialer) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	families := [...]string{"ip4", "ip6"}
	var found [len(families)][]netip.Addr
	var failed error
	asking, cancel := context.WithCancel(ctx)
	answers, wait := atOnce(len(families), func(i int) ([]netip.Addr, error) { return d.lookup(asking, families[i], host) })
	defer wait()
	defer cancel()
	var enough <-chan time.Time
	for range families {
		select {
		case a := <-answers:
			found[a.i] = a.value
			if a.err != nil && (failed == nil || isNotFound(failed)) {
				failed = a.err
			}
			if len(a.value) > 0 {
				if deadline, ok := ctx.Deadline(); ok {
					enough = time.After(time.Until(deadline) / 4)
				}
			}
		case <-enough:
		}
	}
	var addrs []netip.Addr
	for i := range maxAddresses {
		for _, family := range found {
			if i < len(family) && len(addrs) < maxAddresses {
				addrs = append(addrs, family[i].Unmap())
			}
		}
	}
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case failed == nil:
		failed = errors.New("no address")
	}
	return nil, failed
}

// An outcome is what the i'th of several came to.
type outcome[T any] struct {
	i     int
	value T
	err   error
}

// atOnce runs f for 0 to n-1, each on a goroutine of its own, and returns their
// outcomes as they come. wait returns when all have ended, for which f has to be
// told.
func atOnce[T any](n int, f func(i int) (T, error)) (outcomes <-chan outcome[T], wait func()) {
	all := make(chan outcome[T], n) // whoever reads may stop when it knows enough
	var workers sync.WaitGroup
	for i := range n {
		workers.Go(func() {
			value, err := f(i)
			all <- outcome[T]{i, value, err}
		})
	}
	return all, workers.Wait
}
