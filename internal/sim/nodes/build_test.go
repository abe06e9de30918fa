package nodes

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

// A plant hands out one build.
type plant struct {
	mu     sync.Mutex
	jobs   []arm.BuildJob
	log    strings.Builder
	stages []string
	done   []arm.BuildResult
	gone   bool
}

func (p *plant) NextBuild() (arm.BuildJob, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.jobs) == 0 {
		return arm.BuildJob{}, false
	}
	job := p.jobs[0]
	p.jobs = p.jobs[1:]
	return job, true
}

func (p *plant) Wake() <-chan struct{} { return nil }

func (p *plant) BuildStage(_, subState string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stages = append(p.stages, subState)
	return nil
}

func (p *plant) BuildOutput(_, text string, stderr bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(text) {
		if stderr {
			line = "ERR " + line
		}
		p.log.WriteString(line)
	}
	if p.gone {
		return fmt.Errorf("build: %w", arm.ErrBuildGone)
	}
	return nil
}

func (p *plant) BuildDone(_ string, r arm.BuildResult) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = append(p.done, r)
	return nil
}

type builderFunc func(ctx context.Context, log *BuildLog) (arm.BuildResult, error)

func (f builderFunc) Build(ctx context.Context, _ arm.BuildJob, log *BuildLog, stage func(string)) (arm.BuildResult, error) {
	stage("Customizing")
	return f(ctx, log)
}

// builds performs one build in virtual time.
func builds(t *testing.T, p *plant, b builderFunc, takes time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), takes)
		defer cancel()
		p.jobs = []arm.BuildJob{{ID: "1", Name: "ubuntu-app-1.7.0", Timeout: time.Hour}}
		require.NoError(t, RunBuilds(ctx, p, b, slog.New(slog.DiscardHandler)))
	})
}

func TestRunBuilds(t *testing.T) {
	p := &plant{}
	builds(t, p, func(_ context.Context, log *BuildLog) (arm.BuildResult, error) {
		_, _ = fmt.Fprint(log.Output(), "one\ntw")
		_, _ = fmt.Fprint(log.Errors(), "wrong\n")
		time.Sleep(time.Minute)
		_, _ = fmt.Fprint(log.Output(), "o\n", "end")
		return arm.BuildResult{Image: "build:x"}, nil
	}, 2*time.Minute)
	require.Equal(t, "one\nERR wrong\ntwo\nend\n", p.log.String())
	require.Equal(t, []arm.BuildResult{{Image: "build:x"}}, p.done)
	require.Equal(t, []string{"Customizing"}, p.stages)

	p = &plant{}
	builds(t, p, func(context.Context, *BuildLog) (arm.BuildResult, error) {
		return arm.BuildResult{}, errors.New("no disk")
	}, time.Minute)
	require.Equal(t, []arm.BuildResult{{Failure: "fleetsim: no disk"}}, p.done)

	hangs := func(ctx context.Context, _ *BuildLog) (arm.BuildResult, error) {
		<-ctx.Done()
		return arm.BuildResult{}, ctx.Err()
	}
	p = &plant{}
	builds(t, p, hangs, 2*time.Hour)
	require.Equal(t, []arm.BuildResult{{Failure: "the build did not end within 1h0m0s"}}, p.done)
	p = &plant{}
	builds(t, p, hangs, time.Minute)
	require.Empty(t, p.done, "the simulation ends first")
	p = &plant{gone: true}
	builds(t, p, hangs, time.Minute)
	require.Empty(t, p.done, "nobody wants it")
}

func TestBuildLogIsBounded(t *testing.T) {
	p, log := &plant{}, &BuildLog{}
	line := strings.Repeat("x", maxLine) + "\n"
	for range maxBuildLog/maxLine + 10 {
		_, err := log.Output().Write([]byte(line))
		require.NoError(t, err)
	}
	require.NoError(t, log.flush(p, "1"))
	require.Less(t, p.log.Len(), maxBuildLog+1000)
	require.Contains(t, p.log.String(), "the build prints too much")
}

// A fakePacker remembers what it was asked for.
func fakePacker(t *testing.T, dir, does string) string {
	return script(t, `cp -r "$HOME" `+dir+`/packer
echo "$*" | sed 's/ [^ ]*build.json/ build.json/' >`+dir+`/args
env | cut -d= -f1 | sort | tr '\n' ' ' >`+dir+`/env
`+does)
}

