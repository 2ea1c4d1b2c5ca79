# How a test ends: by one line `TEST name verdict text`, which src/protocol.rs reads, after lines `# ...` that are shown when it
# was not the right one. Sourced by every test, and by init, which speaks for a test that cannot any more.

# say_verdict ok|fail|refused TEXT
say_verdict() {
	echo "TEST $TEST $1 $2" >&3
	: >"/tmp/$TEST.verdict"
}

has_a_verdict() { [ -e "/tmp/$TEST.verdict" ]; }

# detail TEXT: shown when the test fails
detail() { echo "# $*" >&3; }

# show_logs: the ends of what the agent said and of its events
show_logs() {
	tail -n 15 "/tmp/$TEST.log" | cut -c1-400 | sed 's/^/# log: /' >&3
	tail -n 3 "/tmp/$TEST.events" | cut -c1-300 | sed 's/^/# event: /' >&3
} 2>/dev/null

# speak_for_the_dead STATUS: the verdict of a test that ended with STATUS and without one
speak_for_the_dead() {
	show_logs
	case $1 in
	137) say_verdict fail "killed after $PATIENCE s" ;;
	*) say_verdict fail "ended with $1 and without a verdict" ;;
	esac
}
