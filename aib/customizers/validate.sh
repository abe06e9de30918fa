#!/bin/sh
# validate.sh: says whether an image is fit to be distributed.
#
# POSIX sh: Packer starts inline commands with `/bin/sh -e`, which is dash.
set -eu

me=validate

usage() {
	cat <<'USAGE'
usage: validate.sh [option]...

Checks the agent in an image, all of it, and fails if one check does. Changes
nothing.

  --stage booted        on a VM that booted from the image, as Image Builder's
                        inVMValidations are: the agent runs, and nothing that it
                        or the machine keeps is older than this boot (default
                        without --root)
  --stage baked         on the build VM, after generalize.sh: the agent does not
                        run, and nothing is left that clones would share
  --version VERSION     the package must be of this version
  --workload UNIT       must have been adopted; repeatable
  --listen PORT         may be open to the network, as 22 may; repeatable
  --wait-serving D      booted: wait until the node serves, for at most D, as in 90s
  --max-exposure SCORE  of `systemd-analyze security` (default 1.5)
  --root DIR            check the tree at DIR (a mounted image), which is baked;
                        what only a running system can tell is skipped
  -h, --help            this text

Exit codes: 0 fit, 1 not fit, 2 usage. Root is needed, or sudo without a password.
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

root='' stage='' version='' workloads='' ports=' 22 ' serving='' exposure=1.5
parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--root | --stage | --version | --workload | --listen | --wait-serving | --max-exposure)
			[ $# -ge 2 ] || wrong "$1 needs a value"
			case $1 in
			--root) root=${2%/} ;;
			--stage) stage=$2 ;;
			--version) version=$2 ;;
			--workload) workloads="$workloads $2" ;;
			--listen) ports="$ports$2 " ;;
			--wait-serving) serving=$2 ;;
			--max-exposure) exposure=$2 ;;
			esac
			shift 2
			;;
		*) wrong "unknown argument $1" ;;
		esac
	done
	if [ -z "$stage" ]; then
		stage=booted
		[ -z "$root" ] || stage=baked
	fi
	case $stage in
	booted | baked) ;;
	*) wrong "--stage $stage: booted or baked" ;;
	esac
	case $exposure in
	*[!0-9.]* | '') wrong "--max-exposure $exposure: not a number" ;;
	esac
	[ -z "$root" ] || [ "$stage" = baked ] || wrong "--root: a tree has not booted"
	[ -z "$serving" ] || [ "$stage" = booted ] || wrong "--wait-serving: a baked image does not serve"
}

in_root() {
	if [ -n "$root" ]; then chroot "$root" "$@"; else "$@"; fi
}

# check NAME COMMAND...: the command succeeds, or says why not.
checks=0 failed=0
check() {
	name=$1
	shift
	checks=$((checks + 1))
	if why=$("$@" 2>&1); then
		say "ok   $name"
	else
		failed=$((failed + 1))
		say "FAIL $name: ${why:-$* failed}"
	fi
}

# running NAME COMMAND...: a check of what a tree cannot tell.
running() {
	if [ -n "$root" ]; then say "skip $1: this is a tree"; else check "$@"; fi
}

# nothing succeeds if its input is empty, and prints it if not.
nothing() {
	found=$(cat)
	[ -z "$found" ] || {
		printf '%s\n' "$found"
		false
	}
}

package_is() {
	# shellcheck disable=SC2016 # dpkg-query expands it
	installed=$(in_root dpkg-query -W -f '${db:Status-Abbrev}${Version}' fleet-agent) || return 1
	case $installed in
	"ii ${version:-${installed#ii }}") ;;
	*) echo "it is '$installed', not 'ii $version'" && return 1 ;;
	esac
}

# A configuration file that the image changed is no fault (c), nor is
# documentation that dpkg was told to leave out; that of Debian 11 reports it as
# changed.
package_intact() {
	in_root dpkg -V fleet-agent | grep -vE '^[^ ]+ +c |^(missing|[?]{2}5[?]{6}) +/usr/share/(doc|man|locale)/' | nothing
}

runs() {
	out=$(in_root fleet-agent version) || {
		echo "$out"
		return 1
	}
}

config_valid() { in_root runuser -u fleet-agent -- fleet-agent config validate; }

enabled() {
	state=$(in_root systemctl is-enabled "$1" 2>&1) || true
	[ "$state" = enabled ] || {
		echo "$state"
		false
	}
}

# polkit before 0.106 cannot tell units apart; the bridge takes its place there.
may_drain() {
	old=$(in_root pkaction --version 2>/dev/null | sed -n 's/.* 0\.\([0-9]*\)$/\1/p') || old=
	if [ -n "$old" ] && [ "$old" -lt 106 ]; then
		enabled fleet-bridge.socket
	elif ! in_root sh -c 'command -v pkaction' >/dev/null; then
		echo "polkit is not installed: the agent may not stop a unit"
		return 1
	fi
}

# Whatever systemd says about units of ours, or about a cycle that could drop one
# from the boot. A generator adds cloud-init.target to the boot, so verify does not
# see it unless it is named.
units_verify() {
	set -- fleet-agent.service fleet-agent.socket fleet-serving.target multi-user.target
	if [ -e "$root/usr/lib/systemd/system/cloud-init.target" ] || [ -e "$root/lib/systemd/system/cloud-init.target" ]; then
		set -- "$@" cloud-init.target
	fi
	in_root systemd-analyze verify --man=no "$@" 2>&1 | grep -E 'fleet-|ordering cycle|deleted to break' | nothing
}

