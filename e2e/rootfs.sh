#!/usr/bin/env bash
# rootfs.sh SUITE: makes the file system of a Debian release that nodes boot from,
# once, and prints the name of the archive that has it.
#
# The archive is kept in ${XDG_CACHE_HOME:-/var/cache}/fleet-agent-e2e under a name
# that follows from all that goes into it and from the week, so that a node is
# never more than a week behind its mirror.
set -euo pipefail

suite=$1
cache=${XDG_CACHE_HOME:-/var/cache}/fleet-agent-e2e

packages=systemd,systemd-sysv,dbus,libpam-systemd,init-system-helpers # what PID 1 needs
packages+=,iproute2,procps,sudo,adduser,openssh-server,ca-certificates,curl # what a build by Packer, and the checks, need
packages+=,nginx # a workload
case $suite in
bullseye) packages+=,policykit-1 ;; # 0.105: the agent takes the bridge
*) packages+=,polkitd ;;
esac

key=$(sha256sum <<<"$suite $packages $(date +%G-%V) $(sha256sum <"$0")" | cut -c1-16)
archive=$cache/rootfs-$suite-$key.tar.zst
if [ -s "$archive" ]; then
  echo "$archive"
  exit
fi

mkdir -p "$cache"
new=$(mktemp "$archive.XXXXXX")
trap 'rm -f "$new"' EXIT
# The hooks leave out what makes a machine itself, what would start by a timer in
# the middle of a check, and services that only one group of checks starts; and one
# puts the units of cloud-init and waagent where order_test.go has them from.
# shellcheck disable=SC2016 # $1 and the other names are the hook's
mmdebstrap --quiet --variant=minbase --include="$packages" \
  --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/man/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/etc/resolv.conf "$1"/etc/ssh/ssh_host_*' \
  --customize-hook='echo node >"$1"/etc/hostname' \
  --customize-hook='echo "127.0.0.1 localhost node" >"$1"/etc/hosts' \
  --customize-hook=': >"$1"/etc/machine-id' \
  --customize-hook='mkdir -p "$1"/var/log/journal' \
  --customize-hook='for u in apt-daily apt-daily-upgrade e2scrub_all dpkg-db-backup fstrim systemd-tmpfiles-clean man-db logrotate; do ln -sf /dev/null "$1"/etc/systemd/system/$u.timer; done' \
  --customize-hook='set -e; units=$1/usr/local/share/cloud-units; mkdir -p "$units/deb"; cd "$units/deb"
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq -o APT::Sandbox::User=root download cloud-init waagent
    for deb in *.deb; do dpkg-deb -x "$deb" .; done
    find . -path "./*lib/systemd/system/*" \( -name "*.service" -o -name "*.target" \) -exec cp -t .. {} +
    rm -r "$units/deb"' \
  --customize-hook='systemctl --root="$1" disable --quiet ssh.service nginx.service' \
  --customize-hook='systemctl --root="$1" mask --quiet console-getty.service' \
  "$suite" - | zstd -q -1 -T0 >"$new"
mv "$new" "$archive"
trap - EXIT
find "$cache" -maxdepth 1 -name "rootfs-$suite-*" ! -name "${archive##*/}" -delete
echo "$archive"
