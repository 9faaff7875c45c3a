#!/usr/bin/env bash
# Writes anew what is generated and checked in; tests fail where it is not up to date.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --quiet -p dunlin
dunlin=${CARGO_TARGET_DIR:-target}/debug/dunlin
"$dunlin" crds --directory deploy/crds
"$dunlin" manifests >deploy/dunlin.yaml
"$dunlin" reference docs/reference
