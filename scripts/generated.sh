#!/usr/bin/env bash
# What is generated must be what is in the work tree, committed or not: a difference of contents, not of git's words for them.
set -euo pipefail
cd "$(dirname "$0")/.."
contents() {
  { git ls-files -z -- config charts; git ls-files -z --others --exclude-standard -- config charts; } |
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
