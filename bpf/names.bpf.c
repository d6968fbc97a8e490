// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Renames, links, deletions, truncations by path. Which file it was and what it
 * is called now comes from the kernel's dentries where the inode tracepoints
 * noted them (changes.bpf.h). The path strings are sent beside that, read after
 * success together with the directories that they start at: a second thread
 * could have swapped them meanwhile, so such records carry WHENCE_F_USER_TEXT,
 * and whenced believes a string only as far as it agrees with the dentry.
 */
#include "changes.bpf.h"
#include "identity.bpf.h"
#include "path.bpf.h"

struct name_call {
	__u64 task;
	__u64 old_path, new_path;
	__u64 id;   /* of the change that was noted */
	__u64 text; /* id of the strings */
	__u64 base; /* struct path that the last string starts at */
	__s32 old_directory, new_directory;
	__u32 flags;
	__u32 slot;
	__u16 kind;
};

static __noinline __u32 send_user_text(__u64 address, __u64 id, __u32 part)
{
	struct scratch *scratch = scratch_at(SCRATCH_CALL);
	long length;

	if (!scratch)
		return WHENCE_F_TEXT_LOST;
	length = bpf_probe_read_user_str(scratch->data, TEXT_BYTES, (void *)address);
	if (length <= 0)
		return WHENCE_F_TEXT_LOST;
	return send_text(scratch, SCRATCH_CALL, id, part, length, 0, 0) ? 0 : WHENCE_F_TEXT_LOST;
}

/*
 * The directory that a path string starts at: the process's root for absolute
 * strings, else the working directory or a descriptor. The first byte is all
 * that this program looks at.
 */
static __always_inline struct path *base_of(struct task_struct *task, __s32 directory, char first)
{
	struct file *file;

	if (first == '/')
		return &task->fs->root;
	if (directory == AT_FDCWD)
		return &task->fs->pwd;
	file = file_at(task, directory);
	return file ? &file->f_path : NULL;
}

static __noinline __u32 send_base(struct task_struct *task, __s32 directory, char first, __u64 id,
				  __u32 part)
{
	struct path *base = base_of(task, directory, first);

	return base ? send_path_at(base, id, part, SCRATCH_CALL) : WHENCE_F_TEXT_LOST;
}

static __always_inline char first_byte(__u64 address)
{
	char first = 0;

	bpf_probe_read_user(&first, sizeof(first), (void *)address);
	return first;
}

/*
 * Path of the subject by its dentry, walked from the mount that the string
 * began in. Not sent when the subject lies in another file system.
 */
static __always_inline int send_dentry(__u64 base, __u64 dentry, __u64 id, __u32 slot)
{
	__u64 mnt = 0;

	if (!base || !dentry)
		return 0;
	bpf_probe_read_kernel(&mnt, sizeof(mnt), &typed(struct path, base)->mnt);
	if (typed(struct vfsmount, mnt)->mnt_root->d_sb != typed(struct dentry, dentry)->d_sb)
		return 0;
	return send_path(mnt, dentry, id, WHENCE_TEXT_PATH, slot);
}

/* A truncation by path is a write like one by descriptor, counted with the others. */
static __noinline __u64 use_truncation(struct task_struct *task, struct noted *subject)
{
	struct whence_use_key key;
	struct whence_use *use;
	__u64 number;

	if (!subject)
		return 0;
	key.process = process_of(task);
	key.file = subject->file;
	number = note_truncation(&key.file);
	use = use_of(&key);
	if (!use)
		return number;
	__sync_fetch_and_add(&use->write_ops, 1);
	use->last_write_ns = bpf_ktime_get_boot_ns();
	use->write_epoch = epoch_of(number);
	return number;
}

/* The inode may be gone by now: its identity was kept. */
static __always_inline void fill_subject(struct whence_record *record, struct noted *subject)
{
	struct inode *inode = typed(struct inode, subject->inode);

	if (inode->i_ino == subject->file.inode && inode->i_generation == subject->file.generation)
		fill_file(record, inode);
	record->file = subject->file;
	record->magic = subject->magic;
}

