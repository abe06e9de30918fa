package steer

import (
	"errors"
	"net"
	"net/http"
)

// errForeign says that a request was not sent by a program of this host's.
var errForeign = errors.New("a page of another site may not ask the simulation")

// Guard keeps out the pages that a browser on this host has open: those of another
// site, and those that reach a loopback address by a name of their own. What it guards
// asks for no password, and its listener is on loopback.
func Guard(h http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if foreign.Check(r) != nil || !loopback(r.Host) {
			ReplyError(w, http.StatusForbidden, errForeign)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// loopback says whether a request's Host is this host, with or without a port.
func loopback(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return name == "localhost" || net.ParseIP(name).IsLoopback()
}
