#!/usr/bin/env bash
# run.sh [memory|load|exec|flows|profile|security|requests|read]... : measures what the agent costs, prints the table, and keeps it in results/.
# Only a run of everything is kept, beside those of before. Needs root, the release build (make build RELEASE=1) and the control
# plane and workloads (make cache); requests unpacks nginx and Redis of Debian's packages into the cache. Ends with 1 where a number is missing or impossible.
set -euo pipefail
cd "$(dirname "$0")/../.."
target=$(cargo metadata --format-version 1 --no-deps | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/x86_64-unknown-linux-gnu
cargo build --quiet --workspace --features trilobite-operator/api-server --bin trilobite-bench

exec 9>/tmp/trilobite-bench.lock
flock -n 9 || { echo "another bench is running on this machine" >&2; exit 1; }
name=$(date +%F-%H%M%S)-$(uname -r).md
if [ $# = 0 ]; then
  output=e2e/bench/results/$name
else
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  output=$scratch/$name
fi
revision=$(git rev-parse --short HEAD)$(git diff --quiet HEAD -- . || echo ", with changes")
result=0
"$target/debug/trilobite-bench" run --agent "$target/release/trilobite-node" \
  --workloads target/cache/workloads --date "$(date '+%F %T')" --revision "$revision" --output "$output" \
  ${BENCH_RUNS:+--runs "$BENCH_RUNS"} "$@" || result=$?
if [ $# = 0 ] && [ -f "$output" ]; then
  echo "kept in $output"
  if [ -z "${BENCH_NO_MICRO:-}" ]; then
    {
      printf '\n## One event at a time\n\n`cargo bench -p trilobite-node --bench hot_paths`\n\n```\n'
      cargo bench --quiet -p trilobite-node --bench hot_paths 2>&1 || result=1
      printf '```\n'
    } > >(tee -a "$output")
    wait $!
  fi
fi
exit "$result"
