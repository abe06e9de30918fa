#!/bin/bash
# The workload answers, and the agent is of this image.
set -euo pipefail
curl -sf -o /dev/null http://127.0.0.1/
grep -q '^IMAGE_VERSION=1\.8\.' /etc/fleet-agent/image-release
fleet-agent status
