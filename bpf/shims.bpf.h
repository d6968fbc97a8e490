/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every difference between kernels and processors, each with its commit.
 * Features are tested, never versions.
 */
#ifndef WHENCE_SHIMS_H
#define WHENCE_SHIMS_H

#include "kernel.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/*
 * Gives a kernel address its type back, so that fields are read by typed loads
 * (no helper call, faults read as 0). Since 6.2, commit a35b9af4ec2c; plan.py
 * names it as missing on older kernels.
 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

#define typed(type, address) \
	((type *)bpf_rdonly_cast((const void *)(address), bpf_core_type_id_kernel(type)))

/*
 * A word of kernel memory as a number: a typed load of a pointer would be a
 * pointer to the verifier, which neither global functions nor sums take.
 */
static __always_inline __u64 word_at(__u64 address)
{
	return typed(struct timespec64, address)->tv_sec;
}

/* 6.6 (commit 13bc24457850) renamed i_mtime; 6.11 (3aa63a569c64) split it. */
struct timespec64___whence {
	__s64 tv_sec;
	long tv_nsec;
} __attribute__((preserve_access_index));

struct inode___before_611 {
	struct timespec64___whence __i_mtime, __i_ctime;
} __attribute__((preserve_access_index));

struct inode___before_66 {
	struct timespec64___whence i_mtime, i_ctime;
} __attribute__((preserve_access_index));

#define NS_PER_S 1000000000ULL
/* 6.13: bit 31 of the nanoseconds of ctime says "was queried" (4e40eff0b573) */
#define CTIME_QUERIED (1U << 31)

static __always_inline __u64 inode_mtime_ns(struct inode *inode)
{
	if (bpf_core_field_exists(inode->i_mtime_sec))
		return inode->i_mtime_sec * NS_PER_S + inode->i_mtime_nsec;
	struct inode___before_611 *middle = (void *)inode;
	if (bpf_core_field_exists(middle->__i_mtime))
		return BPF_CORE_READ(middle, __i_mtime.tv_sec) * NS_PER_S +
		       BPF_CORE_READ(middle, __i_mtime.tv_nsec);
	struct inode___before_66 *old = (void *)inode;
	return BPF_CORE_READ(old, i_mtime.tv_sec) * NS_PER_S +
	       BPF_CORE_READ(old, i_mtime.tv_nsec);
}

static __always_inline __u64 inode_ctime_ns(struct inode *inode)
{
	if (bpf_core_field_exists(inode->i_ctime_sec))
		return inode->i_ctime_sec * NS_PER_S +
		       (inode->i_ctime_nsec & ~CTIME_QUERIED);
	struct inode___before_611 *middle = (void *)inode;
	if (bpf_core_field_exists(middle->__i_ctime))
		return BPF_CORE_READ(middle, __i_ctime.tv_sec) * NS_PER_S +
		       BPF_CORE_READ(middle, __i_ctime.tv_nsec);
	struct inode___before_66 *old = (void *)inode;
	return BPF_CORE_READ(old, i_ctime.tv_sec) * NS_PER_S +
	       BPF_CORE_READ(old, i_ctime.tv_nsec);
}

/* 6.13 (commit f03baece0819) replaced io_kiocb.task by tctx. */
struct io_kiocb___before_613 {
	struct task_struct *task;
} __attribute__((preserve_access_index));

static __always_inline struct task_struct *uring_task(struct io_kiocb *request)
{
	if (bpf_core_field_exists(request->tctx))
		return request->tctx->task;
	return BPF_CORE_READ((struct io_kiocb___before_613 *)request, task);
}

/*
 * 6.13 (commit 90ee6ed776c0) replaced the plain count of struct file by f_ref: one
 * less than the number of references, negative once the last one is gone.
 */
struct counter___whence {
	__s64 counter;
} __attribute__((preserve_access_index));

struct file_ref___whence {
	struct counter___whence refcnt;
} __attribute__((preserve_access_index));

struct file___since_613 {
	struct file_ref___whence f_ref;
} __attribute__((preserve_access_index));

struct file___before_613 {
	struct counter___whence f_count;
} __attribute__((preserve_access_index));

static __always_inline bool has_references(struct file *file)
{
	struct file___since_613 *now = (void *)file;
	struct file___before_613 *old = (void *)file;

	if (bpf_core_field_exists(now->f_ref))
		return BPF_CORE_READ(now, f_ref.refcnt.counter) >= 0;
	return BPF_CORE_READ(old, f_count.counter) > 0;
}

/*
 * Arguments of a finished system call. The registers still hold them: the
 * kernel restores user registers from the same pt_regs. A 32-bit call passes
 * them in bx, cx, dx, si, di, bp.
 */
static __always_inline bool is_compat(struct task_struct *task)
{
	return task->thread_info.status & TS_COMPAT;
}

static __always_inline __u64 argument(struct pt_regs *regs, bool compat, int index)
{
	switch (index) {
	case 1:
		return compat ? (__u32)regs->bx : regs->di;
	case 2:
		return compat ? (__u32)regs->cx : regs->si;
	case 3:
		return compat ? (__u32)regs->dx : regs->dx;
	case 4:
		return compat ? (__u32)regs->si : regs->r10;
	default:
		return compat ? (__u32)regs->di : regs->r8;
	}
}

#endif
