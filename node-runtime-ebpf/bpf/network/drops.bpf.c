// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Packets that the kernel drops, of the pods that the agent names: counted by connection, reason and place.
 *
 * No count is lost, however fast packets are dropped: each is added to its entry in one of two maps. The agent lets the program
 * change over to the other map, waits until no processor can still be counting in the first, and empties that. A record only says
 * at once that there is a new entry; one that finds no room in the ring is no loss.
 */
#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "connection.h"
#include "drops.h"
#include "packet.h"
#include "task.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define drop_map(name)                                 \
	struct {                                       \
		__uint(type, BPF_MAP_TYPE_HASH);       \
		__uint(map_flags, BPF_F_NO_PREALLOC);  \
		__uint(max_entries, PACKET_DROPS_MAX); \
		__type(key, struct packet_drop_key);   \
		__type(value, struct packet_drop_value); \
	} name SEC(".maps")

drop_map(even_drops);
drop_map(odd_drops);

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, PACKET_DROP_RING_BYTES);
} drop_ring SEC(".maps");

/* Addresses of the pods of interest. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POD_ADDRESSES_MAX);
	__type(key, struct pod_address);
	__type(value, __u8);
} pod_addresses SEC(".maps");

/* A bit for each of these addresses, by its hash: most packets of other pods leave by it. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, ADDRESS_HASH_WORDS);
	__type(key, __u32);
	__type(value, __u64);
} pod_address_bits SEC(".maps");

/* Network namespaces of these pods, by inode: several nodes may share a kernel, and pods elsewhere may have the same addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, POD_ADDRESSES_MAX);
	__type(key, __u32);
	__type(value, __u8);
} pod_namespaces SEC(".maps");

/* Written by the agent when it knows the name of a place. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, IGNORED_DROPS_MAX);
	__type(key, struct ignored_drop);
	__type(value, __u8);
} ignored_drops SEC(".maps");

/* 1 for each reason of which some place is in `ignored_drops`; the last element is for all that are higher. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, IGNORED_REASONS);
	__type(key, __u32);
	__type(value, __u8);
} ignored_reasons SEC(".maps");

/* The network namespace of the node, by inode. */
const volatile __u32 node_namespace = 0;
/* Without a cluster no pod is known, and every packet of the machine is of interest. */
const volatile __u8 is_machine = 0;

/* Counts are added to the map of even or of odd numbers. The agent increments the number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} drop_generation SEC(".maps");

static __always_inline __u32 active_generation(void)
{
	__u32 zero = 0, *generation = bpf_map_lookup_elem(&drop_generation, &zero);

	return generation ? *(volatile __u32 *)generation : 0;
}

enum skb_drop_reason___since_5_17 {
	ANY_DROP_REASON,
};

/* The type came with the tracepoint's third argument. The verifier never sees the read on a kernel without it. */
static __always_inline __u32 reason_of(const __u64 *ctx)
{
	if (bpf_core_type_exists(enum skb_drop_reason___since_5_17))
		return ctx[2];
	return 0;
}

static __always_inline bool is_namespace_of_node(__u32 inode)
{
	return inode && (is_machine || inode == node_namespace || bpf_map_lookup_elem(&pod_namespaces, &inode));
}

/* Where the packet is. False if it is in a namespace that is neither the node's nor that of a pod of interest. The word of the device is
 * used for other things while a packet is in the queue of a socket: what it then says is no namespace of the node.
 */
static __always_inline bool find_namespace(struct sk_buff *skb, struct packet_drop_key *key)
{
	struct net_device *device = skb->dev;
	struct sock *socket = skb->sk;
	__u32 inode = 0;

	if (device) {
		inode = device->nd_net.net->ns.inum;
		if (is_namespace_of_node(inode)) {
			key->network_namespace = inode;
			key->interface = device->ifindex;
			return true;
		}
	}
	if (socket)
		inode = socket->__sk_common.skc_net.net->ns.inum;
	if (!is_namespace_of_node(inode))
		return !inode;
	key->network_namespace = inode;
	return true;
}

static __always_inline bool is_ignored(const struct ignored_drop *drop)
{
	__u32 reason = drop->reason < IGNORED_REASONS ? drop->reason : IGNORED_REASONS - 1;
	__u8 *has_places = bpf_map_lookup_elem(&ignored_reasons, &reason);

	return has_places && *has_places && bpf_map_lookup_elem(&ignored_drops, drop);
}

static __always_inline bool is_pod(const __u8 *address)
{
	const __u32 *word = (const __u32 *)address;
	__u32 hash = ((word[0] ^ word[1] ^ word[2] ^ word[3]) * ADDRESS_HASH_FACTOR) >> ADDRESS_HASH_SHIFT;
	__u32 index = hash / 64;
	__u64 *bits = bpf_map_lookup_elem(&pod_address_bits, &index);

	return bits && *bits >> (hash % 64) & 1 && bpf_map_lookup_elem(&pod_addresses, address);
}

