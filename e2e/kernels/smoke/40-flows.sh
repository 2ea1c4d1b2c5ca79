# Passes when a TCP connection from a pod to the node is one of the flows, with both addresses and the port, and so are an echo request
# and its reply; and, where flows are counted by filters of clsact (before 6.6), when those of an agent that was killed are removed by
# `cleanup`. Without a cluster it is not known which pod is behind which veth, and the machine's own interfaces
# are watched: here the bridge that the pods are joined to.
# Expect: ok
. /init.d/test.sh
. /init.d/pods.sh

make_pods
listen_in_node 8080
run_agent /smoke/flows.yaml
wait_until_active 120
seen() {
	ask_node 8080
	(
		enter "$WEB"
		exec nsenter -t "$WEB_PID" -n ping -c 2 -W 1 $NODE_IP
	) >/dev/null 2>&1
	event '"flow"' "\"$WEB_IP\"" "\"$NODE_IP\"" '"destination_port":8080' >/dev/null &&
		event '"flow"' 'ICMPv4 EchoRequest' "\"source\":\"$WEB_IP\"" >/dev/null &&
		event '"flow"' 'ICMPv4 EchoReply' "\"source\":\"$NODE_IP\"" '"is_reply":true' >/dev/null
}
eventually 90 seen || {
	late=yes
	ip -o link | while read -r link; do detail "link: $(echo "$link" | cut -c1-160)"; done
	detail "$(grep -c '"flow"' "$EVENTS") flow events: $(grep -o '"Summary":"[^"]*"' "$EVENTS" | sort | uniq -c | head -6 | tr '\n' ' ')"
}
kill -9 "$AGENT"
wait "$AGENT" 2>/dev/null
AGENT=
removed() { (as_the_daemonset /bin/trilobite-node cleanup 2>>"$LOG"); }
first=$(removed) again=$(removed)
remove_pods
[ -z "$late" ] || fail "no flow from $WEB_IP to $NODE_IP:8080, or of its echo"
case $(uname -r) in
5.10.* | 6.1.*) way=clsact expected='[1-9]* filters removed' ;;
*) way=tcx expected='0 filters removed' ;;
esac
# shellcheck disable=SC2254
case $first in
$expected) ;;
*) fail "by $way, and after the agent was killed cleanup said: $first" ;;
esac
[ "$again" = "0 filters removed" ] || fail "cleanup said again: $again"
ok "by $way, $first: $(event '"flow"' 'ICMPv4 EchoRequest' | cut -c1-160)$OPTED_IN"
