#!/usr/bin/env bash
# node.sh: a machine for the checks, with systemd as PID 1, in systemd-nspawn.
#
#   node.sh create NAME ROOTFS [NODE]  its files and its network; with the files of
#                                      the stopped node NODE if that is given
#   node.sh start NAME                 boots it and waits until it is up
#   node.sh exec NAME COMMAND...       runs a command in it, as root
#   node.sh pid NAME                   the process ID of its PID 1
#   node.sh wait NAME                  waits until it is up, as after a reboot
#   node.sh stop NAME                  powers it off
#   node.sh remove NAME                powers it off and removes all of it
#
# Its files are an overlay over ROOTFS, in $E2E_STATE/NAME/root. Its network is a
# pair of namespaces: NAME, in which it lives at 169.254.0.10, and NAME-imds, where
# 169.254.169.254 and its neighbour 169.254.169.253 are.
set -euo pipefail

command=$1 name=$2
shift 2
node=${E2E_STATE:?}/$name

# cgroups prints a cgroup for the node in every hierarchy, below our own: nspawn
# makes payload/ and supervisor/ where it runs, and two nodes must not share them.
cgroups() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
    echo "/sys/fs/cgroup/$name" # below the root, where the rule against inner processes does not hold
    return
  fi
  local id controllers path
  while IFS=: read -r id controllers path; do
    controllers=${controllers#name=}
    case $id:$controllers in
    0:*) controllers=unified ;;
    *:*cpuset*) continue ;; # takes no process before it is configured
    esac
    controllers=/sys/fs/cgroup/$controllers
    if [ -d "$controllers" ]; then echo "$controllers${path%/}/$name"; fi
  done </proc/self/cgroup
}

# pid prints the process ID of the node's PID 1. Its name tells it from the shell
# that execs it.
pid() {
  local nspawn child children=()
  nspawn=$(cat "$node/nspawn.pid" 2>/dev/null) || return 1
  read -ra children 2>/dev/null <"/proc/$nspawn/task/$nspawn/children" || true
  for child in "${children[@]}"; do
    if [ "$(cat "/proc/$child/comm" 2>/dev/null)" = systemd ]; then
      echo "$child"
      return
    fi
  done
  return 1
}

inside() {
  local init
  init=$(pid) || {
    echo "node $name is not up" >&2
    return 90
  }
  # systemd-shutdown stops every process of the node with SIGSTOP. An nsenter that
  # forked takes that over from its child and then never reaps it, so that the
  # namespace cannot end. A shell does not: its child is in the node, it is not.
  # shellcheck disable=SC2016 # $@ and $? are that shell's
  exec nsenter -t "$init" -m -u -i -n -p -C -r -w --no-fork -- env -i \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    GOCOVERDIR=/var/lib/fleet-cov /bin/sh -c '"$@"; exit $?' sh "$@"
}

up() {
  local state deadline=$((SECONDS + 180)) # six may boot at once on two cores
  while [ $SECONDS -lt $deadline ]; do
    state=$( (inside systemctl is-system-running --wait) 2>/dev/null || true)
    case $state in
    running | degraded) return ;;
    esac
    sleep 0.1
  done
  echo "node $name does not come up: ${state:-no answer}" >&2
  tail -n 20 "$node/nspawn.log" >&2
  return 1
}

create() {
  local rootfs=$1 from=${2:-} address
  mkdir -p "$node"/{upper,work,root}
  if [ -n "$from" ]; then
    cp -a --no-target-directory "$E2E_STATE/$from/upper" "$node/upper"
  fi
  mount -t overlay "$name" -o "lowerdir=$rootfs,upperdir=$node/upper,workdir=$node/work" "$node/root"
  ip netns add "$name"
  ip netns add "$name-imds"
  ip -n "$name" link add host0 type veth peer name eth0 netns "$name-imds"
  ip -n "$name" addr add 169.254.0.10/16 dev host0
  ip -n "$name" link set lo up
  ip -n "$name" link set host0 up
  for address in 169.254.169.254 169.254.169.253; do
    ip -n "$name-imds" addr add "$address/16" dev eth0
  done
  ip -n "$name-imds" link set lo up
  ip -n "$name-imds" link set eth0 up
}

# supervise runs the node until it is powered off. nspawn exits with 133 when the
# node asks for a reboot.
supervise() {
  local dir rc nspawn
  while read -r dir; do echo $BASHPID >"$dir/cgroup.procs"; done <"$node/cgroups"
  while :; do
    rc=0
    # --register=no --keep-unit: there need not be a systemd on this machine.
    # CAP_NET_ADMIN, CAP_BPF, CAP_PERFMON and bpf(2): without them
    #   IPAddressDeny= is silently not enforced.
    # --kill-signal: what asks PID 1 to power off, since it is not nspawn --boot
    #   that starts it but a shell, which makes the cgroup hierarchies writable;
    #   in a read-only one MemoryMax= and TasksMax= are silently not enforced.
    # --console: what PID 1 says before there is a journal goes to nspawn.log.
    # shellcheck disable=SC2016 # $c is the inner shell's
    systemd-nspawn --quiet --directory="$node/root" --machine="${name:0:64}" \
      --register=no --keep-unit --network-namespace-path="/run/netns/$name" \
      --console=read-only --resolv-conf=off --timezone=off --link-journal=no --kill-signal=SIGRTMIN+3 \
      --capability=CAP_NET_ADMIN,CAP_BPF,CAP_PERFMON --system-call-filter=bpf \
      /bin/sh -c 'for c in memory pids cpu cpuacct blkio; do mount -o remount,rw,bind /sys/fs/cgroup/$c; done 2>/dev/null; exec /lib/systemd/systemd' &
    nspawn=$!
    echo "$nspawn" >"$node/nspawn.pid"
    wait "$nspawn" || rc=$?
    [ $rc = 133 ] || break
  done
}

start() {
  local dir
  cgroups >"$node/cgroups"
  while read -r dir; do mkdir -p "$dir"; done <"$node/cgroups"
  E2E_STATE=$E2E_STATE setsid "$0" supervise "$name" </dev/null >"$node/nspawn.log" 2>&1 &
  echo $! >"$node/supervisor.pid"
  up
}

stop() {
  local supervisor nspawn tries child
  supervisor=$(cat "$node/supervisor.pid" 2>/dev/null) || return 0
  nspawn=$(cat "$node/nspawn.pid" 2>/dev/null) || true
  kill -TERM "${nspawn:-$supervisor}" 2>/dev/null || true
  for ((tries = 0; tries < 600; tries++)); do
    kill -0 "$supervisor" 2>/dev/null || break
    sleep 0.05
  done
  if kill -0 "$supervisor" 2>/dev/null; then
    echo "node $name does not power off, killed" >&2
    kill -KILL "${nspawn:-$supervisor}" || true
    while kill -0 "$supervisor" 2>/dev/null; do sleep 0.05; done
  fi
  rm -f "$node/supervisor.pid" "$node/nspawn.pid"
  while read -r child; do find "$child" -depth -type d -exec rmdir {} + 2>/dev/null || true; done <"$node/cgroups"
}

remove() {
  stop
  if mountpoint -q "$node/root"; then umount "$node/root"; fi
  ip netns del "$name" 2>/dev/null || true
  ip netns del "$name-imds" 2>/dev/null || true
  rm -rf --one-file-system "$node"
}

case $command in
create) create "$@" ;;
start) start ;;
supervise) supervise ;;
exec) inside "$@" ;;
pid) pid ;;
wait) up ;;
stop) stop ;;
remove) remove ;;
*)
  sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2
  exit 2
  ;;
esac
