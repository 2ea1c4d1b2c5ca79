/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* One attach point of all policies (a hook): what is fixed for it, its tables, and its record.
 *
 * A selector of a policy is a bit. A call begins with the bits of its task's class; each dimension (one kind of condition on one
 * value) has a row of bits for what it finds, and leaves  bits &= (row ^ negated) | ignores.  Of the bits that are left, the
 * lowest of each policy wins. */
#ifndef TRILOBITE_HOOK_H
#define TRILOBITE_HOOK_H

#include "record.h"

#define HOOK_VALUES_MAX 16      /* values that a hook reads: arguments, the return value, data, paths of binaries */
#define HOOK_DIMENSIONS_MAX 16
#define HOOK_STEPS_MAX 10       /* pointers and fields on the way to a value */
#define HOOK_ARGS_MAX 6         /* arguments in registers */
#define HOOK_OTHERS_MAX 3       /* further values that one dimension looks up in the same table */
#define HOOK_WORDS_MAX 16       /* words of 64 selectors; objects are built for 1, 4 and 16 */
#define HOOK_WINNERS_MAX 64     /* selectors that one record names; more get a further record */
#define HOOK_LEVELS 3           /* calls of hooks that may be under way on a processor at a time */
#define HOOK_TEXT_MAX 4096      /* bytes that are read of a string, a path or a buffer */
#define HOOK_DATA_BYTES 16384   /* field table, values and winners of a record */
#define HOOK_STACK_FRAMES 64    /* frames of a stack trace */
#define KEPT_DATA_BYTES 7424    /* of HOOK_DATA_BYTES: what is kept of a call until it returns */
#define STRING_KEY_BYTES 60     /* longer strings are looked up by their hash */
#define PREFIX_BYTES 255        /* the longest prefix or suffix */
#define AUTOMATON_CLASSES 64    /* classes of bytes in one block of an automaton */

/* ---- What is fixed for a hook: constants of the program, frozen before it is loaded. ---- */

/* Bit of a VALUE_SYSCALL for a 32-bit task. */
#define SYSCALL_COMPAT 0x8000000000000000

/* Where the address or number that a value begins with comes from. */
enum source_kind {
	SOURCE_NONE = 0,
	SOURCE_ARG = 1,                 /* argument `index` of the function, raw tracepoint or system call */
	SOURCE_RETURN = 2,
	SOURCE_TASK = 3,                /* struct task_struct of the current task */
	SOURCE_REGISTERS = 4,           /* 8 bytes at `offset` of the registers with which the task entered the kernel */
	SOURCE_RECORD = 5,              /* address in the record of a classic tracepoint, at `offset` */
};

/* What is read, and what the record contains of it. */
enum value_kind {
	VALUE_NONE = 0,                 /* nothing is read */
	VALUE_NUMBER = 1,               /* 8 bytes, extended from `bytes` with the sign of VALUE_SIGNED */
	VALUE_SYSCALL = 2,              /* 8 bytes, with SYSCALL_COMPAT for a 32-bit task */
	VALUE_STRING = 3,               /* its bytes without the NUL */
	VALUE_INLINE = 4,               /* the same, of a string inside the trace record, of `bound` bytes at most */
	VALUE_DATA_LOC = 5,             /* the same, at an offset that the trace record contains */
	VALUE_REL_LOC = 6,              /* the same, with an offset that counts from behind itself */
	VALUE_BUFFER = 7,               /* __u64: bytes that it has; then at most `bound` of them */
	VALUE_IOVEC = 8,                /* the same, of an array of struct iovec: its first segment */
	VALUE_IOV_ITER = 9,             /* the same, of a struct iov_iter * */
	VALUE_FILE = 10,                /* struct file *: struct hook_path, then the path's bytes */
	VALUE_PATH = 11,                /* struct path *: the same */
	VALUE_DENTRY = 12,              /* struct dentry *: the same, from the root of its file system */
	VALUE_FD = 13,                  /* number of an open file of the current task: the same */
	VALUE_SOCK = 14,                /* struct sock *: struct hook_socket */
	VALUE_SKB = 15,                 /* struct sk_buff *: the same, of the packet */
	VALUE_SOCKADDR = 16,            /* struct sockaddr *: struct hook_socket, then the path of an AF_UNIX address */
	VALUE_CREDENTIALS = 17,         /* struct cred *: struct hook_credentials */
	VALUE_CAPABILITY_SET = 18,      /* 8 bytes: the capability set at the address */
	VALUE_USER_NAMESPACE = 19,      /* struct user_namespace *: struct hook_user_namespace */
	VALUE_MODULE = 20,              /* struct module *: its name */
	VALUE_BPF_ATTR = 21,            /* union bpf_attr *: struct hook_bpf_object */
	VALUE_BPF_MAP = 22,             /* struct bpf_map *: the same */
	VALUE_BPF_PROG = 23,            /* struct bpf_prog *: the same */
	VALUE_PERF_EVENT = 24,          /* struct perf_event *: struct hook_perf_event */
};

