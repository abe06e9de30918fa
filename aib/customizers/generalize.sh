#!/bin/sh
# generalize.sh: takes out of a machine what its clones must not share.
#
# POSIX sh: Packer starts inline commands with `/bin/sh -e`, which is dash.
set -eu

me=generalize

usage() {
	cat <<'USAGE'
usage: generalize.sh [option]...

Removes what makes this machine itself: the agent's state, machine-id, cloud-init's
state, SSH host keys, DHCP leases, random seeds, logs and shell histories. It is the
last thing that a build does: once the host keys are gone, sshd takes no new
connection.

  --at-deprovisioning  do nothing now; let Azure Image Builder run this script
                       (with --waagent) when it deprovisions the build VM
  --waagent            at the end run `waagent -force -deprovision+user`, which
                       also deletes the build user
  --root DIR           work on the tree at DIR (a mounted image) instead of /
  -h, --help           this text

Run again it changes nothing. Exit codes: 0 done, 1 failed, 2 usage. Root is
needed, or sudo without a password.
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

root='' waagent='' later=''
parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--at-deprovisioning) later=yes ;;
		--waagent) waagent=yes ;;
		--root)
			[ $# -ge 2 ] || wrong "$1 needs a value"
			root=${2%/}
			shift
			;;
		*) wrong "unknown argument $1" ;;
		esac
		shift
	done
	[ -z "$later" ] || [ -z "$root$waagent" ] || wrong "--at-deprovisioning stands alone"
	[ -z "$waagent" ] || [ -z "$root" ] || wrong "--waagent works on this machine, not on a tree"
}

in_root() {
	if [ -n "$root" ]; then chroot "$root" "$@"; else "$@"; fi
}

# real DIR prints where a directory is in the image, with every link on the way
# followed inside the image. What is there is going to be deleted as root.
real() {
	to=$(in_root readlink -f -- "$1") || to=$1
	case $to in
	*..* | *[!A-Za-z0-9._/-]*) die "$1 is $to: not a directory that this script empties" ;;
	/var/lib/?* | /var/log | /var/log/?* | /run/?* | /srv/?* | /opt/?*) ;;
	*) die "$1 is a link to $to, which is not below /var/lib, /var/log, /run, /srv or /opt: not emptied" ;;
	esac
	[ ! -e "$root$to" ] || [ -d "$root$to" ] || die "$1 is not a directory"
	printf '%s\n' "$to"
}

# empty removes everything in the directories, and keeps them.
empty() {
	for dir in "$@"; do
		to=$(real "$dir")
		[ ! -d "$root$to" ] || find "$root$to" -mindepth 1 -delete
	done
}

parse "$@"
as_root "$@"

# Image Builder puts its own commands into the first file before the customizers
# run, as the build user, and starts it with sh when they are done. Renaming works
# where writing does not: even root may not write to another user's file in /tmp
# (fs.protected_regular).
override=/tmp/DeprovisioningScript.sh
# Where only root can write, or another user could have put a link in its place.
copy=/var/lib/fleet-agent-generalize.sh
if [ -n "$later" ]; then
	[ -f "$0" ] || die "--at-deprovisioning needs the script in a file"
	cp -- "$0" "$copy.new"
	chmod 700 "$copy.new"
	mv "$copy.new" "$copy"
	new=$(mktemp "$override.XXXXXX")
	printf '#!/bin/sh\n# Written by generalize.sh --at-deprovisioning.\nsudo -n sh %s --waagent\n' "$copy" >"$new"
	chmod 755 "$new"
	mv -fT "$new" "$override"
	say "done: runs when Image Builder deprovisions the build VM"
	exit 0
fi

[ -n "$waagent$root" ] || [ ! -e "$override" ] ||
	die "Image Builder still has to log in to deprovision this VM: use --at-deprovisioning"

# The agent's state. A running agent would write it again.
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
	for unit in fleet-agent.socket fleet-agent.service; do
		if systemctl is-active --quiet $unit; then
			say "stop $unit"
			systemctl stop $unit
		fi
	done
