package probe

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
)

// serveDNS answers from zone lines, over UDP and TCP on one port. Answers that
// would not fit into a datagram are cut, so that the client comes again.
func serveDNS(t *testing.T, lines ...string) string {
	t.Helper()
	zone := map[string][]dns.RR{}
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		require.NoError(t, err)
		zone[strings.ToLower(rr.Header().Name)] = append(zone[strings.ToLower(rr.Header().Name)], rr)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		m.Authoritative = true
		if strings.HasPrefix(q.Question[0].Name, "broken.") {
			m.Rcode = dns.RcodeServerFailure
		}
		name := strings.ToLower(q.Question[0].Name)
		if len(zone[name]) == 0 && m.Rcode == dns.RcodeSuccess {
			m.Rcode = dns.RcodeNameError
		}
		for range len(zone) { // along the aliases
			next := ""
			for _, rr := range zone[name] {
				if alias, ok := rr.(*dns.CNAME); ok {
					next = strings.ToLower(alias.Target)
					m.Answer = append(m.Answer, rr)
				} else if rr.Header().Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
			if next == "" {
				break
			}
			name = next
		}
		if w.LocalAddr().Network() == "udp" {
			m.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(m) // the client may have gone
	})
	// One port for both: take it from TCP, and try again when UDP has it not.
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		pc, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			_ = l.Close()
			continue
		}
		for _, server := range []*dns.Server{{Listener: l, Handler: handler}, {PacketConn: pc, Handler: handler}} {
			started, done := make(chan struct{}), make(chan error, 1)
			server.NotifyStartedFunc = func() { close(started) }
			go func() { done <- server.ActivateAndServe() }()
			<-started
			t.Cleanup(func() {
				require.NoError(t, server.Shutdown())
				require.NoError(t, <-done)
			})
		}
		return l.Addr().String()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return ""
}

func TestDNS(t *testing.T) {
	lines := []string{
		"hsm.example. 60 IN A 192.0.2.1", "hsm.example. 60 IN A 192.0.2.2",
		"hsm.example. 60 IN AAAA 2001:db8::1",
		"six.example. 60 IN AAAA 2001:db8::6",
		"www.example. 60 IN CNAME Edge.Example.", "edge.example. 60 IN CNAME hsm.example.",
		"_ldap._tcp.example. 60 IN SRV 10 5 389 DC1.example.", "_ldap._tcp.example. 60 IN SRV 20 5 636 dc2.example.",
	}
	for i := range 60 { // does not fit into a datagram
		lines = append(lines, fmt.Sprintf("many.example. 60 IN A 198.51.100.%d", i))
	}
	server := serveDNS(t, lines...)
	dead := deadAddress(t)
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()

	for name, tc := range map[string]struct {
		cfg     DNSConfig
		timeout time.Duration
		says    string // SERVER stands for the server's address
	}{
		"any":            {cfg: DNSConfig{Name: "hsm.example"}},
		"any, only v6":   {cfg: DNSConfig{Name: "six.example."}},
		"A":              {cfg: DNSConfig{Name: "hsm.example", Type: "a", Expect: []string{"192.0.2.2"}}},
		"A, all of them": {cfg: DNSConfig{Name: "HSM.example", Type: "A", Expect: []string{"192.0.2.2", "192.0.2.1"}}},
		"AAAA":           {cfg: DNSConfig{Name: "hsm.example", Type: "AAAA", Expect: []string{"2001:0db8:0::1"}}},
		"through TCP":    {cfg: DNSConfig{Name: "many.example", Type: "A", Expect: []string{"198.51.100.59"}}},
		"A of an alias":  {cfg: DNSConfig{Name: "www.example", Type: "A", Expect: []string{"192.0.2.1"}}},
		"CNAME":          {cfg: DNSConfig{Name: "www.example", Type: "CNAME", Expect: []string{"EDGE.example"}}},
		"CNAME at last":  {cfg: DNSConfig{Name: "www.example", Type: "CNAME", Expect: []string{"hsm.example"}}},
		"SRV":            {cfg: DNSConfig{Name: "_ldap._tcp.example", Type: "SRV", Expect: []string{"dc2.example.:636", "dc1.example:389"}}},
		"no such name": {
			cfg:  DNSConfig{Name: "none.example", Type: "A"},
			says: "dns none.example at SERVER: no such name (NXDOMAIN), want an answer of type A",
		},
		"no such record": {
			cfg:  DNSConfig{Name: "six.example", Type: "A"},
			says: "dns six.example at SERVER: no such record, want an answer of type A",
		},
		"other answer": {
			cfg:  DNSConfig{Name: "six.example", Type: "AAAA", Expect: []string{"2001:db8::6", "2001:db8::7"}},
			says: "dns six.example at SERVER: answer 2001:db8::6, want 2001:db8::6 and 2001:db8::7",
		},
		"no alias": {
			cfg:  DNSConfig{Name: "hsm.example", Type: "CNAME"},
			says: "dns hsm.example at SERVER: no such record, want an answer of type CNAME",
		},
		"server failure": {
			cfg:  DNSConfig{Name: "broken.example"},
			says: "dns broken.example at SERVER: server failure (SERVFAIL), want an address",
		},
		"silence": {
			cfg: DNSConfig{Name: "hsm.example", Server: silent.LocalAddr().String()}, timeout: 20 * time.Millisecond,
			says: "dns hsm.example at " + silent.LocalAddr().String() + ": timed out, want an address",
		},
		"system, hosts file": {cfg: DNSConfig{Name: "localhost", Type: "A", Expect: []string{"127.0.0.1"}, Server: "-"}},
	} {
		t.Run(name, func(t *testing.T) {
			switch tc.cfg.Server {
			case "":
				tc.cfg.Server = server
			case "-":
				tc.cfg.Server = ""
			}
			if tc.timeout == 0 {
				tc.timeout = patience
			}
			p, err := DNS(tc.cfg)
			err = lookFor(t, tc.timeout, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, strings.ReplaceAll(tc.says, "SERVER", server))
		})
	}

	t.Run("nobody listens", func(t *testing.T) {
		p, err := DNS(DNSConfig{Name: "hsm.example", Server: dead})
		err = look(t, p, err)
		requireSays(t, err, "dns hsm.example at "+dead+": connection refused, want an address")
	})
}

