# Passes when a policy on tcp_connect kills a client of port 4444 by signal 9, with an event that has the socket, and leaves a
# client of port 443 alone.
# Expect: ok
. /init.d/test.sh

nc -ll -p 4444 -e /bin/echo answer &
nc -ll -p 443 -e /bin/echo answer &
run_agent /smoke/security.yaml /smoke/kprobe-outbound.yaml
wait_until_active
killed() {
	in_container "$WEB" sh -c 'nc -w 2 127.0.0.1 4444 </dev/null; echo "status $?"' >/tmp/4444 2>&1
	grep -q 'status 137' /tmp/4444
}
eventually 45 killed || fail "the client of port 4444 was not killed: $(cat /tmp/4444)"
! grep -q answer /tmp/4444 || fail "the killed client has read something"
in_container "$WEB" sh -c 'nc -w 2 127.0.0.1 443 </dev/null; echo "status $?"' >/tmp/443 2>&1
grep -q 'status 0' /tmp/443 || fail "the client of port 443: $(cat /tmp/443)"
eventually 45 event '"process_kprobe"' '"function_name":"tcp_connect"' '"policy_name":"detect-unexpected-outbound"' \
	'"action":"KPROBE_ACTION_SIGKILL"' '"dport":4444' >/dev/null || fail "no process_kprobe with the socket: $(grep process_kprobe "$EVENTS" | cut -c1-600 | tail -1)"
! event '"process_kprobe"' '"dport":443' >/dev/null || fail "an event of port 443"
ok "tcp_connect to 4444 ended by signal 9$OPTED_IN"