enum value_flag {
	VALUE_SIGNED = 1u << 0,
	VALUE_SILENT = 1u << 1,         /* read for a condition only: not part of the record's values */
	VALUE_AT_RETURN = 1u << 2,      /* read when the function returns; the others of a hook with a return are read at its entry */
};

struct hook_step {
	__u32 offset;                   /* added to the address */
	__u32 dereference;              /* 1: then the address is replaced by the pointer that is there */
};

struct hook_value {
	__u8 source;                    /* enum source_kind */
	__u8 kind;                      /* enum value_kind */
	__u8 index;                     /* of the argument */
	__u8 step_count;
	__u8 load;                      /* bytes that are loaded of a number: 1, 2, 4, 8; 0: the address itself is the number */
	__u8 bytes;                     /* bytes of a number's type: 1, 2, 4, 8 */
	__u8 size_from;                 /* 1 + index of the value that has the size of a buffer; 0: `bound` */
	__u8 pad;
	__u32 flags;                    /* enum value_flag */
	__u32 offset;
	__u32 bound;                    /* bytes of a string, path or buffer, at most HOOK_TEXT_MAX */
	struct hook_step steps[HOOK_STEPS_MAX];
};

enum dimension_kind {
	DIMENSION_NONE = 0,
	DIMENSION_INTERVAL = 1,         /* number: map `bounds` and `rows` */
	DIMENSION_BYTES = 2,            /* number: a row for each value of each byte, ORed (Mask, capability sets) */
	DIMENSION_EXACT = 3,            /* text: map `strings` */
	DIMENSION_PREFIX = 4,           /* text: map `prefixes` */
	DIMENSION_SUFFIX = 5,           /* text, reversed: map `prefixes` */
	DIMENSION_SUBSTRING = 6,        /* text: map `substrings` and `rows` */
	DIMENSION_ADDRESS = 7,          /* IP address: map `prefixes`; the text begins with the family, 4 or 6 */
	DIMENSION_ID = 8,               /* number below the table's count: map `rows` */
};

enum dimension_flag {
	DIMENSION_UNSIGNED = 1u << 0,   /* bounds are of the number with its uppermost bit inverted */
};

#define FIRST_FACT 32           /* facets from here on are of the current task */

