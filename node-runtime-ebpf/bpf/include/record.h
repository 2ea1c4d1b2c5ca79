/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The header that every record begins with: it joins the layers by cgroup, by exec key and by connection. */
#ifndef TRILOBITE_RECORD_H
#define TRILOBITE_RECORD_H

#include "limits.h"

enum record_kind : __u16 {
	RECORD_FORK = 1,
	RECORD_EXEC = 2,
	RECORD_EXIT = 3,
	RECORD_CGROUP_MKDIR = 4,
	RECORD_CGROUP_RMDIR = 5,
	RECORD_ARGUMENTS = 6,
	RECORD_HOOK = 17,
	RECORD_FLOW = 32,
	RECORD_PACKET_DROP = 33,
	RECORD_DNS = 34,
	RECORD_SAMPLE = 48,
	RECORD_DATA = 49,
};

struct record {
	__u16 layout;           /* RECORD_LAYOUT */
	__u16 kind;             /* enum record_kind */
	__u32 size;             /* bytes, this header included */
	__u64 time;             /* boot clock, ns */
	__u64 cgroup;           /* leaf cgroup, v2 id; 0: none */
	__u64 exec_ktime;       /* exec key of the process: start of the leader on the boot clock, ns, + self_exec_id */
	__u32 exec_pid;         /*   and its thread group id; 0: none */
	__u32 tid;              /* thread that was current */
	__u64 connection;       /* key of the connection; 0: none */
	__u32 source;           /* number that the agent gave the unit; 0 for identity */
	__u32 generation;       /* generation of the resource that asked */
};

/* Keys of the map `drops`: records that found no room in their ring, and entries that found none in their map. */
enum drop_reason {
	DROP_FORK,
	DROP_EXEC,
	DROP_EXIT,
	DROP_CGROUP_MKDIR,
	DROP_CGROUP_RMDIR,
	DROP_HOOK,              /* of a hook of policies: counted for each selector too */
	DROP_HOOK_LEVEL,        /* calls of hooks that interrupted others too deeply: nothing was decided */
	DROP_HOOK_ARGS,         /* calls whose arguments could not be kept until they return: their records are missing */
	DROP_FLOW,
	DROP_SAMPLE,
	DROP_PROCESS_ENTRY,     /* the map of processes was full */
	DROP_CGROUP_ENTRY,      /* the map of cgroups was full, for a new cgroup that was to inherit its state */
	DROP_DATA,              /* calls on followed sockets without a free scratch; counted for each slot too */
	DROP_SOCKET_ENTRY,      /* calls on sockets that could not be followed: no memory, or the map was full */
	DROP_PACKET_ENTRY,      /* the map of dropped packets was full: they are counted in no flow */
	DROP_DNS,               /* messages of DNS that found no room in their ring */
	DROP_COUNT,
};

#endif
