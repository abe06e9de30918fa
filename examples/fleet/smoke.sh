#!/bin/sh
# smoke.sh: what the boot test asks of the machine, by Run Command: as root, when the
# health extension says Healthy. It prints little: Run Command keeps the last 4,096
# bytes.
set -eu

fleet-agent status
systemctl is-active --quiet nginx.service || {
	systemctl status --no-pager --lines 20 nginx.service
	exit 1
}
curl --silent --show-error --fail --max-time 10 --output /dev/null http://127.0.0.1/
echo "smoke: nginx serves"
