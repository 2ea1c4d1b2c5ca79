#!/usr/bin/env bash
# with-cluster.sh [--guest SERIES] COMMAND...: two real nodes with the images on them while COMMAND runs; with --guest the second
# is a QEMU guest with that kernel of Debian. When COMMAND fails, the logs of daemons and pods are copied to target/cluster-logs/,
# because `down` removes them with the cluster.
set -euo pipefail
cd "$(dirname "$0")/.."
cluster=$TRILOBITE_TOOLS/trilobite-cluster
logs=target/cluster-logs
up=(up)
if [ "$1" = --guest ]; then
  up+=(--guest "$2")
  shift 2
fi

keep_logs() {
  rm -rf "$logs"
  mkdir -p "$logs"
  [ -d target/cluster/log ] && cp -r target/cluster/log "$logs/control-plane"
  for node in target/cluster/node*; do
    [ -d "$node/log" ] && cp -r "$node/log" "$logs/${node##*/}"
    [ -d "$node/logs-of-pods" ] && cp -r "$node/logs-of-pods" "$logs/${node##*/}/pods"
  done
  timeout 20 "$cluster" kubectl get pods,events -A -o wide >"$logs/kubectl.txt" 2>&1
  echo "the logs of the cluster are in $PWD/$logs"
}

end() {
  status=$?
  set +e
  [ $status -eq 0 ] || keep_logs
  "$cluster" down || [ $status -ne 0 ] || status=1
  exit $status
}
trap end EXIT
trap 'exit 130' INT TERM
"$cluster" down
"$cluster" "${up[@]}"
"$cluster" load target/images/*.tar
KUBECONFIG=$PWD/target/cluster/kubeconfig "$@"
