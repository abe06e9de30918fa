package child

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// look finds a program as execvp would, in the path that the program gets and not
// in the agent's.
func look(program, path string) (string, error) {
	if strings.ContainsRune(program, '/') {
		return program, nil
	}
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, program)
		info, err := os.Stat(file)
		if err == nil && filepath.IsAbs(file) && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("not found in %s", path)
}

// unable says why a file cannot be run where the kernel's word would mislead: it
// says "no such file" of a script that is there, when the interpreter is not.
func unable(file string) error {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return bare(err)
	case info.IsDir():
		return errors.New("is a directory")
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	case info.Mode()&0o111 == 0:
		return errors.New("is not executable: chmod 0755 " + file)
	}
	if err := unix.Access(file, unix.X_OK); err != nil {
		return err
	}
	head, ok := readHead(file)
	if !ok {
		return nil // it need not be readable; a script that is not says so itself
	}
	return unableScript(head)
}

// headSize is what the kernel reads of a file to tell what it is, BINPRM_BUF_SIZE.
const headSize = 256

func readHead(file string) (head []byte, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	head, err = io.ReadAll(io.LimitReader(f, headSize))
	return head, err == nil
}

// unableScript looks at the first line of a program that is a text.
func unableScript(head []byte) error {
	const mark = "\xef\xbb\xbf"
	line, _, _ := bytes.Cut(head, []byte("\n"))
	first, script := strings.CutPrefix(string(line), "#!")
	switch {
	case len(head) == 0:
		return errors.New("is empty")
	case !script && strings.HasPrefix(string(head), mark):
		return errors.New("begins with a byte order mark, which hides the first line from the kernel")
	case !script && isText(head):
		return errors.New("its first line names no interpreter, such as #!/bin/sh")
	case !script:
		return nil // a binary, of whatever kind
	}
	fields := strings.Fields(first)
	if len(fields) == 0 {
		return errors.New("its first line, #!, names no interpreter")
	}
	interpreter := fields[0]
	if strings.HasSuffix(first, "\r") {
		// Fields has cut it off; it is a part of the last word for the kernel.
		return fmt.Errorf(`its first line names %s\r: the file has the line ends of Windows (CRLF)`, strings.Join(fields, " "))
	}
	if err := unix.Access(interpreter, unix.X_OK); errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("its first line names %s, which does not exist", interpreter)
	} else if err != nil {
		return fmt.Errorf("its first line names %s: %w", interpreter, err)
	}
	return nil
}

// isText reports whether a file begins as no binary does.
func isText(head []byte) bool {
	for i := 0; i < len(head); {
		r, size := utf8.DecodeRune(head[i:])
		if r == utf8.RuneError && len(head)-i >= utf8.UTFMax || r < ' ' && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		i += size
	}
	return true
}
