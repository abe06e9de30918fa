package probe

import "context"

// TCPConfig describes a connection.
type TCPConfig struct {
	Address string // host:port
}

// Target is where the probe looks, as its errors name it.
func (c TCPConfig) Target() string { return c.Address }

// TCP passes when the address, or any address of its name, accepts a connection.
func TCP(cfg TCPConfig) (func(ctx context.Context) error, error) {
	if err := hostPort("address", cfg.Address); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		conn, err := systemDialer().dial(ctx, "tcp", cfg.Address)
		if err != nil {
			return &Error{Kind: "tcp", Target: cfg.Target(), Seen: describe(err), Want: "a connection", Err: err}
		}
		// The connection was made, which is all that was asked.
		_ = conn.Close()
		return nil
	}, nil
}
