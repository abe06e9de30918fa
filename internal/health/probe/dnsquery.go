package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// The resolver of package net cannot ask a chosen server and only that: it
// looks into /etc/hosts first, and for an alias of an alias LookupCNAME gives
// one or the other by chance. So this file sends the question itself.

// queryServers asks servers in order until one knows, each for its share of the
// time. Without one, the error is that of the first.
func queryServers(ctx context.Context, servers []string, name string, kind dnsmessage.Type) ([]dnsmessage.Resource, error) {
	var first error
	for i, server := range servers {
		asking, cancel := share(ctx, len(servers)-i)
		resources, err := queryServer(asking, server, name, kind)
		cancel()
		if err == nil || isNotFound(err) {
			return resources, err
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// share gives the first of n an equal part of the time that is left.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
}

// queryServer asks a server once and returns its answers, through UDP and, if
// they do not fit, TCP. A lost datagram is a failed run.
func queryServer(ctx context.Context, server, name string, kind dnsmessage.Type) ([]dnsmessage.Resource, error) {
	qname, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	query := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: qname, Type: kind, Class: dnsmessage.ClassINET}},
	}
	packed, err := query.Pack()
	if err != nil {
		return nil, err
	}
	reply, err := exchange(ctx, "udp", server, packed, &query)
	if err == nil && reply.Truncated {
		reply, err = exchange(ctx, "tcp", server, packed, &query)
	}
	switch {
	case err != nil:
		return nil, err
	case reply.RCode != dnsmessage.RCodeSuccess:
		return nil, rcodeError(reply.RCode)
	}
	return reply.Answers, nil
}

func exchange(ctx context.Context, network, server string, packed []byte, query *dnsmessage.Message) (*dnsmessage.Message, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ends reads and writes
	defer stop()
	receive := receiveUDP
	if network == "tcp" {
		receive = receiveTCP
		packed = append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)
	}
	_, err = conn.Write(packed)
	for err == nil {
		var data []byte
		if data, err = receive(conn); err != nil {
			break
		}
		if reply := parseReply(data, query); reply != nil {
			return reply, nil
		}
		if network == "tcp" {
			err = errors.New("the reply does not fit the question")
		}
		// On UDP, it may be a forgery or a late reply to an earlier run.
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, err
}

// A reply without EDNS has at most 512 bytes; some servers do not care.
func receiveUDP(conn net.Conn) ([]byte, error) {
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	return buf[:n], err
}

func receiveTCP(conn net.Conn) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(conn, buf)
	return buf, err
}

// parseReply returns nil for anything but a reply to the query.
func parseReply(data []byte, query *dnsmessage.Message) *dnsmessage.Message {
	var p dnsmessage.Parser
	header, err := p.Start(data)
	if err != nil || !header.Response || header.ID != query.ID {
		return nil
	}
	questions, err := p.AllQuestions()
	if err != nil || len(questions) != 1 {
		return nil
	}
	got, want := questions[0], query.Questions[0]
	if got.Type != want.Type || got.Class != want.Class || !strings.EqualFold(got.Name.String(), want.Name.String()) {
		return nil
	}
	answers, err := p.AllAnswers()
	if err != nil && !header.Truncated {
		return nil
	}
	return &dnsmessage.Message{Header: header, Questions: questions, Answers: answers}
}

// answersOf picks the answers of a type, in the form of normalAnswer. For
// CNAME these are all steps of the chain that starts at the name.
func answersOf(resources []dnsmessage.Resource, name string, kind dnsmessage.Type) []string {
	var answers []string
	aliases := map[string]string{}
	for _, r := range resources {
		switch body := r.Body.(type) {
		case *dnsmessage.AResource:
			if kind == dnsmessage.TypeA {
				answers = append(answers, net.IP(body.A[:]).String())
			}
		case *dnsmessage.AAAAResource:
			if kind == dnsmessage.TypeAAAA {
				answers = append(answers, net.IP(body.AAAA[:]).String())
			}
		case *dnsmessage.SRVResource:
			if kind == dnsmessage.TypeSRV {
				answers = append(answers, normalName(body.Target.String())+":"+strconv.Itoa(int(body.Port)))
			}
		case *dnsmessage.CNAMEResource:
			aliases[normalName(r.Header.Name.String())] = normalName(body.CNAME.String())
		}
	}
	if kind == dnsmessage.TypeCNAME {
		at := normalName(name)
		for range len(aliases) { // even if they go round in circles
			next, ok := aliases[at]
			if !ok {
				break
			}
			answers = append(answers, next)
			at = next
		}
	}
	return answers
}

// A rcodeError is a server's answer that it has none.
type rcodeError dnsmessage.RCode

func (e rcodeError) Error() string {
	switch dnsmessage.RCode(e) {
	case dnsmessage.RCodeNameError:
		return "no such name (NXDOMAIN)"
	case dnsmessage.RCodeServerFailure:
		return "server failure (SERVFAIL)"
	case dnsmessage.RCodeRefused:
		return "refused (REFUSED)"
	default:
		return fmt.Sprintf("response code %d", uint16(e))
	}
}

// maxServers is how many servers of resolv.conf(5) count.
const maxServers = 3

// systemServers gives the servers of resolv.conf(5), which for want of one is this
// machine.
func systemServers(resolvConf string) ([]string, error) {
	data, err := os.ReadFile(resolvConf)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var servers []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "nameserver" && len(servers) < maxServers {
			servers = append(servers, net.JoinHostPort(f[1], "53"))
		}
	}
	if servers == nil {
		servers = []string{"127.0.0.1:53"}
	}
	return servers, nil
}
