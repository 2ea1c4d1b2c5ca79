#!/usr/bin/env bash
# run.sh [memory|load|exec|flows|profile]... : measures what the agent costs, prints the table, and keeps it in results/.
# Only a run of everything is kept. Needs root, the release binaries (make build) and the control plane (make images).
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
bin=${TRILOBITE_BIN:-$target/x86_64-unknown-linux-gnu/release}
export TRILOBITE_CACHE=${TRILOBITE_CACHE:-$PWD/target/cache}
cargo build --quiet --release -p trilobite-bench

exec 9>/tmp/trilobite-bench.lock
flock -n 9 || { echo "another bench is running on this machine" >&2; exit 1; }
output=e2e/bench/results/$(date +%F)-$(uname -r).md
[ $# = 0 ] || output=$(mktemp)
revision=$(git rev-parse --short HEAD)$(git diff --quiet HEAD -- . || echo ", with changes")
"$target/x86_64-unknown-linux-gnu/release/trilobite-bench" run --agent "$bin/trilobite-node" \
  --workloads "$TRILOBITE_CACHE/workloads" --date "$(date +%F)" --revision "$revision" --output "$output" \
  ${BENCH_RUNS:+--runs "$BENCH_RUNS"} "$@"
[ $# = 0 ] && echo "kept in $output" || rm -f "$output"
if [ $# = 0 ] && [ -z "${BENCH_NO_MICRO:-}" ]; then
  cargo bench --quiet -p trilobite-node --bench hot_paths
fi