/* The part of a value, or the fact about the current task, that a dimension is about. */
enum facet_kind {
	FACET_SELF = 0,                 /* the number or text itself */
	FACET_FAMILY = 1,
	FACET_TYPE = 2,
	FACET_PROTOCOL = 3,
	FACET_STATE = 4,
	FACET_SOURCE_PORT = 5,
	FACET_DESTINATION_PORT = 6,
	FACET_SOURCE_ADDRESS = 7,
	FACET_DESTINATION_ADDRESS = 8,
	FACET_FILE_TYPE = 9,            /* the four uppermost bits of the mode: S_IFMT >> 12 */
	FACET_CAPABILITIES_GAINED = 10, /* bits of this capability set that the one of value others[0] lacks */
	/* Facts about the current task; `value` is not used. */
	FACET_PID = 32,                 /* in the initial pid namespace */
	FACET_NAMESPACE_PID = 33,       /* in its own pid namespace; 0 in the initial one */
	FACET_TID = 34,
	/* Ids of binaries, in the agent's tables; 0: in none. */
	FACET_BINARY_EXACT = 36,
	FACET_BINARY_PREFIX = 37,
	FACET_BINARY_SUFFIX = 38,
	FACET_PARENT_BINARY_EXACT = 40,
	FACET_PARENT_BINARY_PREFIX = 41,
	FACET_PARENT_BINARY_SUFFIX = 42,
	FACET_FOLLOWED = 44,            /* bits of conditions that the process or an ancestor has met */
	FACET_PARENT_FOLLOWED = 45,     /* the same of its parent */
	FACET_NAMESPACE = 48,           /* + 0 to 9: inodes, in the order of task_credentials.namespaces */
	FACET_NAMESPACES_CHANGED = 60,  /* bits of these that are others than at exec */
	FACET_CAPABILITIES = 64,        /* + 0 to 2: effective, inheritable, permitted */
	FACET_CAPABILITIES_CHANGED = 72,        /* + 0 to 2: bits that are others than at exec */
	FACET_CREDENTIAL = 80,          /* + 0 to 9: uid gid suid sgid euid egid fsuid fsgid auid securebits */
};

struct hook_dimension {
	__u8 kind;                      /* enum dimension_kind */
	__u8 value;
	__u8 facet;                     /* enum facet_kind */
	__u8 flags;                     /* enum dimension_flag */
	__u8 other_count;
	__u8 others[HOOK_OTHERS_MAX];   /* values whose rows are ORed to that of `value` */
};

/* Parts of the program that a hook needs; the verifier removes the others. */
enum feature_flag {
	FEATURE_NUMBERS = 1u << 0,
	FEATURE_STRINGS = 1u << 1,
	FEATURE_PATHS = 1u << 2,
	FEATURE_SOCKETS = 1u << 3,
	FEATURE_BUFFERS = 1u << 4,
	FEATURE_OBJECTS = 1u << 5,      /* credentials, namespaces, modules, objects of bpf(2) and perf */
	FEATURE_FACTS = 1u << 6,        /* facets of the current task */
	FEATURE_INTERVALS = 1u << 8,
	FEATURE_BYTES = 1u << 9,
	FEATURE_EXACT = 1u << 10,
	FEATURE_PREFIXES = 1u << 11,
	FEATURE_SUFFIXES = 1u << 12,
	FEATURE_SUBSTRINGS = 1u << 13,
	FEATURE_ADDRESSES = 1u << 14,
	FEATURE_IDS = 1u << 15,
	FEATURE_BINARIES = 1u << 7,     /* facets of binaries; needs FEATURE_PATHS */
	FEATURE_SIGNALS = 1u << 16,
	FEATURE_RATE_LIMITS = 1u << 17,
	FEATURE_STACKS = 1u << 18,
	FEATURE_RETURN = 1u << 21,      /* the function has returned */
	FEATURE_PROCESSES = 1u << 22,   /* facets of the map of processes; needs FEATURE_FACTS */
	FEATURE_SYSCALL = 1u << 19,     /* the function's only argument is the address of the saved registers of a system call */
	FEATURE_SYSCALL_32 = 1u << 20,  /* and these are of the 32-bit ABI */
	FEATURE_TRACKED_SOCKETS = 1u << 24,     /* policies note processes with sockets */
};

struct hook_layout {
	__u32 hook_id;                  /* number that the agent gave the hook */
	__u32 features;                 /* enum feature_flag */
	__u32 agent;                    /* pid of the agent, which is never recorded: its records would cause more of them */
	__u32 agent_namespace;          /* pid namespace in which the agent has that pid, by inode */
	__u8 value_count;
	__u8 dimension_count;
	__u8 arg_count;                 /* arguments of the function or raw tracepoint */
	__u8 entry_dimension_count;     /* of a hook with a return: the first dimensions, which are decided at the entry */
	__u8 pad[4];
	struct hook_dimension dimensions[HOOK_DIMENSIONS_MAX];
	struct hook_value values[HOOK_VALUES_MAX];
};

