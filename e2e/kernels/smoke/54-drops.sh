# Passes when packets of a pod that the kernel drops are flows with the function that dropped them, and from 5.17 on with the kernel's
# reason: no listener (TCP, UDP), no route, a packet that may go no further; and when an ordinary connection makes none. Before 5.17 the
# agent says that it has places alone.
# Expect: ok
# Limit: 300
. /init.d/test.sh
. /init.d/pods.sh

make_pods
echo 1 >/proc/sys/net/ipv4/ip_forward
nsenter -t "$WEB_PID" -n ip route add default via $NODE_IP
ip route add 10.78.0.0/24 dev cni0
listen_in_store 8080
run_agent /smoke/drops.yaml
wait_until_active 120

in_web() {
	(
		enter "$WEB"
		exec nsenter -t "$WEB_PID" -n "$@"
	)
}
case $(uname -r) in
7.*) UDP=udp_rcv ;;     # __udp4_lib_rcv is a part of it now
*) UDP=__udp4_lib_rcv ;;
esac
# dropped REASON PLACE WORD...: a drop at that place, for that reason where the kernel has reasons
dropped() {
	case $(uname -r) in
	5.10.*) reason="kernel at $2" ;;
	*) reason="kernel $1 at $2" ;;
	esac
	shift 2
	event '"DROPPED"' "$reason" "\"$WEB_IP\"" "$@" >/dev/null || { missing="$reason $*"; return 1; }
}
asked() {
	ask_store 8080
	ask $STORE_IP 81
	in_web nslookup -timeout=1 -retry=1 nobody.example $STORE_IP
	in_web ping -c 2 -W 1 10.200.0.1
	in_web ping -c 2 -W 1 -t 1 10.78.0.9
	dropped NO_SOCKET tcp_v4_rcv '"destination_port":81' &&
		dropped NO_SOCKET $UDP '"destination_port":53' &&
		dropped IP_INNOROUTES ip_error '"10.200.0.1"' &&
		dropped IP_INHDR ip_forward '"10.78.0.9"'
} >/dev/null 2>&1
eventually 120 asked || late=yes
remove_pods
[ -z "$late" ] || fail "no drop: $missing; $(grep -c '"DROPPED"' "$EVENTS") drops: $(grep '"DROPPED"' "$EVENTS" | grep -o '"Summary":"[^"]*"' | sort | uniq -c | head -8 | tr '\n' ' ')"
wrong=$(grep '"DROPPED"' "$EVENTS" | grep -e '"destination_port":8080' -e '"source_port":8080')
[ -z "$wrong" ] || fail "an ordinary connection is a drop: $(echo "$wrong" | head -1 | cut -c1-400)"
case $(uname -r) in
5.10.*) said 'needs 5.17' >/dev/null || fail "nothing is said of a kernel without reasons" ;;
*) ! said 'needs 5.17' >/dev/null || fail "this kernel has reasons, and the agent denies it" ;;
esac
ok "$(grep -c '"DROPPED"' "$EVENTS") drops: $(grep '"DROPPED"' "$EVENTS" | grep -o '"Summary":"[^"]*"' | sort | uniq -c | sort -rn | head -6 | tr '\n' ' ' | cut -c1-300)$OPTED_IN"
