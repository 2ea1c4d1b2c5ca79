#!/usr/bin/env bash
# Renders config/default from the chart, so that `kubectl apply -k config/default` and the chart are one thing.
set -euo pipefail
cd "$(dirname "$0")/.."
helm=target/cache/bin/helm
[ -x "$helm" ] || helm=$(command -v helm) || {
  cargo run --quiet -p trilobite-cluster -- build clients
  helm=target/cache/bin/helm
}
{
  echo "# Rendered from charts/trilobite by \`make generate\`."
  "$helm" template trilobite charts/trilobite --namespace trilobite-system --set namespace.create=true |
    sed -e '/^# Source: /d' -e '/^ *helm.sh.chart: /d' -e '/^$/d' \
      -e 's|app.kubernetes.io/managed-by: Helm|app.kubernetes.io/managed-by: kustomize|'
} > config/default/trilobite.yaml
