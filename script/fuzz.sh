#!/usr/bin/env bash
# Runs every fuzz target of fuzz/, from its seeds, and fails if one finds a fault. Needs Rust (any) and a C++ compiler.
#
#   script/fuzz.sh                              # each for 10 s, as many at once as there are processors
#   script/fuzz.sh --seconds 600 update session # these two, each for 10 min
#   script/fuzz.sh --seed 7 --jobs 1            # the same numbers drawn each time; one at a time
#   script/fuzz.sh --light                      # without those that take minutes to compile: api, manifest, object
#
# What a target has found worth trying again stays in fuzz/target/corpus; an input that shows a fault, in fuzz/target/faults.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

seconds=10 seed=0 jobs=$(nproc) targets=() features=()
while (($#)); do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    --light) features=(--no-default-features); shift ;;
    -*) sed -n '2,9s/^# \{0,1\}//p' "../script/fuzz.sh"; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
if ((${#targets[@]} == 0)); then
  for file in fuzz_targets/*.rs; do
    name=${file##*/} name=${name%.rs}
    [[ ${#features[@]} -gt 0 && $name =~ ^(api|manifest|object)$ ]] || targets+=("$name")
  done
fi
# Libraries of its own: the flags below change every one.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:+$CARGO_TARGET_DIR/fuzz}
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
# What cargo-fuzz sets, without its sanitizers, which need a nightly compiler and find little in code without `unsafe`.
coverage=(-sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table
  -sanitizer-coverage-trace-compares)
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module ${coverage[*]/#/-Cllvm-args=}"
export RUSTFLAGS CARGO_INCREMENTAL=0
# With a target named, build scripts and macros go without the flags.
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --quiet --release --target "$host" "${features[@]}" "${targets[@]/#/--bin=}"
export programs=$CARGO_TARGET_DIR/$host/release seconds seed

run() {
  local name=$1 log=target/logs/$1 code=0
  mkdir -p target/{corpus,faults}/"$name" target/logs seeds/"$name"
  # 4 KiB are enough for two messages, or for an object.
  "$programs/$name" -max_total_time="$seconds" -seed="$seed" -max_len=4096 -timeout=20 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix=target/faults/"$name"/ \
    target/corpus/"$name" seeds/"$name" >"$log" 2>&1 || code=$?
  awk -v name="$name" '
    # #N  KIND  cov: N ft: N corp: N/SIZE …
    / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") cov = $(i + 1); else if ($i == "ft:") ft = $(i + 1); else if ($i == "corp:") { split($(i + 1), corp, "/") } }
    /^Done / { runs = $2; secs = $5 }
    END { printf "fuzz %-13s %9d inputs in %4d s: %5d places, %6d features, %5d inputs kept\n", name ":", runs, secs, cov, ft, corp[1] }' "$log"
  if ((code != 0)); then
    echo "fuzz $name found a fault; its input lies in fuzz/target/faults/$name:"
    tail -n 40 "$log"
  fi
  return "$code"
}
export -f run
printf '%s\n' "${targets[@]}" | xargs -P "$jobs" -I{} bash -c 'run {}'
