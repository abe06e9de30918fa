#!/bin/sh
# harden-cis-baseline.sh: a small part of the CIS benchmarks for Debian and Ubuntu.
#
# POSIX sh: Packer starts inline commands with `/bin/sh -e`, which is dash.
set -eu

me=harden-cis-baseline

usage() {
	cat <<'USAGE'
usage: harden-cis-baseline.sh [option]...

Writes drop-ins for sshd, sysctl, core dumps and kernel modules, and tightens the
modes of a few files. All of it takes effect at the next boot; nothing is restarted
or loaded, so that the build goes on. It is a baseline and no proof of compliance:
docs/bake.md lists what is left out, and why.

  --noexec-tmp  also mount /tmp with noexec, nosuid and nodev from the next boot
                on. Packer runs its scripts in /tmp: such an image can neither be
                validated by Image Builder nor be the source of another build.
  --root DIR    work on the tree at DIR (a mounted image) instead of /
  -h, --help    this text

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

root='' noexec=''
parse() {
	while [ $# -gt 0 ]; do
		case $1 in
		-h | --help)
			usage
			exit 0
			;;
		--noexec-tmp) noexec=yes ;;
		--root)
			[ $# -ge 2 ] || wrong "$1 needs a value"
			root=${2%/}
			shift
			;;
		*) wrong "unknown argument $1" ;;
		esac
		shift
	done
}

in_root() {
	if [ -n "$root" ]; then chroot "$root" "$@"; else "$@"; fi
}

# put writes its input to a file, unless that is what the file has.
put() {
	file=$root$1
	mkdir -p "${file%/*}"
	cat >"$scratch/put"
	if cmp -s "$scratch/put" "$file"; then
		return
	fi
	cp "$scratch/put" "$file.new"
	chmod 644 "$file.new"
	mv "$file.new" "$file"
	say "wrote $1"
}

# mode sets mode and owner of the files that are there.
mode() {
	want=$1 owner=$2
	shift 2
	for file in "$@"; do
		file=$root$file
		if [ ! -e "$file" ] || [ "$(stat -c '%a %U:%G' "$file")" = "$want $owner" ]; then
			continue
		fi
		chown "$owner" "$file"
		chmod "$want" "$file"
		say "${file#"$root"} is $want $owner"
	done
}

parse "$@"
as_root "$@"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# sshd takes the first value that it reads for a keyword, so the name sorts before
# 50-cloud-init.conf. Password logins are left to how the scale set is provisioned.
if [ -e "$root/usr/sbin/sshd" ]; then
	grep -qsE '^[[:space:]]*Include[[:space:]]+/etc/ssh/sshd_config\.d/\*\.conf' "$root/etc/ssh/sshd_config" ||
		die "/etc/ssh/sshd_config does not include sshd_config.d: the settings would do nothing"
	put /etc/ssh/sshd_config.d/00-fleet-baseline.conf <<-'CONF'
		# Written by harden-cis-baseline.sh.
		PermitRootLogin no
		PermitEmptyPasswords no
		PermitUserEnvironment no
		HostbasedAuthentication no
		IgnoreRhosts yes
		X11Forwarding no
		MaxAuthTries 4
		LoginGraceTime 60
		ClientAliveInterval 15
		ClientAliveCountMax 3
	CONF
	# What sshd makes of all its files. It needs a host key and its directory for
	# that; a machine that was generalized has no key.
	mkdir -p "$root/run/sshd"
	key=$root/run/sshd/fleet-baseline
	rm -f "$key" "$key.pub"
	in_root ssh-keygen -q -t ed25519 -N '' -f "${key#"$root"}" || die "ssh-keygen failed"
	rc=0
	effective=$(in_root /usr/sbin/sshd -T -h "${key#"$root"}") || rc=$?
	rm -f "$key" "$key.pub"
	[ $rc -eq 0 ] || die "sshd does not accept its configuration (see above)"
	for line in 'permitrootlogin no' 'x11forwarding no' 'maxauthtries 4'; do
		printf '%s\n' "$effective" | grep -qx "$line" || die "sshd: $line is overridden by another file"
	done
	mode 600 root:root /etc/ssh/sshd_config
