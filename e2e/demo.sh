#!/usr/bin/env bash
# The demo: a real cluster of two nodes, one stack, and one answer of each layer, read by the client people have.
set -euo pipefail
from=$SECONDS
cd "$(dirname "$0")/.."
cluster=$TRILOBITE_TOOLS/trilobite-cluster
trilobite=$TRILOBITE_BIN/trilobite
kubectl=$TRILOBITE_CACHE/bin/kubectl
export KUBECONFIG=$PWD/target/cluster/kubeconfig
# What is asked here is asked of this machine.
unset HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
failed() { printf '\nThe demo failed at line %s. Logs: target/cluster/; agents: %s -n trilobite-system logs ds/trilobite-node\n' "$1" "$kubectl" >&2; }
trap 'failed $LINENO' ERR

if "$cluster" check 2>/dev/null; then
  say "The cluster is up already; it is used as it is"
else
  say "Starting a Kubernetes cluster of two nodes on this machine"
  "$cluster" down >/dev/null
  "$cluster" up
fi
"$cluster" load target/images/*.tar
# New images have the old names: what runs of the old ones is made anew, below.
loaded=target/cluster/loaded-images
images=$(sha256sum target/images/*.tar)
stale=; [ ! -f "$loaded" ] || [ "$(cat "$loaded")" = "$images" ] || stale=yes

say "Installing: kubectl apply -k config/default"
"$kubectl" apply --server-side -k config/default | tail -3
if [ -n "$stale" ]; then
  echo "the images have changed: the operator and the agents are started anew"
  "$kubectl" -n trilobite-system delete pods --all --timeout=60s >/dev/null
fi
echo "$images" >"$loaded"
"$kubectl" -n trilobite-system rollout status deployment/trilobite-operator --timeout=90s
# Their stack was ready, and says so until somebody looks.
[ -z "$stale" ] || ! "$kubectl" -n trilobite-system get daemonset trilobite-node >/dev/null 2>&1 ||
  "$kubectl" -n trilobite-system rollout status daemonset/trilobite-node --timeout=90s

say "One stack: all three layers"
cat e2e/demo/stack.yaml
"$kubectl" apply -f e2e/demo/stack.yaml
"$kubectl" create namespace demo --dry-run=client -o yaml | "$kubectl" apply -f -
# A new namespace has no service account for a moment, and without it no pod.
"$kubectl" -n demo wait --for=create --timeout=90s serviceaccount/default
"$kubectl" apply -f e2e/demo/pods.yaml
echo "waiting for both nodes and the demo's pods ..."
"$kubectl" wait --for=condition=Ready --timeout=120s observabilitystack/default
"$kubectl" wait --for=jsonpath='{.status.readyNodes}'=2/2 --timeout=120s observabilitystack/default
"$kubectl" -n demo wait --for=condition=Ready --timeout=60s pod --all

say "kubectl describe observabilitystack default"
"$kubectl" describe observabilitystack default | sed -n '/^Status:/,$p'

say "Security: what ran in a pod (tetra getevents -o compact)"
# Not a pipe: the client that grep leaves would end by SIGPIPE, and the demo with it.
grep -m1 '🚀' < <(timeout 30 "$TRILOBITE_CACHE/bin/tetra" --server-address unix:///run/trilobite/node1/agent.sock getevents -o compact --namespace demo 2>/dev/null) ||
  { echo "no process event within 30 s"; exit 1; }

say "Network: who talked to whom (hubble observe, on the node of the one that was asked)"
flow=
for _ in $(seq 30); do
  flow=$("$TRILOBITE_CACHE/bin/hubble" observe --server unix:///run/trilobite/node2/agent.sock --from-pod demo/shop --to-pod demo/warehouse --last 1 2>/dev/null) && [ -n "$flow" ] && break
  sleep 1
done
[ -n "$flow" ] || { echo "no flow between the two pods within 30 s"; exit 1; }
echo "$flow"

say "Application: where the CPU time goes (trilobite profile demo/busy --for 10s)"
mkdir -p target/demo
"$trilobite" profile demo/busy --for 10s -o target/demo/flame.svg
echo "flame graph: $PWD/target/demo/flame.svg"

say "Done in $((SECONDS - from)) s. Look further"
cat <<EOF
  export KUBECONFIG=$KUBECONFIG PATH=$TRILOBITE_CACHE/bin:$TRILOBITE_BIN:\$PATH
  trilobite status
  trilobite events -f                      # or: trilobite tunnel node1, then tetra getevents -o compact
  trilobite flows -f                       # or: hubble observe -f
  kubectl apply -f config/samples/tracingpolicy.yaml && kubectl describe tracingpolicy
  kubectl label namespace demo trilobite.dev/app-profile=cpu
Stop: make demo-down
EOF
