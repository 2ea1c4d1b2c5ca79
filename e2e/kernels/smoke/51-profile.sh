# Passes when the same profile, with the sysctl at 2, says that it has samples ("samples":N, N > 0, on standard output) of a
# container that burns CPU.
# Expect: ok
. /init.d/test.sh

echo 2 >/proc/sys/kernel/perf_event_paranoid
(
	enter "$WEB"
	exec sh -c 'while :; do :; done'
) &
run_agent /smoke/profile.yaml
wait_until_active
sampled() { grep -q '"samples":"\{0,1\}[1-9]' "$EVENTS"; }
# The profile's 20 s, and the 60 s that the worker may take for it.
eventually 100 sampled || fail "no samples of a container that burns CPU"
ok "$(grep -o -m 1 '"samples":"\{0,1\}[0-9]*' "$EVENTS")$OPTED_IN"
