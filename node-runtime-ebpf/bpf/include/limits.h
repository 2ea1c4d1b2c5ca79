/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every limit of the kernel side; the agent's constants are generated from it. */
#ifndef TRILOBITE_LIMITS_H
#define TRILOBITE_LIMITS_H

#define RECORD_LAYOUT 7         /* goes up whenever any record changes */
#define CGROUP_DEPTH_MAX 12     /* levels that a lookup climbs from the leaf */
#define CGROUPS_MAX 8192        /* cgroups whose state is kept */
#define SCOPE_WORDS 16          /* words of a bit set of scopes */
#define SCOPES_MAX 1024         /* distinct scopes on a node: 64 a word */
#define CLASSES_MAX 1024        /* distinct answers of all scopes about a cgroup, class 0 included */
#define FLOW_ENTRIES 16384      /* flows that are counted at a time; the agent sets what the stack says */
#define FLOW_RING_BYTES 262144  /* ring of flow records; the agent sets what the stack says */
#define FRAGMENTED_PACKETS 1024 /* packets whose fragments are counted for their flow at a time */
#define FLOW_INTERFACES 1024    /* interfaces that are watched at a time */
#define PACKET_DROPS_MAX 4096   /* connections, reasons and places of dropped packets that are counted in a second */
#define PACKET_DROP_RING_BYTES 32768  /* ring of the first drops; those without room are counted all the same */
#define DNS_RING_BYTES 262144   /* ring of messages of DNS */
#define DNS_BYTES_MAX 1536      /* bytes copied of a packet with DNS */
#define DNS_BYTES_SHORT 512     /* those of most, to which the ring gives less room */
#define POD_ADDRESSES_MAX 4096  /* addresses of pods whose dropped packets are counted */
#define ADDRESS_HASH_FACTOR 0x9e3779b1u  /* of the four words of an address, combined by XOR */
#define ADDRESS_HASH_SHIFT 18   /* the highest 14 bits of the product are the hash */
#define ADDRESS_HASH_WORDS 256  /* words of a bit for each hash */
#define IGNORED_REASONS 256     /* reasons that are told apart before their places are looked up */
#define IGNORED_DROPS_MAX 1024  /* reasons and places of packets that are freed and were not lost */
#define FLOW_REPORT_NS 5000000000  /* a flow that goes on is reported again after this long */
#define STACK_FRAMES_MAX 127    /* frames that are read of a stack */
#define STACK_FRAMES_SHORT 2    /* a user stack of so few frames is truncated, unless it has an entry function */
#define SAMPLE_RING_MIN 65536   /* bytes of the smallest ring of samples */
#define DATA_BYTES_MAX 4096     /* bytes of a call on a socket in one record */
#define DATA_PIECES_MAX 16      /* records of one call */
#define DATA_CALL_MAX 65536     /* bytes copied of one call: so many records, filled */
#define REQUEST_SLOTS_MAX 64    /* profiles of requests at a time on a node */
#define SLOT_PORTS_MAX 32       /* ports that a profile of requests names */
#define SLOT_RING_MIN 4096      /* bytes of the smallest ring of a slot */
#define VERDICTS_MAX 8192       /* verdicts about connections that wait to be read; the oldest make room */
#define TLS_OBJECTS_MAX 16384   /* connections of TLS libraries that are followed at a time */
#define TLS_EXCLUDED_MAX 4096   /* cgroups whose TLS is left alone */
#define TLS_CALL_BYTES_MAX 0x7fffffff  /* bytes of one call of such a library */
#define SOCKETS_MAX 16384       /* sockets that are followed at a time where the kernel has no storage for them */
#define PROCESSES_MAX 16384     /* processes that are tracked */
#define FOLLOWED_MAX 4096       /* files, and process ids, of conditions that processes inherit */
#define FOLLOW_ASSIGNMENTS 1024 /* processes to which such conditions are assigned at a time */
#define FOLLOW_PATH_BYTES 256   /* the longest path of such a file */
#define FILENAME_MAX 1024       /* bytes of a binary's path */
#define PATH_BYTES_MAX 1024     /* bytes of a working directory or a file's path, the last name not counted */
#define PATH_DEPTH_MAX 64       /* names and mounts on the way to the root */
#define PATH_DEPTH_OLD 32       /* the same before 6.12, whose verifiers take long over it, or give up */
#define ARGS_MAX 65536          /* bytes of a process's arguments */
#define ARGS_HEAD_MAX 4096      /* those in the record of its exec; less where the ring is small */
#define ARGS_PIECE_MAX 4096     /* those in each record of the rest */
#define CGROUP_NAME_MAX 128     /* bytes of a cgroup's own name */

#endif
