# Passes when a policy with a classic tracepoint is refused by name on a node with Debian's perf_event_paranoid of 3: a classic
# tracepoint is a perf event, and without SYS_ADMIN there is none.
# Expect: refused PerfParanoid
. /init.d/test.sh

run_agent /smoke/security.yaml /smoke/tracepoint-classic.yaml
eventually 45 said PerfParanoid >/dev/null || fail "the agent did not say PerfParanoid"
refused "$(said PerfParanoid)"
