#!/usr/bin/env bash
# Writes the images: FROM scratch, static programs, reproducible.
set -euo pipefail
cd "$(dirname "$0")/.."
out=target/images; mkdir -p "$out"
image() { "$TRILOBITE_TOOLS/trilobite-cluster" image "$@"; }
image localhost/trilobite-node:dev "$out/trilobite-node.tar" --entrypoint '["/trilobite-node"]' "$TRILOBITE_BIN/trilobite-node=trilobite-node" \
  "$TRILOBITE_BIN/trilobite-worker=trilobite-worker" "$TRILOBITE_BIN/trilobite-export-stdout=trilobite-export-stdout" \
  @/trilobite-node=bin/tetra @/trilobite-node=bin/hubble
image localhost/trilobite-operator:dev "$out/trilobite-operator.tar" --entrypoint '["/trilobite-operator"]' --user 65532:65532 "$TRILOBITE_BIN/trilobite-operator=trilobite-operator"
image localhost/trilobite-relay:dev "$out/trilobite-relay.tar" --entrypoint '["/trilobite-relay"]' --user 65532:65532 "$TRILOBITE_BIN/trilobite-relay=trilobite-relay"
ls -lh "$out"/*.tar | awk '{ print $9 ": " $5 }'
