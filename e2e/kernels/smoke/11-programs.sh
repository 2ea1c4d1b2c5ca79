# Passes when the kernel takes every program of every object, each loaded once by `trilobite-node probe --load`; before 6.6 (tcx)
# all but those of flows, which are refused by name.
# Expect: ok
# Limit: 480
. /init.d/test.sh

opt_in_where_needed
(as_the_daemonset /bin/trilobite-node probe --load) >"$EVENTS" 2>"$LOG" || fail "probe --load ended with $?"
sed 's/},{/}\n{/g' "$EVENTS" | grep -o '{"loaded":[^}]*}' >/tmp/programs
loaded=$(grep -c '"loaded":true' /tmp/programs)
case $(uname -r) in
5.10.* | 6.1.*) refused=$(grep '"object":"flow"' /tmp/programs | grep -c '"reason":"KernelTooOld"') ;;
*) refused=0 ;;
esac
[ "$loaded" -gt 0 ] && [ $((loaded + refused)) = "$(wc -l </tmp/programs)" ] ||
	fail "$(grep -v -e '"loaded":true' -e KernelTooOld /tmp/programs | cut -c1-400 | tr '\n' ' ')"
[ "$refused" -gt 0 ] || grep -q '"object":"flow"' /tmp/programs || fail "no program of flows is listed"
ok "$loaded programs loaded$OPTED_IN, $refused of flows refused as KernelTooOld"
