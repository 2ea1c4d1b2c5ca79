#!/usr/bin/env bash
# with-cluster.sh COMMAND...: two real nodes with the images on them, for as long as COMMAND runs.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=$TRILOBITE_BIN/trilobite-cluster
trap '"$cluster" down' EXIT
"$cluster" down
"$cluster" up
"$cluster" load target/images/*.tar
KUBECONFIG=$PWD/target/cluster/kubeconfig "$@"
