package nodes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/child"
)

// maxOutput bounds what is kept of the output of a script: its end.
const maxOutput = 16 << 10

// shims stand in a script's PATH for programs of the machine. The agent is the machine's
// own. A script is root on its machine, so that sudo has nothing to do; it must not
// become the host's root.
func (a *agent) shims() map[string]string {
	return map[string]string{
		"fleet-agent": fmt.Sprintf("#!/bin/sh\nexec %s --config %s \"$@\"\n", quote(a.factory.Binary), quote(a.file)),
		"sudo": `#!/bin/sh
while :; do
	case $1 in
	-u | -g) shift 2 ;;
	-*) shift ;;
	*) exec env -- "$@" ;;
	esac
done
`,
	}
}

// bin is the directory of the shims.
func (a *agent) bin() string { return filepath.Join(a.dir, "bin") }

// writeShims writes them long before one is run: a file that was open for writing when
// another process was forked cannot be run until that one has begun its own program.
func (a *agent) writeShims() error {
	err := os.Mkdir(a.bin(), 0o700)
	for name, text := range a.shims() {
		err = errors.Join(err, os.WriteFile(filepath.Join(a.bin(), name), []byte(text), 0o700)) //nolint:gosec // it is run
	}
	return err
}

// guarded runs a command that ends when the simulator does, however that ends: standard
// input is a pipe whose other end only the simulator has. Of the processes of a command
// that is killed with its parent, only the first one is.
const guarded = `exec 3<&0 </dev/null
(read -r _ <&3 || kill -KILL 0) >/dev/null 2>&1 &
exec 3<&-
exec "$@"`

// Run runs a script as Run Command does: by what its first line says or else sh, in a
// directory of its own. It runs as the user of the simulator. When it ends, or ctx does,
// all that it left running is killed.
func (a *agent) Run(ctx context.Context, script string) (Output, error) {
	out, err := a.run(ctx, script)
	if err != nil {
		return Output{}, fmt.Errorf("run the script: %w", err)
	}
	return out, nil
}

func (a *agent) run(ctx context.Context, script string) (Output, error) {
	dir, err := os.MkdirTemp(a.dir, "script-")
	if err != nil {
		return Output{}, err
	}
	defer os.RemoveAll(dir)
	file, work := filepath.Join(dir, "script.sh"), filepath.Join(dir, "work")
	lives, life, err := os.Pipe()
	if err != nil {
		return Output{}, err
	}
	defer lives.Close()
	defer life.Close()
	if err := errors.Join(os.Mkdir(work, 0o700), os.WriteFile(file, []byte(script), 0o600)); err != nil {
		return Output{}, err
	}
	stdout, stderr := &tail{most: maxOutput}, &tail{most: maxOutput}
	_, err = child.Command{
		Args: append([]string{"/bin/sh", "-c", guarded, "sh"}, append(interpreter(script), file)...),
		Env:  a.env(a.bin() + ":" + child.DefaultPath), Dir: work, Input: lives, Output: stdout, Errors: stderr,
	}.Run(ctx)
	if err == nil {
		err = context.Cause(ctx)
	}
	return Output{stdout.String(), stderr.String()}, err
}

// interpreter is what runs a script: the program that its first line names and the rest
// of that line as one argument, as the kernel has it, or sh.
func interpreter(script string) []string {
	first, _, _ := strings.Cut(script, "\n")
	line, named := strings.CutPrefix(first, "#!")
	if line = strings.TrimSpace(line); !named || line == "" {
		return []string{"/bin/sh"}
	}
	program, argument, _ := strings.Cut(line, " ")
	if argument = strings.TrimSpace(argument); argument == "" {
		return []string{program}
	}
	return []string{program, argument}
}

// quote is a word for a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