func templateOf(t *testing.T, customize, validate string) arm.BuildJob {
	t.Helper()
	body := `{"properties":{"customize":[` + customize + `],"validate":{"inVMValidations":[` + validate + `]}}}`
	require.True(t, json.Valid([]byte(body)), body)
	return arm.BuildJob{ID: "1", Name: "ubuntu-app-1.7.0", Body: []byte(body), Timeout: time.Hour}
}

func TestPacker(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/cis.sh" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte("#!/bin/bash\nset -o pipefail\n"))
	}))
	defer web.Close()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("package")))
	const blob = "https://stbuild.blob.core.windows.net/artifacts/fleet-agent.deb"
	dir := t.TempDir()
	p := Packer{
		Machine: BuildMachine{Host: "10.0.0.10", Port: 2222, User: "packer", PrivateKey: "/key"},
		Binary:  fakePacker(t, dir, "echo '==> azure-arm: hello'; echo '==> azure-arm: oh' >&2"),
		Blob: func(address string) ([]byte, error) {
			if address == blob {
				return []byte("package"), nil
			}
			return nil, fs.ErrNotExist
		},
	}
	plan := &plant{}
	build := func(p Packer, job arm.BuildJob) (arm.BuildResult, string, error) {
		log := &BuildLog{}
		plan.log.Reset()
		r, err := p.Build(t.Context(), job, log, func(s string) { plan.stages = append(plan.stages, s) })
		require.NoError(t, log.flush(plan, "1"))
		return r, plan.log.String(), err
	}
	file := `{"type":"File","name":"agent","sourceUri":"` + blob + `","destination":"/tmp/fleet-agent.deb","sha256Checksum":"` + sum + `"}`
	r, log, err := build(p, templateOf(t, file+`,{"type":"Shell","name":"install","inline":["echo '{{ x }}'","true"]},
		{"type":"Shell","name":"cis","scriptUri":"`+web.URL+`/cis.sh"}`, ""))
	require.NoError(t, err)
	require.Equal(t, arm.BuildResult{}, r)
	require.ElementsMatch(t, []string{"==> azure-arm: hello", "ERR ==> azure-arm: oh", ""}, strings.Split(log, "\n"))

	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		return string(data)
	}
	require.Equal(t, "build -color=false build.json\n", read("args"))
	require.Contains(t, read("env"), "CHECKPOINT_DISABLE ")
	var template struct {
		Builders     []map[string]any
		Provisioners []map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(read("packer/build.json")), &template))
	require.Equal(t, map[string]any{
		"type": "null", "name": "azure-arm", "communicator": "ssh", "ssh_host": "10.0.0.10", "ssh_port": 2222.0,
		"ssh_username": "packer", "ssh_private_key_file": "/key", "ssh_timeout": "5m",
	}, template.Builders[0])
	var steps []string
	for _, s := range template.Provisioners {
		steps = append(steps, s["type"]+" "+s["destination"]+": "+read("packer/"+filepath.Base(s["source"]+s["script"])))
	}
	require.Equal(t, []string{
		"file /tmp/DeprovisioningScript.sh: #!/bin/sh\n" + deprovision,
		"file /tmp/fleet-agent.deb: package",
		"shell : #!/bin/sh -e\necho '{{ x }}'\ntrue\n",
		"shell : #!/bin/bash\nset -o pipefail\n",
		"shell : #!/bin/sh -e\nsh /tmp/DeprovisioningScript.sh\n",
	}, steps)

	for customize, says := range map[string]string{
		`{"type":"File","name":"a","sourceUri":"` + blob + `","destination":"/tmp/a","sha256Checksum":"00"}`: "its SHA-256 checksum is " + sum,
		`{"type":"Shell","name":"a","scriptUri":"` + web.URL + `/none.sh"}`:                                  "404 Not Found",
		`{"type":"PowerShell","name":"a","inline":["x"]}`:                                                    "steps of the type PowerShell are not simulated",
	} {
		_, _, err := build(p, templateOf(t, customize, ""))
		require.ErrorContains(t, err, says)
		require.ErrorContains(t, err, `step "a"`)
	}
	_, _, err = build(p, templateOf(t, "", file))
	require.ErrorContains(t, err, "inVMValidations need a machine that boots the image, and there is none: add --machines PROG")

	p.Binary = script(t, `echo "Build 'azure-arm' errored after 3 seconds: Script exited with non-zero exit status: 3. Allowed exit codes are: [0]" >&2; exit 1`)
	r, _, err = build(p, templateOf(t, "", ""))
	require.NoError(t, err)
	require.Equal(t, "Script exited with non-zero exit status: 3. Allowed exit codes are: [0]", r.Failure)
	p.Binary = script(t, `printf 'Error: Failed to prepare build: "azure-arm"\n\n1 error(s) occurred:\n\n* no such user\n'; exit 1`)
	r, _, err = build(p, templateOf(t, "", ""))
	require.NoError(t, err)
	require.Equal(t, "no such user", r.Failure)
	p.Binary = script(t, `exit 9`)
	r, _, err = build(p, templateOf(t, "", ""))
	require.NoError(t, err)
	require.Equal(t, "Packer: exit status 9", r.Failure)
}