// A server that is chosen is asked, whatever /etc/hosts says.
func TestDNSNotFromHostsFile(t *testing.T) {
	p, err := DNS(DNSConfig{Name: "localhost", Type: "A"})
	require.NoError(t, look(t, p, err))

	server := serveDNS(t, "localhost. 60 IN A 192.0.2.1")
	p, err = DNS(DNSConfig{Name: "localhost", Type: "A", Server: server, Expect: []string{"127.0.0.1"}})
	requireSays(t, look(t, p, err), "dns localhost at "+server+": answer 192.0.2.1, want 127.0.0.1")
}

func TestDNSIgnoresForgeries(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 512)
		n, from, err := conn.ReadFrom(buf)
		q := new(dns.Msg)
		if err != nil || q.Unpack(buf[:n]) != nil {
			return
		}
		answer := func(mutate func(m *dns.Msg)) {
			m := new(dns.Msg).SetReply(q)
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "hsm.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(192, 0, 2, 66)}}
			mutate(m)
			data, err := m.Pack()
			if err == nil {
				_, _ = conn.WriteTo(data, from) // the client may have gone
			}
		}
		_, _ = conn.WriteTo([]byte("noise"), from)
		answer(func(m *dns.Msg) { m.Id++ })
		answer(func(m *dns.Msg) { m.Response = false })
		answer(func(m *dns.Msg) { m.Question[0].Name = "other.example." })
		answer(func(m *dns.Msg) {
			m.Question[0].Name = "hsm.example."
			m.Answer[0].(*dns.A).A = net.IPv4(192, 0, 2, 1)
		})
	})
	p, err := DNS(DNSConfig{Name: "hsm.example", Type: "A", Server: conn.LocalAddr().String(), Expect: []string{"192.0.2.1"}})
	err = look(t, p, err)
	_ = conn.Close()
	wg.Wait()
	require.NoError(t, err)
}

