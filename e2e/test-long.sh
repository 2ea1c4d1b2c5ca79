#!/usr/bin/env bash
# What is longer than CI may take, by parameters of tests that CI runs in short. The table is kept in e2e/results/, with commit and
# machine. About three hours on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p e2e/results target
# One line for each part: its name, its seconds and its exit status.
export TRILOBITE_LONG=$PWD/target/long.tsv
# What tests measured, as lines of a list.
export TRILOBITE_NOTES=$PWD/target/long-notes.md
test=(cargo test --quiet --workspace --features trilobite-operator/api-server)

part() { # NAME COMMAND...: a part that fails does not end the others
  local name=$1 from=$SECONDS status=0
  shift
  printf '%s ...\n' "$name"
  "$@" || status=$?
  printf '%s\t%d\t%d\n' "$name" $((SECONDS - from)) "$status" >>"$TRILOBITE_LONG"
}

on_a_cluster() {
  local one=("${test[@]}" --test cluster -- --test-threads=1 --nocapture)
  for storm in 1 2 3; do
    part "storm $storm of 3: 200,000 execs, every one read" env TRILOBITE_EXECS=200000 "${one[@]}" every_exec_of_a_storm
  done
  part "100,000 execs with a small ring: read and lost add up" env TRILOBITE_EXECS=100000 "${one[@]}" read_and_lost_records
  part "100 profiles on demand: nothing left behind" env TRILOBITE_ROUNDS=100 "${one[@]}" profile_adds_its_programs
  part "100 profiles of requests: nothing left behind" env TRILOBITE_ROUNDS=100 "${one[@]}" profiles_on_and_off
  part "requests: retention, strangers, payloads, and TLS that is not visible" "${one[@]}" --ignored requests_
  part "the read API: 2,000 events a second for 5 minutes, three watchers of which one does not read" \
    env TRILOBITE_READ_SECONDS=300 "${one[@]}" stopped_watcher_delays_no_other
  part "1,000 policies, one of them bad: checked, applied, active" \
    env TRILOBITE_POLICIES=1000 "${one[@]}" one_bad_policy_beside_many
  part "the API server away for 15 minutes" env TRILOBITE_OUTAGE_SECONDS=900 "${one[@]}" no_event_is_lost
}

all_passed() { ! awk -F '\t' '$3 != 0 { found = 1 } END { exit !found }' "$TRILOBITE_LONG"; }

if [ "${1:-}" = --on-a-cluster ]; then
  on_a_cluster
  all_passed
  exit
fi

: >"$TRILOBITE_LONG"
: >"$TRILOBITE_NOTES"

part "property tests, 20,000 cases each" env PROPTEST_CASES=20000 "${test[@]}" --lib --bins
part "1,000,000 random policies and changed examples" env PROPTEST_CASES=4000000 "${test[@]}" --test policy random
part "10,000,000 pairs of random policy and call, 300,000 random policies, 200,000 changed examples" \
  env TRILOBITE_POLICY_TIMES=100 "${test[@]}" --lib plan::policy::tests
part "20,000 versions of one of 1,000 policies, each call reported by one" \
  env TRILOBITE_UPDATES=20000 TRILOBITE_POLICIES=1000 "${test[@]}" --test hook_updates -- --nocapture
part "100,000,000 pairs of random policy and call in this kernel" \
  env TRILOBITE_PAIRS=100000000 TRILOBITE_POLICIES=250 "${test[@]}" --test hook_random -- --nocapture
part "100,000,000 hostile connections for each parser" \
  env TRILOBITE_PARSER_RUNS=100000000 "${test[@]}" --test hostile -- --nocapture random_connections_never_panic
part "10,000,000 recordings of requests, changed at random" \
  env TRILOBITE_RECORDINGS=10000000 "${test[@]}" --bins requests::recording
part "ten minutes of more requests than a ring carries: delivered and counted add up" \
  env TRILOBITE_OVERLOAD_SECONDS=600 "${test[@]}" --test request_overload -- --ignored --test-threads=1 --nocapture
part "100,000,000 random objects in place of network policies" \
  env TRILOBITE_POLICY_OBJECTS=100000000 "${test[@]}" --test hostile_policies -- --nocapture random_objects_never_panic
part "10,000 states of random policies, each decided as by cyclonus' matcher" \
  env CGO_ENABLED=0 TRILOBITE_RANDOM_POLICIES=10000 go -C e2e/policy-references test -count=1 -trimpath -timeout 60m -run "Random|Selectors"
# Cilium's packages take minutes to compile. A unit test writes the flows.
part "Hubble's metrics of 5,000 flows, equal to those of Hubble's own handlers" bash -c '"$@" --lib metrics_reference &&
  CGO_ENABLED=0 go -C e2e/hubble-metrics test -count=1 -trimpath ./...' bash "${test[@]}"
scripts/images.sh
"$TRILOBITE_TOOLS/trilobite-kernels" fetch --node --kernel 6.12
part "a policy on two kernels: killed on Debian 6.12, refused on this one" \
  scripts/with-cluster.sh --guest 6.12 env TRILOBITE_PATIENCE=6 "${test[@]}" --test mixed_cluster -- --nocapture
scripts/with-cluster.sh e2e/test-long.sh --on-a-cluster || printf 'the cluster\t0\t1\n' >>"$TRILOBITE_LONG"

result=e2e/results/$(date +%F-%H%M%S)-$(uname -r).md
{
  printf '# Long tests, %s\n\n' "$(date '+%F %T')"
  printf '`make test-long` at %s%s on %s, %d cores, %d MiB, Linux %s.\n\n' "$(git rev-parse --short HEAD)" \
    "$(git diff --quiet HEAD -- . || echo ', with changes')" "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1)" "$(nproc)" \
    $(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024)) "$(uname -r)"
  printf '| test | seconds | result |\n|---|---|---|\n'
  awk -F '\t' '{ printf "| %s | %d | %s |\n", $1, $2, $3 == 0 ? "passed" : "FAILED" }' "$TRILOBITE_LONG"
  [ ! -s "$TRILOBITE_NOTES" ] || { echo; cat "$TRILOBITE_NOTES"; }
} >"$result"
cat "$result"
echo "kept in $result"
all_passed
