#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager and kubectl, from the Go modules that e2e/go.mod pins, as one program:
# target/e2e/control-plane. With the argument kube-proxy: target/e2e/kube-proxy, from the same modules. It is built again only
# when its sources or Go have changed; the first time takes many minutes. Prints the program's path. Exits with 3 if Go is
# missing.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v go >/dev/null || PATH="$PATH:/usr/local/go/bin"
command -v go >/dev/null || {
  echo "Go is missing, so there is no Kubernetes control plane for the tests: https://go.dev/doc/install" >&2
  exit 3
}

program=${1:-control-plane}
package=.
[[ $program == control-plane ]] || package=./$program

out=${CARGO_TARGET_DIR:-$PWD/target}/e2e
mkdir -p "$out"
# Two test programs may want it at once.
exec 9>"$out/lock"
flock 9
wanted=$({ go version; cat script/build-control-plane.sh e2e/go.mod e2e/go.sum e2e/"$package"/*.go; } | sha256sum)
if [[ ! -x $out/$program || $(cat "$out/$program.stamp" 2>/dev/null) != "$wanted" ]]; then
  echo "Building the $program of Kubernetes (many minutes the first time)" >&2
  release=$(awk '$1 == "k8s.io/kubernetes" { print $2 }' e2e/go.mod)
  (cd e2e && go build -mod=readonly -buildvcs=false -trimpath \
    -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$release" \
    -o "$out/$program.new" "$package") >&2
  mv "$out/$program.new" "$out/$program"
  echo "$wanted" >"$out/$program.stamp"
fi
echo "$out/$program"
