#!/usr/bin/env bash
# Builds the image with this machine's Rust and Go and with buildah, from nothing: no base image, no daemon, no registry.
# (`docker build .` makes the same image by the Dockerfile, with base images for the toolchains.)
#
#   script/build-image.sh [IMAGE]              default: localhost/dunlin:VERSION, kept in buildah's storage
#   OUTPUT=oci-archive:dunlin.tar script/build-image.sh
#                                              writes it elsewhere: docker://REGISTRY/…, oci-archive:FILE, docker-archive:FILE
#   PROFILE=bench-fast script/build-image.sh   builds faster, runs a little slower
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
image=${1:-localhost/dunlin:$version}
profile=${PROFILE:-release}

for program in cargo go buildah; do
  command -v "$program" >/dev/null || { echo "$program is missing"; exit 1; }
done

root=$(mktemp -d)
container=
trap 'rm -rf "$root"; [[ -z $container ]] || buildah rm "$container" >/dev/null' EXIT

script/build-static.sh "$root/usr/local/bin" "$profile"
script/build-cni-plugins.sh "$root/usr/local/lib/dunlin/cni"

container=$(buildah from scratch)
buildah copy --quiet "$container" "$root" / >/dev/null
buildah config \
  --entrypoint '["/usr/local/bin/dunlin"]' --cmd agent \
  --env PATH=/usr/local/bin \
  --label org.opencontainers.image.title=dunlin \
  --label org.opencontainers.image.version="$version" \
  --label org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
  "$container"
buildah commit --quiet "$container" "$image" >/dev/null
if [[ -n ${OUTPUT:-} ]]; then
  # An archive remembers the image's name, so that a runtime that imports it knows it by that.
  case $OUTPUT in
    *-archive:*) buildah push --quiet "$image" "$OUTPUT:$image" ;;
    *) buildah push --quiet "$image" "$OUTPUT" ;;
  esac
fi
echo "$image"
