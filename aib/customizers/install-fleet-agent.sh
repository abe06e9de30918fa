#!/bin/sh
# install-fleet-agent.sh: puts the agent into an image that is being built.
#
# POSIX sh: Packer starts inline commands with `/bin/sh -e`, which is dash.
set -eu

me=install-fleet-agent

usage() {
	cat <<'USAGE'
usage: install-fleet-agent.sh [option]...

Installs the package fleet-agent from a local file whose checksum is known,
enables it for the next boot and validates its configuration. Nothing of the
package is started on the build VM, and an agent that the base image brought
along is stopped: a build VM must not acknowledge events.

  --deb FILE         the package (default /tmp/fleet-agent.deb)
  --sha256 HEX       its SHA-256 checksum (default: what FILE.sha256 says, which
                     `fleetctl bake` puts beside the file)
  --config FILE      goes to /etc/fleet-agent/config.yaml
  --stamp KEY=VALUE  one more line for /etc/fleet-agent/image-release; repeatable
  --root DIR         work on the tree at DIR (a mounted image) instead of /
  -h, --help         this text

Run again with the same arguments it changes nothing. Exit codes: 0 done,
1 failed, 2 usage. Root is needed, or sudo without a password.
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

deb=/tmp/fleet-agent.deb sha256='' config='' stamps='' root=''
parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--deb | --sha256 | --config | --stamp | --root)
			[ $# -ge 2 ] || wrong "$1 needs a value"
			case $1 in
			--deb) deb=$2 ;;
			--sha256) sha256=$(printf '%s' "$2" | tr 'A-F' 'a-f') ;;
			--config) config=$2 ;;
			--stamp) add_stamp "$2" ;;
			--root) root=${2%/} ;;
			esac
			shift 2
			;;
		*) wrong "unknown argument $1" ;;
		esac
	done
	if [ -z "$sha256" ] && [ -f "$deb.sha256" ]; then
		read -r sha256 _ <"$deb.sha256" || [ -n "$sha256" ] || wrong "$deb.sha256 is empty"
	fi
	case $sha256 in
	'') wrong "--sha256 is missing, and there is no $deb.sha256: an unchecked package is not installed" ;;
	*[!0-9a-f]*) wrong "the checksum is not a hexadecimal number" ;;
	esac
	[ ${#sha256} -eq 64 ] || wrong "the checksum has ${#sha256} digits, not 64"
}

# add_stamp takes KEY=VALUE with nothing in it that a shell that sources the file
# would run.
add_stamp() {
	case $1 in
	[A-Z]*=*) ;;
	*) wrong "--stamp $1: write KEY=VALUE, the key in upper case" ;;
	esac
	case ${1%%=*} in
	*[!A-Z0-9_]*) wrong "--stamp $1: a key has upper-case letters, digits and _" ;;
	esac
	case ${1#*=} in
	*[!A-Za-z0-9._:/+@~-]*) wrong "--stamp $1: a value has letters, digits and ._:/+@~-" ;;
	esac
	stamps="$stamps$1
"
}

in_root() {
	if [ -n "$root" ]; then chroot "$root" "$@"; else "$@"; fi
}

parse "$@"
as_root "$@"

policy=$root/usr/sbin/policy-rc.d
work=
new=/etc/fleet-agent/config.yaml.new
clean_up() {
	[ -z "$work" ] || rm -rf "$work"
	rm -f "$root$new"
	if [ -f "$policy" ] && grep -qs "$me" "$policy"; then
		rm -f "$policy"
		if [ -e "$policy.$me" ]; then mv "$policy.$me" "$policy"; fi
	fi
}
trap clean_up EXIT
trap 'exit 1' HUP INT TERM
clean_up # of a run that was killed

# cloud-init writes the package sources while the first customizers already run.
if [ -z "$root" ] && command -v cloud-init >/dev/null; then
	rc=0
	timeout 300 cloud-init status --wait >/dev/null 2>&1 || rc=$?
	[ $rc -ne 124 ] || die "cloud-init has not finished within 300 s"
	[ $rc -eq 0 ] || say "cloud-init reports errors (status $rc), going on"
