#!/usr/bin/env bash
# Runs cargo-deny on what needs no network: licences, bans, sources (deny.toml).
# Without cargo-deny it says how to get it; in CI that is a failure.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
export PATH=$root/.tools/bin:$PATH

if ! command -v cargo-deny >/dev/null; then
  echo "lint: licences and sources are not checked, cargo-deny is missing: make lint-tools" >&2
  [[ -z ${CI:-} ]] || exit 1
  exit 0
fi
cargo deny --locked check --hide-inclusion-graph licenses bans sources
