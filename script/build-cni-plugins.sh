#!/usr/bin/env bash
# Builds the CNI plugins that pods need into DIRECTORY, statically, from their Go module at a pinned version (Go's checksum
# database vouches for its content).
#
#   script/build-cni-plugins.sh DIRECTORY
set -euo pipefail

version=v1.9.1
module=github.com/containernetworking/plugins
directory=${1:?usage: script/build-cni-plugins.sh DIRECTORY}

mkdir -p "$directory"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
packages=()
for plugin in main/ptp main/loopback ipam/host-local meta/portmap meta/bandwidth; do
  packages+=("$module/plugins/$plugin@$version")
done
CGO_ENABLED=0 GOBIN="$work" go install -trimpath -buildvcs=false \
  -ldflags "-s -w -X $module/pkg/utils/buildversion.BuildVersion=$version" "${packages[@]}"
install -m 755 "$work"/* "$directory"/