fi

# What is checked is what is installed: a copy that only root can write, not the
# file in /tmp. apt reads it as the user _apt.
work=$(mktemp -d "$root/var/tmp/$me.XXXXXX")
chmod 755 "$work"
cp -- "$deb" "$work/fleet-agent.deb" || die "cannot read $deb"
chmod 644 "$work/fleet-agent.deb"
actual=$(sha256sum <"$work/fleet-agent.deb")
actual=${actual%% *}
[ "$actual" = "$sha256" ] || die "checksum of $deb is $actual, not $sha256"

package=$(dpkg-deb -f "$work/fleet-agent.deb" Package) || die "$deb is not a Debian package"
[ "$package" = fleet-agent ] || die "$deb is the package $package, not fleet-agent"
version=$(dpkg-deb -f "$work/fleet-agent.deb" Version)
say "package fleet-agent $version, checksum as given"

running() { [ -z "$root" ] && systemctl is-active --quiet "$1" 2>/dev/null; }

# The socket goes first, or the next probe starts the agent again. SIGTERM drains
# nothing.
for unit in fleet-agent.socket fleet-agent.service; do
	if running $unit; then
		say "stop $unit, which the base image started"
		systemctl stop $unit
	fi
done

release=$root/etc/fleet-agent/image-release
# shellcheck disable=SC2016 # dpkg-query expands it
installed=$(in_root dpkg-query -W -f '${db:Status-Abbrev}${Version}' fleet-agent 2>/dev/null) || installed=
if [ "$installed" = "ii $version" ] && grep -qsx "FLEET_AGENT_SHA256=$sha256" "$release"; then
	say "already installed"
else
	if [ -e "$policy" ]; then mv "$policy" "$policy.$me"; fi
	printf '#!/bin/sh\n# Written by %s: nothing is started on a build VM.\nexit 101\n' "$me" >"$policy"
	chmod 755 "$policy"
	path=${work#"$root"}/fleet-agent.deb
	apt_get() {
		in_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
			-o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
	}
	# The lists are fetched only when a dependency is not there yet.
	if ! apt_get --no-download --simulate install "$path" >/dev/null 2>&1; then
		apt_get update || die "apt-get update failed"
	fi
	apt_get install "$path" || die "apt-get could not install $deb"
	clean_up
	work=
	for unit in fleet-agent.socket fleet-agent.service; do
		! running $unit || die "$unit was started on the build VM"
	done
	say "installed"
fi

# As the agent's own user: a file that it cannot read is a fault as well.
validate() {
	in_root runuser -u fleet-agent -- fleet-agent config validate "$@" ||
		die "the configuration is not valid (see above)"
}

# In its place, beside conf.d, but under another name: a configuration that is not
# valid must not stay in the image.
if [ -n "$config" ]; then
	target=$root/etc/fleet-agent/config.yaml
	if ! cmp -s "$config" "$target"; then
		mkdir -p "$root/etc/fleet-agent"
		cp -- "$config" "$root$new" || die "cannot read $config"
		chmod 644 "$root$new"
		validate --config "$new"
		mv "$root$new" "$target"
		say "configuration installed"
	fi
fi
validate

in_root systemctl --quiet enable fleet-agent.service fleet-agent.socket fleet-serving.target ||
	die "systemctl could not enable the units"

mkdir -p "$root/etc/fleet-agent"
base=$(sed -n 's/^PRETTY_NAME=//p' "$root/etc/os-release" 2>/dev/null) || base=
stamp=$(printf 'FLEET_AGENT_VERSION=%s\nFLEET_AGENT_SHA256=%s\nBASE_OS=%s\n%s' "$version" "$sha256" "${base:-unknown}" "$stamps")
if [ "$(cat "$release" 2>/dev/null)" != "$stamp" ]; then
	printf '%s\n' "$stamp" >"$release.new"
	chmod 644 "$release.new"
	mv "$release.new" "$release"
	say "wrote /etc/fleet-agent/image-release"
fi
say "done: fleet-agent $version starts at the next boot"
