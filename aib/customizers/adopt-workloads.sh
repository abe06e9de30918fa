#!/bin/sh
# adopt-workloads.sh: lets workloads of an image stop with the node's drain.
#
# POSIX sh: Packer starts inline commands with `/bin/sh -e`, which is dash.
set -eu

me=adopt-workloads

usage() {
	cat <<'USAGE'
usage: adopt-workloads.sh [option]... UNIT...

Runs `fleet-agent adopt` for each unit: it joins fleet-serving.target, so that a
drain stops it and the return to service starts it. Nothing is started or stopped
on the build VM.

  --stop-timeout D  how long each of the units may take to stop, as in 45s
  --kill-signal S   the signal that lets each of them stop gracefully
  --root DIR        work on the tree at DIR (a mounted image) instead of /
  -h, --help        this text

The options hold for all units of the call; call it again for others. Run again
with the same arguments it changes nothing. Exit codes: 0 done, 1 failed, 2 usage.
Root is needed, or sudo without a password.
USAGE
}

# -- the same in every customizer: each is uploaded alone
# fleetctl starts scripts by bash with pipefail; the pipes of these are POSIX's.
# shellcheck disable=SC3040
[ -z "${BASH_VERSION-}" ] || set +o pipefail
say() { printf '%s: %s\n' "$me" "$*"; }
die() {
	printf '%s: error: %s\n' "$me" "$*" >&2
	exit 1
}
wrong() {
	printf '%s: error: %s\n%s: hint: --help lists the options\n' "$me" "$*" "$me" >&2
	exit 2
}
# as_root goes on as root: the build user has sudo without a password.
as_root() {
	[ "$(id -u)" -ne 0 ] || return 0
	command -v sudo >/dev/null || die "needs root, and sudo is not installed"
	[ -f "$0" ] || die "needs root: run the script from a file, or with sudo"
	exec sudo -n -- sh "$0" "$@"
}
# --

root='' timeout='' signal='' units=''
parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--stop-timeout | --kill-signal | --root)
			[ $# -ge 2 ] || wrong "$1 needs a value"
			case $1 in
			--stop-timeout) timeout=$2 ;;
			--kill-signal) signal=$2 ;;
			--root) root=${2%/} ;;
			esac
			shift 2
			;;
		-*) wrong "unknown option $1" ;;
		*[!A-Za-z0-9:_.\\@-]*) wrong "$1 is not the name of a unit" ;;
		*)
			units="$units $1"
			shift
			;;
		esac
	done
	[ -n "$units" ] || wrong "no unit to adopt"
}

parse "$@"
as_root "$@"

agent=$root/usr/bin/fleet-agent
[ -x "$agent" ] || die "$agent is not there: run install-fleet-agent.sh first"
for unit in $units; do
	set -- adopt "$unit"
	[ -z "$timeout" ] || set -- "$@" --stop-timeout "$timeout"
	[ -z "$signal" ] || set -- "$@" --kill-signal "$signal"
	[ -z "$root" ] || set -- "$@" --root "$root"
	"$agent" "$@" || die "$unit was not adopted (see above)"
done
say "done:$units"
