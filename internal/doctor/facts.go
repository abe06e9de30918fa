package doctor

import (
	"cmp"
	"context"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/adopt"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/imds"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// agentUser is the user that the package runs the agent as, and its unit.
const (
	agentUser  = "fleet-agent"
	agentUnit  = "fleet-agent.service"
	adminGroup = "fleet-admin"
)

// facts is what was read of the world. A field with an error beside it is zero
// when that is set.
type facts struct {
	now     time.Time
	root    string // in front of every path
	user    int    // who looks
	version string // of this binary

	conf       *config.Config // the defaults when confErr is set
	confErr    error
	confDenied bool // whoever looks must not read it
	configPath string
	plan       planFacts

	status    *control.Status // nil: see statusErr
	statusErr error
	enabled   bool // the unit starts at boot
	installed bool // the package's unit is there
	draining  bool // by the flag file

	instance    imds.Instance
	instanceErr error

	extension extensionFacts
	answer    answerFacts
	localhost []netip.Addr // by /etc/hosts; none: it does not say

	delays    []systemd.InhibitDelaySetting // of logind's files, the last one counts
	delaysErr error
	bus       busFacts

	polkitRule fileFacts
	bridge     bool // its socket is there

	workloads    []adopt.Workload
	workloadsErr error

	listening    []netip.AddrPort
	listeningErr error

	agentID  *account // nil: there is no such user, and no agent either
	admins   bool     // their group is there
	files    []fileFacts
	disk     diskFacts
	clock    clockFacts
	pressure map[string]float64 // avg60 of "some", by resource; none on a kernel without
}

// planFacts is what the drain plan needs.
type planFacts struct {
	total time.Duration // settling and every step at its max, the reserve besides
	err   error
	// fit plans within a notice.
	fit func(notice time.Duration) (control.PlanPreview, error)
}

type fileFacts struct {
	path     string
	mode     fs.FileMode
	uid, gid int
	err      error
}

// account is who the agent runs as.
type account struct{ uid, gid int }

type diskFacts struct {
	path                    string // state_dir, or what is there of it
	free, total             uint64 // bytes, for a user without privileges
	freeInodes, totalInodes uint64
	readOnly                bool
	err                     error
}

type clockFacts struct {
	synchronized bool
	offset       time.Duration
	err          error
}

// look reads the world. What can be slow is read at the same time.
func look(ctx context.Context, cfg Config) *facts {
	f := &facts{now: time.Now(), root: cmp.Or(cfg.Root, "/"), user: os.Geteuid(), version: cfg.Version, configPath: cfg.ConfigPath}
	f.lookConfig(cfg)
	socket := cmp.Or(cfg.Socket, f.in(filepath.Join(f.conf.RunDir, control.SocketName)))
	f.status, f.statusErr = control.NewClient(socket).Status(ctx)
	f.lookFiles(socket)

	var wg sync.WaitGroup
	wg.Go(func() { f.lookMetadata(ctx) })
	wg.Go(func() { f.bus = lookBus(ctx, cfg.BusAddress, f.asked()) })
	wg.Go(func() {
		f.extension = lookExtension(f.in(waagentDir), f.in("/proc"))
		f.localhost = f.lookLocalhost()
		f.answer = lookAnswer(ctx, f.probeURL())
	})
	wg.Wait()
	return f
}

// in is where a path of the system is.
func (f *facts) in(path string) string { return filepath.Join(f.root, path) }

func (f *facts) exists(path string) bool {
	_, err := os.Lstat(f.in(path))
	return err == nil
}

func (f *facts) lookConfig(cfg Config) {
	var owners []int // a file of the agent's is one that it reads
	if agent := f.packaged(); agent != nil {
		owners = append(owners, agent.uid)
	}
	if f.conf, f.confErr = config.Load(cfg.ConfigPath, owners...); f.confErr != nil {
		f.conf = config.Default()
		file, err := os.Open(cfg.ConfigPath)
		if err == nil {
			_ = file.Close()
		}
		f.confDenied = os.IsPermission(err)
	}
	f.plan.fit = func(notice time.Duration) (control.PlanPreview, error) { return cfg.Fit(f.conf, notice) }
	const unhurried = 1000 * time.Hour // longer than any plan that can be written
	preview, err := f.plan.fit(unhurried)
	f.plan.total, f.plan.err = seconds(preview.SettleSeconds), err
	for _, s := range preview.Steps {
		f.plan.total = max(f.plan.total, seconds(s.OffsetSeconds+s.LimitSeconds))
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// lookFiles reads what answers at once.
func (f *facts) lookFiles(socket string) {
	f.installed = f.exists("/usr/lib/systemd/system/"+agentUnit) || f.exists("/lib/systemd/system/"+agentUnit)
	f.enabled = f.exists("/etc/systemd/system/multi-user.target.wants/" + agentUnit)
	f.draining = f.exists(filepath.Join(f.conf.RunDir, "draining"))
	f.delays, f.delaysErr = systemd.InhibitDelayConfig(f.root)
	f.bridge = f.exists(systemd.BridgeSocket)
	for _, dir := range []string{"/etc/polkit-1/rules.d", "/usr/share/polkit-1/rules.d"} {
		f.polkitRule = f.stat(dir + "/50-fleet-agent.rules")
		if f.polkitRule.err == nil {
			break
		}
	}
	f.lookWorkloads()
	f.listening, f.listeningErr = f.lookListeners()
	f.lookAccounts(socket)
	f.files = append(f.files, f.stat(f.conf.StateDir), f.stat(f.conf.RunDir), statFile(socket))
	f.disk = lookDisk(f.in(f.conf.StateDir))
	f.clock = lookClock()
	f.lookPressure()
}

func (f *facts) stat(path string) fileFacts {
	s := statFile(f.in(path))
	s.path = path
	return s
}

func statFile(path string) fileFacts {
	info, err := os.Stat(path)
	if err != nil {
		return fileFacts{path: path, err: err}
	}
	s := fileFacts{path: path, mode: info.Mode()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.uid, s.gid = int(sys.Uid), int(sys.Gid)
	}
	return s
}

func (f *facts) lookWorkloads() {
	var targetMax time.Duration
	for _, s := range f.conf.Drain.Plan {
		if s.Target == adopt.Target {
			targetMax = s.Max.D()
		}
	}
	w, err := adopt.New(adopt.Config{Root: f.root, RunDir: f.conf.RunDir, TargetMax: targetMax})
	if err == nil {
		f.workloads, err = w.List()
	}
	f.workloadsErr = err
}

// lookAccounts finds out who the agent runs as: the owner of its socket, or else
// the user that the package makes.
func (f *facts) lookAccounts(socket string) {
	if s := statFile(socket); s.err == nil {
		f.agentID = &account{s.uid, s.gid}
	} else {
		f.agentID = f.packaged()
	}
	f.admins = f.entry("/etc/group", adminGroup) != nil
}

// packaged is the user that the package makes, nil when there is none.
func (f *facts) packaged() *account {
	fields := f.entry("/etc/passwd", agentUser)
	if len(fields) < 4 {
		return nil
	}
	uid, uidErr := strconv.Atoi(fields[2])
	gid, gidErr := strconv.Atoi(fields[3])
	if uidErr != nil || gidErr != nil {
		return nil
	}
	return &account{uid, gid}
}

// entry returns the fields of a name's line in a file such as /etc/passwd.
func (f *facts) entry(file, name string) []string {
	for line := range strings.Lines(f.read(file)) {
		if strings.HasPrefix(line, name+":") {
			return strings.Split(line, ":")
		}
	}
	return nil
}

// read returns the text of a small file of the system, "" when it cannot be read.
func (f *facts) read(path string) string {
	text, _ := readFile(f.in(path)) // what is missing reads as empty
	return string(text)
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, 1<<20))
}

func lookDisk(path string) diskFacts {
	d := diskFacts{path: path}
	var st unix.Statfs_t
	err := unix.Statfs(d.path, &st)
	for ; err == unix.ENOENT && d.path != "/"; err = unix.Statfs(d.path, &st) {
		d.path = filepath.Dir(d.path)
	}
	if err != nil {
		d.err = err
		return d
	}
	d.free, d.total = st.Bavail*uint64(st.Frsize), st.Blocks*uint64(st.Frsize)
	d.freeInodes, d.totalInodes = st.Ffree, st.Files
	d.readOnly = st.Flags&unix.ST_RDONLY != 0
	return d
}

// lookClock asks the kernel how well it keeps time; see checks of kind clock.
func lookClock() clockFacts {
	var tx unix.Timex // no modes: only reads
	state, err := unix.Adjtimex(&tx)
	if err != nil {
		return clockFacts{err: err}
	}
	unit := time.Microsecond
	if tx.Status&unix.STA_NANO != 0 {
		unit = time.Nanosecond
	}
	offset := time.Duration(tx.Offset) * unit
	return clockFacts{
		synchronized: state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0,
		offset:       max(offset, -offset, time.Duration(tx.Esterror)*time.Microsecond),
	}
}

// lookPressure reads the "some avg60" of each resource (proc_pressure).
func (f *facts) lookPressure() {
	f.pressure = make(map[string]float64)
	for _, resource := range []string{"cpu", "memory", "io"} {
		line, _, _ := strings.Cut(f.read("/proc/pressure/"+resource), "\n")
		for field := range strings.FieldsSeq(line) {
			if text, ok := strings.CutPrefix(field, "avg60="); ok {
				if v, err := strconv.ParseFloat(text, 64); err == nil {
					f.pressure[resource] = v
				}
			}
		}
	}
}
