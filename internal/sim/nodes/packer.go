package nodes

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/child"
	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// A BuildMachine is the machine that builds run on, reached over ssh: a build leaves it
// deprovisioned.
type BuildMachine struct {
	Host       string `yaml:"host"`
	Port       int    `yaml:"port"`        // 22 when it is not given
	User       string `yaml:"user"`        // with sudo and no password
	PrivateKey string `yaml:"private_key"` // a file, beside the one that names it
}

// LoadBuildMachine reads the file that names the build machine: YAML or JSON.
func LoadBuildMachine(file string) (BuildMachine, error) {
	var m BuildMachine
	data, err := strict.ReadFile("build machine", file)
	if err != nil {
		return m, err
	}
	c, err := strict.Decode(file, data, &m)
	if err != nil {
		return m, err
	}
	for name, value := range map[string]string{"host": m.Host, "user": m.User, "private_key": m.PrivateKey} {
		if value == "" {
			c.Fail(name + " is missing")
		}
	}
	if m.Port < 0 || m.Port > 65535 {
		c.Fail("it is 1 to 65535", "port")
	}
	if err := c.Err(); err != nil {
		return m, err
	}
	m.Port = cmp.Or(m.Port, 22)
	if !filepath.IsAbs(m.PrivateKey) {
		m.PrivateKey = filepath.Join(filepath.Dir(file), m.PrivateKey)
	}
	if m.PrivateKey, err = filepath.Abs(m.PrivateKey); err == nil { // Packer runs elsewhere
		_, err = os.Stat(m.PrivateKey)
	}
	if err != nil {
		return m, fmt.Errorf("%s: find the private key: %w", file, err)
	}
	return m, nil
}

// Packer performs builds with Packer, as Azure Image Builder does: the customizers on the
// build machine, then its deprovisioning. With a Program its disk becomes the image, and
// the validators run on a machine that boots it.
type Packer struct {
	Binary  string
	Machine BuildMachine
	Program *Program                             // nil: no image is made, and nothing is validated
	Blob    func(address string) ([]byte, error) // of a simulated storage account; fs.ErrNotExist when it is none
}

// buildBody is what a build needs of a template.
type buildBody struct {
	Properties struct {
		Customize []buildStep `json:"customize"`
		Validate  struct {
			ContinueDistributeOnFailure bool        `json:"continueDistributeOnFailure"`
			InVMValidations             []buildStep `json:"inVMValidations"`
		} `json:"validate"`
	} `json:"properties"`
}

// A buildStep is a customizer or a validator.
type buildStep struct {
	Type           string   `json:"type"`
	Name           string   `json:"name"`
	Inline         []string `json:"inline"`
	ScriptURI      string   `json:"scriptUri"`
	SourceURI      string   `json:"sourceUri"`
	Destination    string   `json:"destination"`
	SHA256Checksum string   `json:"sha256Checksum"`
}

// Azure's own script, which a customizer may replace, and its commands.
const (
	deprovisionFile = "/tmp/DeprovisioningScript.sh"
	deprovision     = "sudo -n /usr/sbin/waagent -force -deprovision+user && export HISTSIZE=0 && sync\n"
)

// Build performs a build.
func (p Packer) Build(ctx context.Context, job arm.BuildJob, log *BuildLog, stage func(string)) (arm.BuildResult, error) {
	var body buildBody
	if err := json.Unmarshal(job.Body, &body); err != nil {
		return arm.BuildResult{}, fmt.Errorf("read the template: %w", err)
	}
	checks := body.Properties.Validate.InVMValidations
	if len(checks) > 0 && p.Program == nil {
		return arm.BuildResult{}, errors.New("inVMValidations need a machine that boots the image, and there is none: add --machines PROG")
	}
	dir, err := os.MkdirTemp("", "fleetsim-packer-")
	if err != nil {
		return arm.BuildResult{}, fmt.Errorf("make a directory for Packer: %w", err)
	}
	defer os.RemoveAll(dir)
	customizers, err := p.fetch(ctx, dir, body.Properties.Customize)
	if err != nil {
		return arm.BuildResult{}, err
	}
	validators, err := p.fetch(ctx, dir, checks)
	if err != nil {
		return arm.BuildResult{}, err
	}
	failure, err := p.packer(ctx, dir, customizers, log)
	if failure != "" || err != nil {
		return arm.BuildResult{Failure: failure}, err
	}
	if p.Program == nil {
		return arm.BuildResult{}, nil
	}
	image := "build:" + job.Name
	if err := p.Program.Capture(ctx, image); err != nil {
		return arm.BuildResult{}, err
	}
	if len(validators) > 0 {
		stage("Validating")
		failure, err = p.validate(ctx, image, "validate-"+job.Name, validators, log)
	}
	if err != nil || failure != "" && !body.Properties.Validate.ContinueDistributeOnFailure {
		return arm.BuildResult{Failure: failure}, err
	}
	return arm.BuildResult{Image: image}, nil
}

