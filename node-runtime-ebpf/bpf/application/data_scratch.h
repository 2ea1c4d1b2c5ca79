/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The memory of a call on a socket, in which its records are assembled: the slots are asked, then the bytes are copied piece by piece,
 * each once, and each slot that wants a piece gets a record. Functions that the verifier checks once each find the memory by its
 * number. */
#ifndef TRILOBITE_DATA_SCRATCH_H
#define TRILOBITE_DATA_SCRATCH_H

#include "drops.h"
#include "scratch_lock.h"
#include "slots.h"

#define DATA_LEVELS 2           /* calls on one processor at a time: on a preemptible kernel another task may interrupt one */
#define SEGMENT_BYTES_MAX 1024  /* copied at a time of a segment behind the first bytes */
#define COPY_STEPS 24           /* such parts, and segments, of a record at most */

struct data_scratch {
	__u32 users;                    /* 1 while a call has it; more while others try */
	__u32 class_id;
	__u64 missed;                   /* bytes that were sent or received in front of this call, without a call that was seen */

	/* Slots, a bit each, as in struct followed_socket; `wanting`: slots that select the caller; `writes`: slots that get
	 * a record of this call. */
	__u64 wanting, seen, late, ignored, writes;
	__u64 fresh;                    /* slots that have had no record of this direction yet: what was missed before is not theirs */
	bool is_underway;               /* bytes were exchanged before the slots of this call saw the socket */
	bool has_peers;                 /* an unconnected socket: the next call may be with another port */
	bool is_kernel_vector;
	bool is_last_piece;
	__u32 limit;                    /* bytes to copy of the call: the most that a slot wants */
	__u32 limits[REQUEST_SLOTS_MAX];
	__u64 lengths_only;             /* slots with VERDICT_LENGTHS */

	/* The call, and what earlier pieces of it have. */
	__u64 call_position;
	__u32 call_bytes;
	__u32 offset;

	/* Where the call's bytes are in user memory: the rest of a segment, and the struct iovec behind it. */
	__u64 segment, segment_bytes;
	__u64 vector, vector_count;
	__u64 skip;                     /* bytes of the first segment of the vector that are not of this call */
	__u32 copied;                   /* bytes of this piece */
	__u32 piece_bytes;              /* those that it is to have */
	struct data_record record;
	__u8 data[DATA_BYTES_MAX + SEGMENT_BYTES_MAX];  /* follows the record without a gap */
};

_Static_assert(DATA_CALL_MAX == DATA_PIECES_MAX * DATA_BYTES_MAX, "the pieces of a call have all of its bytes");
_Static_assert(__builtin_offsetof(struct data_scratch, data) ==
	       __builtin_offsetof(struct data_scratch, record) + sizeof(struct data_record), "the data follow the record");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, DATA_LEVELS);
	__type(key, __u32);
	__type(value, struct data_scratch);
} data_scratch SEC(".maps");

struct user_segment {
	__u64 base, bytes;
};

static __always_inline struct data_scratch *data_scratch_at(__u32 level)
{
	return bpf_map_lookup_elem(&data_scratch, &level);
}

/* Takes one of the processor's scratches; below 0 if none is free. */
static __always_inline int acquire_data_scratch(void)
{
#pragma nounroll
	for (__u32 level = 0; level < DATA_LEVELS; level++) {
		struct data_scratch *s = data_scratch_at(level);

		if (!s)
			break;
		if (try_lock_scratch(&s->users))
			return level;
	}
	return -1;
}

static __always_inline void release_data_scratch(struct data_scratch *s)
{
	unlock_scratch(&s->users);
}

/* Forgets the bytes and the answers of the call that had the scratch before. */
static __always_inline void reset_data_scratch(struct data_scratch *s)
{
	s->writes = 0;
	s->limit = 0;
	s->offset = 0;
	s->copied = 0;
	s->segment_bytes = 0;
	s->vector_count = 0;
	s->skip = 0;
}

static __always_inline void count_lost(__u32 slot, __u32 length)
{
	struct slot_counts *counts = bpf_map_lookup_elem(&slot_counts, &slot);

	if (!counts)
		return;
	__sync_fetch_and_add(&counts->lost_records, 1);
	__sync_fetch_and_add(&counts->lost_bytes, length);
}

/* Counts a call for slots that get no record of it: no scratch was free, or its socket could not be followed. */
__noinline int count_lost_call(__u64 slots, __u32 length)
{
#pragma nounroll
	for (__u32 slot = 0; slot < REQUEST_SLOTS_MAX; slot++) {
		if (slots >> slot & 1)
			count_lost(slot, length);
	}
	return 0;
}

/* More than half of a slot's ring waits to be read: the later pieces of large calls would take the room of other calls. */
static __always_inline bool is_ring_busy(__u32 slot)
{
	void *ring = bpf_map_lookup_elem(&slot_rings, &slot);

	return !ring || bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) > bpf_ringbuf_query(ring, BPF_RB_RING_SIZE) / 2;
}

