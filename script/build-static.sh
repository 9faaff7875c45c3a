#!/usr/bin/env bash
# Builds the program `dunlin` into DIRECTORY so that it needs no library of the system it runs on.
#
#   script/build-static.sh DIRECTORY [PROFILE]
set -euo pipefail
cd "$(dirname "$0")/.."

directory=${1:?usage: script/build-static.sh DIRECTORY [PROFILE]}
profile=${2:-release}
target=$(rustc -vV | sed -n 's/^host: //p')
output=${CARGO_TARGET_DIR:-target}
# Cargo names the directory of its profile `dev` otherwise.
built=$profile
if [ "$profile" = dev ]; then built=debug; fi

# Naming the target keeps these flags from procedural macros, which cannot be static.
RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" \
  cargo build --locked --profile "$profile" --target "$target" -p dunlin
mkdir -p "$directory"
install -m 755 "$output/$target/$built/dunlin" "$directory/dunlin"