// A localStep is a step whose file is here.
type localStep struct {
	File        string
	Destination string // "": it is a script
}

// fetch brings what the steps need to files: scripts, and what is copied.
func (p Packer) fetch(ctx context.Context, dir string, steps []buildStep) ([]localStep, error) {
	var local []localStep
	for _, s := range steps {
		var data []byte
		var err error
		switch {
		case s.Type == "Shell" && s.ScriptURI == "":
			data = inlineScript(s.Inline)
		case s.Type == "Shell":
			data, err = p.download(ctx, s.ScriptURI, s.SHA256Checksum)
		case s.Type == "File":
			data, err = p.download(ctx, s.SourceURI, s.SHA256Checksum)
		default:
			err = fmt.Errorf("steps of the type %s are not simulated", s.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("step %q: %w", s.Name, err)
		}
		f, err := os.CreateTemp(dir, "packer-shell") // Packer's own name for them
		if err == nil {
			_, err = f.Write(data)
			err = errors.Join(err, f.Close())
		}
		if err != nil {
			return nil, fmt.Errorf("step %q: %w", s.Name, err)
		}
		local = append(local, localStep{File: f.Name(), Destination: s.Destination})
	}
	return local, nil
}

// inlineScript is what Packer makes of inline commands. They are not given to it as such:
// it would take {{ in them for its own.
func inlineScript(lines []string) []byte {
	return []byte("#!/bin/sh -e\n" + strings.Join(lines, "\n") + "\n")
}

const (
	// maxDownload bounds a file that a step needs, as Azure does.
	maxDownload     = 20 << 20
	downloadTimeout = 5 * time.Minute
)

// download reads an address: of a simulated storage account, or of the network.
func (p Packer) download(ctx context.Context, address, checksum string) ([]byte, error) {
	data, err := p.Blob(address)
	if errors.Is(err, fs.ErrNotExist) {
		data, err = get(ctx, address)
	}
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", address, err)
	}
	if len(data) > maxDownload {
		return nil, fmt.Errorf("download %s: it is larger than %d MB", address, maxDownload>>20)
	}
	sum := sha256.Sum256(data)
	if is := hex.EncodeToString(sum[:]); checksum != "" && !strings.EqualFold(checksum, is) {
		return nil, fmt.Errorf("download %s: its SHA-256 checksum is %s and not %s", address, is, checksum)
	}
	return data, nil
}

// get reads one byte more than may be at most.
func get(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxDownload+1))
}

// errored is how Packer says that a build failed, or that it could not begin.
var errored = regexp.MustCompile(`(?m)^(?:Build '[^']*' errored[^:]*:|\*) (.*)$`)

// packer runs the steps on the build machine, and deprovisions it. A failure is what
// Packer says of it.
func (p Packer) packer(ctx context.Context, dir string, steps []localStep, log *BuildLog) (failure string, err error) {
	own := filepath.Join(dir, "DeprovisioningScript.sh")
	if err := os.WriteFile(own, []byte("#!/bin/sh\n"+deprovision), 0o600); err != nil {
		return "", fmt.Errorf("write the deprovisioning script: %w", err)
	}
	last := filepath.Join(dir, "packer-shell-deprovision")
	if err := os.WriteFile(last, inlineScript([]string{"sh " + deprovisionFile}), 0o600); err != nil {
		return "", fmt.Errorf("write the deprovisioning script: %w", err)
	}
	all := append([]localStep{{own, deprovisionFile}}, steps...)
	template := filepath.Join(dir, "build.json")
	data, err := json.MarshalIndent(p.template(append(all, localStep{File: last})), "", "  ")
	if err == nil {
		err = os.WriteFile(template, data, 0o600)
	}
	if err != nil {
		return "", fmt.Errorf("write Packer's template: %w", err)
	}
	said := &tail{most: maxOutput}
	state, err := child.Command{
		Args: []string{p.Binary, "build", "-color=false", template},
		Env: []string{
			"PATH=" + child.DefaultPath, "HOME=" + dir, "TMPDIR=" + dir, "CHECKPOINT_DISABLE=1",
			"PACKER_CONFIG_DIR=" + dir, "PACKER_CACHE_DIR=" + filepath.Join(dir, "cache"), "PACKER_NO_COLOR=1",
		},
		Dir: dir, Output: io.MultiWriter(log.Output(), said), Errors: io.MultiWriter(log.Errors(), said), Grace: drainTime,
	}.Run(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("start Packer: %w", err)
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case state.Success():
		return "", nil
	}
	if m := errored.FindStringSubmatch(said.String()); m != nil {
		return m[1], nil
	}
	return fmt.Sprintf("Packer: %s", state), nil
}

