#!/usr/bin/env bash
# machines.sh: boots the machines of `fleetsim arm --machines` as nodes of node.sh; its
# help says what each request is. The environment tells what they are made of:
#
#   E2E_BUILD    the node that images are baked on
#   E2E_ROOTFS   the file system that nodes have below their own files
#   E2E_FLEETSIM the program fleetsim, for their metadata services
set -euo pipefail
cd "$(dirname "$0")"
unset FLEET_RUN # by which what is left of a request is found and killed: a node stays

request=$1

# node prints the name of the node for a machine or an image, which may be long.
node() { printf '%s-%s' "${E2E_BUILD:?}" "$(printf %s "$1" | sha256sum | cut -c1-8)"; }

imds_pid() { cat "$E2E_STATE/$1/imds.pid" 2>/dev/null; }

remove() {
  local pid
  [ -d "$E2E_STATE/$1" ] || return 0
  if pid=$(imds_pid "$1"); then kill "$pid" 2>/dev/null || true; fi
  ./node.sh remove "$1"
}

start() {
  local name=$1 image=$2 it
  it=$(node "$name")
  remove "$it"
  ./node.sh create "$it" "${E2E_ROOTFS:?}" "$(node "$image")"
  printf 'vms: [{name: %s}]\n' "$name" >"$E2E_STATE/$it/imds.yaml"
  ip netns exec "$it-imds" setsid "${E2E_FLEETSIM:?}" imds --listen 169.254.169.254:80 --scenario "$E2E_STATE/$it/imds.yaml" \
    </dev/null >"$E2E_STATE/$it/imds.log" 2>&1 &
  echo $! >"$E2E_STATE/$it/imds.pid"
  ./node.sh start "$it"
}

probe() {
  local answer
  answer=$(./node.sh exec "$(node "$1")" curl -s --max-time 5 -w '\n%{http_code}' "http://localhost:$2$3") || true
  printf '%s\n%s\n' "${answer##*$'\n'}" "${answer%$'\n'*}"
}

capture() {
  local image
  image=$E2E_STATE/$(node "$1")
  ./node.sh stop "$E2E_BUILD"
  rm -rf "$image"
  mkdir "$image"
  cp -a "$E2E_STATE/$E2E_BUILD/upper" "$image/upper"
}

case $request in
start) start "$2" "$3" ;;
stop) remove "$(node "$2")" ;;
run) exec ./node.sh exec "$(node "$2")" sh -s ;;
probe) probe "$2" "$3" "$4" ;;
capture) capture "$2" ;;
*)
  echo "machines.sh: unknown request $request" >&2
  exit 2
  ;;
esac
