/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Paths of files, walked from the file up to the root of the task. bpf_d_path is allowed in few programs only. */
#ifndef TRILOBITE_READ_PATH_H
#define TRILOBITE_READ_PATH_H

#include "value.h"

#define PATH_STEPS 128          /* names and mounts on the way */

/* Writes the next name before those that are there; returns whether there may be more. */
__noinline int walk_path(__u32 slot)
{
	struct hook_scratch *s = scratch_at(slot);
	struct dentry *dentry, *parent;
	struct vfsmount *mount;
	__u64 length;
	__u32 start;

	if (!s)
		return 0;
	dentry = (void *)s->dentry;
	mount = (void *)s->mount;
	if (!dentry || (s->dentry == s->root_dentry && s->mount == s->root_mount))
		return 0;
	parent = BPF_CORE_READ(dentry, d_parent);
	if (mount && dentry == BPF_CORE_READ(mount, mnt_root)) {
		struct mount *inner = (void *)mount - bpf_core_field_offset(struct mount, mnt);
		struct mount *above = BPF_CORE_READ(inner, mnt_parent);

		if (above == inner) {
			/* The root of all mounts but not the task's: detached, or outside of a chroot. */
			s->path_flags |= PATH_OUTSIDE;
			return 0;
		}
		s->dentry = (__u64)BPF_CORE_READ(inner, mnt_mountpoint);
		s->mount = (__u64)above + bpf_core_field_offset(struct mount, mnt);
		return 1;
	}
	if (dentry == parent) {
		if (mount)
			s->path_flags |= PATH_OUTSIDE;
		return 0;
	}
	length = BPF_CORE_READ(dentry, d_name.len) & (PATH_NAME_MAX - 1);
	if (s->path_start <= length) {
		s->path_flags |= PATH_CUT;
		return 0;
	}
	start = (s->path_start - length - 1) & PATH_MASK;
	s->path[start] = '/';
	if (bpf_probe_read_kernel(&s->path[start + 1], length, BPF_CORE_READ(dentry, d_name.name))) {
		s->error = -EFAULT;
		return 0;
	}
	s->path_start = start;
	s->dentry = (__u64)parent;
	return 1;
}

static __always_inline struct file *file_of_number(struct task_struct *task, __u64 number)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files, *file = NULL;

	if (number >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	bpf_probe_read_kernel(&file, sizeof(file), files + number);
	return file;
}

/* Where the walk begins: at a file, or at a directory entry of no mount. */
static __always_inline void begin_at_file(struct hook_scratch *s, struct file *file)
{
	s->dentry = (__u64)BPF_CORE_READ(file, f_path.dentry);
	s->mount = (__u64)BPF_CORE_READ(file, f_path.mnt);
}

/* Walks from the entry that `dentry` and `mount` name, and appends header and path to the data. */
__noinline int append_path(__u32 slot, __u32 text)
{
	struct hook_scratch *s = scratch_at(slot);
	struct task_struct *task = (void *)bpf_get_current_task();
	struct hook_path *header;
	struct dentry *dentry;
	struct inode *inode;
	struct fs_struct *fs;
	__u32 start, from;
	__u64 length;

	if (!s || !s->dentry)
		return 0;
	fs = BPF_CORE_READ(task, fs);
	s->root_dentry = (__u64)BPF_CORE_READ(fs, root.dentry);
	s->root_mount = (__u64)BPF_CORE_READ(fs, root.mnt);
	dentry = (void *)s->dentry;
	inode = BPF_CORE_READ(dentry, d_inode);
	start = s->start & DATA_START_MASK;
	header = (void *)&s->data[start];
	header->mode = BPF_CORE_READ(inode, i_mode);
	header->pad = 0;
	s->path_flags = inode && !BPF_CORE_READ(inode, i_nlink) ? PATH_UNLINKED : 0;
	s->path_start = HOOK_TEXT_MAX - 1;
	for (int step = 0; step <= PATH_STEPS; step++) {
		if (!walk_path(slot))
			break;
		if (step == PATH_STEPS)
			s->path_flags |= PATH_CUT;
	}
	from = s->path_start;
	if (from == HOOK_TEXT_MAX - 1) {
		/* The root itself. */
		from = HOOK_TEXT_MAX - 2;
		s->path[from] = '/';
	}
	header->flags = s->path_flags;
	length = HOOK_TEXT_MAX - 1 - from;
	barrier_var(length);
	if (length > HOOK_TEXT_MAX)
		return 0;
	bpf_probe_read_kernel(&s->data[start + sizeof(*header)], length, &s->path[from & PATH_MASK]);
	s->text_start[text & VALUE_MASK] = start + sizeof(*header);
	s->text_length[text & VALUE_MASK] = length;
	s->end = start + sizeof(*header) + length;
	return 1;
}

/* Reads the path of a file, of a struct path, of a directory entry, or of an open file by its number. */
__noinline int read_path(__u32 slot, __u32 index)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct hook_scratch *s;
	struct path *path;
	__u32 kind;

	if (!has_feature(FEATURE_PATHS))
		return 0;
	s = scratch_at(slot);
	if (!s || s->error)
		return 0;
	kind = value_of(index)->kind;
	s->dentry = 0;
	s->mount = 0;
	if (kind == VALUE_PATH) {
		path = (void *)s->address;
		s->dentry = (__u64)BPF_CORE_READ(path, dentry);
		s->mount = (__u64)BPF_CORE_READ(path, mnt);
	} else if (kind == VALUE_DENTRY) {
		s->dentry = s->address;
	} else if (kind == VALUE_FD) {
		begin_at_file(s, file_of_number(task, (__u32)s->address));
	} else {
		begin_at_file(s, (void *)s->address);
	}
	if (!append_path(slot, index) || s->error) {
		s->error = -EFAULT;
		return 0;
	}
	if (s->path_flags & PATH_CUT)
		field_of(s, index)->flags |= FIELD_CUT;
	return 1;
}

#endif