// template is Packer's template: its null source under the name of Azure's, so that what
// it prints looks like Azure's.
func (p Packer) template(steps []localStep) map[string]any {
	provisioners := []any{}
	for _, s := range steps {
		if s.Destination != "" {
			provisioners = append(provisioners, map[string]any{"type": "file", "source": s.File, "destination": s.Destination})
			continue
		}
		provisioners = append(provisioners, map[string]any{"type": "shell", "script": s.File})
	}
	return map[string]any{
		"builders": []any{map[string]any{
			"type": "null", "name": "azure-arm", "communicator": "ssh", "ssh_host": p.Machine.Host, "ssh_port": p.Machine.Port,
			"ssh_username": p.Machine.User, "ssh_private_key_file": p.Machine.PrivateKey, "ssh_timeout": "5m",
		}},
		"provisioners": provisioners,
	}
}

// validate runs the steps on a machine that boots the image. The first that fails is the
// failure.
func (p Packer) validate(ctx context.Context, image, name string, steps []localStep, log *BuildLog) (failure string, err error) {
	vm := &programMachine{Program: *p.Program, name: name, image: image}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		err = errors.Join(err, vm.Stop(end))
	}()
	if err := vm.Start(ctx); err != nil {
		return "", err
	}
	out, complaints := log.Output(), log.Errors()
	for _, s := range steps {
		data, err := os.ReadFile(s.File)
		if err != nil {
			return "", fmt.Errorf("read a validator: %w", err)
		}
		script := asFile(string(data))
		if s.Destination == "" {
			_, _ = fmt.Fprintf(out, "==> azure-arm: Provisioning with shell script: %s\n", s.File)
		} else {
			script = upload(data, s.Destination)
			_, _ = fmt.Fprintf(out, "==> azure-arm: Uploading %s => %s\n", filepath.Base(s.File), s.Destination)
		}
		printed, state, err := vm.exec(ctx, script, "run", name)
		if err != nil {
			return "", err
		}
		indent(out, printed.Stdout, "    azure-arm: ")
		indent(complaints, printed.Stderr, "==> azure-arm: ")
		switch code := state.ExitCode(); {
		case ctx.Err() != nil:
			return "", context.Cause(ctx)
		case code != 0:
			return fmt.Sprintf("Script exited with non-zero exit status: %d. Allowed exit codes are: [0]", code), nil
		}
	}
	return "", nil
}

// indent prints lines as Packer does.
func indent(w io.Writer, text, prefix string) {
	for line := range strings.Lines(text) {
		_, _ = io.WriteString(w, prefix+strings.TrimSuffix(line, "\n")+"\n") // it never fails
	}
}

// asFile is a script for sh that writes another one to a file and runs it there, so that
// its first line counts. Its exit code is that one's.
func asFile(script string) string {
	return "f=$(mktemp /tmp/script_XXXXXX) || exit\n" + decoded([]byte(script), `"$f"`) + "chmod 700 \"$f\"\n\"$f\" </dev/null\nrc=$?\nrm -f \"$f\"\nexit $rc\n"
}

// upload is a script that writes a file.
func upload(data []byte, destination string) string {
	return decoded(data, quote(destination))
}

func decoded(data []byte, to string) string {
	var lines strings.Builder
	text := base64.StdEncoding.EncodeToString(data)
	for len(text) > 0 {
		n := min(len(text), 76)
		lines.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	return "base64 -d >" + to + " <<'END_OF_FILE' || exit\n" + lines.String() + "END_OF_FILE\n"
}
