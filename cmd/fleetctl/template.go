package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/command"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/fleetfile"
)

// bakeContent reads what the bake of the file is made of.
func bakeContent(file *fleetfile.File) (*fleet.Content, error) {
	if file.Spec.Bake == nil {
		return nil, cli.Hint(fmt.Errorf("%s has no bake", file.Path), "add the section bake: fleetctl init shows one")
	}
	sources, err := readSources(file.Spec)
	if err != nil {
		return nil, err
	}
	content, err := fleet.NewContent(file.Spec, sources)
	if faults, ok := errors.AsType[fleet.ContentError](err); ok {
		return nil, command.Faults(file.Faults(faults))
	}
	return content, err
}

// printTemplate prints the image template of the file's bake as a template for
// deployments. What has to be done beside is said on standard error.
func (g *globals) printTemplate(file *fleetfile.File) error {
	content, err := bakeContent(file)
	if err != nil {
		return err
	}
	if _, err := g.out.Out.Write(fleet.DeploymentTemplate(file.Spec, content)); err != nil {
		return err
	}
	if len(content.Uploads) == 0 {
		return nil
	}
	sums := make(map[string]string)
	for _, u := range content.Uploads {
		sums[u.Step] = u.SHA256
		g.out.Say("fleetctl: upload %s as %s", u.Path, u.Blob)
	}
	text, err := json.Marshal(sums)
	if err != nil {
		return err
	}
	g.out.Say("fleetctl: and deploy with --parameters checksums='%s'", text)
	return nil
}

// readSources reads the local files that the file's bake names. One that does not
// exist is left out: whoever needs it says so.
func readSources(spec *fleet.Spec) ([]fleet.SourceFile, error) {
	var files []fleet.SourceFile
	total := int64(0)
	for _, path := range spec.SourcePaths() {
		f, err := readRegular(path, fleet.MaxSourceFile)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if total += int64(len(f.Data)); total > fleet.MaxSourceTotal {
			return nil, cli.Hint(fmt.Errorf("the local files of the bake have more than %d MB", int64(fleet.MaxSourceTotal)>>20), "let a script fetch the large ones from storage")
		}
		files = append(files, f)
	}
	return files, nil
}

// readRegular reads a regular file. One that is larger than the limit has its size and
// no data.
func readRegular(path string, limit int64) (fleet.SourceFile, error) {
	f := fleet.SourceFile{Path: path}
	info, err := os.Stat(path) // ahead of opening it: a pipe would wait for a writer
	if err != nil {
		return f, err
	}
	if !info.Mode().IsRegular() {
		return f, fmt.Errorf("%s is not a regular file", path)
	}
	if f.Size = info.Size(); f.Size > limit {
		return f, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return f, err
	}
	defer file.Close()
	if f.Data, err = io.ReadAll(io.LimitReader(file, limit+1)); err != nil {
		return f, fmt.Errorf("read %s: %w", path, err)
	}
	if f.Size = int64(len(f.Data)); f.Size > limit {
		f.Data = nil // it grew
	}
	return f, nil
}