/* Whether a slot wants a record of this call, and with how many bytes. */
__noinline int ask_slot(__u32 level, __u32 slot)
{
	struct data_scratch *s = data_scratch_at(level);
	__u64 bit = 1ull << (slot & SLOT_MASK);
	__u32 limit = DATA_BYTES_MAX;
	struct verdict_key key = {};
	struct verdict *verdict;

	if (!s || s->ignored & bit)
		return 0;
	if (!(s->seen & bit)) {
		if (!wants_ports(slot, s->record.local_port, s->record.remote_port)) {
			if (!s->has_peers)
				s->ignored |= bit;
			return 0;
		}
		s->seen |= bit;
		if (s->is_underway)
			s->late |= bit;
	}
	key.stream = s->record.stream;
	key.slot = slot;
	verdict = bpf_map_lookup_elem(&verdicts, &key);
	s->lengths_only &= ~bit;
	if (verdict) {
		/* Remembered by the socket. */
		if (verdict->kind == VERDICT_IGNORE) {
			s->ignored |= bit;
			return 0;
		}
		if (verdict->kind == VERDICT_LENGTHS) {
			s->lengths_only |= bit;
			limit = 0;
		} else if (verdict->kind == VERDICT_PARSE) {
			limit = verdict->bytes[s->record.flags & DATA_SENT ? 1 : 0];
		}
	}
	if (limit > DATA_BYTES_MAX && s->call_bytes > DATA_BYTES_MAX && is_ring_busy(slot))
		limit = DATA_BYTES_MAX;
	s->limits[slot & SLOT_MASK] = limit;
	if (limit > s->limit)
		s->limit = limit;
	s->writes |= bit;
	return 1;
}

/* Asks the slots that select the caller; returns whether any wants a record. */
__noinline int ask_slots(__u32 level)
{
#pragma nounroll
	for (__u32 slot = 0; slot < REQUEST_SLOTS_MAX; slot++) {
		struct data_scratch *s = data_scratch_at(level);

		if (!s || !(s->wanting >> slot))
			break;
		if (s->wanting >> slot & 1)
			ask_slot(level, slot);
	}
	struct data_scratch *s = data_scratch_at(level);

	return s && s->writes;
}

/* Reads the next struct iovec into the segment; false if there is none. */
static __always_inline bool next_segment(struct data_scratch *s)
{
	struct user_segment segment = {};
	long failed;

	if (!s->vector_count)
		return false;
	if (s->is_kernel_vector)
		failed = bpf_probe_read_kernel(&segment, sizeof(segment), (void *)s->vector);
	else
		failed = bpf_probe_read_user(&segment, sizeof(segment), (void *)s->vector);
	if (failed || s->skip > segment.bytes)
		return false;
	s->segment = segment.base + s->skip;
	s->segment_bytes = segment.bytes - s->skip;
	s->skip = 0;
	s->vector += sizeof(segment);
	s->vector_count--;
	return true;
}

static __always_inline __u32 wanted_bytes(const struct data_scratch *s)
{
	return s->limit < s->call_bytes ? s->limit : s->call_bytes;
}

/* Copies the next piece of the call. What cannot be read is a gap behind the last piece, which may be empty. The state of the loop is
 * in the map, so that all steps look alike to the verifier. */
__noinline int copy_piece(__u32 level, __u32 is_last)
{
	struct data_scratch *piece = data_scratch_at(level);
	__u32 left;

	if (!piece)
		return 0;
	left = wanted_bytes(piece) - piece->offset;
	piece->piece_bytes = left < DATA_BYTES_MAX ? left : DATA_BYTES_MAX;
	piece->copied = 0;
#pragma nounroll
	for (__u32 step = 0; step < COPY_STEPS; step++) {
		struct data_scratch *s = data_scratch_at(level);
		__u64 bytes, at;        /* of 64 bits: a shift would hide their bounds from the verifier */

		if (!s)
			break;
		at = s->copied;
		if (at >= s->piece_bytes)
			break;
		if (!s->segment_bytes) {
			if (!next_segment(s))
				break;
			continue;
		}
		bytes = s->piece_bytes - at;
		if (bytes > s->segment_bytes)
			bytes = s->segment_bytes;
		if (!at) {
			barrier_var(bytes);
			if (bytes > DATA_BYTES_MAX)
				break;
			if (bpf_probe_read_user(s->data, bytes, (void *)s->segment))
				break;
		} else {
			if (bytes > SEGMENT_BYTES_MAX)
				bytes = SEGMENT_BYTES_MAX;
			barrier_var(bytes);
			if (bytes > SEGMENT_BYTES_MAX)
				break;
			barrier_var(at);
			at &= DATA_BYTES_MAX - 1;
			if (bpf_probe_read_user(s->data + at, bytes, (void *)s->segment))
				break;
		}
		s->segment += bytes;
		s->segment_bytes -= bytes;
		s->copied += bytes;
	}
	piece = data_scratch_at(level);
	if (piece)
		piece->is_last_piece = is_last || !piece->copied || piece->offset + piece->copied >= wanted_bytes(piece);
	return 0;
}

