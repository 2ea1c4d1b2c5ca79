#!/bin/busybox sh
# PID 1: makes the machine look like a node, runs every /tests/*.sh, powers off.
# What it writes on the console is the protocol of src/protocol.rs.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tracefs trace /sys/kernel/tracing
mount -t cgroup2 cgroup /sys/fs/cgroup
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs run /run
dmesg -n 1                       # the kernel's own messages would fall into the middle of our lines
exec 3>&1
echo "BOOT $(uname -r) $(cut -d' ' -f1 /proc/uptime)"
ifconfig lo 127.0.0.1 up
for module in /modules/*.ko; do
	insmod "$module" || echo "# insmod $module failed"
done
. /init.d/node.sh
. /init.d/verdict.sh
make_node

DEFAULT_LIMIT=240     # seconds: longer than the longest script waits for everything that it waits for
for script in /tests/*.sh; do
	LIMIT=$(sed -n 's/^# Limit: //p' "$script")
	LIMIT=${LIMIT:-$DEFAULT_LIMIT}
	name=${script##*/}
	name=${name%.sh}
	export TEST="${name#[0-9][0-9]-}"
	timeout -s KILL $LIMIT sh "$script" </dev/null
	status=$?
	has_a_verdict || report_the_dead $status
	give_node_back
done
echo "DONE $(cut -d' ' -f1 /proc/uptime)"
poweroff -f
