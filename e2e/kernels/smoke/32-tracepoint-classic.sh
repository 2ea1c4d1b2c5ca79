# Passes when the same policy, with the sysctl at 2, reports the file that a container opened (a string argument).
# Expect: ok
. /init.d/test.sh

echo 2 >/proc/sys/kernel/perf_event_paranoid
run_agent /smoke/security.yaml /smoke/tracepoint-classic.yaml
wait_until_active
reported() {
	in_container "$WEB" /bin/cat "/tmp/marker-$TEST" 2>/dev/null
	event '"process_tracepoint"' '"event":"sys_enter_openat"' '"policy_name":"watch-openat"' "\"/tmp/marker-$TEST\"" >/dev/null
}
eventually 45 reported || fail "no process_tracepoint of syscalls/sys_enter_openat with the file's name"
ok "syscalls/sys_enter_openat$OPTED_IN"
