# Passes when a policy on security_bprm_check reports the execution of a listed file, also by a symlink, with the file that is
# executed, and reports no other execution.
# Expect: ok
. /init.d/test.sh

mkdir -p /usr/bin
cp /bin/busybox /usr/bin/curl
ln -sf /bin/busybox /usr/bin/python3
run_agent /smoke/security.yaml /smoke/kprobe-downloads.yaml
wait_until_active
by_path() {
	in_container "$WEB" sh -c 'cat /dev/null; /usr/bin/curl; true' >/dev/null 2>&1
	event '"process_kprobe"' '"function_name":"security_bprm_check"' '"policy_name":"detect-download-tools"' '/usr/bin/curl' >/dev/null
}
eventually 45 by_path || fail "no event of /usr/bin/curl: $(grep process_kprobe "$EVENTS" | cut -c1-600 | tail -1)"
by_symlink() {
	in_container "$WEB" sh -c '/usr/bin/python3; true' >/dev/null 2>&1
	grep '"process_kprobe"' "$EVENTS" | grep -q '"linux_binprm_arg":{"path":"/bin/busybox"'
}
eventually 45 by_symlink || fail "no event of the symlink /usr/bin/python3: $(grep process_kprobe "$EVENTS" | cut -c1-600 | tail -1)"
in_container "$WEB" /bin/cat /dev/null
sleep 2
! grep '"process_kprobe"' "$EVENTS" | grep -q '"path":"/bin/cat"' || fail "an event of cat"
ok "executions by path and by symlink$OPTED_IN"
