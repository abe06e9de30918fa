package strict

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// A Library is the scenarios that come with a simulator: the files
// scenarios/NAME.yaml of FS.
type Library struct{ FS fs.FS }

// Names returns the names, in order.
func (l Library) Names() []string {
	files, _ := fs.Glob(l.FS, "scenarios/*.yaml") // the pattern is right
	names := make([]string, len(files))
	for i, file := range files {
		names[i] = strings.TrimSuffix(path.Base(file), ".yaml")
	}
	return names
}

// Text returns the file of a scenario. The error for an unknown name is
// fs.ErrNotExist.
func (l Library) Text(name string) ([]byte, error) {
	data, err := fs.ReadFile(l.FS, path.Join("scenarios", name+".yaml"))
	if err != nil {
		return nil, fmt.Errorf("open example scenario %q: %w", name, err)
	}
	return data, nil
}
