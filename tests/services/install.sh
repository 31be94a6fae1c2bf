#!/usr/bin/env bash
# Brings a Debian 12 machine what tests/services needs. Quick where it is there already; starts no service.
set -euo pipefail

missing=()
need() { command -v "$1" >/dev/null || missing+=("${@:2}"); }
need swift-proxy-server swift-proxy swift-account swift-container swift-object
need memcached memcached
need redis-server redis-server
need prometheus prometheus
need haproxy haproxy
need dnsmasq dnsmasq-base
need chromium chromium
need java default-jre-headless
compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
if ((${#missing[@]} == 0)); then
  echo "services: all there"
  exit
fi
if ((EUID != 0)); then
  echo "These packages are missing: ${missing[*]}. Install them as root: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
fi

policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  # Tests start their own servers; those of the packages stay down.
  trap 'rm -f $policy' EXIT
  printf '#!/bin/sh\nexit 101\n' >$policy
  chmod +x $policy
fi
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
attempt() { "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; echo "services: failed: $*" >&2; exit 1; }; }
echo "services: apt-get update"
attempt apt-get -o DPkg::Lock::Timeout=300 update
for package in "${missing[@]}"; do
  echo "services: installing $package"
  attempt apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$package"
done
rm -f "$log"
