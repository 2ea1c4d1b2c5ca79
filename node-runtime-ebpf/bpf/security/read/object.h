/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Credentials, namespaces, and objects of the kernel that have a name and some numbers. */
#ifndef TRILOBITE_READ_OBJECT_H
#define TRILOBITE_READ_OBJECT_H

#include "value.h"

static __always_inline void read_credentials_value(struct hook_credentials *to, struct cred *cred)
{
	struct user_namespace *user_ns = BPF_CORE_READ(cred, user_ns);

	to->uid[0] = BPF_CORE_READ(cred, uid.val);
	to->uid[1] = BPF_CORE_READ(cred, euid.val);
	to->uid[2] = BPF_CORE_READ(cred, suid.val);
	to->uid[3] = BPF_CORE_READ(cred, fsuid.val);
	to->gid[0] = BPF_CORE_READ(cred, gid.val);
	to->gid[1] = BPF_CORE_READ(cred, egid.val);
	to->gid[2] = BPF_CORE_READ(cred, sgid.val);
	to->gid[3] = BPF_CORE_READ(cred, fsgid.val);
	bpf_core_read(&to->permitted, sizeof(__u64), &cred->cap_permitted);
	bpf_core_read(&to->effective, sizeof(__u64), &cred->cap_effective);
	bpf_core_read(&to->inheritable, sizeof(__u64), &cred->cap_inheritable);
	to->securebits = BPF_CORE_READ(cred, securebits);
	to->user_ns_level = BPF_CORE_READ(user_ns, level);
	to->user_ns_owner = BPF_CORE_READ(user_ns, owner.val);
	to->user_ns_group = BPF_CORE_READ(user_ns, group.val);
	to->user_ns = BPF_CORE_READ(user_ns, ns.inum);
	to->pad = 0;
}

static __always_inline void read_map(struct hook_bpf_object *to, struct bpf_map *map)
{
	to->type = BPF_CORE_READ(map, map_type);
	to->key_size = BPF_CORE_READ(map, key_size);
	to->value_size = BPF_CORE_READ(map, value_size);
	to->max_entries = BPF_CORE_READ(map, max_entries);
	bpf_core_read(to->name, sizeof(to->name), &map->name);
}

static __always_inline void read_program(struct hook_bpf_object *to, struct bpf_prog *program)
{
	struct bpf_prog_aux *aux = BPF_CORE_READ(program, aux);

	to->type = BPF_CORE_READ(program, type);
	to->instructions = BPF_CORE_READ(program, len);
	bpf_core_read(to->name, sizeof(to->name), &aux->name);
}

/* The attributes of BPF_PROG_LOAD, whose layout is fixed. */
#define ATTR_INSTRUCTIONS 4
#define ATTR_NAME 48

static __always_inline long read_attributes(struct hook_bpf_object *to, __u64 from)
{
	if (read_memory(&to->type, 4, from) || read_memory(&to->instructions, 4, from + ATTR_INSTRUCTIONS))
		return -EFAULT;
	return read_memory(to->name, sizeof(to->name), from + ATTR_NAME);
}

static __always_inline void read_perf_event(struct hook_perf_event *to, struct perf_event *event)
{
	to->type = BPF_CORE_READ(event, attr.type);
	to->config = BPF_CORE_READ(event, attr.config);
	to->probe_offset = BPF_CORE_READ(event, attr.probe_offset);
}

static __always_inline void read_user_namespace(struct hook_user_namespace *to, struct user_namespace *user_ns)
{
	to->level = BPF_CORE_READ(user_ns, level);
	to->owner = BPF_CORE_READ(user_ns, owner.val);
	to->group = BPF_CORE_READ(user_ns, group.val);
	to->inode = BPF_CORE_READ(user_ns, ns.inum);
}

__noinline int read_object(__u32 slot, __u32 index)
{
	struct hook_scratch *s;
	__u32 kind, start;
	__u64 from;
	void *to;

	if (!has_feature(FEATURE_OBJECTS))
		return 0;
	s = scratch_at(slot);
	if (!s || s->error)
		return 0;
	kind = value_of(index)->kind;
	start = s->start & DATA_START_MASK;
	from = s->address;
	to = &s->data[start];
	if (!from) {
		s->error = -EFAULT;
		return 0;
	}
	if (kind == VALUE_CREDENTIALS) {
		read_credentials_value(to, (void *)from);
		s->end = start + sizeof(struct hook_credentials);
	} else if (kind == VALUE_USER_NAMESPACE) {
		read_user_namespace(to, (void *)from);
		s->end = start + sizeof(struct hook_user_namespace);
	} else if (kind == VALUE_PERF_EVENT) {
		__builtin_memset(to, 0, sizeof(struct hook_perf_event));
		read_perf_event(to, (void *)from);
		s->end = start + sizeof(struct hook_perf_event);
	} else if (kind == VALUE_MODULE) {
		struct module *module = (void *)from;
		long read = bpf_core_read_str(to, sizeof(module->name), &module->name);

		if (read < 1) {
			s->error = -EFAULT;
			return 0;
		}
		s->text_start[index & VALUE_MASK] = start;
		s->text_length[index & VALUE_MASK] = read - 1;
		s->end = start + read - 1;
	} else {
		__builtin_memset(to, 0, sizeof(struct hook_bpf_object));
		if (kind == VALUE_BPF_MAP)
			read_map(to, (void *)from);
		else if (kind == VALUE_BPF_PROG)
			read_program(to, (void *)from);
		else if (read_attributes(to, from))
			s->error = -EFAULT;
		s->end = start + sizeof(struct hook_bpf_object);
	}
	return 1;
}

#endif
