// Package cli answers: how do the commands speak to people and to scripts?
//
// Standard output carries data, standard error carries talk. Colour, cursor
// movements and glyphs beyond ASCII are used only where the reader can show
// them. An error is one line that says what went wrong and, when there is
// something to be done about it, one line that says what:
//
//	fleet-agent: error: reach the agent at /run/fleet-agent/control.sock: no such file
//	fleet-agent: hint: is it running? systemctl status fleet-agent
//
// Everything that comes from elsewhere (the message of a failed check, the name
// of an event) passes through Clean before a terminal sees it.
//
// The package starts no goroutines.
package cli
