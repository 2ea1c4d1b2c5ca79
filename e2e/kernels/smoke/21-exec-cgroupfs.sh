# Passes when a process that starts and ends in a container, of a node with cgroupfs names, is seen as
# process_exec and process_exit with one exec_id, its binary, arguments and container, among the agent's JSON lines.
# Expect: ok
. /init.d/test.sh
. /smoke/exec.inc
see_exec_and_exit cgroupfs
