#!/usr/bin/env bash
# beside.sh OTHER TARGET...: a target of the Makefile beside others. The others mostly wait; it has the processors meanwhile,
# gives way, and says what it has to say when they are over. Fails if one of them does.
set -euo pipefail
cd "$(dirname "$0")/.."
beside=$1; shift
mkdir -p target
log=target/$beside.log

nice -n 19 make --no-print-directory "$beside" >"$log" 2>&1 &
process=$!
# Its guests end with it.
trap 'kill "$process" 2>/dev/null || true' INT TERM
echo "$beside runs beside what follows"
failed=0
make --no-print-directory "$@" || failed=1
wait "$process" || failed=1
cat "$log"
exit $failed
