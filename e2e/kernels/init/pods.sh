# Two pods, each with a network namespace of its own, joined to the node's bridge by a veth, as a CNI plugin does it.
# Sourced by the tests that need a network.

NODE_IP=10.77.0.1
WEB_IP=10.77.0.2
STORE_IP=10.77.0.3

# pod CGROUP NAME ADDRESS: prints the pod's process
pod() {
	(
		enter "$1"
		exec unshare -n sleep 300
	) >/dev/null &
	pid=$!
	until [ "$(readlink /proc/$pid/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.1; done
	ip link add name "to-$2" type veth     # the kernel calls the other end veth0
	ip link set veth0 netns $pid
	ip link set "to-$2" master cni0
	ip link set "to-$2" up
	nsenter -t $pid -n ip link set veth0 name eth0
	nsenter -t $pid -n ip link set lo up
	nsenter -t $pid -n ip addr add "$3/24" dev eth0
	nsenter -t $pid -n ip link set eth0 up
	echo $pid
}

make_pods() {
	ip link add name cni0 type bridge
	ip addr add $NODE_IP/24 dev cni0
	ip link set cni0 up
	WEB_PID=$(pod "$WEB" web $WEB_IP)
	STORE_PID=$(pod "$STORE" store $STORE_IP)
}

# listen_in_store PORT: answers every connection there with one line
listen_in_store() {
	(
		enter "$STORE"
		exec nsenter -t "$STORE_PID" -n nc -ll -p "$1" -e /bin/echo in-store
	) &
}

# listen_in_node PORT: the same on the node itself
listen_in_node() {
	nc -ll -p "$1" -e /bin/echo in-node &
	LISTENER=$!
}

# ask_store PORT: one TCP connection from web to store; true when store answered
ask_store() { ask $STORE_IP "$1" | grep -q in-store; }

# ask_node PORT: the same to the node
ask_node() { ask $NODE_IP "$1" | grep -q in-node; }

ask() {
	(
		enter "$WEB"
		echo ask | nsenter -t "$WEB_PID" -n nc -w 2 "$1" "$2"
	)
}

remove_pods() {
	kill "$WEB_PID" "$STORE_PID" $LISTENER
	ip link del to-web
	ip link del to-store
	ip link del cni0
} 2>/dev/null
