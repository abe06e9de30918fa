package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// DNSConfig describes a question and its answer.
type DNSConfig struct {
	Name string

	// Type is A, AAAA, SRV or CNAME; empty asks for A and AAAA and passes with
	// either.
	Type string

	// Server is the host:port to ask for exactly Name, and nobody else. Empty
	// asks as programs on this machine do: /etc/hosts, then the servers of
	// /etc/resolv.conf with its search list. For CNAME, which programs do not
	// ask for, it stands for those servers, one after the other.
	Server string

	// Expect lists what has to be among the answers: addresses, name:port for
	// SRV, and for CNAME names that the chain of aliases goes through. Empty:
	// any answer passes.
	Expect []string
}

// Target is where the probe looks, as its errors name it.
func (c DNSConfig) Target() string {
	if c.Server == "" {
		return c.Name
	}
	return c.Name + " at " + c.Server
}

// DNS passes when a name resolves to what is expected.
func DNS(cfg DNSConfig) (func(ctx context.Context) error, error) {
	cfg.Type = strings.ToUpper(cfg.Type)
	if _, err := dnsmessage.NewName(cfg.Name); err != nil || cfg.Name == "" || strings.ContainsAny(cfg.Name, " /:") {
		return nil, fmt.Errorf("name %q: want a domain name", cfg.Name)
	}
	if _, ok := dnsTypes[cfg.Type]; !ok {
		return nil, fmt.Errorf("type %q: want A, AAAA, SRV or CNAME", cfg.Type)
	}
	if cfg.Server != "" {
		if err := hostPort("server", cfg.Server); err != nil {
			return nil, err
		}
	}
	p := &dnsProbe{cfg: cfg}
	for _, e := range cfg.Expect {
		answer, err := normalAnswer(cfg.Type, e)
		if err != nil {
			return nil, fmt.Errorf("expect %q: %w", e, err)
		}
		p.expect = append(p.expect, answer)
	}
	switch {
	case len(p.expect) > 0:
		p.want = strings.Join(p.expect, " and ")
	case cfg.Type == "":
		p.want = "an address"
	default:
		p.want = "an answer of type " + cfg.Type
	}
	return p.run, nil
}

// dnsTypes gives the questions that a type stands for.
var dnsTypes = map[string][]dnsmessage.Type{
	"":      {dnsmessage.TypeA, dnsmessage.TypeAAAA},
	"A":     {dnsmessage.TypeA},
	"AAAA":  {dnsmessage.TypeAAAA},
	"SRV":   {dnsmessage.TypeSRV},
	"CNAME": {dnsmessage.TypeCNAME},
}

type dnsProbe struct {
	cfg    DNSConfig
	expect []string // in the form of the answers
	want   string
}

func (p *dnsProbe) run(ctx context.Context) error {
	fail := func(seen string, err error) error {
		return &Error{Kind: "dns", Target: p.cfg.Target(), Seen: seen, Want: p.want, Err: err}
	}
	// All questions at once, and no waiting for an answer that decides nothing any
	// more: a name server that is wrong or silent about AAAA does not fail a good A.
	kinds := dnsTypes[p.cfg.Type]
	asking, cancel := context.WithCancel(ctx)
	replies, wait := atOnce(len(kinds), func(i int) ([]string, error) { return p.ask(asking, kinds[i]) })
	defer wait()
	defer cancel()
	var answers []string
	errs := make([]error, len(kinds))
	for range kinds {
		r := <-replies
		errs[r.i] = r.err
		if answers = append(answers, r.value...); p.satisfiedBy(answers) {
			return nil
		}
	}
	// A question that failed may have had the answer that is missing; that there is
	// no such name or record is an answer.
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil && !isNotFound(err) }); i >= 0 {
		return fail(describeDNS(errs[i]), errs[i])
	}
	if len(answers) > 0 {
		return fail("answer "+clean(strings.Join(answers, ", "), maxQuote), nil)
	}
	if i := slices.IndexFunc(errs, isNotFound); i >= 0 {
		return fail(describeDNS(errs[i]), errs[i])
	}
	return fail("no such record", nil)
}

func (p *dnsProbe) satisfiedBy(answers []string) bool {
	missing := func(e string) bool { return !slices.Contains(answers, e) }
	return len(answers) > 0 && !slices.ContainsFunc(p.expect, missing)
}

// ask asks one question and gives the answers in the form of normalAnswer.
func (p *dnsProbe) ask(ctx context.Context, kind dnsmessage.Type) ([]string, error) {
	if p.cfg.Server == "" && p.cfg.Type != "CNAME" {
		return p.askAsPrograms(ctx, kind)
	}
	servers, err := p.servers(ctx)
	if err != nil {
		return nil, err
	}
	name := strings.TrimSuffix(p.cfg.Name, ".") + "."
	resources, err := queryServers(ctx, servers, name, kind)
	return answersOf(resources, name, kind), err
}

// servers are the addresses of the server to ask: a name may have several.
func (p *dnsProbe) servers(ctx context.Context) ([]string, error) {
	if p.cfg.Server == "" {
		return systemServers("/etc/resolv.conf")
	}
	host, port, err := net.SplitHostPort(p.cfg.Server)
	if err != nil {
		return nil, err
	}
	addrs, err := systemDialer().addresses(ctx, host)
	servers := make([]string, len(addrs))
	for i, a := range addrs {
		servers[i] = net.JoinHostPort(a.String(), port)
	}
	return servers, err
}

func (p *dnsProbe) askAsPrograms(ctx context.Context, kind dnsmessage.Type) ([]string, error) {
	var answers []string
	if kind == dnsmessage.TypeSRV {
		_, records, err := (&net.Resolver{PreferGo: true}).LookupSRV(ctx, "", "", p.cfg.Name)
		for _, r := range records {
			answers = append(answers, normalName(r.Target)+":"+strconv.Itoa(int(r.Port)))
		}
		return answers, err
	}
	network := "ip4"
	if kind == dnsmessage.TypeAAAA {
		network = "ip6"
	}
	addrs, err := lookupAddresses(ctx, network, p.cfg.Name)
	for _, a := range addrs {
		answers = append(answers, a.Unmap().String())
	}
	return answers, err
}

// normalAnswer writes an expected answer as the lookups write theirs.
func normalAnswer(kind, s string) (string, error) {
	switch kind {
	case "CNAME":
		return normalName(s), nil
	case "SRV":
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			return "", errors.New("want name:port")
		}
		return normalName(host) + ":" + port, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || kind == "A" && !addr.Is4() || kind == "AAAA" && !addr.Is6() {
		return "", errors.New(strings.TrimSuffix("want an address of type "+kind, " of type "))
	}
	return addr.String(), nil
}

// normalName makes names comparable: DNS ignores case and the final dot.
func normalName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// isNotFound reports whether a question was answered: there is nothing.
func isNotFound(err error) bool {
	if code, ok := errors.AsType[rcodeError](err); ok {
		return dnsmessage.RCode(code) == dnsmessage.RCodeNameError
	}
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}

// describeDNS leaves out the name, which the message has already, and names
// the server that the system chose.
func describeDNS(err error) string {
	e, ok := errors.AsType[*net.DNSError](err)
	switch {
	case !ok || e.IsTimeout:
		return describe(err)
	case e.Server != "":
		return e.Err + " (asked " + e.Server + ")"
	}
	return e.Err
}
