/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The winners of a call, and what each does before a record is made: signals, rate limits. */
#ifndef TRILOBITE_HOOK_ACT_H
#define TRILOBITE_HOOK_ACT_H

#include "decide.h"
#include "task.h"

#define LIMITS_MAX 4096

/* When a selector posted last, by its scope, and how many posts its limit suppressed since. Shared by no two hooks. */
struct limit_key {
	__u32 bit;
	__u32 policy;
	__u64 scope;                    /* thread, process, or 0 */
};

struct limit_state {
	__u64 last;
	__u64 suppressed;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct limit_key);
	__type(value, struct limit_state);
} limits SEC(".maps");

static const __u8 debruijn[64] = {
	0,  1,  48, 2,  57, 49, 28, 3,  61, 58, 50, 42, 38, 29, 17, 4,  62, 55, 59, 36, 53, 51, 43, 22, 45, 39, 33, 30, 24, 18, 12, 5,
	63, 47, 56, 27, 60, 41, 37, 16, 54, 35, 52, 21, 44, 32, 23, 11, 46, 26, 40, 15, 34, 20, 31, 10, 25, 14, 19, 9,  13, 8,  7,  6,
};

/* Whether a post is within its limit; sets how many were not since the last one. */
__noinline int is_limited(__u32 slot, __u32 bit)
{
	struct limit_state *state, fresh = {};
	struct limit_key key = { .bit = bit };
	struct hook_action *action;
	struct hook_scratch *s;
	__u64 now, id;

	if (!has_feature(FEATURE_RATE_LIMITS))
		return 0;
	action = bpf_map_lookup_elem(&actions, &bit);
	s = scratch_at(slot);
	if (!s || !action || !action->limit_ns)
		return 0;
	id = bpf_get_current_pid_tgid();
	key.policy = action->policy;
	if (action->flags & ACTION_LIMIT_THREAD)
		key.scope = (__u32)id;
	else if (action->flags & ACTION_LIMIT_PROCESS)
		key.scope = id >> 32;
	now = bpf_ktime_get_ns();
	state = bpf_map_lookup_elem(&limits, &key);
	if (!state) {
		fresh.last = now;
		bpf_map_update_elem(&limits, &key, &fresh, BPF_ANY);
		s->number = 0;
		return 0;
	}
	if (now - state->last < action->limit_ns) {
		__sync_fetch_and_add(&state->suppressed, 1);
		return 1;
	}
	state->last = now;
	s->number = state->suppressed;
	state->suppressed = 0;
	return 0;
}

/* The key of the socket that a value is, which has been read; false where it is none. */
static __always_inline bool make_socket_key(struct socket_key *key, __u32 slot, __u32 value, __u32 tracker)
{
	struct hook_scratch *s = scratch_at(slot);

	if (!s || !(s->read & 1ull << (value & VALUE_MASK)) || field_of(s, value)->error)
		return false;
	key->socket = socket_of(s, value)->cookie;
	key->tracker = tracker;
	return key->socket;
}

/* Finds the process that the policy noted with the socket of the call, then notes or forgets one. */
__noinline int follow_sockets(__u32 slot, __u32 bit)
{
	struct noted_process process = {}, *found;
	struct socket_key key = {};
	struct hook_action *action;
	struct task_struct *task;
	struct hook_scratch *s;

	if (!has_feature(FEATURE_TRACKED_SOCKETS))
		return 0;
	action = bpf_map_lookup_elem(&actions, &bit);
	if (!action || !action->tracker)
		return 0;
	if (action->socket && make_socket_key(&key, slot, action->socket - 1, action->tracker)) {
		found = bpf_map_lookup_elem(&tracked_sockets, &key);
		s = scratch_at(slot);
		if (s && found)
			s->noted = *found;
	}
	if (!action->noted_socket || !make_socket_key(&key, slot, action->noted_socket - 1, action->tracker))
		return 0;
	if (action->flags & ACTION_UNTRACK_SOCKET) {
		bpf_map_delete_elem(&tracked_sockets, &key);
	} else if (action->flags & ACTION_TRACK_SOCKET) {
		task = (void *)bpf_get_current_task();
		process.exec_ktime = task_exec_ktime(task);
		process.cgroup = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
		process.exec_pid = BPF_CORE_READ(task, tgid);
		process.tid = BPF_CORE_READ(task, pid);
		bpf_map_update_elem(&tracked_sockets, &key, &process, BPF_ANY);
	}
	return 1;
}

