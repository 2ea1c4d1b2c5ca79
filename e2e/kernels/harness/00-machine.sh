# Passes when the machine is a node: BTF, tracefs, bpffs, cgroup v2 and no v1, Debian's perf_event_paranoid, the modules.
# Expect: ok
. /init.d/test.sh

[ -r /sys/kernel/btf/vmlinux ] || fail "the kernel has no BTF"
[ -d /sys/kernel/tracing/events/sched/sched_process_exec ] || fail "tracefs has no sched_process_exec"
grep -q ' /sys/fs/bpf bpf ' /proc/mounts || fail "no bpffs"
grep -q ' /sys/fs/cgroup cgroup2 ' /proc/mounts || fail "no cgroup v2"
grep -q '^[^ ]* [^ ]* cgroup ' /proc/mounts && fail "a cgroup v1 hierarchy is mounted"
paranoid=$(cat /proc/sys/kernel/perf_event_paranoid)
[ "$paranoid" = 3 ] || fail "perf_event_paranoid is $paranoid, Debian's is 3"
for module in veth bridge sch_ingress cls_bpf; do
	[ -d /sys/module/$module ] || fail "module $module is not loaded"
done
ok "cpus $(nproc), memlock $(ulimit -l) KiB, lsm $(mount -t securityfs s /sys/kernel/security && cat /sys/kernel/security/lsm)"
