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

# perform_last: after its event no other is to come
perform_last() {
	perform last '/bin/true act-last'
	eventually $EVENT_WITHIN event '"process_exec"' '"arguments":"act-last"' >/dev/null || fail "no event of the last act"
	sleep 1
}

# judge NAME TEST REASON: begins with an act; what follows says what is expected of it
judge() {
	ACT="act-$1" test=$2 reason=$3 fault='' seen=''
	[ -z "$reason" ] || seen=$(said "$reason") || true
}

# with_act WORD...: the words in one line each, $ACT replaced
with_act() {
	for word; do echo "$word" | sed "s/\$ACT/$ACT/g"; done
}

# count_events WORD...: how many events have all words
count_events() {
	awk '
		BEGIN { for (i = 1; i < ARGC - 1; i++) { words[i] = ARGV[i]; ARGV[i] = "" } }
		{ for (i in words) if (!index($0, words[i])) next; count++ }
		END { print count + 0 }
	' "$@" "$EVENTS"
}

# in_words COMMAND WORD...: COMMAND with $ACT replaced in the words
in_words() {
	command=$1
	shift
	for word; do
		shift
		set -- "$@" "$(with_act "$word")"
	done
	$command "$@"
}

expect_event() {
	[ -z "$fault$reason" ] || return 0
	seen=$(in_words event "$@" | cut -c1-120) || true
	[ -n "$seen" ] || fault="no event with: $*"
}

# expect_times COUNT WORD...
expect_times() {
	[ -z "$fault$reason" ] || return 0
	times=$1
	shift
	count=$(in_words count_events "$@")
	[ "$count" = "$times" ] || fault="$count events, not $times, with: $*"
}

expect_no_event() {
	[ -z "$fault$reason" ] || return 0
	found=$(in_words event "$@") || true
	[ -z "$found" ] || fault="an event with: $*: $(echo "$found" | cut -c1-400)"
}

expect_output() {
	[ -z "$fault$reason" ] || return 0
	seen="${seen:-$1}"
	grep -q -F -e "$(with_act "$1")" "/tmp/$ACT.out" || fault="its output has no $1"
}

say_judgement() {
	if [ -n "$reason" ] && [ -n "$seen" ]; then
		say_verdict_of "$test" refused "$seen"
	elif [ -z "$fault$reason" ]; then
		say_verdict_of "$test" ok "$seen"
	else
		head -n 3 "/tmp/$ACT.out" | sed 's/^/# output: /' >&3
		say_verdict_of "$test" fail "${fault:-the agent has not said $reason}"
	fi
}
