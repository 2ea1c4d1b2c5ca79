# Passes when two pods in network namespaces of their own talk over TCP through the node's bridge.
# Expect: ok
. /init.d/test.sh
. /init.d/pods.sh

make_pods
AGENT=$STORE_PID
listen_in_store 8080
eventually 15 ask_store 8080 || answered=no
AGENT=
remove_pods
[ -z "$answered" ] || fail "store did not answer web"
ok "web -> store"
