//go:build !race

package roll_test

const rarer = 1