exposed() {
	offline=''
	[ -z "$root" ] || offline=--offline=yes
	score=$(in_root systemd-analyze --no-pager security $offline fleet-agent.service |
		sed -n 's/.*exposure level for [^:]*: \([0-9.]*\).*/\1/p')
	[ -n "$score" ] || {
		echo "systemd-analyze security gave no score"
		return 1
	}
	awk -v score="$score" -v most="$exposure" 'BEGIN { exit !(score <= most) }' || {
		echo "it is $score, more than $exposure"
		false
	}
}

# part_of UNIT: what it says, by systemd or, in a tree, by its drop-ins.
part_of() {
	if [ -z "$root" ]; then
		systemctl show -p PartOf --value "$1"
	else
		cat "$root/etc/systemd/system/$1.d"/*.conf 2>/dev/null | sed -n 's/^PartOf=//p' | tr '\n' ' '
	fi
}

adopted() {
	case " $(part_of "$1") " in
	*' fleet-serving.target '*) ;;
	*) echo "not part of fleet-serving.target: run adopt-workloads.sh $1" && return 1 ;;
	esac
	[ -L "$root/etc/systemd/system/fleet-serving.target.wants/$1" ] || {
		echo "fleet-serving.target does not start it: run adopt-workloads.sh $1"
		false
	}
}

closed() {
	sockets=$(ss -Hltn) || return 1
	printf '%s\n' "$sockets" | while read -r _ _ _ address _; do
		case $address in
		'' | 127.* | '[::1]':* | '[::ffff:127.'*) continue ;;
		esac
		case $ports in
		*" ${address##*:} "*) ;;
		*) echo "$address" ;;
		esac
	done | nothing
}

stamped() { grep -q '^FLEET_AGENT_VERSION=' "$root/etc/fleet-agent/image-release"; }

starts_services() {
	! grep -qs install-fleet-agent "$root/usr/sbin/policy-rc.d" || {
		echo "/usr/sbin/policy-rc.d of a killed installation is still there"
		false
	}
}

state_dir() {
	dir=$(in_root fleet-agent config show 2>/dev/null | sed -n 's/^state_dir: *//p')
	echo "${dir:-/var/lib/fleet-agent}"
}

# place PATH prints where it is, with the links on the way followed inside the
# image: find does not enter a link.
place() {
	to=$(in_root readlink -f -- "$1") || to=$1
	printf '%s\n' "$root$to"
}

# Files of these places from before this boot came with the image.
of_this_boot() {
	boot=$(date -d "$(TZ=UTC LC_ALL=C systemctl show -p UserspaceTimestamp --value)" +%s) || return 1
	for path in "$@"; do
		at=$(place "$path")
		[ ! -e "$at" ] || find "$at" ! -type d ! -newermt "@$boot"
	done | nothing
}

active() {
	state=$(systemctl is-active "$1" 2>&1) || true
	[ "$state" = active ] || {
		echo "$state"
		false
	}
}

# 0 serving, 2 degraded, 3 not serving: it answers.
answers() {
	rc=0
	out=$(fleet-agent status 2>&1) || rc=$?
	case $rc in
	0 | 2 | 3) ;;
	*) echo "$out" && return 1 ;;
	esac
}

serves() { fleet-agent status --wait-for serving --timeout "$serving"; }

machine_id() {
	grep -qxE '[0-9a-f]{32}' /etc/machine-id || {
		echo "/etc/machine-id has no ID"
		false
	}
}

inactive() {
	state=$(systemctl is-active "$1" 2>&1) || true
	[ "$state" = inactive ] || {
		echo "$state"
		false
	}
}

no_files() {
	for path in "$@"; do
		at=$(place "$path")
		[ ! -e "$at" ] || find "$at" ! -type d
	done | sort -u | nothing
}

no_host_keys() {
	for key in "$root"/etc/ssh/ssh_host_*_key; do
		[ ! -e "$key" ] && [ ! -L "$key" ] || echo "${key#"$root"}"
	done | nothing
}

blank() { nothing <"$root$1"; }

parse "$@"
as_root "$@"

check "the package is installed${version:+ in version $version}" package_is
check "its files are as shipped" package_intact
check "the program runs" runs
check "the configuration is valid" config_valid
for unit in fleet-agent.service fleet-agent.socket fleet-serving.target; do
	check "$unit is enabled" enabled $unit
done
check "the agent may stop and start the workloads" may_drain
check "systemd accepts the units, without a cycle" units_verify
if [ -n "$root" ] && ! in_root systemd-analyze --help | grep -q -e --offline; then
	say "skip exposure is at most $exposure: this systemd tells it of a running system only"
else
	check "exposure is at most $exposure" exposed
fi
for unit in $workloads; do
	check "$unit is adopted" adopted "$unit"
done
running "no port but${ports% } is open to the network" closed
check "the image says what it was built from" stamped
check "packages may start services again" starts_services

if [ "$stage" = booted ]; then
	check "fleet-agent.service runs" active fleet-agent.service
	check "the agent answers" answers
	[ -z "$serving" ] || check "the node serves within $serving" serves
	check "no state of another machine" of_this_boot "$(state_dir)"
	check "SSH host keys are this machine's own" of_this_boot /etc/ssh/ssh_host_*_key
	check "machine-id is set" machine_id
else
	running "fleet-agent.service does not run" inactive fleet-agent.service
	running "fleet-agent.socket does not listen" inactive fleet-agent.socket
	check "no state of the agent" no_files "$(state_dir)" /var/lib/fleet-agent /run/fleet-agent
	check "no SSH host keys" no_host_keys
	check "machine-id is empty" blank /etc/machine-id
fi

[ $failed -eq 0 ] || die "$failed of $checks checks failed"
say "done: $checks checks passed"
