/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The working directory, by walking dentries: bpf_d_path is not allowed in tp_btf, and a short process has left /proc. */
#ifndef TRILOBITE_CWD_H
#define TRILOBITE_CWD_H

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "process.h"

#define CWD_NAME_MAX 256
#define CWD_OFFSET_MASK 0xfff

/* Names and mounts that this kernel's verifier accepts; the agent sets it by the release. */
const volatile __u32 cwd_depth = CWD_DEPTH_OLD;

/* Writes the names from the leaf to the root of the task's file system behind `offset`; returns where they end.
 * PROCESS_ERROR_CWD: the root was not reached, and the names are the last ones of a longer path. */
static __always_inline __u64 read_cwd(struct task_struct *task, char *data, __u64 offset, __u32 *flags)
{
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct dentry *root_dentry, *dentry;
	struct vfsmount *root_mnt, *mnt;
	__u64 end = offset + CWD_MAX;
	bool found_name = false;

	if (!fs) {
		*flags |= PROCESS_NO_CWD;
		return offset;
	}
	root_dentry = BPF_CORE_READ(fs, root.dentry);
	root_mnt = BPF_CORE_READ(fs, root.mnt);
	dentry = BPF_CORE_READ(fs, pwd.dentry);
	mnt = BPF_CORE_READ(fs, pwd.mnt);
	for (int walked = 0; walked < CWD_DEPTH_MAX; walked++) {
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);
		const unsigned char *name;
		long read;

		if (walked >= (int)cwd_depth)
			break;
		if (dentry == root_dentry && mnt == root_mnt) {
			if (!found_name)
				*flags |= PROCESS_ROOT_CWD;
			return offset;
		}
		if (dentry == BPF_CORE_READ(mnt, mnt_root) || dentry == parent) {
			struct mount *mount = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
			struct mount *above = BPF_CORE_READ(mount, mnt_parent);

			if (above == mount) {
				/* The root of all mounts but not the task's: the directory is detached, or outside of a chroot. */
				if (!found_name)
					*flags |= PROCESS_ROOT_CWD;
				return offset;
			}
			dentry = BPF_CORE_READ(mount, mnt_mountpoint);
			mnt = (void *)above + bpf_core_field_offset(struct mount, mnt);
			continue;
		}
		name = BPF_CORE_READ(dentry, d_name.name);
		if (offset >= end)
			break;
		offset &= CWD_OFFSET_MASK;
		read = bpf_probe_read_kernel_str(&data[offset], CWD_NAME_MAX, name);
		if (read < 0)
			break;
		offset += read & (2 * CWD_NAME_MAX - 1);
		found_name = true;
		dentry = parent;
	}
	*flags |= PROCESS_ERROR_CWD;
	return offset;
}

#endif