static __always_inline void count_record(struct slot_counts *counts, const struct data_scratch *s, __u64 slot_bit)
{
	__u64 gap_bytes = s->lengths_only & slot_bit ? 0 : s->record.length - s->record.copied;
	__u64 missed = s->fresh & slot_bit || s->offset ? 0 : s->missed;
	__u64 gaps = !!gap_bytes + !!missed;

	gap_bytes += missed;
	__sync_fetch_and_add(&counts->records, 1);
	__sync_fetch_and_add(&counts->bytes, missed + s->record.length);
	if (gaps) {
		__sync_fetch_and_add(&counts->gaps, gaps);
		__sync_fetch_and_add(&counts->gap_bytes, gap_bytes);
	}
}

/* Says in the record what a slot gets of the piece; returns whether it gets any. */
__noinline int fit_piece(__u32 level, __u32 slot)
{
	struct data_scratch *s = data_scratch_at(level);
	__u32 limit, copied;
	bool is_last;

	if (!s)
		return 0;
	limit = s->limits[slot & SLOT_MASK];
	/* What the slot wants ended with an earlier piece. */
	if (s->offset && s->offset >= limit)
		return 0;
	copied = limit - s->offset;
	is_last = s->is_last_piece || copied <= s->copied;
	if (copied > s->copied)
		copied = s->copied;
	s->record.flags = is_last ? s->record.flags | DATA_LAST_OF_CALL : s->record.flags & ~DATA_LAST_OF_CALL;
	s->record.position = s->call_position + s->offset;
	s->record.length = is_last ? s->call_bytes - s->offset : copied;
	s->record.copied = copied;
	return 1;
}

/* Writes the piece to the ring of a slot. Wakes no reader: the worker drains the ring by a timer. */
__noinline int write_to_slot(__u32 level, __u32 slot)
{
	struct slot_settings *settings = bpf_map_lookup_elem(&slot_settings, &slot);
	struct slot_counts *counts = bpf_map_lookup_elem(&slot_counts, &slot);
	struct slot_table *table = find_slot_table();
	struct data_scratch *s = data_scratch_at(level);
	__u64 bit = 1ull << (slot & SLOT_MASK);
	__u32 size;
	void *ring;
	__u8 flags;

	if (!s || !settings || !counts || !table || !fit_piece(level, slot))
		return 0;
	ring = bpf_map_lookup_elem(&slot_rings, &slot);
	if (!ring)
		return 0;
	flags = s->record.flags;
	if (s->late & bit)
		s->record.flags |= DATA_MID_STREAM;
	if (is_undecided(table, slot, s->class_id))
		s->record.flags |= DATA_UNDECIDED;
	s->record.record.source = slot;
	s->record.record.generation = settings->generation;
	size = sizeof(s->record) + s->record.copied;
	s->record.record.size = size;
	/* Never: for the verifier of 5.10, which forgets the bounds of a number on the stack. */
	barrier_var(size);
	if (size > sizeof(s->record) + DATA_BYTES_MAX)
		return 0;
	if (bpf_ringbuf_output(ring, &s->record, size, BPF_RB_NO_WAKEUP))
		count_lost(slot, s->record.length);
	else
		count_record(counts, s, bit);
	s->record.flags = flags;
	return 1;
}

__noinline int write_to_slots(__u32 level)
{
#pragma nounroll
	for (__u32 slot = 0; slot < REQUEST_SLOTS_MAX; slot++) {
		struct data_scratch *s = data_scratch_at(level);

		if (!s || !(s->writes >> slot))
			break;
		if (s->writes >> slot & 1)
			write_to_slot(level, slot);
	}
	return 0;
}

/* Writes the record of a connection's end to one slot, which gives its verdict back. */
static __always_inline void write_end(struct data_record *record, __u32 slot, bool is_late)
{
	struct verdict_key key = { .stream = record->stream, .slot = slot };
	struct slot_settings *settings = bpf_map_lookup_elem(&slot_settings, &slot);
	struct slot_counts *counts = bpf_map_lookup_elem(&slot_counts, &slot);
	void *ring = bpf_map_lookup_elem(&slot_rings, &slot);

	bpf_map_delete_elem(&verdicts, &key);
	if (!settings || !counts || !ring)
		return;
	record->record.source = slot;
	record->record.generation = settings->generation;
	record->flags = is_late ? record->flags | DATA_MID_STREAM : record->flags & ~DATA_MID_STREAM;
	if (bpf_ringbuf_output(ring, record, sizeof(*record), BPF_RB_NO_WAKEUP))
		__sync_fetch_and_add(&counts->lost_records, 1);
	else
		__sync_fetch_and_add(&counts->records, 1);
}

#endif