// TestDNSOneAnswerWillDo: a server that fails one of two questions.
func TestDNSOneAnswerWillDo(t *testing.T) {
	const v4, v6 = "192.0.2.1", "2001:db8::1"
	for name, tc := range map[string]struct {
		a, aaaa int // the server's code, or silence
		expect  []string
		timeout time.Duration
		says    string
	}{
		"both":                         {},
		"SERVFAIL for AAAA":            {aaaa: dns.RcodeServerFailure},
		"SERVFAIL for A":               {a: dns.RcodeServerFailure},
		"NXDOMAIN for AAAA":            {aaaa: dns.RcodeNameError},
		"silent about AAAA":            {aaaa: silence},
		"silent about A":               {a: silence},
		"expected beside a failure":    {aaaa: dns.RcodeServerFailure, expect: []string{v4}},
		"expected beside silence":      {aaaa: silence, expect: []string{v4}},
		"both expected":                {expect: []string{v6, v4}},
		"missing beside a failure":     {aaaa: dns.RcodeRefused, expect: []string{v4, v6}, says: "refused (REFUSED), want " + v4 + " and " + v6},
		"missing beside silence":       {a: silence, expect: []string{v4}, timeout: 50 * time.Millisecond, says: "timed out, want " + v4},
		"missing beside no such name":  {aaaa: dns.RcodeNameError, expect: []string{v6}, says: "answer " + v4 + ", want " + v6},
		"missing":                      {expect: []string{"192.0.2.9"}, says: "answer 192.0.2.1, 2001:db8::1, want 192.0.2.9"},
		"both fail":                    {a: dns.RcodeServerFailure, aaaa: dns.RcodeRefused, says: "server failure (SERVFAIL), want an address"},
		"no such name beside failure":  {a: dns.RcodeNameError, aaaa: dns.RcodeRefused, says: "refused (REFUSED), want an address"},
		"no such name for either type": {a: dns.RcodeNameError, aaaa: dns.RcodeNameError, says: "no such name (NXDOMAIN), want an address"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serveUDP(t, func(q *dns.Msg) *dns.Msg {
				m, code, answer := new(dns.Msg).SetReply(q), tc.a, "x.example. 60 IN A "+v4
				if q.Question[0].Qtype == dns.TypeAAAA {
					code, answer = tc.aaaa, "x.example. 60 IN AAAA "+v6
				}
				switch code {
				case silence:
					return nil
				case dns.RcodeSuccess:
					rr, err := dns.NewRR(answer)
					if err != nil {
						panic(err)
					}
					m.Answer = []dns.RR{rr}
				default:
					m.Rcode = code
				}
				return m
			})
			if tc.timeout == 0 {
				tc.timeout = patience
			}
			p, err := DNS(DNSConfig{Name: "x.example", Server: server, Expect: tc.expect})
			err = lookFor(t, tc.timeout, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			// The answers of the union come in any order.
			says := strings.ReplaceAll(err.Error(), v6+", "+v4, v4+", "+v6)
			require.Equal(t, "dns x.example at "+server+": "+tc.says, says)
		})
	}
}

const silence = -1

// serveUDP answers questions over UDP; nil is no answer.
func serveUDP(t *testing.T, answer func(q *dns.Msg) *dns.Msg) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
	wg.Go(func() {
		for buf := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			q := new(dns.Msg)
			if q.Unpack(buf[:n]) != nil {
				continue
			}
			if m := answer(q); m != nil {
				data, err := m.Pack()
				if err == nil {
					_, _ = conn.WriteTo(data, from) // the client may have gone
				}
			}
		}
	})
	return conn.LocalAddr().String()
}

// TestQueryServers: the first that knows decides, and one that is dead, silent or
// broken does not keep the next one from being asked.
func TestQueryServers(t *testing.T) {
	good := serveDNS(t, "x.example. 60 IN CNAME y.example.", "y.example. 60 IN A 192.0.2.1")
	other := serveDNS(t, "z.example. 60 IN A 192.0.2.1")
	broken := serveUDP(t, func(q *dns.Msg) *dns.Msg {
		m := new(dns.Msg).SetReply(q)
		m.Rcode = dns.RcodeServerFailure
		return m
	})
	silent := serveUDP(t, func(*dns.Msg) *dns.Msg { return nil })
	dead := deadAddress(t)
	for name, tc := range map[string]struct {
		servers []string
		says    string
	}{
		"dead first":    {servers: []string{dead, good}},
		"broken first":  {servers: []string{broken, good}},
		"silent first":  {servers: []string{silent, good}},
		"all at once":   {servers: []string{dead, broken, good}},
		"a no is a no":  {servers: []string{other, good}, says: "no such name (NXDOMAIN)"},
		"none, and why": {servers: []string{broken, dead}, says: "server failure (SERVFAIL)"},
	} {
		t.Run(name, func(t *testing.T) {
			var resources []dnsmessage.Resource
			var err error
			// A silent server takes its share of the time, so that is little where the machine is quick.
			for within := 2 * time.Second; within < time.Minute; within *= 2 {
				ctx, cancel := context.WithTimeout(t.Context(), within)
				resources, err = queryServers(ctx, tc.servers, "x.example.", dnsmessage.TypeCNAME)
				cancel()
				if err == nil || err.Error() == tc.says {
					break
				}
			}
			if tc.says != "" {
				require.EqualError(t, err, tc.says)
				return
			}
			require.NoError(t, err)
			require.Equal(t, []string{"y.example"}, answersOf(resources, "x.example.", dnsmessage.TypeCNAME))
		})
	}
}

