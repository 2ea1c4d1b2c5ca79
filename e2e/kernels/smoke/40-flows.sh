# Passes when a TCP connection from a pod to the node is one of the flows, with both addresses and the port; before 6.6 (tcx) when
# the capture is refused by name. Without a cluster it is not known which pod is behind which veth, and the machine's own interfaces
# are watched: here the bridge that the pods are joined to.
# Expect: ok
# Expect on 5.10 6.1: refused needs 6.6
. /init.d/test.sh
. /init.d/pods.sh

make_pods
listen_in_node 8080
run_agent /smoke/flows.yaml
seen_or_refused() {
	said "needs 6.6" >/dev/null && return 0
	ask_node 8080
	event '"flow"' "\"$WEB_IP\"" "\"$NODE_IP\"" '"destination_port":8080' >/dev/null
}
active_or_refused() { said "$ACTIVE" >/dev/null || said "needs 6.6" >/dev/null; }
eventually 60 active_or_refused || fail "neither active nor refused in 60 s"
eventually 45 seen_or_refused || {
	late=yes
	ip -o link | while read -r link; do detail "link: $(echo "$link" | cut -c1-160)"; done
	detail "$(grep -c '"flow"' "$EVENTS") flow events"
}
remove_pods
[ -z "$late" ] || fail "no flow from $WEB_IP to $NODE_IP:8080"
said "needs 6.6" >/dev/null && refused "$(said 'needs 6.6')"
ok "$(event '"flow"' "\"$WEB_IP\"" '"destination_port":8080' | cut -c1-200)"