/* Whose names changed, as the kernel noted it. A global function: verified once. */
__noinline int send_names(struct name_call *call)
{
	struct whence_record *record;
	struct noted *subject = NULL;
	struct task_struct *task;
	struct change *change;
	__u64 number = 0;
	__u32 flags;

	if (!call)
		return 0;
	task = typed(struct task_struct, call->task);
	change = change_of(call->id);
	flags = call->flags;
	if (change && !(flags & WHENCE_F_EXCHANGE))
		subject = subject_of(change, call->kind);
	if (subject) {
		if (subject->type == S_IFDIR)
			flags |= WHENCE_F_DIRECTORY;
		flags |= send_dentry(call->base, dentry_after(subject, call->kind), call->text,
				     call->slot);
		if (call->kind == WHENCE_TRUNCATE_PATH)
			number = use_truncation(task, subject);
	}
	record = begin_record(call->kind, WHENCE_CLASS_NAME);
	if (!record)
		return 0;
	record->process = process_of(task);
	if (subject)
		fill_subject(record, subject);
	if (number)
		record->version = number;
	record->uid = task->real_cred->uid.val;
	record->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	record->text = call->text;
	record->fd = call->old_directory;
	record->flags = flags;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

static __always_inline int send_name_change(struct name_call *call)
{
	struct task_struct *task = typed(struct task_struct, call->task);
	char first = first_byte(call->old_path);
	__s32 directory = call->old_directory;
	__u64 id;

	if (is_excluded())
		return 0;
	call->flags |= WHENCE_F_USER_TEXT;
	id = next_text_id(SCRATCH_CALL);
	call->flags |= send_user_text(call->old_path, id, WHENCE_TEXT_USER_OLD);
	call->flags |= send_base(task, directory, first, id, WHENCE_TEXT_BASE_OLD);
	if (call->new_path) {
		first = first_byte(call->new_path);
		directory = call->new_directory;
		call->flags |= send_user_text(call->new_path, id, WHENCE_TEXT_USER_NEW);
		call->flags |= send_base(task, directory, first, id, WHENCE_TEXT_BASE_NEW);
	}
	call->text = id;
	call->base = (__u64)base_of(task, directory, first);
	call->slot = SCRATCH_CALL;
	return send_names(call);
}

static __noinline int name_changed(struct task_struct *task, struct pt_regs *regs, bool compat,
				   __u32 work)
{
	struct name_call call = {
		.task = (__u64)task,
		.old_directory = AT_FDCWD,
		.new_directory = AT_FDCWD,
		.old_path = argument(regs, compat, 1),
		.id = bpf_get_current_pid_tgid(),
	};

	switch (work) {
	case WHENCE_WORK_RENAMEAT2:
		if (argument(regs, compat, 5) & RENAME_EXCHANGE)
			call.flags = WHENCE_F_EXCHANGE;
		/* fall through */
	case WHENCE_WORK_RENAMEAT:
	case WHENCE_WORK_LINKAT:
		call.old_directory = argument(regs, compat, 1);
		call.old_path = argument(regs, compat, 2);
		call.new_directory = argument(regs, compat, 3);
		call.new_path = argument(regs, compat, 4);
		break;
	case WHENCE_WORK_RENAME:
	case WHENCE_WORK_LINK:
		call.new_path = argument(regs, compat, 2);
		break;
	case WHENCE_WORK_UNLINKAT:
		if (argument(regs, compat, 3) & AT_REMOVEDIR) {
			forget_change(call.id);
			return 0; /* as rmdir(2): an empty folder, no content */
		}
		call.old_directory = argument(regs, compat, 1);
		call.old_path = argument(regs, compat, 2);
		break;
	}
	if (work == WHENCE_WORK_RENAME || work == WHENCE_WORK_RENAMEAT || work == WHENCE_WORK_RENAMEAT2)
		call.kind = WHENCE_RENAME;
	else if (work == WHENCE_WORK_LINK || work == WHENCE_WORK_LINKAT)
		call.kind = WHENCE_LINK;
	else if (work == WHENCE_WORK_TRUNCATE)
		call.kind = WHENCE_TRUNCATE_PATH;
	else
		call.kind = WHENCE_UNLINK;
	send_name_change(&call);
	forget_change(call.id);
	return 0;
}