/* A packet without device and socket is on its way to a socket: it belongs to the receiver's node. */
static __always_inline bool is_of_interest(const struct packet_drop_key *key)
{
	if (is_machine)
		return !is_loopback(key->source) && !is_loopback(key->destination);
	return is_pod(key->destination) || (key->network_namespace && is_pod(key->source));
}

static __always_inline void emit_first(const struct packet_drop_key *key, const struct packet_drop_value *value,
				       __u32 generation)
{
	struct packet_drop_record *record = bpf_ringbuf_reserve(&drop_ring, sizeof(*record), 0);

	if (!record)
		return;
	fill_header(&record->header, RECORD_PACKET_DROP, sizeof(*record), value->last, NULL);
	record->header.connection = value->connection;
	record->header.generation = generation;
	record->key = *key;
	record->value = *value;
	bpf_ringbuf_submit(record, 0);
}

static __always_inline struct packet_drop_value *find_entry(const struct packet_drop_key *key, __u32 generation)
{
	if (generation & 1)
		return bpf_map_lookup_elem(&odd_drops, key);
	return bpf_map_lookup_elem(&even_drops, key);
}

static __always_inline long create_entry(const struct packet_drop_key *key, const struct packet_drop_value *value,
					 __u32 generation)
{
	if (generation & 1)
		return bpf_map_update_elem(&odd_drops, key, value, BPF_NOEXIST);
	return bpf_map_update_elem(&even_drops, key, value, BPF_NOEXIST);
}

static __always_inline void count_packet(struct sk_buff *skb, const struct packet_drop_key *key, __u32 bytes, __u8 tcp_flags)
{
	__u32 generation = active_generation();
	__u64 now = bpf_ktime_get_boot_ns();
	struct packet_drop_value *value = find_entry(key, generation);

	if (!value) {
		struct packet_drop_value fresh = {
			.packets = 1,
			.bytes = bytes,
			.first = now,
			.last = now,
			.tcp_flags = tcp_flags,
		};
		struct net_device *device = skb->dev;

		fresh.connection = connection_key(key->source, key->source_port, key->destination, key->destination_port,
						  key->protocol, key->network_namespace);
		if (key->interface && device)
			bpf_probe_read_kernel(fresh.interface_name, sizeof(fresh.interface_name), device->name);
		if (!create_entry(key, &fresh, generation)) {
			emit_first(key, &fresh, generation);
			return;
		}
		/* No room, or another processor made it first. */
		value = find_entry(key, generation);
		if (!value) {
			count_drop(DROP_PACKET_ENTRY);
			return;
		}
	}
	__sync_fetch_and_add(&value->packets, 1);
	__sync_fetch_and_add(&value->bytes, bytes);
	value->last = now;
}

/* network/drops: the kernel frees a packet that it could not, or may not, deliver.
 * Kernels    5.10+ (tp_btf)                Arguments  packet, address of the caller; from 5.17 on the reason, from 6.11 on the
 *            receiving socket
 * Why here   the one place that netfilter, tc, routing, neighbours and sockets pass, on every CNI. Packets that were delivered are
 *            freed elsewhere. Some callers free here what was not lost: these, once named by the agent, leave by the first lookup
 * Costs      a packet that is not wanted ~70 ns (node-runtime/tests/drop_counts.rs measures it); one that is, three lookups and two
 *            atomic additions; a record of 184 bytes for the first of its kind in a second
 */
SEC("tp_btf/kfree_skb")
int on_packet_drop(__u64 *ctx)
{
	struct sk_buff *skb = (void *)ctx[0];
	struct ignored_drop ignored = {.place = ctx[1], .reason = reason_of(ctx)};
	struct packet_drop_key key = {.place = ignored.place, .reason = ignored.reason};
	struct packet_view view;
	__u16 protocol = skb->protocol;
	bool is_ip = false;
	__u32 offset;

	if (protocol != bpf_htons(ETH_P_IP) && protocol != bpf_htons(ETH_P_IPV6))
		return 0;
	if (is_ignored(&ignored))
		return 0;
	if (!find_namespace(skb, &key))
		return 0;
	view_packet(skb, &view);
	offset = protocol == bpf_htons(ETH_P_IP) ? read_ipv4_of(&view, &key, &is_ip) : read_ipv6_of(&view, &key, &is_ip);
	if (!is_ip || !is_of_interest(&key))
		return 0;
	if (key.family == 6)
		offset = skip_extensions(&view, &key, offset);
	count_packet(skb, &key, view.bytes, offset ? read_transport(&view, &key, offset) : 0);
	return 0;
}
