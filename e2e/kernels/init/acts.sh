# What a script of acts is written with (src/acts.rs). Sourced after test.sh.

# Seconds for the event of an act whose command has ended. Only the first act ever waits: the others ran meanwhile.
EVENT_WITHIN=45

# perform NAME COMMAND: runs an act's command in the container `web`, to its end
perform() {
	(
		export ACT="act-$1"
		in_container "$WEB" sh -c "$2"
	) >"/tmp/act-$1.out" 2>&1 </dev/null
}

# judge NAME REASON WORD...: ok when one event has all words; refused when the agent has logged REASON
judge() {
	ACT="act-$1" name=$1 reason=$2
	shift 2
	for word; do
		shift
		set -- "$@" "$(echo "$word" | sed "s/\$ACT/$ACT/g")"
	done
	if [ -n "$reason" ] && said "$reason" >/dev/null; then
		say_verdict_of "$name" refused "$(said "$reason")"
	elif eventually $EVENT_WITHIN event "$@" >/dev/null; then
		say_verdict_of "$name" ok "$(event "$@" | cut -c1-120)"
	else
		EVENT_WITHIN=1     # the others had as long
		head -n 3 "/tmp/$ACT.out" | sed 's/^/# output: /' >&3
		say_verdict_of "$name" fail "no event with: $*"
	fi
}
