package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A mutant is a patch that breaks a promise, and the tests that must notice.
type mutant struct {
	name string
	file string // the patch, absolute
	// promise is what the patch breaks, in a sentence.
	promise string
	// pkg is the package whose tests must fail, as in "./internal/drain"; tests
	// the regular expression that chooses them, as for go test -run.
	pkg, tests string
}

// readMutants reads the patches of a folder. Before its first diff each has a line
// for "Promise:", "Package:" and "Tests:".
func readMutants(folder string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.patch"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no patches in %s: run this in the root of the repository", folder)
	}
	var mutants []mutant
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		m := mutant{name: strings.TrimSuffix(filepath.Base(file), ".patch")}
		if m.file, err = filepath.Abs(file); err != nil {
			return nil, err
		}
		head, diff, _ := strings.Cut(string(text), "\n--- ")
		for line := range strings.Lines(head) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch key {
			case "Promise":
				m.promise = value
			case "Package":
				m.pkg = value
			case "Tests":
				m.tests = value
			}
		}
		if m.promise == "" || m.pkg == "" || m.tests == "" || diff == "" {
			return nil, fmt.Errorf("%s: want lines Promise:, Package: and Tests: before the diff", file)
		}
		mutants = append(mutants, m)
	}
	return mutants, nil
}
