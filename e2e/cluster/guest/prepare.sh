#!/bin/sh
# Makes a guest a node: file systems, cgroups and network. /etc/node/settings.sh has its names, addresses and paths.
. /etc/node/settings.sh

mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs tracing /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
# What a node keeps in memory: after a power cut no container runs and no address is taken.
mount -t tmpfs state "$NODE_FOLDER/run"
mount -t tmpfs addresses "$NODE_FOLDER/pod-addresses"
mount --make-rshared /
hostname "$NODE"

# As on the other nodes: daemons in /NODE/system, pods in /NODE/kubepods.
mkdir -p "/sys/fs/cgroup/$NODE/system"
for cgroup in /sys/fs/cgroup "/sys/fs/cgroup/$NODE"; do
	for controller in $(cat "$cgroup/cgroup.controllers"); do
		echo "+$controller" >"$cgroup/cgroup.subtree_control"
	done
done

# Debian's 3 refuses perf events to agents, which do not have CAP_SYS_ADMIN.
echo 2 >/proc/sys/kernel/perf_event_paranoid
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set lo up
ip link set eth0 up
ip addr add "$V4/24" dev eth0
ip -6 addr add "$V6/64" dev eth0
ip route add default via "$GATEWAY_V4"
ip -6 route add default via "$GATEWAY_V6"
