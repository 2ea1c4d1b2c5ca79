# Passes when the same profile, with the sysctl at 2, says that it has samples ("samples":N, N > 0, on standard output) of a
# container that burns CPU.
# Expect: ok
. /init.d/test.sh

echo 2 >/proc/sys/kernel/perf_event_paranoid
trap 'echo 3 >/proc/sys/kernel/perf_event_paranoid' EXIT
(
	enter "$WEB"
	exec sh -c 'while :; do :; done'
) &
run_agent /smoke/profile.yaml
sampled() { grep -q '"samples":"\{0,1\}[1-9]' "$EVENTS"; }
eventually 75 sampled || fail "no samples of a container that burns CPU"
ok "$(grep -o -m 1 '"samples":"\{0,1\}[0-9]*' "$EVENTS")$OPTED_IN"
