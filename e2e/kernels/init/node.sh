# The cgroups of a node, in both of kubelet's naming schemes, and how to start something in one.
# Sourced by init and by every test.

SYSTEMD=/sys/fs/cgroup/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice
CGROUPFS=/sys/fs/cgroup/kubepods/burstable

AGENT_ID=a9e47000000000000000000000000000000000000000000000000000000000a9
WEB_ID=3eb0000000000000000000000000000000000000000000000000000000003eb0
STORE_ID=5704e0000000000000000000000000000000000000000000000000000005704e

# container LAYOUT UID ID: the cgroup directory of a container
container() {
	case $1 in
	systemd) echo "$SYSTEMD/kubelet-kubepods-burstable-pod$(echo "$2" | tr - _).slice/cri-containerd-$3.scope" ;;
	cgroupfs) echo "$CGROUPFS/pod$2/$3" ;;
	esac
}

AGENT_UID=11111111-0a9e-4700-8000-000000000001
WEB_UID=22222222-03eb-4000-8000-000000000002
STORE_UID=33333333-0570-4e00-8000-000000000003

# use_layout systemd|cgroupfs: which of the two trees the agent and the pods are in
use_layout() {
	AGENT_CGROUP=$(container "$1" $AGENT_UID $AGENT_ID)
	WEB=$(container "$1" $WEB_UID $WEB_ID)
	STORE=$(container "$1" $STORE_UID $STORE_ID)
}

make_node() {
	PARANOID=$(cat /proc/sys/kernel/perf_event_paranoid)
	for layout in systemd cgroupfs; do
		use_layout $layout
		mkdir -p "$AGENT_CGROUP" "$WEB" "$STORE"
	done
}

# enter CGROUP: moves the calling (sub)shell
enter() {
	echo 0 >"$1/cgroup.procs"
}

# in_container CGROUP PROGRAM ARGUMENT...: to its end
in_container() {
	(
		enter "$1"
		shift
		exec "$@"
	)
}

# give_node_back: resets the node for the next test, however this one ended; only init calls this
give_node_back() {
	kill -9 -1               # all but init: agents, pods, whatever listens
	pods_empty_by=$(($(cut -d. -f1 /proc/uptime) + 30))
	while [ -n "$(in_pods)" ]; do
		kill -9 -1
		[ "$(cut -d. -f1 /proc/uptime)" -lt $pods_empty_by ] || {
			echo "# still in a pod after $TEST: $(in_pods | tr '\n' ' ')"
			break
		}
		sleep 0.1
	done
	for link in to-web to-store cni0; do
		ip link del $link 2>/dev/null
	done
	echo "$PARANOID" >/proc/sys/kernel/perf_event_paranoid
}

# in_pods: every process in a pod or an agent's cgroup
in_pods() { find $SYSTEMD $CGROUPFS -name cgroup.procs -exec cat {} +; }

use_layout systemd
