#!/usr/bin/env bash
# What is generated must be what is committed.
set -euo pipefail
cd "$(dirname "$0")/.."
before=$(git status --porcelain -- config charts)
make --silent generate
after=$(git status --porcelain -- config charts)
[ "$before" = "$after" ] || { echo "make generate changes files that are committed:"; git diff --stat -- config charts; exit 1; }
