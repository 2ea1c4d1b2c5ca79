# Passes when the kernel takes every program of every object, each loaded once by `trilobite-node probe --load`.
# Expect: ok
# Limit: 480
. /init.d/test.sh

opt_in_where_needed
(as_the_daemonset /bin/trilobite-node probe --load) >"$EVENTS" 2>"$LOG" || fail "probe --load ended with $?"
sed 's/},{/}\n{/g' "$EVENTS" | grep -o '{"loaded":[^}]*}' >/tmp/programs
loaded=$(grep -c '"loaded":true' /tmp/programs)
[ "$loaded" -gt 0 ] && [ "$loaded" = "$(wc -l </tmp/programs)" ] ||
	fail "$(grep -v '"loaded":true' /tmp/programs | cut -c1-400 | tr '\n' ' ')"
grep -q '"object":"flow"' /tmp/programs || fail "no program of flows is listed"
ok "$loaded programs loaded$OPTED_IN"
