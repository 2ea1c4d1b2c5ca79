# What a test is written with. It ends by exactly one of ok, fail, refused; its name is $TEST.
. /init.d/node.sh
. /init.d/verdict.sh

EVENTS=/tmp/$TEST.events
LOG=/tmp/$TEST.log
: >"$EVENTS"
: >"$LOG"
AGENT=
CAPABILITIES=$(cat /etc/capabilities)
exec 3>&1     # the verdict reaches the console wherever a test has sent its own output

ok() { end_with ok "$*"; }
refused() { end_with refused "$*"; }
fail() {
	show_logs
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
	say_verdict "$1" "$2"
	exit 0
}

# as_the_daemonset PROGRAM ARGUMENT...: replaces the calling (sub)shell
as_the_daemonset() {
	enter "$AGENT_CGROUP"
	exec with-capabilities "$CAPABILITIES" "$@"
}

# opt_in_where_needed: before 5.11 maps count against RLIMIT_MEMLOCK, and runtime.allowSysResource of the stack is what helps;
# $OPTED_IN says so. The test `memory` shows what is said without it.
OPTED_IN=
opt_in_where_needed() {
	case $(uname -r) in
	5.[0-9].* | 5.10.*)
		CAPABILITIES=$(cat /etc/capabilities),SYS_RESOURCE
		OPTED_IN=" with runtime.allowSysResource"
		;;
	esac
}

# run_agent FILE...: trilobite-node run, in the background, its process in $AGENT
run_agent() {
	opt_in_where_needed
	run_agent_as_it_is "$@"
}

# run_agent_as_it_is FILE...: the same with no more than what the DaemonSet always asks for
run_agent_as_it_is() {
	[ -x /bin/trilobite-node ] || fail "there is no agent in this file system"
	set -- $(for file; do echo "-f $file"; done)
	(as_the_daemonset /bin/trilobite-node run "$@") >"$EVENTS" 2>"$LOG" &
	AGENT=$!
}

seconds() { cut -d. -f1 /proc/uptime; }

# eventually SECONDS COMMAND...: repeats COMMAND until it succeeds; false when the time is over or the agent has refused
# something, fail when the agent is gone
eventually() {
	end=$(($(seconds) + $1))
	shift
	until "$@"; do
		kill -0 "$AGENT" 2>/dev/null || {
			"$@" && return 0
			fail "the agent ended by itself"
		}
		grep -q ' ERROR ' "$LOG" && {
			"$@"
			return
		}
		[ "$(seconds)" -lt $end ] || return 1
		sleep 0.5
	done
}

# What the agent logs for each resource that is active.
ACTIVE="active resource="

# wait_until_active [SECONDS]: attaching is not one step: before the last hook is attached only a part is seen
wait_until_active() {
	eventually "${1:-60}" said "$ACTIVE" >/dev/null || fail "nothing was active in ${1:-60} s"
}

# event WORD...: prints the first event that has all of them; one program, because each one is two events
event() {
	awk '
		BEGIN { for (i = 1; i < ARGC - 1; i++) { words[i] = ARGV[i]; ARGV[i] = "" } }
		{ for (i in words) if (!index($0, words[i])) next; print; found = 1; exit }
		END { exit !found }
	' "$@" "$EVENTS"
}

# said WORD: prints the first log line of the agent with WORD; false without one. Not its events: the search itself is in them.
said() { grep -F -m 1 -e "$1" "$LOG" | sed 's/^[^ ]* *//' | cut -c1-400 | grep .; }