/* ---- Tables: what changes with policies. Rows are of as many words as the object is built for. ---- */

/* Map `dimension_tables`, one element: for each dimension start | count << 32. One word is written at a time.
 * Element 0 of `rows` is empty: no table begins there. The rows of a dimension:
 *   interval   rows[start + i] for bounds[start + i] <= number < bounds[start + i + 1]; the first bound is the least number
 *   bytes      rows[start + 256 * byte + its value], for count / 256 bytes
 *   id         rows[start + number], for numbers below count
 *   substring  start and count are of the map `substrings`; see struct automaton_header
 * Exact strings, prefixes, suffixes and addresses are keys of their maps; a longer prefix has the bits of the shorter ones. */
struct dimension_tables {
	__u64 table[HOOK_DIMENSIONS_MAX];
};

/* Map `class_rows`, by class: __u64 words (bit n: word n of `wanted` or `unknown` may not be 0), wanted[W], unknown[W]. Map
 * `dimension_masks`, by dimension: negated[W], ignores[W]. */

/* Map `strings`: key of a row. Bytes behind the text are 0. */
struct string_key {
	__u8 dimension;
	__u8 hashed;                    /* 1: the text is longer; its first 8 bytes here are FNV-1a, 64 bits, of all of it */
	__u16 length;
	__u8 text[STRING_KEY_BYTES];
};

/* Map `prefixes` (a trie): key of a row. */
struct prefix_key {
	__u32 bits;                     /* 8, for the dimension, + those of the prefix */
	__u8 dimension;
	__u8 text[PREFIX_BYTES];
};

/* Map `substrings`: an automaton is an element with struct automaton_header, two with a __u8 class for each byte, and one for
 * each state. State 0 is the start. */
struct automaton_header {
	__u32 rows;                     /* where its rows begin in the map `rows` */
	__u32 states;
};

struct automaton_state {
	__u16 next[AUTOMATON_CLASSES];
	__u32 accepts;                  /* 0, or 1 + the index of the row of the patterns that end here */
	__u32 pad;
};

enum action_flag {
	ACTION_POST = 1u << 0,
	ACTION_SIGNAL = 1u << 1,
	ACTION_KERNEL_STACK = 1u << 2,
	ACTION_USER_STACK = 1u << 3,
	ACTION_LIMIT_THREAD = 1u << 4,  /* the rate limit's scope */
	ACTION_LIMIT_PROCESS = 1u << 5,
	ACTION_LIMIT_GLOBAL = 1u << 6,
	ACTION_TRACK_SOCKET = 1u << 7,  /* notes the process with a socket */
	ACTION_UNTRACK_SOCKET = 1u << 11,
	/* Only in records. */
	ACTION_UNKNOWN = 1u << 8,       /* the agent had not decided yet whether the policy selects this cgroup; nothing but the post was done */
	ACTION_LIMITED = 1u << 9,       /* not posted: the rate limit */
	ACTION_SIGNAL_FAILED = 1u << 10,
};

/* Map `actions`, by selector bit. */
struct hook_action {
	__u32 policy;                   /* number that the agent gave this version of the policy; 0: the bit is not used */
	__u32 flags;                    /* enum action_flag */
	__u16 selector;                 /* index in the hook of the policy */
	__u8 noted_socket;              /* 1 + index of the value that is the socket of ACTION_TRACK_SOCKET, ACTION_UNTRACK_SOCKET */
	__u8 socket;                    /* 1 + index of the socket whose noted process the record names; 0: none */
	__u32 signal;
	__u64 entry_mask;               /* bits, in this word, of the same hook of the same policy: one of them wins */
	__u64 limit_ns;                 /* time between two posts; 0: no limit */
	__u64 since;                    /* boot clock: a call that entered before had this bit for another policy */
	__u32 tracker;                  /* number of the policy, of all its versions, that notes processes with sockets; 0: it does not */
	__u32 pad;
};

