// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Renames, links, deletions, truncations by path. No tracepoint carries their
 * dentries, so this back end reads the path strings after success, together
 * with the directories that they start at (from kernel memory). A second
 * thread could swap the string meanwhile: such records carry
 * WHENCE_F_USER_TEXT, and whenced checks which file the new name leads to.
 */
#include "identity.bpf.h"
#include "path.bpf.h"

struct name_call {
	struct task_struct *task;
	__u64 old_path, new_path;
	__s32 old_directory, new_directory;
	__u32 flags;
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
	return send_text(scratch, id, part, length, 0, 0) ? 0 : WHENCE_F_TEXT_LOST;
}

/*
 * The directory that a path string starts at: a descriptor, the working
 * directory, or for absolute strings the process's root. All three are sent
 * as walks from the namespace's root; whenced picks by the string's first
 * byte, which is the only byte that this program looks at.
 */
static __noinline __u32 send_base(struct task_struct *task, __s32 directory, __u64 path, __u64 id,
				  __u32 part)
{
	struct file *file;
	char first = 0;

	bpf_probe_read_user(&first, sizeof(first), (void *)path);
	if (first == '/')
		return send_path_at(&task->fs->root, id, part,
				 SCRATCH_CALL);
	if (directory == AT_FDCWD)
		return send_path_at(&task->fs->pwd, id, part,
				 SCRATCH_CALL);
	file = file_at(task, directory);
	if (!file)
		return WHENCE_F_TEXT_LOST;
	return send_path_at(&file->f_path, id, part,
			 SCRATCH_CALL);
}

static __noinline int send_name_change(struct name_call *call)
{
	struct task_struct *task = call->task;
	struct whence_record *record;
	__u32 flags = call->flags | WHENCE_F_USER_TEXT;
	__u64 id;

	if (is_excluded())
		return 0;
	id = next_text_id(SCRATCH_CALL);
	flags |= send_user_text(call->old_path, id, WHENCE_TEXT_USER_OLD);
	flags |= send_base(task, call->old_directory, call->old_path, id, WHENCE_TEXT_BASE_OLD);
	if (call->new_path) {
		flags |= send_user_text(call->new_path, id, WHENCE_TEXT_USER_NEW);
		flags |= send_base(task, call->new_directory, call->new_path, id,
				   WHENCE_TEXT_BASE_NEW);
	}
	record = begin_record(call->kind, WHENCE_CLASS_NAME);
	if (!record)
		return 0;
	record->process = process_of(task);
	record->uid = task->real_cred->uid.val;
	record->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	record->text = id;
	record->fd = call->old_directory;
	record->flags = flags;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

#define RENAME_EXCHANGE 2
#define AT_REMOVEDIR 0x200

static __noinline int name_changed(struct task_struct *task, struct pt_regs *regs, bool compat,
				   __u32 work)
{
	struct name_call call = {
		.task = task,
		.old_directory = AT_FDCWD,
		.new_directory = AT_FDCWD,
		.old_path = argument(regs, compat, 1),
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
		if (argument(regs, compat, 3) & AT_REMOVEDIR)
			return 0; /* as rmdir(2): an empty folder, no content */
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
	return send_name_change(&call);
}