func TestPackerValidates(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("MACHINE_DIR", dir)
	const target = "/copied"
	p := Packer{
		Binary: script(t, ""), Blob: func(string) ([]byte, error) { return []byte("data\n"), nil },
		Program: &Program{Path: script(t, `echo "$*" >>$MACHINE_DIR/log
[ "$1" != run ] || exec sh`)},
	}
	job := func(inline string) arm.BuildJob {
		return templateOf(t, "", `{"type":"File","name":"f","sourceUri":"https://x/y","destination":"`+dir+target+`"},
			{"type":"Shell","name":"boots","inline":["cat `+dir+target+`","`+inline+`","echo last"]}`)
	}
	var stages []string
	build := func(j arm.BuildJob) (arm.BuildResult, string) {
		plan, log := &plant{}, &BuildLog{}
		r, err := p.Build(t.Context(), j, log, func(s string) { stages = append(stages, s) })
		require.NoError(t, err)
		require.NoError(t, log.flush(plan, "1"))
		return r, plan.log.String()
	}
	r, log := build(job("echo wrong >&2"))
	require.Equal(t, arm.BuildResult{Image: "build:ubuntu-app-1.7.0"}, r)
	require.Equal(t, []string{"Validating"}, stages)
	require.Contains(t, log, "    azure-arm: data\n    azure-arm: last\n")
	require.Contains(t, log, "ERR ==> azure-arm: wrong\n")
	data, err := os.ReadFile(filepath.Join(dir, "log"))
	require.NoError(t, err)
	require.Equal(t, "capture build:ubuntu-app-1.7.0\nstart validate-ubuntu-app-1.7.0 build:ubuntu-app-1.7.0\n"+
		"run validate-ubuntu-app-1.7.0\nrun validate-ubuntu-app-1.7.0\nstop validate-ubuntu-app-1.7.0\n", string(data))

	r, log = build(job("exit 4"))
	require.Equal(t, arm.BuildResult{Failure: "Script exited with non-zero exit status: 4. Allowed exit codes are: [0]"}, r)
	require.NotContains(t, log, "last")
	j := job("false")
	j.Body = []byte(strings.Replace(string(j.Body), `"validate":{`, `"validate":{"continueDistributeOnFailure":true,`, 1))
	r, _ = build(j)
	require.Equal(t, arm.BuildResult{Image: "build:ubuntu-app-1.7.0"}, r)
}

func TestLoadBuildMachine(t *testing.T) {
	dir := t.TempDir()
	load := func(text string) (BuildMachine, error) {
		file := filepath.Join(dir, "machine.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return LoadBuildMachine(file)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key"), nil, 0o600))
	m, err := load(`{"host": "10.0.0.10", "user": "packer", "private_key": "key"}`)
	require.NoError(t, err)
	require.Equal(t, BuildMachine{Host: "10.0.0.10", Port: 22, User: "packer", PrivateKey: filepath.Join(dir, "key")}, m)
	for text, says := range map[string]string{
		"host: a\nuser: b":                                "private_key is missing",
		"host: a\nuser: b\nprivate_key: c":                "find the private key",
		"host: a\nuser: b\nprivate_key: c\nport: 70000":   "it is 1 to 65535",
		"host: a\nuser: b\nprivate_key: c\npassword: d\n": "password",
	} {
		_, err := load(text)
		require.ErrorContains(t, err, says)
	}
	_, err = LoadBuildMachine(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}
