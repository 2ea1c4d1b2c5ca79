# Passes when a policy with a raw tracepoint, which no perf event is needed for, reports it with an integer argument.
# Expect: ok
. /init.d/test.sh

run_agent /smoke/security.yaml /smoke/tracepoint-raw.yaml
wait_until_active
reported() {
	in_container "$WEB" /bin/true "marker-$TEST"
	event '"process_tracepoint"' '"subsys":"sched"' '"event":"sched_process_exec"' '"policy_name":"watch-exec"' '"args":[{' >/dev/null
}
eventually 45 reported || fail "no process_tracepoint of sched/sched_process_exec"
ok "sched/sched_process_exec$OPTED_IN"
