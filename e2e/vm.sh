#!/usr/bin/env bash
# vm.sh: boots Debian 12 with the packages in a virtual machine, and runs
# vm-guest.sh in it. It shows what a container cannot: cgroup v2, an OOM kill as
# systemd reports it, a clock of its own, and the agent's place in a real boot.
#
# The machine is emulated, on any host: it takes about two minutes, and times in it
# mean nothing but their order. As root, on Debian with Go.
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${XDG_CACHE_HOME:-/var/cache}/fleet-agent-e2e
out=$PWD/bin/e2e-vm
[ "$(dpkg --print-architecture)" = amd64 ] || {
  echo "vm.sh: only for amd64" >&2
  exit 1
}

e2e/tools.sh qemu-system-x86_64:qemu-system-x86 mmdebstrap:mmdebstrap zstd:zstd mke2fs:e2fsprogs

packages=systemd-sysv,dbus,libpam-systemd,polkitd,init-system-helpers,iproute2,procps,curl,nginx,linux-image-cloud-amd64
archive=$cache/vm-bookworm-$(sha256sum <<<"$packages $(date +%G-%V)" | cut -c1-16).tar.zst
if [ ! -s "$archive" ]; then
  echo "== make the file system"
  mkdir -p "$cache"
  rm -f "$cache"/vm-bookworm-*
  new=$(mktemp "$archive.XXXXXX")
  mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    bookworm - | zstd -q -1 -T0 >"$new"
  mv "$new" "$archive"
fi

echo "== build the packages"
rm -rf "$out"
mkdir -p "$out/root"
trap 'rm -rf "$out/root" "$out/disk"' EXIT
make --no-print-directory deb ARCHES=amd64 BIN="$out/bin" DIST="$out" >"$out/build.log" 2>&1 || {
  cat "$out/build.log" >&2
  exit 1
}

echo "== make the disk"
tar --zstd -xpf "$archive" -C "$out/root"
cp "$out"/*.deb "$out/root/root/"
install -m 755 e2e/vm-guest.sh "$out/root/usr/local/sbin/vm-guest"
: >"$out/root/etc/machine-id"
echo vm >"$out/root/etc/hostname"
cat >"$out/root/etc/systemd/system/vm-guest.service" <<'UNIT'
[Unit]
Description=Checks in a virtual machine
After=multi-user.target
[Service]
# Not oneshot: the boot would not be finished before it is.
Type=exec
ExecStart=/usr/local/sbin/vm-guest
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=graphical.target
UNIT
# Port 80 of 169.254.169.254 is fleetsim's.
sed -i 's/listen 80 /listen 127.0.0.1:80 /; /listen \[::\]:80/d' "$out/root/etc/nginx/sites-available/default"
# As in the build of an image: no systemd runs, so nothing is started.
chroot "$out/root" sh -c 'dpkg -i /root/*.deb && systemctl enable -q vm-guest && systemctl mask -q serial-getty@ttyS0 && fleet-agent adopt nginx.service' >"$out/install.log" 2>&1 || {
  cat "$out/install.log" >&2
  exit 1
}
kernel=$(echo "$out"/root/boot/vmlinuz-*) initrd=$(echo "$out"/root/boot/initrd.img-*)
cp "$kernel" "$out/vmlinuz"
cp "$initrd" "$out/initrd"
mke2fs -q -t ext4 -O ^has_journal -d "$out/root" "$out/disk" 2G

echo "== boot (after ${SECONDS} s)"
timeout 400 qemu-system-x86_64 -accel tcg,thread=multi,tb-size=512 -machine q35 -cpu Nehalem -smp 2 -m 1024 \
  -nographic -nodefaults -no-reboot -serial stdio -nic none \
  -kernel "$out/vmlinuz" -initrd "$out/initrd" \
  -append 'root=/dev/vda rw console=ttyS0 mitigations=off nokaslr cryptomgr.notests quiet panic=-1' \
  -drive "file=$out/disk,format=raw,if=virtio" </dev/null 2>&1 | sed -u 's,\r$,,' | tee "$out/console" | grep --line-buffered -aE '^(ok|FAIL|note|    |[0-9]+ passed)' || true
echo "== done in ${SECONDS} s"
grep -aqE '^[0-9]+ passed, 0 failed' "$out/console" || {
  echo "the console is in $out/console" >&2
  exit 1
}
