/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every kernel field that whence reads, and nothing else. Offsets are not
 * taken from here: each access is relocated against the running kernel's BTF
 * at load (CO-RE), so order and padding are of no meaning.
 */
#ifndef WHENCE_KERNEL_H
#define WHENCE_KERNEL_H

#define __VMLINUX_H__ /* bpf_tracing.h: use the kernel's names in pt_regs */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long r10, r9, r8, ax, cx, dx, si, di, orig_ax, bx, bp, sp, ip;
};

/* include/linux/types.h */
typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} kuid_t;

/* include/linux/time64.h: begins with 64 bits that are no pointer, see word_at() */
struct timespec64 {
	__s64 tv_sec;
};

/* include/linux/types.h */
struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

/* include/linux/dcache.h */
struct qstr {
	__u32 hash;
	__u32 len;
	const unsigned char *name;
};

struct hlist_bl_node {
	struct hlist_bl_node **pprev;
};

struct dentry {
	struct hlist_bl_node d_hash;
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
	union {
		struct hlist_node d_alias;
	} d_u;
};

/* include/linux/mount.h, fs/mount.h */
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

/* include/linux/fs.h */
struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	__u16 i_mode;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	__u32 i_rdev;
	__s64 i_size;
	__u32 i_generation;
	atomic_t i_writecount;
	struct hlist_head i_dentry;
	/* since 6.11 (commit 3aa63a569c64); before, see shims.bpf.h */
	__s64 i_mtime_sec;
	__u32 i_mtime_nsec;
	__s64 i_ctime_sec;
	__u32 i_ctime_nsec;
};

struct file {
	__u32 f_mode;
	struct inode *f_inode;
	struct path f_path;
};

/* include/linux/fdtable.h */
struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root, pwd;
};

/* include/linux/ns_common.h and the namespaces */
struct ns_common {
	unsigned int inum;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct pid_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
};

/* include/linux/pid.h */
struct upid {
	int nr;
};

struct pid {
	struct upid numbers[1];
};

/* include/linux/tty.h, tty_driver.h */
struct tty_driver {
	int major, minor_start;
};

struct tty_struct {
	int index;
	struct tty_driver *driver;
};

/* include/linux/sched/signal.h */
struct signal_struct {
	atomic_t live;
	unsigned int flags;
	int group_exit_code;
	struct pid *pids[4];
	struct tty_struct *tty;
};

/* include/linux/cred.h */
struct cred {
	kuid_t uid;
};

/* include/linux/cgroup-defs.h, kernfs.h */
struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
	int level;
	struct cgroup *ancestors[1]; /* since 6.1 (commit 7f203bc89eb6) */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

/* include/linux/mm_types.h */
struct vm_area_struct {
	unsigned long vm_start, vm_end;
	unsigned long vm_flags;
	unsigned long vm_pgoff;
	struct file *vm_file;
};

struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
};

/* arch/x86/include/asm/thread_info.h */
struct thread_info {
	__u32 status;
};

/* include/linux/sched.h */
struct io_uring_task;
struct task_struct {
	struct thread_info thread_info;
	unsigned int __state;
	unsigned int flags;
	int exit_code;
	int pid, tgid;
	struct task_struct *group_leader;
	struct task_struct *real_parent;
	__u64 start_boottime;
	__u64 self_exec_id;
	struct mm_struct *mm;
	struct files_struct *files;
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	const struct cred *real_cred;
	kuid_t loginuid;
	struct css_set *cgroups;
	void *worker_private; /* of an io-wq worker: its struct io_worker */
	char comm[16];
};

/* include/linux/binfmts.h */
struct linux_binprm {
	struct file *file;
	const char *filename, *interp;
};

/* include/linux/io_uring_types.h */
struct io_uring_task {
	struct task_struct *task;
};

struct io_wq_work {
	int cancel_seq;
};

struct io_cqe {
	int fd;
};

struct io_kiocb {
	struct file *file;
	__u8 opcode;
	__u64 flags;
	struct io_cqe cqe; /* the descriptor, until there is a result; since 5.19 */
	struct io_uring_task *tctx; /* since 6.13; before, see shims.bpf.h */
	struct io_wq_work work;
};

