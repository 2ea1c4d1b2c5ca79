# Passes when requests inside TLS, of a program that contains its library, are rows of both ends, with the DaemonSet's capabilities;
# before 6.6 when the agent says UprobeRefused and why, and the profile is active all the same.
# Expect: ok
# Limit: 300
. /init.d/test.sh

run_agent /smoke/tls.yaml
wait_until_active 120
case $(uname -r) in
5.10.* | 6.1.*)
	eventually 60 said UprobeRefused >/dev/null || fail "the agent did not say UprobeRefused"
	said UprobeRefused | grep -q 'need kernel 6.6 (this node: ' || fail "$(said UprobeRefused)"
	ok "$(said UprobeRefused)$OPTED_IN"
	;;
esac
(
	enter "$WEB"
	exec process-variants tls 200
) &
PROGRAM=$!
rows() { grep '"encrypted":true' "$EVENTS" | grep '"GET"' | grep -c '/item/'; }
has_rows() { [ "$(rows)" -ge 10 ]; }
eventually 120 has_rows || late=yes
kill "$PROGRAM"
[ -z "$late" ] || fail "$(rows) rows of TLS; $(cut -c1-300 "$EVENTS" | tail -3)"
! grep '"GET"' "$EVENTS" | grep -q '"remote":null' || fail "a row has no peer: $(grep '"remote":null' "$EVENTS" | head -1 | cut -c1-300)"
ok "$(rows) rows inside TLS$OPTED_IN"
