#!/usr/bin/env bash
# Licences, sources, duplicates and, where the advisory database can be reached, advisories.
set -euo pipefail
cd "$(dirname "$0")/.."
# Without optimisation and debug information: it is built in a third of the time, and has little to do.
command -v cargo-deny >/dev/null || scripts/timed "installing cargo-deny" env -C / CARGO_PROFILE_DEV_DEBUG=0 cargo install --quiet --debug --locked cargo-deny@0.20.2
cargo deny --log-level error check licenses bans sources
if ! cargo deny --log-level off fetch db 2>/dev/null; then
  echo "advisories: not checked, the advisory database cannot be reached from here"
  exit 0
fi
cargo deny --log-level error check advisories
