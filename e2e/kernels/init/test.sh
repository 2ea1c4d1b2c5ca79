# What a test is written with. It ends by exactly one of ok, fail, refused; its name is $TEST.
. /init.d/node.sh

EVENTS=/tmp/$TEST.events
LOG=/tmp/$TEST.log
: >"$EVENTS"
: >"$LOG"
AGENT=
exec 3>&1     # the verdict reaches the console wherever a test has sent its own output

ok() { end_with ok "$*"; }
refused() { end_with refused "$*"; }
fail() {
	tail -n 15 "$LOG" | cut -c1-300 | sed 's/^/# log: /' >&3
	tail -n 3 "$EVENTS" | cut -c1-300 | sed 's/^/# event: /' >&3
	end_with fail "$*"
}

# The agent must leave on SIGTERM, whatever it was asked to do.
end_with() {
	if [ -n "$AGENT" ] && kill -TERM "$AGENT" 2>/dev/null; then
		(
			sleep 10
			kill -9 "$AGENT"
		) 2>/dev/null &
		guard=$!
		wait "$AGENT"
		status=$?
		kill $guard
		[ $status != 137 ] || set -- fail "$2 (and the agent did not leave within 10 s of SIGTERM)"
	fi
	echo "TEST $TEST $1 $2" >&3
	exit 0
}

# as_the_daemonset PROGRAM ARGUMENT...: replaces the calling (sub)shell
as_the_daemonset() {
	enter "$AGENT_CGROUP"
	exec with-capabilities "$(cat /etc/capabilities)" "$@"
}

# run_agent FILE...: trilobite-node run, in the background, its process in $AGENT
run_agent() {
	[ -x /bin/trilobite-node ] || fail "there is no agent in this file system"
	set -- $(for file; do echo "-f $file"; done)
	(as_the_daemonset /bin/trilobite-node run "$@") >"$EVENTS" 2>"$LOG" &
	AGENT=$!
}

seconds() { cut -d. -f1 /proc/uptime; }

# eventually SECONDS COMMAND...: repeats COMMAND until it succeeds; false when the time is over, fail when the agent is gone
eventually() {
	end=$(($(seconds) + $1))
	shift
	until "$@"; do
		kill -0 "$AGENT" 2>/dev/null || {
			"$@" && return 0
			fail "the agent ended by itself"
		}
		[ "$(seconds)" -lt $end ] || return 1
		sleep 0.3
	done
}

# event WORD...: prints the first event that has all of them
event() {
	cp "$EVENTS" "$EVENTS.now"
	for word; do
		grep -F -e "$word" "$EVENTS.now" >"$EVENTS.next"
		mv "$EVENTS.next" "$EVENTS.now"
	done
	head -n 1 "$EVENTS.now" | grep .
}

# said WORD: prints what the agent said about WORD, on either output; false when it said nothing
said() { cat "$LOG" "$EVENTS" | grep -F -m 1 -e "$1" | cut -c1-200 | grep .; }
