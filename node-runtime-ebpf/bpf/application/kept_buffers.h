/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where the bytes of a call on a socket are, by the iterator that the function is called with: at its return the iterator has been
 * consumed, so that it is kept from the entry on. */
#ifndef TRILOBITE_KEPT_BUFFERS_H
#define TRILOBITE_KEPT_BUFFERS_H

#include "capture.h"

struct kept_buffers {
	__u64 segment, segment_bytes;
	__u64 vector, vector_count;
	__u64 skip;
	__u64 name;                     /* of the peer, in kernel memory; 0: none */
};

/* By thread. A full map costs the bytes of a call, which are a counted gap. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, SOCKETS_MAX);
	__type(key, __u64);
	__type(value, struct kept_buffers);
} kept_buffers SEC(".maps");

static __always_inline bool is_iterator_of(struct iov_iter *iterator, __u32 kind)
{
	struct iov_iter___bits *old = (void *)iterator;

	if (bpf_core_field_exists(iterator->iter_type))
		return BPF_CORE_READ(iterator, iter_type) == kind;
	return (BPF_CORE_READ(old, type) & ~1u) == kind;
}

/* Keeps the buffers of a call if its thread is selected. Buffers in kernel memory are not the process's. */
static __always_inline int keep_buffers(struct msghdr *message)
{
	struct iov_iter *iterator = &message->msg_iter;
	struct iov_iter___old *old = (void *)iterator;
	__u64 thread = bpf_get_current_pid_tgid();
	struct kept_buffers kept = {};
	int class_id;

	if (!has_slots())
		return 0;
	class_id = current_class();
	if (class_id < 0 || !slots_of_class(class_id))
		return 0;
	kept.name = (__u64)BPF_CORE_READ(message, msg_name);
	kept.skip = BPF_CORE_READ(iterator, iov_offset);
	if (bpf_core_enum_value_exists(enum iter_type, ITER_UBUF) &&
	    is_iterator_of(iterator, bpf_core_enum_value(enum iter_type, ITER_UBUF))) {
		kept.segment = (__u64)BPF_CORE_READ(iterator, ubuf) + kept.skip;
		kept.segment_bytes = BPF_CORE_READ(iterator, count);
		kept.skip = 0;
	} else if (is_iterator_of(iterator, bpf_core_enum_value(enum iter_type, ITER_IOVEC))) {
		if (bpf_core_field_exists(iterator->__iov))
			kept.vector = (__u64)BPF_CORE_READ(iterator, __iov);
		else
			kept.vector = (__u64)BPF_CORE_READ(old, iov);
		kept.vector_count = BPF_CORE_READ(iterator, nr_segs);
	}
	bpf_map_update_elem(&kept_buffers, &thread, &kept, BPF_ANY);
	return 0;
}

/* The address of a datagram's peer, where the socket has none of its own. */
static __always_inline void read_peer(struct data_scratch *s, __u64 from)
{
	struct socket_address address = {};

	if (!s->has_peers || !from || bpf_probe_read_kernel(&address, sizeof(address), (void *)from))
		return;
	set_peer(&s->record, &address);
}

/* NULL for a call that had begun before the programs were attached. */
static __always_inline struct kept_buffers *find_kept_buffers(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	return bpf_map_lookup_elem(&kept_buffers, &thread);
}

static __always_inline void use_kept_buffers(struct data_scratch *s, const struct kept_buffers *kept)
{
	s->is_kernel_vector = true;
	s->segment = kept->segment;
	s->segment_bytes = kept->segment_bytes;
	s->vector = kept->vector;
	s->vector_count = kept->vector_count;
	s->skip = kept->skip;
	read_peer(s, kept->name);
}

static __always_inline void forget_buffers(void)
{
	__u64 thread = bpf_get_current_pid_tgid();

	bpf_map_delete_elem(&kept_buffers, &thread);
}

#endif
