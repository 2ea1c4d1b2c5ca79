# Passes when a CPU profile is refused by name on a node with Debian's perf_event_paranoid of 3.
# Expect: refused PerfParanoid
. /init.d/test.sh

run_agent /smoke/profile.yaml
eventually 45 said PerfParanoid >/dev/null || fail "the agent did not say PerfParanoid"
refused "$(said PerfParanoid)"
