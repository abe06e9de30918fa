#!/usr/bin/env bash
# run.sh [SUITE...]: builds what is checked, boots nodes and runs the checks of
# this directory on them. As root, on a machine with Debian's packages and Go.
#
# Without arguments: all checks on Debian 12, the short leg on Debian 13 and 11.
# With: all checks on each SUITE (bookworm, trixie, bullseye) that is named.
# E2E_RUN=REGEXP runs some groups of checks, as in go test -run: /bookworm/events
# E2E_NODES=N runs N groups at once; six by default, of which two mostly wait.
set -euo pipefail
cd "$(dirname "$0")/.."

full=("$@") short=()
if [ $# -eq 0 ]; then
  full=(bookworm)
  short=(trixie bullseye)
fi
[ "$(id -u)" -eq 0 ] || {
  echo "run.sh needs root: it boots machines" >&2
  exit 1
}

e2e/tools.sh systemd-nspawn:systemd-container mmdebstrap:mmdebstrap zstd:zstd ip:iproute2 nsenter:util-linux \
  packer:packer ssh-keygen:openssh-client

out=$PWD/bin/e2e
arch=$(dpkg --print-architecture)
export E2E_STATE=$out/nodes
mkdir -p "$out" "$E2E_STATE"

cleanup() {
  local dir
  for dir in "$E2E_STATE"/*/upper; do
    [ ! -d "$dir" ] || e2e/node.sh remove "$(basename "${dir%/upper}")" || true
  done
  ! mountpoint -q "$E2E_STATE" || umount "$E2E_STATE"
}
cleanup # what a killed run left
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# package NAME VERSION [FLAG...]: the Debian packages in $out/NAME, for this
# machine; flags are for the compiler.
package() {
  local dir=$out/$1 version=$2
  shift 2
  make --no-print-directory deb ARCHES="$arch" VERSION="$version" GOBUILDFLAGS="$*" BIN="$dir/bin" DIST="$dir"
}

build() {
  # The new package counts what is covered; the old one is as it ships, and is the
  # one whose start is timed.
  package old dev
  package new "$(git describe --tags --always --dirty)" -cover -covermode=atomic -coverpkg=./...
  CGO_ENABLED=0 go build -tags e2e -o "$out/notifyd" ./e2e/notifyd
  CGO_ENABLED=0 go test -c -o "$out/systemd.test" ./internal/systemd
  go test -c -tags e2e -o "$out/e2e.test" ./e2e
}

echo "== build"
build >"$out/build.log" 2>&1 &
builder=$!
mount -t tmpfs -o mode=755 fleet-agent-e2e "$E2E_STATE" # in memory: an fsync costs nothing, nor does a copy
for suite in "${full[@]}" "${short[@]}"; do
  archive=$(e2e/rootfs.sh "$suite")
  mkdir "$E2E_STATE/rootfs-$suite"
  tar --zstd -xpf "$archive" -C "$E2E_STATE/rootfs-$suite"
done
wait $builder || {
  cat "$out/build.log" >&2
  exit 1
}

echo "== check (after ${SECONDS} s)"
rm -rf "$out/coverage"
mkdir "$out/coverage"
rc=0
"$out/e2e.test" -test.run "${E2E_RUN:-.}" -test.timeout 20m -nodes "${E2E_NODES:-6}" \
  -full "${full[*]}" -short-leg "${short[*]}" -root "$PWD" \
  -old "$(echo "$out"/old/fleet-agent_*.deb)" -new "$(echo "$out"/new/fleet-agent_*.deb)" \
  -fleetctl "$out/old/bin/$arch/fleetctl" -fleetsim "$out/old/bin/$arch/fleetsim" \
  -notifyd "$out/notifyd" -systemd-test "$out/systemd.test" -coverage "$out/coverage" || rc=$?

if [ -n "$(ls "$out/coverage")" ]; then
  mkdir -p bin/coverage
  go tool covdata textfmt -i="$out/coverage" -o bin/coverage/e2e.out
  echo "== coverage of the agent on the machines (make coverage adds the tests): $(go tool cover -func bin/coverage/e2e.out | awk 'END { print $NF }')"
fi
echo "== done in ${SECONDS} s"
exit $rc