else
	say "no sshd here, its settings are left out"
fi

# Left out: rp_filter=1 (drops answers on VMs with several interfaces), ip_forward=0
# (containers), accept_ra=0 (Azure announces the IPv6 route with it).
put /etc/sysctl.d/60-fleet-baseline.conf <<-'CONF'
	# Written by harden-cis-baseline.sh.
	fs.protected_hardlinks = 1
	fs.protected_symlinks = 1
	fs.suid_dumpable = 0
	kernel.dmesg_restrict = 1
	kernel.kptr_restrict = 1
	kernel.randomize_va_space = 2
	kernel.yama.ptrace_scope = 1
	net.ipv4.conf.all.accept_redirects = 0
	net.ipv4.conf.all.accept_source_route = 0
	net.ipv4.conf.all.secure_redirects = 0
	net.ipv4.conf.all.send_redirects = 0
	net.ipv4.conf.default.accept_redirects = 0
	net.ipv4.conf.default.accept_source_route = 0
	net.ipv4.conf.default.secure_redirects = 0
	net.ipv4.conf.default.send_redirects = 0
	net.ipv4.icmp_echo_ignore_broadcasts = 1
	net.ipv4.icmp_ignore_bogus_error_responses = 1
	net.ipv4.tcp_syncookies = 1
	net.ipv6.conf.all.accept_redirects = 0
	net.ipv6.conf.default.accept_redirects = 0
CONF

# No core files: they hold secrets. A watchdog kill of the agent still leaves the
# stacks of its goroutines in the journal.
put /etc/security/limits.d/60-fleet-baseline.conf <<-'CONF'
	# Written by harden-cis-baseline.sh.
	* hard core 0
CONF
put /etc/systemd/coredump.conf.d/60-fleet-baseline.conf <<-'CONF'
	# Written by harden-cis-baseline.sh.
	[Coredump]
	Storage=none
	ProcessSizeMax=0
CONF

# Not udf, which the benchmarks name too: Azure hands provisioning data to a new VM
# on a UDF disc. Not squashfs: snaps are mounted with it.
put /etc/modprobe.d/fleet-baseline.conf <<-'CONF'
	# Written by harden-cis-baseline.sh.
	install cramfs /bin/false
	install dccp /bin/false
	install freevxfs /bin/false
	install hfs /bin/false
	install hfsplus /bin/false
	install jffs2 /bin/false
	install rds /bin/false
	install sctp /bin/false
	install tipc /bin/false
CONF

mode 644 root:root /etc/passwd /etc/passwd- /etc/group /etc/group-
mode 640 root:shadow /etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow-
mode 600 root:root /etc/crontab /boot/grub/grub.cfg
mode 700 root:root /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly

# Last, and enabled but not started: what Packer still has to run is in /tmp.
if [ -n "$noexec" ]; then
	! grep -qsE '^[^#]+[[:space:]]/tmp[[:space:]]' "$root/etc/fstab" ||
		die "/etc/fstab mounts /tmp: add noexec,nosuid,nodev there"
	put /etc/systemd/system/tmp.mount <<-'CONF'
		# Written by harden-cis-baseline.sh --noexec-tmp.
		[Unit]
		Description=Temporary directory /tmp without programs
		ConditionPathIsSymbolicLink=!/tmp
		DefaultDependencies=no
		Conflicts=umount.target
		Before=local-fs.target umount.target
		After=swap.target

		[Mount]
		What=tmpfs
		Where=/tmp
		Type=tmpfs
		Options=mode=1777,strictatime,nosuid,nodev,noexec,size=50%%,nr_inodes=1m

		[Install]
		WantedBy=local-fs.target
	CONF
	in_root systemctl --quiet enable tmp.mount || die "systemctl could not enable tmp.mount"
	say "/tmp is noexec from the next boot on: no Image Builder validation, no build on top of this image"
fi
say "done: in force from the next boot on"
