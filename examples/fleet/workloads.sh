#!/bin/bash
# workloads.sh UNIT...: installs what the members of this fleet serve with, and enables
# the units. It is run by `bash -euo pipefail`, as the build user.

apt_get() {
	sudo env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@"
}

# cloud-init writes the package sources while the first customizers already run.
timeout 300 cloud-init status --wait || true
apt_get update
apt_get upgrade
apt_get install nginx jq

# Debian's unit waits 5 s for requests, whatever its stop timeout is.
sudo mkdir -p /etc/systemd/system/nginx.service.d
printf '[Service]\nExecStop=\nKillSignal=SIGQUIT\n' |
	sudo tee /etc/systemd/system/nginx.service.d/60-graceful.conf >/dev/null

sudo systemctl enable "$@"
