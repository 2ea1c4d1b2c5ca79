# Passes when the agent, with no more than what the DaemonSet always asks for, has the security layer in force; before 5.11, where
# maps count against Debian's RLIMIT_MEMLOCK of 64 KiB, when that is refused by name and the agent lives on.
# Expect: ok
# Expect on 5.10: refused MapMemoryExceeded
. /init.d/test.sh

run_agent_as_it_is /smoke/security.yaml
in_force_or_refused() { said "in force" >/dev/null || said MapMemoryExceeded >/dev/null; }
eventually 45 in_force_or_refused || fail "neither in force nor MapMemoryExceeded"
kill -0 "$AGENT" 2>/dev/null || fail "the agent ended by itself"
said MapMemoryExceeded >/dev/null && refused "$(said MapMemoryExceeded)"
ok "$(said "in force")"
