# Passes when an agent says of each policy that this kernel cannot have what is wrong, where, and what to do.
# Expect: ok
. /init.d/test.sh

run_agent /smoke/security.yaml /smoke/messages.yaml
# expect TEXT: a line of the agent's log has it.
expect() {
	end=$(($(seconds) + 90))
	until grep -qF "$1" "$LOG"; do
		[ "$(seconds)" -lt "$end" ] || fail "the agent did not say: $1; it said: $(grep -F reason= "$LOG" | head -5)"
		sleep 1
	done
}
expect 'spec.kprobes[0].call: function find_module_sections does not exist in this kernel; set ignore.callNotFound, or see `trilobite policy check`'
expect 'spec.kprobes[0].args[0]: security_file_open has struct file * there in this kernel, not a socket (sock)'
expect 'spec.tracepoints[0].event: tracepoint sched/no_such_event does not exist in this kernel'
moved='spec.kprobes[0].args[0]: security_inode_copy_up_xattr has struct dentry * there in this kernel, not a string; its string is index 1'
case $(uname -r) in
# The name of the attribute was the first argument.
5.10.* | 6.1.*) ! grep -qF 'security_inode_copy_up_xattr has' "$LOG" || fail "refused: $(grep -F copy_up_xattr "$LOG" | head -1)" ;;
*) expect "$moved" ;;
esac
ok "refusals name field, type and next step$OPTED_IN"
