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
echo "BOOT $(uname -r) $(cut -d' ' -f1 /proc/uptime)"
ifconfig lo 127.0.0.1 up
for module in /modules/*.ko; do
	insmod "$module" || echo "# insmod $module failed"
done
. /init.d/node.sh
make_node

for script in /tests/*.sh; do
	name=${script##*/}
	name=${name%.sh}
	export TEST="${name#[0-9][0-9]-}"
	timeout -s KILL 90 sh "$script" </dev/null
	end_everything_in_pods       # whatever a killed test has left would be in the next one's events
done
echo "DONE $(cut -d' ' -f1 /proc/uptime)"
poweroff -f
