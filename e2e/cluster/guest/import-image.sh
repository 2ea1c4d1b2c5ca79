#!/bin/sh
. /etc/node/settings.sh
ctr --address "$SOCKET" --namespace k8s.io images import - 2>&1 && echo imported
