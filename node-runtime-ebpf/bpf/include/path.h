/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Paths by walking dentries: bpf_d_path is not allowed in tp_btf, and a short process has left /proc. The names are written
 * to the buffer of the exec record that is being made. */
#ifndef TRILOBITE_PATH_H
#define TRILOBITE_PATH_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "process.h"

#define PATH_NAME_MAX 256
#define DATA_OFFSET_MASK 0xfff
#define DATA_MAX (DATA_OFFSET_MASK + 1 + ARGS_HEAD_MAX)

_Static_assert(FILENAME_MAX + 2 * (PATH_BYTES_MAX + PATH_NAME_MAX) <= DATA_OFFSET_MASK, "arguments begin inside the mask");

/* Names and mounts that this kernel's verifier accepts; the agent sets it by the release. */
const volatile __u32 path_depth = PATH_DEPTH_OLD;

/* An exec record and what follows it: binary, working directory, file, arguments. */
struct exec_scratch {
	struct exec_record record;
	char data[DATA_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_scratch);
} scratch SEC(".maps");

/* Bits of read_names's answer above the offset. */
#define NAMES_ROOT 0x10000      /* it is the root of the task's file system, which has no name */
#define NAMES_CUT 0x20000       /* the root was not reached: the names are the last ones of a longer path */

/* Writes the names from the leaf to the root of a file system (struct fs_struct) to the scratch, behind `from`. Returns where
 * they end, and NAMES_*.
 * A global function, so that the verifier checks the loop once and not for each caller; its arguments are numbers because 5.10
 * accepts no pointers there. */
__noinline int read_names(__u64 dentry_address, __u64 mnt_address, __u64 fs_address, __u64 from)
{
	struct dentry *dentry = (void *)dentry_address, *root_dentry;
	struct vfsmount *mnt = (void *)mnt_address, *root_mnt;
	struct fs_struct *fs = (void *)fs_address;
	__u64 offset = from & DATA_OFFSET_MASK, end = offset + PATH_BYTES_MAX;
	bool found_name = false;
	struct exec_scratch *out;
	__u32 zero = 0;

	out = bpf_map_lookup_elem(&scratch, &zero);
	if (!out)
		return offset | NAMES_CUT;
	root_dentry = BPF_CORE_READ(fs, root.dentry);
	root_mnt = BPF_CORE_READ(fs, root.mnt);
	for (int walked = 0; walked < PATH_DEPTH_MAX; walked++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		struct dentry *mnt_root = BPF_CORE_READ(mnt, mnt_root);
		bool last = false;
		long read;

		if (walked >= (int)path_depth)
			break;
		if (dentry == root_dentry && mnt == root_mnt)
			return offset | (found_name ? 0 : NAMES_ROOT);
		if (dentry == mnt_root || dentry == parent) {
			struct mount *mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above != mount) {
				dentry = BPF_CORE_READ(mount, mnt_mountpoint);
				mnt = (void *)above + bpf_core_field_offset(struct mount, mnt);
				continue;
			}
			/* The root of all mounts but not the task's: detached, outside of a chroot, or in no directory at all,
			 * as a memfd, which has only its own name. */
			if (dentry == mnt_root)
				return offset | (found_name ? 0 : NAMES_ROOT);
			last = true;
		}
		if (offset >= end)
			break;
		offset &= DATA_OFFSET_MASK;
		read = bpf_probe_read_kernel_str(&out->data[offset], PATH_NAME_MAX, BPF_CORE_READ(dentry, d_name.name));
		if (read < 0)
			break;
		offset += read & (2 * PATH_NAME_MAX - 1);
		if (last)
			return offset;
		found_name = true;
		dentry = parent;
	}
	return offset | NAMES_CUT;
}

/* Writes the working directory behind `offset`; returns where it ends. */
static __always_inline __u64 read_cwd(struct task_struct *task, __u64 offset, __u32 *flags)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	__u32 names;

	if (!fs) {
		*flags |= PROCESS_NO_CWD;
		return offset;
	}
	names = read_names((__u64)BPF_CORE_READ(fs, pwd.dentry), (__u64)BPF_CORE_READ(fs, pwd.mnt), (__u64)fs, offset);
	if (names & NAMES_ROOT)
		*flags |= PROCESS_ROOT_CWD;
	if (names & NAMES_CUT)
		*flags |= PROCESS_ERROR_CWD;
	return names & DATA_OFFSET_MASK;
}

/* Writes the path of an open file, as its task would reach it, behind `offset`; returns where it ends. */
static __always_inline __u64 read_file_path(struct task_struct *task, struct file *file, __u64 offset, __u32 *flags)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	__u32 names;

	if (!fs)
		return offset;
	names = read_names((__u64)BPF_CORE_READ(file, f_path.dentry), (__u64)BPF_CORE_READ(file, f_path.mnt), (__u64)fs,
			   offset);
	if (names & NAMES_CUT)
		*flags |= PROCESS_CUT_FILE;
	return names & DATA_OFFSET_MASK;
}

#endif
