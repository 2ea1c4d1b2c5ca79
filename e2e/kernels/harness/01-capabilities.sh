# Passes when a program that as_the_daemonset starts, and what that program starts, has exactly the DaemonSet's capabilities in
# every set, is uid 0, cannot gain privilege, and is refused what root may do.
# Expect: ok
. /init.d/test.sh

wanted=000000c400081004     # BPF 39, PERFMON 38, SYSLOG 34, SYS_PTRACE 19, NET_ADMIN 12, DAC_READ_SEARCH 2
(as_the_daemonset /bin/sh -c 'cat /proc/self/status') >/tmp/status
for set in Inh Prm Eff Bnd Amb; do
	have=$(sed -n "s/^Cap$set:[[:space:]]*//p" /tmp/status)
	[ "$have" = $wanted ] || fail "Cap$set is $have, not $wanted"
done
grep -q '^NoNewPrivs:[[:space:]]*1' /tmp/status || fail "no_new_privs is not set"
grep -q '^Uid:[[:space:]]*0[[:space:]]*0' /tmp/status || fail "it is not uid 0"
(as_the_daemonset /bin/mount -t tmpfs none /tmp) 2>/dev/null && fail "it may mount"
(as_the_daemonset /bin/nice -n -5 /bin/true) 2>/dev/null && fail "it may raise its priority"
(as_the_daemonset /bin/ip link set lo mtu 1500) || fail "NET_ADMIN does not work"
(as_the_daemonset /bin/grep -q ' [tT] schedule$' /proc/kallsyms) || fail "no kernel symbols"
(as_the_daemonset /bin/grep -q '^0000000000000000 T ' /proc/kallsyms) && fail "SYSLOG does not show kernel addresses"
(as_the_daemonset /bin/readlink /proc/1/exe) >/dev/null || fail "SYS_PTRACE does not work"
ok "$wanted in all five sets"
