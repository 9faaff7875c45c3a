#!/usr/bin/env bash
# Installs what the tests use and this machine lacks. As root on Debian or Ubuntu; elsewhere it says what is missing, and
# the tests that need it are skipped. No service is started: the tests start the daemons themselves, in namespaces.
set -euo pipefail

packages=(
  gcc g++ libc6-dev                   # to link; libFuzzer
  iproute2 nftables procps util-linux # namespaces, and a second opinion on routes and rules
  bird2 frr gobgpd openbgpd exabgp    # real BGP peers
  containernetworking-plugins         # real CNI plugins
  iptables                            # firewalls as Docker makes them
  tcpdump tshark                      # real packets, and what they say
  iputils-ping traceroute             # as an operator asks
)

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
  echo "Not installed, so the tests that need them are skipped: ${missing[*]}"
  echo "As root: apt-get install --no-install-recommends ${missing[*]}"
  exit 0
fi

# Debian asks this program before it starts a service; 101 means no.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
fi
echo "Installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
