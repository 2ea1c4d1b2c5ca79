# Passes when a TCP connection between two pods is one of the flows, with both addresses and the port; before 6.6 (tcx) when
# the capture is refused by name.
# Expect: ok
# Expect on 5.10 6.1: refused needs 6.6
. /init.d/test.sh
. /init.d/pods.sh

make_pods
listen_in_store 8080
run_agent /smoke/flows.yaml
seen_or_refused() {
	said "needs 6.6" >/dev/null && return 0
	ask_store 8080
	event '"flow"' "\"$WEB_IP\"" "\"$STORE_IP\"" '"destination_port":8080' >/dev/null
}
eventually 25 seen_or_refused || late=yes
remove_pods
[ -z "$late" ] || fail "no flow from $WEB_IP to $STORE_IP:8080"
said "needs 6.6" >/dev/null && refused "$(said 'needs 6.6')"
ok "$(event '"flow"' "\"$WEB_IP\"" '"destination_port":8080' | cut -c1-200)"
