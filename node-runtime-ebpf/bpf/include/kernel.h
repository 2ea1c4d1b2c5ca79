/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The fields of the kernel's types that we read; offsets come from the running kernel's BTF (CO-RE).
 * Small on purpose: the whole vmlinux.h costs half a second an object and brings names that clash. */
#ifndef TRILOBITE_KERNEL_H
#define TRILOBITE_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>

#ifndef NULL
#define NULL ((void *)0)
#endif

typedef int pid_t;

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
	const char *name;
};

struct cgroup_root {
	int hierarchy_id;
};

struct cgroup {
	int level;
	struct cgroup_root *root;
	struct kernfs_node *kn;
	struct cgroup *ancestors[];     /* 6.1+ */
};

/* before 6.1 */
struct cgroup___ids {
	__u64 ancestor_ids[0];
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct qstr {
	__u32 len;
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct fs_struct {
	struct path root, pwd;
};

struct inode {
	unsigned short i_mode;
	__u32 i_nlink;
	struct { __u32 val; } i_uid, i_gid;
	unsigned long i_ino;
};

struct file {
	struct inode *f_inode;
	struct path f_path;
};

struct linux_binprm {
	struct file *file;
	const char *filename;
	unsigned int per_clear;
	int unsafe;
	unsigned int secureexec : 1;
};

struct mm_struct {
	unsigned long arg_start, arg_end;
	struct file *exe_file;
};

struct ns_common {
	unsigned int inum;
};

struct uts_namespace { struct ns_common ns; };
struct ipc_namespace { struct ns_common ns; };
struct mnt_namespace { struct ns_common ns; };
struct pid_namespace { struct ns_common ns; };
struct net { struct ns_common ns; };
typedef struct { struct net *net; } possible_net_t;
struct time_namespace { struct ns_common ns; };
struct cgroup_namespace { struct ns_common ns; };

struct user_namespace {
	struct ns_common ns;
	int level;
	struct { __u32 val; } owner, group;
};

struct nsproxy {
	struct uts_namespace *uts_ns;
	struct ipc_namespace *ipc_ns;
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
	struct time_namespace *time_ns, *time_ns_for_children;
	struct cgroup_namespace *cgroup_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

/* Two words of 32 bits before 6.3, one of 64 since: the same eight bytes. */
struct capabilities {
	__u32 any;
};

struct cred {
	struct { __u32 val; } uid, gid, suid, sgid, euid, egid, fsuid, fsgid;
	unsigned int securebits;
	struct capabilities cap_inheritable, cap_permitted, cap_effective, cap_ambient;
	struct user_namespace *user_ns;
};

struct signal_struct {
	struct { int counter; } live;
	int group_exit_code;
	unsigned int flags;
};

struct thread_info {
	__u32 status;                   /* x86 */
};

struct task_struct {
	struct thread_info thread_info;
	int pid;
	int tgid;
	unsigned int flags;
	int exit_state;
	int exit_code;
	__u64 start_boottime;
	__u64 self_exec_id;
	struct { __u32 val; } loginuid;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	struct css_set *cgroups;
	struct signal_struct *signal;
	struct mm_struct *mm;
	struct fs_struct *fs;
	struct files_struct *files;
	void *stack;
	struct nsproxy *nsproxy;
	const struct cred *cred;
	struct pid *thread_pid;
	char comm[16];
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};


struct sock_common {
	unsigned short skc_family;
	volatile unsigned char skc_state;
	__u16 skc_dport;                /* network byte order */
	__u16 skc_num;
	__u32 skc_daddr, skc_rcv_saddr;
	struct { __u8 any; } skc_v6_daddr, skc_v6_rcv_saddr;
	void *skc_prot;
	possible_net_t skc_net;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	__u32 sk_mark, sk_priority;
	__u32 sk_max_ack_backlog;
	__u8 sk_kern_sock : 1;
	__u8 sk_shutdown;
	struct socket *sk_socket;
};

struct socket {
	struct file *file;
	struct sock *sk;
};

struct inet_connection_sock {
	const void *icsk_ulp_ops;
};

struct tcp_sock {
	struct inet_connection_sock inet_conn;
	__u32 write_seq, snd_una, copied_seq, rcv_nxt;
	__u64 bytes_acked, bytes_received;
};

struct unix_sock {
	void *addr;
	struct sock *peer;
};

struct net_device {
	char name[16];
	int ifindex;
	possible_net_t nd_net;
};

struct sk_buff {
	struct net_device *dev;
	struct sock *sk;
	unsigned int len, data_len;
	__u32 mark, priority;
	__u16 protocol;
	__u16 transport_header, network_header;
	unsigned char *head, *data;
};

struct bpf_map {
	enum bpf_map_type map_type;
	__u32 key_size, value_size, max_entries;
	char name[16];
};

struct bpf_prog_aux {
	char name[16];
};

struct bpf_prog {
	enum bpf_prog_type type;
	__u32 len;
	struct bpf_prog_aux *aux;
};

struct perf_event_attr___kernel {
	__u32 type;
	__u64 config;
	__u64 kprobe_func;
	__u64 probe_offset;
};

struct perf_event {
	struct perf_event_attr___kernel attr;
};

struct module {
	char name[56];
};

struct iov_iter {
	__u8 iter_type;                 /* 5.14+ */
	unsigned long iov_offset;
	unsigned long count;
	unsigned long nr_segs;
	void *ubuf;                     /* 6.0+ */
	void *__iov;                    /* 6.4+ */
};

struct iov_iter___old {                 /* before 6.4 */
	void *iov;
};

struct iov_iter___bits {                /* before 5.14: with the direction in the lowest bit */
	unsigned int type;
};

enum iter_type {
	ITER_IOVEC,
	ITER_UBUF,                      /* 6.0+ */
};

struct msghdr {
	void *msg_name;
	struct iov_iter msg_iter;
};

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

#pragma clang attribute pop

#endif
