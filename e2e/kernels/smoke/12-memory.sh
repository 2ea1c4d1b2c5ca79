# Passes when the agent, with no more than what the DaemonSet always asks for, has an active security layer; before 5.11, where
# maps count against Debian's RLIMIT_MEMLOCK of 64 KiB, when that is refused by name and the agent lives on.
# Expect: ok
# Expect on 5.10: refused MapMemoryExceeded
. /init.d/test.sh

run_agent_as_it_is /smoke/security.yaml
active_or_refused() { said "$ACTIVE" >/dev/null || said MapMemoryExceeded >/dev/null; }
eventually 45 active_or_refused || fail "neither active nor MapMemoryExceeded"
kill -0 "$AGENT" 2>/dev/null || fail "the agent ended by itself"
said MapMemoryExceeded >/dev/null && refused "$(said MapMemoryExceeded)"
ok "$(said "$ACTIVE")"
