//go:build race

package roll_test

// rarer is how many times fewer kills and stalls there are by default: the race detector
// takes its time.
const rarer = 3
