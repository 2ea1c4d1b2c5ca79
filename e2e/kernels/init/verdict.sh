# A test ends by one line `TEST name verdict text`, which src/protocol.rs reads, after lines `# ...` that are shown when the test
# fails. Sourced by every test, and by init, which reports a test that died.

# say_verdict ok|fail|refused TEXT
say_verdict() {
	echo "TEST $TEST $1 $2" >&3
	: >"/tmp/$TEST.verdict"
}

# say_verdict_of ACT ok|fail|refused TEXT: of one act among several of a script
say_verdict_of() { echo "TEST $1 $2 $3" >&3; }

has_a_verdict() { [ -e "/tmp/$TEST.verdict" ]; }

# detail TEXT: shown when the test fails
detail() { echo "# $*" >&3; }

# show_logs: the last lines of the agent's log and of its events
show_logs() {
	tail -n 15 "/tmp/$TEST.log" | cut -c1-400 | sed 's/^/# log: /' >&3
	tail -n 3 "/tmp/$TEST.events" | cut -c1-300 | sed 's/^/# event: /' >&3
} 2>/dev/null

# report_the_dead STATUS: the verdict of a test that ended with STATUS and without one
report_the_dead() {
	show_logs
	case $1 in
	137) say_verdict fail "killed after $LIMIT s" ;;
	*) say_verdict fail "ended with $1 and without a verdict" ;;
	esac
}