/* What one winner does. Signals are for pods that are known to be selected; a post is kept until that is known. */
__noinline int act_for(__u32 slot, __u32 bit)
{
	struct hook_action *action = bpf_map_lookup_elem(&actions, &bit);
	struct hook_hits *count = bpf_map_lookup_elem(&hits, &bit);
	struct hook_scratch *s = scratch_at(slot);
	struct hook_winner *winner;
	struct class_row *row;
	__u32 done = 0, flags, class_id;

	if (!s || !action || !count)
		return 0;
	class_id = s->class_id;
	row = bpf_map_lookup_elem(&class_rows, &class_id);
	if (!row || !action->policy)
		return 0;
	if (has_feature(FEATURE_RETURN) && s->entered < action->since)
		return 0;
	flags = action->flags;
	__sync_fetch_and_add(&count->matches, 1);
	s->noted.tid = 0;
	if (has_feature(FEATURE_TRACKED_SOCKETS))
		follow_sockets(slot, bit);
	if (!(row->wanted[(bit / 64) & (W - 1)] & (1ull << (bit & 63))))
		done |= ACTION_UNKNOWN;
	if (has_feature(FEATURE_SIGNALS) && (flags & ACTION_SIGNAL) && !done) {
		done |= ACTION_SIGNAL;
		if (bpf_send_signal(action->signal)) {
			done |= ACTION_SIGNAL_FAILED;
		} else {
			__sync_fetch_and_add(&count->signals, 1);
			s->signalled = 1;
		}
	}
	done |= flags & (ACTION_TRACK_SOCKET | ACTION_UNTRACK_SOCKET | ACTION_KERNEL_STACK | ACTION_USER_STACK);
	if (!(flags & ACTION_POST))
		return 0;
	s->number = 0;
	if (is_limited(slot, bit)) {
		__sync_fetch_and_add(&count->limited, 1);
		return 0;
	}
	if (s->winner_count >= HOOK_WINNERS_MAX)
		return 0;
	__sync_fetch_and_add(&count->posts, 1);
	winner = &s->winners[s->winner_count & (HOOK_WINNERS_MAX - 1)];
	winner->policy = action->policy;
	winner->bit = bit;
	winner->selector = action->selector;
	winner->flags = done | ACTION_POST;
	winner->signal = done & ACTION_SIGNAL ? action->signal : 0;
	winner->tid = s->noted.tid;
	winner->exec_pid = s->noted.exec_pid;
	winner->pad = 0;
	winner->exec_ktime = s->noted.exec_ktime;
	winner->cgroup = s->noted.cgroup;
	winner->limited = s->number;
	s->winner_count++;
	s->asked_stacks |= flags & (ACTION_KERNEL_STACK | ACTION_USER_STACK);
	return 1;
}

/* Lets the next winners act; returns whether any has to be recorded or may be left. */
__noinline int act(__u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);

	if (!s)
		return 0;
	s->winner_count = 0;
	s->signalled = 0;
#pragma nounroll
	for (int step = 0; step < W + HOOK_WINNERS_MAX; step++) {
		__u32 word = s->word, bit;
		__u64 left, lowest;
		struct hook_action *action;

		if (word >= W || s->winner_count >= HOOK_WINNERS_MAX)
			break;
		left = s->left[word & WORD_MASK];
		if (!left) {
			s->word = word + 1;
			continue;
		}
		lowest = left & -left;
		bit = word * 64 + debruijn[(lowest * 0x03f79d71b4cb0a89ull) >> 58];
		action = bpf_map_lookup_elem(&actions, &bit);
		if (action)
			lowest |= action->entry_mask;
		s->left[word & WORD_MASK] = left & ~lowest;
		act_for(slot, bit);
	}
	s->passes++;
	return s->winner_count || s->word < W;
}

#endif
