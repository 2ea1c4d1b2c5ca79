#!/usr/bin/env bash
# Fails when `make generate` would change a file of the work tree, committed or not: contents are compared, not git's state.
set -euo pipefail
cd "$(dirname "$0")/.."
contents() {
  { git ls-files -z -- config charts docs/kinds; git ls-files -z --others --exclude-standard -- config charts docs/kinds; } |
    { xargs -0r sha256sum 2>/dev/null || true; } # a file that was removed is a difference too
}
before=$(contents)
make --silent generate
after=$(contents)
[ "$before" = "$after" ] || {
  echo "make generate changes what is committed or about to be:"
  diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") | awk '/^[<>]/ { print "  " $3 }' | sort -u
  exit 1
}
