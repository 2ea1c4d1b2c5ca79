#!/usr/bin/env bash
# The demo: a real cluster of two nodes, one stack, and a story in three parts: a shell in a pod that reads a secret, a
# connection between two pods, a busy function. Each is read by the client that people have.
set -euo pipefail
from=$SECONDS
cd "$(dirname "$0")/.."
cluster=$TRILOBITE_TOOLS/trilobite-cluster
trilobite=$TRILOBITE_BIN/trilobite
tools=$PWD/target/cache/bin
kubectl=$tools/kubectl
export KUBECONFIG=$PWD/target/cluster/kubeconfig
# Every request is for this machine.
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
# New images have the old names: pods with the old ones are replaced below.
loaded=target/cluster/loaded-images
images=$(sha256sum target/images/*.tar)
stale=; [ ! -f "$loaded" ] || [ "$(cat "$loaded")" = "$images" ] || stale=yes

say "Installing: kubectl apply -k config/default"
"$kubectl" apply --server-side -k config/default | tail -3
if [ -n "$stale" ]; then
  echo "the images have changed: the operator and the agents are restarted"
  "$kubectl" -n trilobite-system delete pods --all --timeout=60s >/dev/null
fi
echo "$images" >"$loaded"
"$kubectl" -n trilobite-system rollout status deployment/trilobite-operator --timeout=90s
# The stack was ready, and its status stays so until the operator has seen the new pods.
[ -z "$stale" ] || ! "$kubectl" -n trilobite-system get daemonset trilobite-node >/dev/null 2>&1 ||
  "$kubectl" -n trilobite-system rollout status daemonset/trilobite-node --timeout=90s

say "One stack: all three layers"
cat e2e/demo/stack.yaml
"$kubectl" apply -f e2e/demo/stack.yaml
"$kubectl" create namespace shop --dry-run=client -o yaml | "$kubectl" apply -f -
# A new namespace has no service account for a moment, and without it no pod.
"$kubectl" -n shop wait --for=create --timeout=90s serviceaccount/default
"$kubectl" apply -f e2e/demo/pods.yaml
echo "waiting for both nodes and the demo's pods ..."
"$kubectl" wait --for=condition=Ready --timeout=120s observabilitystack/default
"$kubectl" wait --for=jsonpath='{.status.readyNodes}'=2/2 --timeout=120s observabilitystack/default
"$kubectl" -n shop wait --for=condition=Ready --timeout=60s pod --all

say "kubectl describe observabilitystack default"
"$kubectl" describe observabilitystack default | sed -n '/^Status:/,$p'

say "1. Somebody opens a shell in a pod and reads its secret: kubectl exec storefront -- sh -c 'cat /var/run/secrets/...'"
events=target/demo/events
mkdir -p target/demo
: >"$events"
timeout 60 "$tools/tetra" --server-address unix:///run/trilobite/node1/agent.sock getevents -o compact --namespace shop >"$events" 2>/dev/null &
tetra=$!
trap 'kill "$tetra" 2>/dev/null || true' EXIT
secret=/var/run/secrets/kubernetes.io/serviceaccount/token
# Until it is seen: the client needs a moment to be connected.
for _ in $(seq 30); do
  "$kubectl" -n shop exec storefront -- sh -c "cat $secret" >/dev/null
  sleep 1
  ! grep -q "🚀.*/sh -c .*cat $secret" "$events" || break
done
echo "tetra getevents -o compact --namespace shop"
grep -m1 "🚀.*/sh -c .*cat $secret" "$events" || true
grep -q "🚀.*/sh -c .*cat $secret" "$events" || { echo "no event of the shell within 30 s"; exit 1; }

say "2. The storefront calls the warehouse on another node: hubble observe --from-pod shop/storefront"
flow=
for _ in $(seq 30); do
  flow=$("$tools/hubble" observe --server unix:///run/trilobite/node2/agent.sock --from-pod shop/storefront --to-pod shop/warehouse --last 1 2>/dev/null) && [ -n "$flow" ] && break
  sleep 1
done
[ -n "$flow" ] || { echo "no flow between the two pods within 30 s"; exit 1; }
echo "$flow"

say "3. The pricing service is slow; which function is it? trilobite profile shop/pricing --for 10s"
"$trilobite" profile shop/pricing --for 10s -o target/demo/flame.svg --folded target/demo/stacks.folded
echo "the busiest stacks (samples at the end of the line):"
sort -t' ' -k2 -n -r target/demo/stacks.folded 2>/dev/null | head -3 || true
echo "flame graph: $PWD/target/demo/flame.svg"

say "Done in $((SECONDS - from)) s. Look further"
cat <<EOF
  export KUBECONFIG=$KUBECONFIG PATH=$tools:$TRILOBITE_BIN:\$PATH
  trilobite status
  trilobite events -f                      # or: trilobite tunnel node1, then tetra getevents -o compact
  trilobite flows -f                       # or: hubble observe -f
  kubectl apply -f config/samples/tracingpolicy.yaml && kubectl describe tracingpolicy
  kubectl label namespace shop trilobite.dev/app-profile=cpu
Stop: make demo-down
EOF