/* Map `hits`, by selector bit. */
struct hook_hits {
	__u64 matches;
	__u64 posts;
	__u64 signals;
	__u64 limited;
	__u64 lost;                     /* posts without room in the ring */
	/* What the selector has in the ring of posts at most: see share.h. */
	__u64 window;                   /* position in the ring at which `bytes` began */
	__u64 bytes_before, bytes;
};

/* ---- The record: one for each call, however many policies match. ---- */

enum hook_record_flag {
	HOOK_CONTINUED = 1u << 0,       /* further winners of the same call as the record before */
	HOOK_COMPAT = 1u << 1,          /* a 32-bit task */
	HOOK_HAS_RETURNED = 1u << 2,    /* `returned` is set */
	HOOK_SIGNALLED = 1u << 3,
};

enum field_flag {
	FIELD_CUT = 1u << 0,            /* the text or buffer is longer; of a path the first bytes are missing */
	FIELD_SILENT = 1u << 1,         /* read for a condition only */
	FIELD_READ = 1u << 2,
};

/* The record of a hook. Followed by `value_count` fields, by their bytes, and by `winner_count` winners. */
struct hook_record {
	struct record header;
	__u32 hook_id;
	__u32 flags;                    /* enum hook_record_flag */
	__s64 returned;
	__u16 value_count;
	__u16 winner_count;
	__u32 winners_offset;           /* all offsets are from the start of the record */
	__u32 kernel_stack_offset, kernel_stack_bytes;  /* addresses of 8 bytes, innermost first */
	__u32 user_stack_offset, user_stack_bytes;
	__u32 function;                 /* of a list: 1 + index of the function that was called; 0: there is only one */
	__u32 pad;
};

struct hook_field {
	__u8 kind;                      /* enum value_kind */
	__u8 index;                     /* in hook_layout.values */
	__u16 flags;                    /* enum field_flag */
	__s32 error;                    /* a negative errno: the value could not be read */
	__u32 offset, length;
};

struct hook_winner {
	__u32 policy;
	__u16 bit;
	__u16 selector;
	__u32 flags;                    /* enum action_flag: what was done */
	__u32 signal;                   /* that was sent; 0: none */
	__u32 tid;                      /* of the process that the policy noted with the socket; 0: it is the current task */
	__u32 limited;                  /* posts of this selector that its rate limit suppressed since its last record */
	__u32 exec_pid;                 /* the same process, as in struct record */
	__u32 pad;
	__u64 exec_ktime;
	__u64 cgroup;
};

enum path_flag {
	PATH_UNLINKED = 1u << 0,        /* no name leads to the file any more */
	PATH_CUT = 1u << 1,             /* only the last names of the path */
	PATH_OUTSIDE = 1u << 2,         /* the file is not below the task's root */
};

struct hook_path {
	__u32 flags;                    /* enum path_flag */
	__u16 mode;
	__u16 pad;
};

struct hook_socket {
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u8 state;
	__u8 pad;
	__u16 source_port, destination_port;    /* host byte order */
	__u32 mark, priority;
	__u32 length;                   /* of a packet */
	__u8 source[16], destination[16];       /* IPv4 as ::ffff:a.b.c.d */
	__u64 cookie;                   /* address of the socket, or 0 */
};

struct hook_credentials {
	__u32 uid[4];                   /* real, effective, saved, file system */
	__u32 gid[4];
	__u64 permitted, effective, inheritable;
	__u32 securebits;
	__u32 user_ns_level, user_ns_owner, user_ns_group, user_ns;
	__u32 pad;
};

struct hook_user_namespace {
	__s32 level;
	__u32 owner, group;
	__u32 inode;
};

/* A map or a program, or the attributes with which one is made. */
struct hook_bpf_object {
	__u32 type;
	__u32 instructions;
	__u32 key_size, value_size, max_entries;
	__u32 pad;
	__u8 name[16];
};

struct hook_perf_event {
	__u32 type;
	__u32 pad;
	__u64 config;
	__u64 probe_offset;
	__u8 function[64];
};

#endif
