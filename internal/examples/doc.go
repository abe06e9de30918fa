// Package examples answers: do the examples and the documents work as they are
// written?
//
// It holds tests alone. They run the files of examples/ in a real agent, against
// a real PKCS#11 token and a real TLS server, and load every configuration that
// docs/health.md and docs/hsm.md show.
package examples
