#!/usr/bin/env bash
# Builds once and runs every test. A test that cannot run here prints a line "skipped: reason"; they are listed at the end.
# With DUNLIN_SKIPS=fail a skip that script/expected-skips.txt does not name is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."

script/install-test-deps.sh
export PATH="$PATH:/usr/sbin:/sbin"
# Whether a skip is a failure is decided here, at the end.
export DUNLIN_ALLOW_SKIP=1
# A session takes a file, and tests open thousands.
ulimit -n "$(ulimit -Hn)"

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Without Go there is none; the tests that need it say so, and this goes on.
script/build-control-plane.sh >/dev/null || (($? == 3))
# The command, too: the lab's tests run it as a node's agent.
cargo build --workspace --all-targets --locked
# Alone it would be built once more, with fewer features of its libraries.
export DUNLIN_UNDER_TEST=${DUNLIN_UNDER_TEST:-${CARGO_TARGET_DIR:-$PWD/target}/debug/dunlin}
code=0
cargo test --workspace --locked --no-fail-fast -- --show-output 2>&1 | tee "$log" || code=$?

echo
echo "The test programs' results:"
grep -E '^test result: ' "$log" | sort | uniq -c | sort -rn | head -40 || true
passed=$(awk '/^test result: /{ for (i = 1; i < NF; i++) if ($(i+1) ~ /^passed/) n += $i } END { print n + 0 }' "$log")
failed=$(awk '/^test result: /{ for (i = 1; i < NF; i++) if ($(i+1) ~ /^failed/) n += $i } END { print n + 0 }' "$log")

unexpected=0
skips=$(grep -E '^skipped: ' "$log" | sort | uniq -c || true)
if [[ -n $skips ]]; then
  echo "Skipped:"
  echo "$skips"
  unexpected=$(grep -E '^skipped: ' "$log" | grep -vcFxf <(grep -v '^#' script/expected-skips.txt) || true)
fi
if ((unexpected > 0)) && [[ ${DUNLIN_SKIPS:-show} == fail ]]; then
  echo "$unexpected skips that script/expected-skips.txt does not name"
  code=1
fi
echo "$passed passed, $failed failed"
exit "$code"
