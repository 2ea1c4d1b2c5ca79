/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Records of processes, and the state that versions of their programs share. */
#ifndef TRILOBITE_PROCESS_H
#define TRILOBITE_PROCESS_H

#include "record.h"

enum process_flag {
	PROCESS_EXECVE = 1u << 0,
	PROCESS_RAN_BEFORE = 1u << 1,   /* found by the iterator: the agent reads its names from /proc */
	PROCESS_TRUNC_ARGS = 1u << 2,   /* set by the agent, which sees whether all pieces came */
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

/* What a process had when its image was executed; a forked process has that of its forker's image. */
struct state_at_exec {
	__u64 effective, inheritable, permitted;
	__u32 namespaces[10];   /* in the order of task_credentials.namespaces; 0: unknown */
};

/* One entry of the map `processes`, by thread group id. */
struct process_entry {
	__u64 ktime;            /* with the thread group id: the exec key */
	__u64 parent_ktime;
	__u32 parent_pid;
	__u32 flags;            /* PROCESS_CLONE until the first exec; PROCESS_RAN_BEFORE until its first record was written */
	__u64 followed;         /* conditions that it has met, or an ancestor before it forked: written by its fork and its execs */
	__u64 assigned;         /* the same, of before the condition was active: written by assign_followed */
	__u64 parent_followed;  /* what its parent had met when it forked */
	struct state_at_exec at_exec;
};

/* Conditions that processes inherit, a bit each. */
struct follow_state {
	__u64 active;           /* forks and execs set no other bits */
	__u64 namespaced;       /* those about pids in a process's own namespace: they end where a container begins */
	__u64 stale;            /* assign_followed takes these from all processes: their conditions are gone */
};

/* A file by its names from the leaf to the root, each with a NUL behind it; 0 behind the last. */
struct follow_path {
	__u8 names[FOLLOW_PATH_BYTES];
};

struct follow_pid {
	__u32 pid;
	__u32 in_own_namespace; /* 1: the pid in the process's own pid namespace */
};

/* An image, by its exec key. */
struct follow_process {
	__u64 ktime;
	__u32 pid;
	__u32 pad;
};

/* What the agent assigns to a process. */
struct follow_bits {
	__u64 own;
	__u64 parent;           /* those of its parent */
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
	__u64 args_total;               /* bytes of all arguments, those elsewhere and those nowhere included */
	__u16 filename_bytes, cwd_bytes, file_bytes, args_bytes;
};

/* A piece of the arguments for which the record of their exec has no room. Pieces are written before it, in order; one that found
 * no room in the ring is known by the exec's args_total, and is not counted as a lost record. */
struct arguments_record {
	struct record header;           /* its exec key is that of the new image */
	__u32 offset;                   /* of the first byte, in the arguments */
	__u32 bytes;
	__u8 data[ARGS_PIECE_MAX];
};

#endif
