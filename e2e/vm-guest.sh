#!/bin/bash
# vm-guest.sh: the checks that vm.sh runs, in the machine, and then its end.
set -u
exec 2>&1
passed=0 failed=0

# check NAME COMMAND...: the command succeeds, or its output says why not.
check() {
  local name=$1 why
  shift
  if why=$("$@" 2>&1); then
    passed=$((passed + 1))
    echo "ok   $name"
  else
    failed=$((failed + 1))
    echo "FAIL $name"
    printf '%s\n' "$why" | tail -n 20 | sed 's/^/    /'
    journalctl -b -u fleet-agent -n 20 --no-pager -o cat | sed 's/^/    /'
  fi
}

# eventually SECONDS COMMAND...: the command succeeds within that time.
eventually() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || return 1
    sleep 0.5
  done
}

serves() { fleet-agent status --wait-for serving --timeout 60s; }

unified() { [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; }

no_cycle() { ! journalctl -b --no-pager | grep -E 'ordering cycle|deleted to break'; }

on_its_way() { systemctl --no-pager list-dependencies --plain multi-user.target | grep -q fleet-agent.service; }

# The agent waits for nothing that takes long: it is up before multi-user.target.
early() {
  [ "$(systemctl show -P ActiveEnterTimestampMonotonic fleet-agent)" -le "$(systemctl show -P ActiveEnterTimestampMonotonic multi-user.target)" ]
}

socket_first() {
  [ "$(systemctl show -P ActiveEnterTimestampMonotonic fleet-agent.socket)" -le "$(systemctl show -P ExecMainStartTimestampMonotonic fleet-agent)" ]
}

hog='head -c 400000000 /dev/zero | tail -c 400000000 | wc -c'
oom() {
  systemd-run --quiet --unit=hog -p MemoryMax=64M -p MemorySwapMax=0 -p Type=oneshot sh -c "$hog"
  [ "$(systemctl show -P Result hog)" = oom-kill ] || {
    systemctl status --no-pager hog
    false
  }
}

pid() { systemctl show -P MainPID fleet-agent; }

ooms() { journalctl -b -u fleet-agent --no-pager | grep -c 'killed by the OOM killer'; }
killed_since() { [ "$(ooms)" -gt "$1" ]; }

# hog_check lets a check of the agent take more than the unit may have, until it is
# killed for it.
hog_check() {
  local before
  before=$(ooms)
  printf 'checks:\n  - {name: hog, exec: {command: [sh, -c, "%s"]}, severity: warning, interval: 5s, timeout: 60s, fail_after: 1}\n' "$hog" >/etc/fleet-agent/conf.d/hog.yaml
  systemctl reload fleet-agent
  eventually 60 killed_since "$before"
  local rc=$?
  rm /etc/fleet-agent/conf.d/hog.yaml
  eventually 20 systemctl reload-or-restart fleet-agent
  [ $rc -eq 0 ] && serves
}

oom_continue() {
  local before
  before=$(pid)
  hog_check && [ "$(pid)" = "$before" ]
}

oom_stop() {
  local before rc=0
  drop_in OOMPolicy=stop
  before=$(pid)
  hog_check && [ "$(pid)" != "$before" ] || rc=1
  drop_in ''
  return $rc
}

# drop_in sets a directive of the agent's unit, or none, and restarts it.
drop_in() {
  mkdir -p /etc/systemd/system/fleet-agent.service.d
  printf '[Service]\n%s\n' "$1" >/etc/systemd/system/fleet-agent.service.d/check.conf
  systemctl daemon-reload
  systemctl restart fleet-agent
}

# forbids DIRECTIVE LINE: the unit has the directive; the line of shell does what it
# forbids, which works without it, the control, and not with it.
forbids() {
  grep -qx "$1" /usr/lib/systemd/system/fleet-agent.service || {
    echo "the unit does not have it"
    return 1
  }
  systemd-run --quiet --wait --pipe sh -ec "$2" || {
    echo "it does not work without it either"
    return 1
  }
  ! systemd-run --quiet --wait --pipe -p "$1" sh -ec "$2"
}

# A program for i386 that does nothing: exit(0), by int 0x80.
i386=f0VMRgEBAQAAAAAAAAAAAAIAAwABAAAAVIAECDQAAAAAAAAAAAAAADQAIAABAAAAAAAAAAEAAAAAAAAAAIAECACABAhdAAAAXQAAAAUAAAAAEAAAuAEAAAAx282A

limits() {
  [ "$(cat "/proc/$(pid)/oom_score_adj")" = -500 ] &&
    [ "$(cat /sys/fs/cgroup/system.slice/fleet-agent.service/memory.max)" = $((256 << 20)) ] &&
    [ "$(cat /sys/fs/cgroup/system.slice/fleet-agent.service/pids.max)" = 512 ]
}

step_clock() {
  local before
  before=$(pid)
  date -s "$1" >/dev/null
  # Longer than the watchdog's pings and the polls are apart.
  for _ in 1 2 3 4 5; do
    sleep 1 # between two looks
    curl -sf -o /dev/null http://127.0.0.1:8080/healthz || return 1
  done
  serves && [ "$(pid)" = "$before" ]
}

preempt() {
  local id
  id=$(fleetsim event publish Preempt --notice 60s --hold --control 127.0.0.1:9300) || return 1
  fleet-agent status --wait-for drained --timeout 60s || return 1
  [ "$(systemctl is-active nginx)" = inactive ] || return 1
  eventually 10 sh -c 'fleetsim acks --control 127.0.0.1:9300 | grep -q accepted' || return 1
  fleetsim event complete "$id" --control 127.0.0.1:9300 && serves && eventually 20 systemctl is-active nginx
}

# behind: this VM's clock is set back by five minutes, and the metadata service's is not:
# its Date says so, and a NotBefore in half a minute looks like one in five and a half.
behind() {
  local id deadline left control="--control 127.0.0.1:9300"
  date -s '-5 minutes' >/dev/null
  # shellcheck disable=SC2086 # two words
  fleetsim fault set clock --method GET --ahead 5m $control &&
    id=$(fleetsim event publish Preempt --notice 330s --hold $control) || return 1
  eventually 10 sh -c 'fleet-agent status -o json | grep -q "\"deadline\""' || return 1
  deadline=$(fleet-agent status -o json | sed -n 's/^.*"deadline": "\(.*\)".*$/\1/p')
  left=$(($(date -d "$deadline" +%s) - $(date +%s)))
  echo "the drain has $left seconds"
  [ "$left" -gt 0 ] && [ "$left" -le 29 ] || return 1
  fleet-agent status | grep -qE 'clock is (5m0s|4m5[0-9]s) behind' || return 1
  fleet-agent status --wait-for drained --timeout 60s || return 1
  # shellcheck disable=SC2086
  fleetsim event complete "$id" $control && fleetsim fault clear $control && serves || return 1
  date -s '+5 minutes' >/dev/null && serves
}

echo "note the boot ends: $(timeout 120 systemctl is-system-running --wait)"
ip addr add 169.254.169.254/32 dev lo
systemd-run --quiet --unit=fleetsim fleetsim imds --vm web_0 --listen 169.254.169.254:80 --control 127.0.0.1:9300

check "cgroups are version 2" unified
check "no ordering cycle in this boot" no_cycle
check "the boot wants the agent" on_its_way
check "the probe port is open before the agent starts" socket_first
check "the agent is up before multi-user.target" early
check "the node serves" serves
check "the limits of the unit are in force" limits
check "a service over its memory limit ends in oom-kill" oom
check "a check over the agent's memory limit is killed, and the agent goes on" oom_continue
check "with OOMPolicy=stop it is restarted (the control)" oom_stop
check "ProtectKernelTunables=yes forbids to set one" forbids ProtectKernelTunables=yes 'cat /proc/sys/kernel/panic >/tmp/panic; cat /tmp/panic >/proc/sys/kernel/panic'
check "ProtectKernelModules=yes forbids to load one" forbids ProtectKernelModules=yes 'modprobe dummy; modprobe -r dummy'
check "ProtectKernelLogs=yes forbids to read them" forbids ProtectKernelLogs=yes 'dmesg >/dev/null'
check "RestrictRealtime=yes forbids real-time scheduling" forbids RestrictRealtime=yes 'chrt --fifo 1 true'
check "DevicePolicy=closed forbids to read a disk" forbids DevicePolicy=closed 'head -c 512 /dev/vda >/dev/null'
check "SystemCallArchitectures=native forbids a program for i386" forbids SystemCallArchitectures=native "echo $i386 | base64 -d >/usr/local/bin/i386; chmod +x /usr/local/bin/i386; i386"
check "the clock is set an hour ahead: the node serves on" step_clock '+1 hour'
check "Preempt with the clock an hour ahead: drained, acked, and back" preempt
check "the clock is set back: the node serves on" step_clock '-1 hour'
check "the clock is five minutes behind: half a minute's notice leaves half a minute" behind
check "Preempt: drained, acked, and back" preempt
echo "note the agent in this boot (emulated):"
systemd-analyze blame --no-pager | grep fleet-agent.service | sed 's/^ */    /'
systemd-analyze critical-chain --no-pager fleet-agent.service | sed 's/^/    /'
systemd-analyze time --no-pager | sed 's/^/    /'
echo "$passed passed, $failed failed"
systemctl poweroff
