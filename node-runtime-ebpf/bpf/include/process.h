/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records of processes, and the state that versions of their programs share. */
#ifndef TRILOBITE_PROCESS_H
#define TRILOBITE_PROCESS_H

#include "record.h"

enum process_flag {
	PROCESS_EXECVE = 1u << 0,
	PROCESS_RAN_BEFORE = 1u << 1,   /* found by the iterator: the agent reads its names from /proc */
	PROCESS_TRUNC_ARGS = 1u << 2,
	PROCESS_ERROR_FILENAME = 1u << 3,
	PROCESS_ERROR_ARGS = 1u << 4,
	PROCESS_NO_CWD = 1u << 5,
	PROCESS_ROOT_CWD = 1u << 6,
	PROCESS_ERROR_CWD = 1u << 7,
	PROCESS_CLONE = 1u << 8,        /* first image since the fork */
	PROCESS_KERNEL = 1u << 9,       /* a kernel thread: no memory of its own */
	PROCESS_FILE_CAPS = 1u << 10,   /* capabilities of the file raised the permitted set */
	PROCESS_CUT_FILE = 1u << 11,    /* the file's path has only its last names */
};

/* Keys of the map `shared_state`. */
enum shared_word {
	SHARED_ACTIVE_GENERATION = 0,   /* the version of the programs that writes records; the others do nothing */
	SHARED_OVERFLOWED = 1,          /* 1: the map of processes has been full */
	SHARED_COUNT,
};

/* One entry of the map `processes`, by thread group id. */
struct process_entry {
	__u64 ktime;            /* with the thread group id: the exec key */
	__u64 parent_ktime;
	__u32 parent_pid;
	__u32 flags;            /* PROCESS_CLONE until the first exec; PROCESS_RAN_BEFORE until its first record was written */
};

/* Credentials and namespaces of a task. */
struct task_credentials {
	__u32 uid[4];                   /* real, effective, saved, file system */
	__u32 gid[4];
	__u64 permitted, effective, inheritable;
	__u32 securebits;
	__u32 auid;
	__u32 namespaces[10];           /* uts ipc mnt pid pid_for_children net time time_for_children cgroup user */
	__u32 ns_pid;                   /* pid inside its own pid namespace */
	__u32 user_ns_level;            /* of its user namespace; 0: the initial one */
	__u32 user_ns_owner, user_ns_group;     /* who made that namespace */
};

struct fork_record {
	struct record header;           /* of the child */
	__u64 parent_ktime;             /* exec key of the parent: whom the kernel tells when the child ends */
	__u64 forker_ktime;             /* exec key of the process that forked; with CLONE_PARENT a sibling */
	__u32 parent_pid, forker_pid;
	struct task_credentials credentials;    /* of the child itself */
};

struct exit_record {
	struct record header;
	__u64 parent_ktime;
	__u32 parent_pid;
	__u32 code;                     /* as wait(2) gives it */
};

/* Followed by its data, one after the other: binary as the caller named it, working directory and path of the file (names from
 * the leaf to the root), arguments. */
struct exec_record {
	struct record header;
	__u64 parent_ktime;
	__u32 parent_pid;
	__u32 flags;                    /* enum process_flag */
	__u64 replaced_ktime;           /* exec key of the image that this one replaced; 0: none */
	struct task_credentials credentials;
	__u64 inode;                    /* of the file that runs: of a script its interpreter */
	__u32 links;                    /* of the same inode; 0: no name leads to it */
	__u32 mode, owner, group;
	__u16 filename_bytes, cwd_bytes, file_bytes, args_bytes;
};

#endif
