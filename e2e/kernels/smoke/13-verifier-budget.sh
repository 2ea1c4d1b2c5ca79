# Passes when the kernel's verifier takes at most 10 % more steps for each program of a hook, of requests, of flows and of drops, than
# verifier-budget.tsv says for this kernel, and never above 300,000. The hooks have all their parts. 5.10 does not report steps: there the load is the check.
# Expect: ok
# Limit: 480
. /init.d/test.sh

opt_in_where_needed
(as_the_daemonset /bin/trilobite-node probe --load) >"$EVENTS" 2>"$LOG" || fail "probe --load ended with $?"
kernel=$(uname -r | cut -d. -f1,2)
sed 's/},{/}\n{/g' "$EVENTS" | grep -e '"object":"hook' -e '"object":"socket' -e '"object":"drops' -e '"object":"flow' | sed 's/.*"loaded":\([a-z]*\).*"object":"\([^"]*\)","program":"\([^"]*\)".*"steps":\([0-9nul]*\).*/\2 \3 \4/' >/tmp/steps
[ "$(grep -c '^hook' /tmp/steps)" -ge 27 ] && grep -q '^socket' /tmp/steps && grep -q '^drops' /tmp/steps ||
	fail "only $(grep -c '^hook' /tmp/steps) programs of hooks and $(grep -c '^socket' /tmp/steps) of sockets were loaded: $(grep '"loaded":false' "$EVENTS" | cut -c1-300)"
bad=
while read -r object program steps; do
	[ "$steps" != null ] || continue
	budget=$(awk -v k="$kernel" -v o="$object" -v p="$program" '$1 == k && $2 == o && $3 == p { print $4 }' /smoke/verifier-budget.tsv)
	if [ "$steps" -gt 300000 ] || [ $((steps * 100)) -gt $((${budget:-0} * 110)) ]; then
		# A line to be put into verifier-budget.tsv where the cost is meant.
		printf '# budget\t%s\t%s\t%s\t%s\n' "$kernel" "$object" "$program" "$steps" >&3
		bad="$object $program takes $steps steps; ${budget:-none} are written down"
	fi
done </tmp/steps
[ -z "$bad" ] || fail "$bad"
ok "$(wc -l </tmp/steps) programs, at most $(cut -d' ' -f3 /tmp/steps | sort -n | tail -1) steps"
