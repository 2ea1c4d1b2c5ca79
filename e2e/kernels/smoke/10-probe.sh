# Passes when `trilobite-node probe` ends well and prints a JSON object, which is shown.
# Expect: ok
. /init.d/test.sh

[ -x /bin/trilobite-node ] || fail "there is no agent in this file system"
(as_the_daemonset /bin/trilobite-node probe) >"$EVENTS" 2>"$LOG" || fail "probe ended with $?"
tr -d '\n' <"$EVENTS" | grep -q '^{.*}$' || fail "probe did not print a JSON object"
ok "$(tr -s '\n ' '  ' <"$EVENTS" | cut -c1-600)"
