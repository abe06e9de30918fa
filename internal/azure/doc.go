// Package azure answers: what does Azure say that there is?
//
// It is the only package that knows the Azure SDK, of which it takes the pipeline and the
// credentials and none of the types. A Client reads scale sets, their members, what the
// platform does to them, images and their versions, as JSON that internal/fleet makes its
// words of; Fleet reads all that a Scope needs at once.
//
// What is read is whole or an error. Every page of every list is read, and a page
// that fails fails the command: half a list looks like a smaller fleet. What is not
// there is told apart from what could not be read. Whatever Azure left out of an
// answer, or has another type than it should, stays out of the result.
//
// Three things bound every question: an answer has at most maxAnswer bytes, a try
// has at most tryTimeout, and a list has at most maxPages. When Azure throttles, the
// client waits as long as it is told to, says so, and gives up after maxThrottled or
// when the context ends before its turn. At most maxRequests are under way at once.
//
// An error is one line that names the question and what came back, with a hint at
// what to do; see Error. Tokens, bodies and query parameters that may be secrets are
// in none of them, nor in what Config.Debug gets.
//
// Fleet starts goroutines and waits for them. Nothing else here starts any.
package azure