/* io_uring/io-wq.c */
struct io_worker {
	struct io_wq_work *cur_work;
};

/* include/uapi/linux/openat2.h */
struct open_how {
	__u64 flags;
};

/* include/linux/fs.h: a path that the kernel has copied */
struct filename {
	const char *name;
};

/* io_uring/openclose.c, fs.c, splice.c: how an io_kiocb begins, by its opcode */
struct io_open {
	__u32 file_slot;
	struct open_how how;
};

struct io_close {
	int fd;
	__u32 file_slot;
};

struct io_rename {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
	int flags;
};

struct io_link {
	int old_dfd, new_dfd;
	struct filename *oldpath, *newpath;
};

struct io_unlink {
	int dfd;
	int flags;
	struct filename *filename;
};

struct io_splice {
	struct file *file_out;
	int splice_fd_in;
	unsigned int flags;
};

struct io_uring_cqe {
	__s32 res;
};

/* include/linux/bpf.h: contexts of the iterators */
struct seq_file;
struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
};

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

struct bpf_iter__task_vma {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	struct vm_area_struct *vma;
};

#pragma clang attribute pop

/* include/uapi/linux/aio_abi.h: struct iocb up to its length, as programs pass it */
struct control_block {
	__u64 data;
	__u32 key, flags;
	__u16 opcode;
	__s16 priority;
	__u32 fd;
	__u64 buffer;
	__u64 length_bytes;
};

#define AIO_PREAD 0
#define AIO_PWRITE 1
#define AIO_PREADV 7
#define AIO_PWRITEV 8

/* include/uapi/linux/stat.h */
#define S_IFMT 0170000
#define S_IFREG 0100000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFBLK 0060000

/* include/linux/fs.h */
#define FMODE_READ 0x1
#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000

/* include/linux/io_uring_types.h: bits that are flags of the request as it was submitted */
#define REQ_F_FIXED_FILE (1 << 0)
#define REQ_F_CQE_SKIP (1 << 6)

/* include/linux/sched.h, sched/signal.h, pid_types.h */
#define TASK_COMM_LEN 16
#define PF_IO_WORKER 0x00000010
#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 0x00000004
#define PIDTYPE_PGID 2
#define PIDTYPE_SID 3

/* arch/x86/include/asm/thread_info.h: the call in progress is 32-bit */
#define TS_COMPAT 0x0002

/* include/uapi/linux/fcntl.h, mman.h, fs.h */
#define AT_FDCWD -100
#define O_TRUNC 01000
#define O_TMPFILE_BIT 020000000 /* __O_TMPFILE */
#define O_PATH 010000000
#define F_DUPFD 0
#define F_DUPFD_CLOEXEC 1030
#define CLOSE_RANGE_CLOEXEC 4
#define PROT_WRITE 0x2
#define PROT_EXEC 0x4
#define MAP_SHARED 0x01
#define MAP_ANONYMOUS 0x20
#define FICLONE 0x40049409
#define FICLONERANGE 0x4020940d
/* include/linux/falloc.h: a call that fallocate() does as well, 'X', by its number */
#define SPACE_COMMAND 0x40305800
#define FS_IOC_RESVSP 40
#define FS_IOC_UNRESVSP64 43
#define FS_IOC_ZERO_RANGE 57
/* include/uapi/linux/btrfs.h */
#define BTRFS_IOC_ENCODED_READ 0x80809440
#define BTRFS_IOC_ENCODED_WRITE 0x40809440
#define RENAME_EXCHANGE 2
#define AT_REMOVEDIR 0x200

/* include/linux/mm.h */
#define VM_WRITE 0x2
#define VM_EXEC 0x4
#define VM_SHARED 0x8

/* include/uapi/linux/magic.h */
#define OVERLAYFS_SUPER_MAGIC 0x794c7630

/* include/uapi/linux/splice.h: the source is a place in the ring's table */
#define SPLICE_F_FD_IN_FIXED (1U << 31)

/* arch/x86: what orig_ax holds when no system call is in progress */
#define NO_CALL -1

/* include/uapi/asm-generic/errno-base.h */
#define EBUSY 16

#endif
