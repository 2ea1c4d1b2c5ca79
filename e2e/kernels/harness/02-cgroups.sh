# Passes when a process started in a container is in the cgroup that kubelet would have put it in, in both naming schemes.
# Expect: ok
. /init.d/test.sh

for layout in systemd cgroupfs; do
	use_layout $layout
	seen=$(in_container "$WEB" cat /proc/self/cgroup)
	[ "/sys/fs/cgroup${seen#0::}" = "$WEB" ] || fail "in a $layout container, /proc/self/cgroup is $seen"
	seen=$( (as_the_daemonset /bin/cat /proc/self/cgroup))
	[ "/sys/fs/cgroup${seen#0::}" = "$AGENT_CGROUP" ] || fail "the agent's $layout cgroup is $seen"
done
[ "$(cat "$WEB/cgroup.procs")" = "" ] || fail "a process stayed in a container"
ok "systemd and cgroupfs"
