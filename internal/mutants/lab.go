package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// patience bounds a run of tests, which pass within seconds: a mutant may make them
// wait for ever.
const patience = time.Minute

// A lab is a copy of the tree in which mutants live, one at a time.
type lab struct {
	dir  string // of everything
	tree string // of the copy
	// sound are the test binaries of the tree as it is, by package.
	sound map[string]string
}

// newLab copies what git knows of the working tree, and what it does not ignore.
func newLab(ctx context.Context) (*lab, error) {
	files, err := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return nil, fmt.Errorf("list the files of the repository: %w", err)
	}
	dir, err := os.MkdirTemp("", "fleet-mutants-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, tree: filepath.Join(dir, "tree"), sound: map[string]string{}}
	for name := range strings.SplitSeq(strings.TrimRight(string(files), "\x00"), "\x00") {
		if err := copyFile(name, filepath.Join(l.tree, name)); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

func (l *lab) close() { _ = os.RemoveAll(l.dir) }

// copyFile copies a regular file; what is gone from the working tree, and links,
// no test of a mutant needs.
func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return nil
	}
	if err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, data, info.Mode().Perm())
}

// try returns which test killed the mutant. The error says that none did, or why
// that cannot be known.
func (l *lab) try(ctx context.Context, m mutant) (killer string, err error) {
	sound, built := l.sound[m.pkg]
	if !built {
		if sound, err = l.build(ctx, m.pkg, fmt.Sprintf("sound-%d", len(l.sound))); err != nil {
			return "", fmt.Errorf("without the patch: %w", err)
		}
		l.sound[m.pkg] = sound
	}
	fine, out := l.test(ctx, sound, m)
	switch {
	case !fine:
		return "", fmt.Errorf("the tests fail without the patch\n%s", tail(out))
	case !bytes.Contains(out, []byte("=== RUN")):
		return "", fmt.Errorf("no test of %s matches %s", m.pkg, m.tests)
	}
	if out, err := l.git(ctx, "apply", m.file); err != nil {
		return "", fmt.Errorf("the patch no longer applies: make it again\n%s", tail(out))
	}
	defer func() {
		if out, undo := l.git(ctx, "apply", "--reverse", m.file); undo != nil && ctx.Err() == nil {
			err = errors.Join(err, fmt.Errorf("take the patch back: %w\n%s", undo, out))
		}
	}()
	sick, err := l.build(ctx, m.pkg, "sick")
	if err != nil {
		return "", fmt.Errorf("with the patch: %w", err)
	}
	fine, out = l.test(ctx, sick, m)
	if fine {
		return "", fmt.Errorf("it lives, and nobody notices: %s", m.promise)
	}
	return firstFailure(out), nil
}

// build makes the test binary of a package.
func (l *lab) build(ctx context.Context, pkg, name string) (string, error) {
	binary := filepath.Join(l.dir, name)
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, pkg)
	cmd.Dir = l.tree
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("it does not build\n%s", tail(out))
	}
	return binary, nil
}

// test runs the tests of a mutant and reports whether they passed.
func (l *lab) test(ctx context.Context, binary string, m mutant) (ok bool, out []byte) {
	cmd := exec.CommandContext(ctx, binary, "-test.v", "-test.failfast", "-test.run", m.tests, "-test.timeout", patience.String())
	cmd.Dir = filepath.Join(l.tree, m.pkg)
	cmd.WaitDelay = time.Second // for children that a killed test left
	out, err := cmd.CombinedOutput()
	return err == nil, out
}

func (l *lab) git(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = l.tree
	// The copy is no repository, and the one around it, if any, is not meant.
	cmd.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+l.dir)
	return cmd.CombinedOutput()
}

var failure = regexp.MustCompile(`(?m)^\s*--- FAIL: (\S+)`)

// firstFailure names the test that noticed.
func firstFailure(out []byte) string {
	if m := failure.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return "the tests ended in a panic or ran out of time"
}

// tail is the end of an output, for a message, without the tests that passed.
func tail(out []byte) []byte {
	out = passed.ReplaceAll(out, nil)
	return out[max(0, len(out)-4<<10):]
}

var passed = regexp.MustCompile(`(?m)^(=== |\s*--- PASS: ).*\n`)