fi
state=/var/lib/fleet-agent
if [ -x "$root/usr/bin/fleet-agent" ]; then
	shown=$(in_root fleet-agent config show) || die "cannot read the agent's configuration"
	state=$(printf '%s\n' "$shown" | sed -n 's/^state_dir: *//p')
	case $state in
	*..* | *[!A-Za-z0-9._/-]*) die "state_dir $state: not a directory that this script empties" ;;
	/var/lib/?* | /srv/?* | /opt/?*) ;;
	*) die "state_dir $state is not below /var/lib, /srv or /opt: not emptied" ;;
	esac
	# Whoever runs `cloud-init clean` on a node means to clone it.
	hook=$root/etc/cloud/clean.d/50-fleet-agent
	text=$(printf '#!/bin/sh\n# A clone must not inherit the drains and events of this node.\n[ ! -d %s ] || find -H %s -mindepth 1 -delete' "$state" "$state")
	if [ -d "$root/etc/cloud" ] && [ "$(cat "$hook" 2>/dev/null)" != "$text" ]; then
		mkdir -p "$root/etc/cloud/clean.d"
		printf '%s\n' "$text" >"$hook"
		chmod 755 "$hook"
	fi
fi
empty "$state" /var/lib/fleet-agent /run/fleet-agent
say "agent state removed"

if in_root sh -c 'command -v cloud-init' >/dev/null 2>&1; then
	in_root cloud-init clean --logs || die "cloud-init clean failed"
	say "cloud-init cleaned"
fi

# Empty, not missing and not "uninitialized" (which `cloud-init clean --machine-id`
# writes): the clone gets an ID of its own either way, but for the other two
# systemd holds its first boot and applies the presets, which on Debian enable
# every unit that the image disabled.
if [ -s "$root/etc/machine-id" ]; then : >"$root/etc/machine-id"; fi
if [ -f "$root/var/lib/dbus/machine-id" ] && [ ! -L "$root/var/lib/dbus/machine-id" ]; then
	ln -sf /etc/machine-id "$root/var/lib/dbus/machine-id"
fi
rm -f "$root/var/lib/systemd/random-seed" "$root/var/lib/systemd/credential.secret" \
	"$root/etc/udev/rules.d/70-persistent-net.rules"
say "machine-id and seeds removed"

rm -f "$root"/var/lib/dhcp/*.leases "$root"/var/lib/dhcp/*.lease "$root"/var/lib/dhclient/*.lease* \
	"$root"/var/lib/NetworkManager/*.lease
empty /run/systemd/netif/leases
say "DHCP leases removed"

rm -f "$root"/etc/ssh/ssh_host_*_key "$root"/etc/ssh/ssh_host_*_key.pub
if [ ! -e "$root/usr/bin/cloud-init" ] && [ ! -e "$root/usr/sbin/waagent" ]; then
	say "warning: neither cloud-init nor waagent is here to make new SSH host keys; sshd does not start before ssh-keygen -A has run"
fi
say "SSH host keys removed"

for home in "$root/root" "$root"/home/*; do
	for history in .bash_history .zsh_history .python_history .lesshst .viminfo .wget-hsts; do
		rm -f "$home/$history"
	done
done
empty /var/lib/sudo/lectured /run/sudo/ts
say "histories removed"

# Logs last, for what was done above is logged too. Files stay, for their owners
# and modes; older ones and the journal go.
empty /var/log/journal
log=$root$(real /var/log)
if [ -d "$log" ]; then
	find "$log" -type f \( -name '*.gz' -o -name '*.xz' -o -name '*.old' -o -name '*.[0-9]' \) -delete
	find "$log" -type f -size +0 -exec truncate -s 0 {} +
fi
say "logs removed"

if [ -n "$waagent" ]; then
	command -v waagent >/dev/null || die "waagent is not installed"
	waagent -force -deprovision+user || die "waagent could not deprovision"
	rm -f "$copy" "$override"
	say "waagent deprovisioned the machine"
fi
sync
say "done: clones of this image start clean"
