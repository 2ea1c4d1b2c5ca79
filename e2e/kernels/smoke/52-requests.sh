# Passes when HTTP requests between two pods are rows of both ends, with the DaemonSet's capabilities: by functions of the kernel
# before 6.5, by tracepoints since. A value of the query is in no row; a body that sendfile has sent is
# a gap, and the next request of the same server is read.
# Expect: ok
# Limit: 300
. /init.d/test.sh
. /init.d/pods.sh

make_pods
mkdir -p /tmp/www
dd if=/dev/zero of=/tmp/www/large bs=1024 count=300 2>/dev/null
echo hello >/tmp/www/small
(
	enter "$STORE"
	exec nsenter -t "$STORE_PID" -n httpd -f -p 8080 -h /tmp/www
) &
SERVER=$!

run_agent /smoke/requests.yaml
wait_until_active 120

in_web() {
	(
		enter "$WEB"
		exec nsenter -t "$WEB_PID" -n "$@"
	)
}
# Both ends of each request.
rows() { grep -c -e "$1.*$2" -e "$2.*$1" "$EVENTS"; }
asked() {
	in_web wget -q -O /dev/null "http://$STORE_IP:8080/large?token=hidden-value"
	in_web wget -q -O /dev/null "http://$STORE_IP:8080/small"
	in_web wget -q -O /dev/null "http://$STORE_IP:8080/missing" 2>/dev/null
	[ "$(rows '"GET"' '/large?')" -ge 2 ] && [ "$(rows '"GET"' '/small')" -ge 2 ] && [ "$(rows '"404"' '/missing')" -ge 2 ]
}
eventually 120 asked || late=yes
kill "$SERVER"
remove_pods
[ -z "$late" ] || fail "rows: large $(rows '"GET"' '/large?'), small $(rows '"GET"' '/small'), missing $(rows '"404"' '/missing'); $(cut -c1-300 "$EVENTS" | tail -3)"
! grep -q hidden-value "$EVENTS" || fail "a query's value is in a row: $(grep hidden-value "$EVENTS" | cut -c1-300)"
ok "$(said 'requests are captured' | cut -c1-120) $(grep -c '"http"' "$EVENTS") rows$OPTED_IN"
