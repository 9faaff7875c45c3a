#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl, from the Go modules that e2e/go.mod pins, as one program:
# target/e2e/control-plane. It is built again only when its sources or Go have changed; the first time takes many minutes.
# Prints the program's path. Exits with 3 if Go is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v go >/dev/null || PATH="$PATH:/usr/local/go/bin"
command -v go >/dev/null || {
  echo "Go is missing, so there is no Kubernetes control plane for the tests: https://go.dev/doc/install" >&2
  exit 3
}

out=${CARGO_TARGET_DIR:-$PWD/target}/e2e
mkdir -p "$out"
# Two test programs may want it at once.
exec 9>"$out/lock"
flock 9
wanted=$({ go version; cat script/build-control-plane.sh e2e/go.mod e2e/go.sum e2e/*.go; } | sha256sum)
if [[ ! -x $out/control-plane || $(cat "$out/stamp" 2>/dev/null) != "$wanted" ]]; then
  echo "Building a Kubernetes control plane for the tests (many minutes the first time)" >&2
  release=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' e2e/go.mod)
  (cd e2e && go build -mod=readonly -buildvcs=false -trimpath \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$release" \
    -o "$out/control-plane.new" .) >&2
  mv "$out/control-plane.new" "$out/control-plane"
  echo "$wanted" >"$out/stamp"
fi
echo "$out/control-plane"
