// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Which inodes a call changes, told by the kernel in its course: whoever
 * changes content or names sets the inode's ctime (fs/inode.c
 * inode_set_ctime_current(), traced since 6.13, commit e3fad0376d73). So
 *
 *   - a rename, link, deletion or truncation by path has the identity, and the
 *     new name, of the kernel's own dentries: the string that the program
 *     passed is only how it spelled them (names.bpf.c);
 *   - a store to a shared mapping is seen: the first to each page in a tick.
 *
 * Costs nothing per system call, and a look at one register at the first write
 * of a file in each tick. Without these tracepoints names rest on strings and
 * shared mappings on "may have been written": plan.py names both as missing.
 */

#include "changes.bpf.h"

/* Of whence_use.touched: no kind of record has this bit. */
#define STORED_BIT 31

/* arch/x86/entry/syscalls: the same number in both tables */
#define URING_ENTER 426

/*
 * A page of a shared mapping was written for the first time since it was clean.
 * The mapping told the path; the daemon knows it by identity.
 */
static __noinline int stored(struct task_struct *task, struct inode *inode)
{
	struct whence_record *record;
	struct whence_use_key key;
	struct whence_use *use;
	__u64 number;

	if ((inode->i_mode & S_IFMT) != S_IFREG || is_pseudo(inode->i_sb->s_magic))
		return 0;
	if (!is_observed(task))
		return 0;
	key.process = process_of(task);
	key.file = file_of(inode);
	number = note_write(&key.file);
	use = use_of(&key);
	if (use) {
		__sync_fetch_and_add(&use->write_ops, 1);
		use->last_write_ns = bpf_ktime_get_boot_ns();
		if (!is_first(use, STORED_BIT) && use->write_epoch == epoch_of(number))
			return 0;
		use->write_epoch = epoch_of(number);
	}
	record = begin_record(WHENCE_WRITE, WHENCE_CLASS_TOUCH);
	if (!record)
		return 0;
	record->process = key.process;
	fill_file(record, inode);
	record->uid = task->real_cred->uid.val;
	record->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	record->version = number;
	record->flags = WHENCE_F_MAPPED;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/*
 * A call or a request is about to change content: the count goes up before the
 * first byte does, and again as the call ends (touches.bpf.c). So who has read new
 * bytes finds a new number, and who finds an old number has read old bytes, also
 * when the reader's call ends within the writer's.
 */
static __noinline int begun(struct task_struct *task, struct inode *inode)
{
	struct whence_file file;

	if ((inode->i_mode & S_IFMT) != S_IFREG || is_pseudo(inode->i_sb->s_magic))
		return 0;
	file = file_of(inode);
	if (bpf_map_lookup_elem(&versions, &file) || is_observed(task))
		note_write(&file);
	return 0;
}

/*
 * Of the calls in the table those that move bytes into files, or cut them. An
 * open cuts as well; the inode that it makes has no name yet and no reader.
 */
static __always_inline bool is_content_work(__u32 work, struct inode *inode)
{
	switch (work) {
	case WHENCE_WORK_OPEN:
	case WHENCE_WORK_OPENAT:
	case WHENCE_WORK_OPENAT2:
	case WHENCE_WORK_CREAT:
		return inode->i_dentry.first;
	case WHENCE_WORK_WRITE:
	case WHENCE_WORK_SENDFILE:
	case WHENCE_WORK_SPLICE:
	case WHENCE_WORK_FTRUNCATE:
	case WHENCE_WORK_TRUNCATE:
	case WHENCE_WORK_IOCTL:
	case WHENCE_WORK_FALLOCATE:
	case WHENCE_WORK_IO_SUBMIT:
		return true;
	}
	return false;
}

/* `local`: not the time stamp that a server sent, which a mere read may bring. */
static __always_inline int inode_changes(struct inode *inode, bool local)
{
	struct task_struct *trusted = bpf_get_current_task_btf();
	struct task_struct *task = typed(struct task_struct, trusted);
	struct changing changing = { .id = bpf_get_current_pid_tgid() };
	struct pt_regs *regs;
	__u32 work;

	if (task->flags & PF_KTHREAD)
		return 0;
	inode = typed(struct inode, inode);
	if (task->flags & PF_IO_WORKER) {
		begun(task, inode);
		return request_changes(task, inode);
	}
	regs = typed(struct pt_regs, bpf_task_pt_regs(trusted));
	if ((__s32)regs->orig_ax == NO_CALL)
		return local ? stored(task, inode) : 0;
	work = is_compat(task) ? config.work_compat[regs->orig_ax & (WHENCE_SYSCALLS - 1)]
			       : config.work[regs->orig_ax & (WHENCE_SYSCALLS - 1)];
	/* a call that reads changes a file only by storing into a mapping of one */
	if (work == WHENCE_WORK_READ)
		return local ? stored(task, inode) : 0;
	if (is_content_work(work, inode) || regs->orig_ax == URING_ENTER)
		begun(task, inode);
	if (!is_name_work(work))
		return 0;
	if (!change_of(changing.id) && is_observed(task))
		new_change(changing.id);
	changing.inode = (__u64)inode;
	return note_inode(&changing);
}

SEC("tp_btf/ctime_ns_xchg")
int BPF_PROG(on_change, struct inode *inode)
{
	return inode_changes(inode, true);
}

SEC("tp_btf/ctime_xchg_skip")
int BPF_PROG(on_change_in_tick, struct inode *inode)
{
	return inode_changes(inode, true);
}

SEC("tp_btf/inode_set_ctime_to_ts")
int BPF_PROG(on_change_set, struct inode *inode)
{
	return inode_changes(inode, false);
}
