#!/usr/bin/env bash
# Builds the fuzz targets and runs each for some seconds, two at a time.
#
#   scripts/fuzz.sh                          every target, 20 seconds each
#   scripts/fuzz.sh 600 path_label           this one, ten minutes
#
# It starts from fuzz/seeds/ and what earlier runs found, which stays below
# target/fuzz/corpus/. Exit status: 0 nothing found, 1 a target failed (with its
# input and how to replay it), 64 an unknown target.
#
# Built without a sanitizer, so on the pinned stable Rust: core and bridge forbid
# unsafe code, and what is looked for are broken promises, not stray pointers.
# Debug assertions and overflow checks are on.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH=$root/.tools/bin:$PATH

seconds=${1:-20}
shift || true
if ! [[ $seconds =~ ^[1-9][0-9]*$ ]]; then
  printf 'fuzz: "%s" is no time; expected whole seconds above 0\n' "$seconds" >&2
  exit 64
fi
all=()
for file in fuzz/fuzz_targets/*.rs; do all+=("$(basename "$file" .rs)"); done
targets=("$@")
((${#targets[@]})) || targets=("${all[@]}")
for target in "${targets[@]}"; do
  if [[ ! -f fuzz/fuzz_targets/$target.rs ]]; then
    printf 'fuzz: unknown target "%s"; expected one of %s\n' "$target" "${all[*]}" >&2
    exit 64
  fi
done
if ! command -v cargo-fuzz >/dev/null; then
  echo "fuzz: cargo-fuzz is missing: make fuzz-tools" >&2
  exit 1
fi

out=${CARGO_TARGET_DIR:-target}/fuzz
# cargo-fuzz has no --locked; a lock file that is out of date fails here.
cargo fetch --quiet --locked --manifest-path fuzz/Cargo.toml
if ((${#targets[@]} == 1)); then
  cargo fuzz build --sanitizer none --target-dir "$out" "${targets[0]}"
else
  cargo fuzz build --sanitizer none --target-dir "$out"
fi
binaries=$out/$(rustc -vV | sed -n 's/^host: //p')/release
mkdir -p "$out/logs"

# run TARGET: one line about it.
run() {
  local target=$1 log=$out/logs/$1.log
  local corpus=$out/corpus/$1 artefacts=$out/artifacts/$1/ options=()
  mkdir -p "$corpus" "$artefacts"
  [[ ! -f fuzz/dictionaries/$target ]] || options+=(-dict="fuzz/dictionaries/$target")
  # Short plans reach little: let them be long from the start.
  [[ $target != exchange ]] || options+=(-len_control=0 -max_len=1024)
  if "$binaries/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$artefacts" "${options[@]}" \
    "$corpus" "fuzz/seeds/$target" >"$log" 2>&1; then
    printf 'fuzz: %-14s %9s executions, %5s edges covered\n' "$target" \
      "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
      "$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)"
    return
  fi
  local input
  input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
  {
    printf '\nfuzz: %s failed:\n' "$target"
    grep -A 4 -m 1 -E 'panicked at|ERROR: libFuzzer' "$log" || tail -n 20 "$log"
    printf 'log     %s\ninput   %s\nreplay  %s %s\n' "$log" "${input:-none written}" "$binaries/$target" "$input"
    printf 'Once it is mended, keep the input below fuzz/seeds/%s/.\n' "$target"
  } >&2
  return 1
}

failed=0
for target in "${targets[@]}"; do
  # Two at a time: where both places are taken, until one is free.
  while (($(jobs -rp | wc -l) >= 2)); do wait -n || failed=1; done
  run "$target" &
done
while (($(jobs -p | wc -l))); do wait -n || failed=1; done
exit "$failed"
