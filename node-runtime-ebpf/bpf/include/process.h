/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records of processes. `src/process.rs` has the same. */
#ifndef TRILOBITE_PROCESS_H
#define TRILOBITE_PROCESS_H

#include "limits.h"
#include "record.h"

enum process_flag {
	PROCESS_EXECVE = 1u << 0,
	PROCESS_RAN_BEFORE = 1u << 1,   /* found by the iterator: names are left to the agent */
	PROCESS_TRUNC_ARGS = 1u << 2,
	PROCESS_ERROR_FILENAME = 1u << 3,
	PROCESS_ERROR_ARGS = 1u << 4,
	PROCESS_NO_CWD = 1u << 5,
	PROCESS_ROOT_CWD = 1u << 6,
	PROCESS_ERROR_CWD = 1u << 7,
	PROCESS_CLONE = 1u << 8,
	PROCESS_KERNEL = 1u << 9,       /* no memory of its own */
};

/* Words in the map that versions of the programs share. */
enum process_turn {
	TURN_GENERATION = 0,            /* the version that writes; the others do nothing */
	TURN_OVERFLOWED = 1,            /* the map of processes had no room once */
	TURN_MAX,
};

struct process_record {                 /* fork */
	struct record header;
	__u64 parent_ktime;             /* exec key of the parent */
	__u32 parent_pid;
	__u32 ns_pid;                   /* pid inside its own pid namespace */
};
_Static_assert(sizeof(struct process_record) == 72, "src/process.rs has the same");

struct exit_record {
	struct record header;
	__u64 parent_ktime;
	__u32 parent_pid;
	__u32 code;                     /* as wait(2) gives it */
};
_Static_assert(sizeof(struct exit_record) == 72, "src/process.rs has the same");

/* Followed by its data: binary, working directory, arguments, one after the other; the second from the leaf to the root. */
struct exec_record {
	struct record header;
	__u64 parent_ktime;
	__u32 parent_pid;
	__u32 flags;                    /* enum process_flag */
	__u64 replaced_ktime;           /* exec key of the image that this one replaced; 0 where there is none */
	__u32 uid[4];                   /* real, effective, saved, file system */
	__u32 gid[4];
	__u64 permitted, effective, inheritable;
	__u32 securebits;
	__u32 auid;
	__u32 namespaces[10];           /* uts ipc mnt pid pid_for_children net time time_for_children cgroup user */
	__u32 ns_pid;
	__u32 links;                    /* of the binary's inode; 0: no name leads to it */
	__u64 inode;
	__u32 mode, owner, group;       /* of the same inode */
	__u16 filename_bytes, cwd_bytes, args_bytes;
	__u16 pad[3];
};
_Static_assert(sizeof(struct exec_record) == 224, "src/process.rs has the same");

struct cgroup_record {                  /* mkdir, rmdir; header.cgroup is the one */
	struct record header;
	__u64 parent;
	__u32 level;
	__u32 pad;
	char name[CGROUP_NAME_MAX];
};
_Static_assert(sizeof(struct cgroup_record) == 200, "src/process.rs has the same");

#endif
