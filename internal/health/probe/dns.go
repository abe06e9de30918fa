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
	// ask for, it stands for the first of those servers.
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
	answers, err := p.lookup(ctx)
	switch {
	case err != nil:
		return fail(describeDNS(err), err)
	case len(answers) == 0:
		return fail("no such record", nil)
	}
	for _, e := range p.expect {
		if !slices.Contains(answers, e) {
			return fail("answer "+clean(strings.Join(answers, ", "), maxQuote), nil)
		}
	}
	return nil
}

// lookup gives the answers in the form of normalAnswer.
func (p *dnsProbe) lookup(ctx context.Context) ([]string, error) {
	server := p.cfg.Server
	if server == "" {
		if p.cfg.Type != "CNAME" {
			return p.lookupAsPrograms(ctx)
		}
		var err error
		if server, err = systemServer("/etc/resolv.conf"); err != nil {
			return nil, err
		}
	}
	name := strings.TrimSuffix(p.cfg.Name, ".") + "."
	var answers []string
	for _, kind := range dnsTypes[p.cfg.Type] {
		resources, err := queryServer(ctx, server, name, kind)
		if err != nil {
			return nil, err
		}
		answers = append(answers, answersOf(resources, name, kind)...)
	}
	return answers, nil
}

func (p *dnsProbe) lookupAsPrograms(ctx context.Context) ([]string, error) {
	resolver := &net.Resolver{PreferGo: true}
	var answers []string
	if p.cfg.Type == "SRV" {
		_, records, err := resolver.LookupSRV(ctx, "", "", p.cfg.Name)
		for _, r := range records {
			answers = append(answers, normalName(r.Target)+":"+strconv.Itoa(int(r.Port)))
		}
		return answers, err
	}
	network := map[string]string{"": "ip", "A": "ip4", "AAAA": "ip6"}[p.cfg.Type]
	addrs, err := resolver.LookupNetIP(ctx, network, p.cfg.Name)
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