// TestDNSServerByName: a name of the server may have addresses where nobody listens.
func TestDNSServerByName(t *testing.T) {
	_, port, err := net.SplitHostPort(serveDNS(t, "x.example. 60 IN A 192.0.2.1"))
	require.NoError(t, err)
	for _, kind := range []string{"", "A"} {
		p, err := DNS(DNSConfig{Name: "x.example", Type: kind, Server: "localhost:" + port})
		require.NoError(t, look(t, p, err))
	}
}

func TestSystemServers(t *testing.T) {
	for name, tc := range map[string]struct {
		conf string
		want []string
	}{
		"in order":   {"# comment\nsearch example\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n", []string{"192.0.2.1:53", "192.0.2.2:53"}},
		"v6":         {"nameserver\t2001:db8::53", []string{"[2001:db8::53]:53"}},
		"at most 3":  {strings.Repeat("nameserver 192.0.2.1\n", 5), slices.Repeat([]string{"192.0.2.1:53"}, 3)},
		"none of it": {"nameserver\n", []string{"127.0.0.1:53"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := systemServers(tempFile(t, []byte(tc.conf)))
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
	got, err := systemServers("/nonexistent")
	require.NoError(t, err)
	require.Equal(t, []string{"127.0.0.1:53"}, got)
}

// FuzzParseReply feeds what a server may send: it is either refused, or its
// answers can be read.
func FuzzParseReply(f *testing.F) {
	query := &dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 1},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.example."), Type: dnsmessage.TypeCNAME, Class: dnsmessage.ClassINET}},
	}
	for _, line := range []string{"a.example. 60 IN A 192.0.2.1", "a.example. 60 IN CNAME a.example.", "a.example. 60 IN SRV 1 2 3 b.example."} {
		rr, err := dns.NewRR(line)
		require.NoError(f, err)
		m := new(dns.Msg).SetQuestion("a.example.", dns.TypeCNAME)
		m.Id, m.Response, m.Answer = 1, true, []dns.RR{rr}
		data, err := m.Pack()
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		reply := parseReply(data, query)
		if reply == nil {
			return
		}
		require.Equal(t, query.ID, reply.ID)
		for _, kind := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeSRV, dnsmessage.TypeCNAME} {
			require.LessOrEqual(t, len(answersOf(reply.Answers, "a.example.", kind)), len(reply.Answers))
		}
	})
}

func TestDNSRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  DNSConfig
		says string
	}{
		"no name":     {DNSConfig{}, `name "": want a domain name`},
		"URL":         {DNSConfig{Name: "http://x"}, `name "http://x": want a domain name`},
		"type":        {DNSConfig{Name: "x", Type: "MX"}, `type "MX": want A, AAAA, SRV or CNAME`},
		"server":      {DNSConfig{Name: "x", Server: "192.0.2.1"}, `server "192.0.2.1": want host:port, such as 127.0.0.1:8080 or [::1]:8080`},
		"expect A":    {DNSConfig{Name: "x", Type: "A", Expect: []string{"::1"}}, `expect "::1": want an address of type A`},
		"expect AAAA": {DNSConfig{Name: "x", Type: "AAAA", Expect: []string{"1.2.3.4"}}, `expect "1.2.3.4": want an address of type AAAA`},
		"expect any":  {DNSConfig{Name: "x", Expect: []string{"y"}}, `expect "y": want an address`},
		"expect SRV":  {DNSConfig{Name: "x", Type: "SRV", Expect: []string{"y"}}, `expect "y": want name:port`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DNS(tc.cfg)
			require.EqualError(t, err, tc.says)
		})
	}
}
