// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What was there before capture began. whenced attaches first and walks then:
 * nothing can slip between, and a live record of the same process wins.
 * Arguments of such processes come from procfs, and their rows say so.
 */

SEC("iter/task")
int seen_process(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct whence_record *record;
	struct file *executable;
	__u64 id;

	if (!task || task->pid != task->tgid || task->flags & PF_KTHREAD || !task->mm)
		return 0;
	if (is_task_excluded(task))
		return 0;
	task = typed(struct task_struct, task);
	if (!is_task_in_scope(task))
		return 0;
	executable = task->mm->exe_file;
	id = next_text_id(SCRATCH_ITERATOR);
	if (executable)
		send_path_at(&executable->f_path, id,
			  WHENCE_TEXT_PATH, SCRATCH_ITERATOR);
	if (task->fs)
		send_path_at(&task->fs->pwd, id,
			  WHENCE_TEXT_CWD, SCRATCH_ITERATOR);
	record = begin_record(WHENCE_PROCESS_SEEN, WHENCE_CLASS_LIFE);
	if (!record)
		return 0;
	fill_process(record, task);
	if (executable)
		fill_file(record, executable->f_inode);
	fill_other(record, process_of(task->real_parent));
	record->text = id;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/*
 * Mappings of files: each file once for reading (its first bytes) and once for
 * executing, which is what calls would have told.
 */
SEC("iter/task_vma")
int seen_mapping(struct bpf_iter__task_vma *context)
{
	struct task_struct *task = context->task;
	struct vm_area_struct *area = context->vma;
	struct touch touch = {
		.slot = SCRATCH_ITERATOR, .kind = WHENCE_FILE_SEEN, .fd = -1, .flags = WHENCE_F_MAPPED,
	};
	struct whence_file identity;
	struct inode *inode;

	if (!task || !area || task->pid != task->tgid)
		return 0;
	area = typed(struct vm_area_struct, area);
	if (!area->vm_file || is_task_excluded(task) || !is_task_in_scope(task))
		return 0;
	inode = area->vm_file->f_inode;
	if ((inode->i_mode & S_IFMT) != S_IFREG || is_pseudo(inode->i_sb->s_magic))
		return 0;
	if (area->vm_flags & VM_EXEC)
		touch.flags |= WHENCE_F_EXECUTABLE;
	else if (area->vm_pgoff && !(area->vm_flags & VM_SHARED))
		return 0;
	if (area->vm_flags & VM_SHARED && area->vm_flags & VM_WRITE) {
		touch.flags |= WHENCE_F_WRITABLE;
		share_mapping(typed(struct task_struct, task), area->vm_start, area->vm_file);
	}
	touch.task = (__u64)task;
	touch.file = (__u64)area->vm_file;
	identity = file_of(inode);
	return send_touch(&touch, version_of(&identity));
}

SEC("iter/task_file")
int seen_file(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct open_key key;
	struct whence_file identity;
	struct touch touch = { .slot = SCRATCH_ITERATOR, .kind = WHENCE_FILE_SEEN };
	struct inode *inode;

	if (!task || !file || task->pid != task->tgid)
		return 0;
	if (is_task_excluded(task) || !is_task_in_scope(task))
		return 0;
	inode = file->f_inode;
	if ((inode->i_mode & S_IFMT) != S_IFREG || is_pseudo(inode->i_sb->s_magic))
		return 0;
	touch.task = (__u64)task;
	touch.file = (__u64)file;
	touch.fd = context->fd;
	identity = file_of(inode);
	if (file->f_mode & FMODE_WRITE) {
		key.tgid = task->tgid;
		key.fd = context->fd;
		bpf_map_update_elem(&open_for_writing, &key, &identity, BPF_ANY);
		touch.flags = WHENCE_F_WRITABLE;
	}
	return send_touch(&touch, version_of(&identity));
}

/*
 * Who lives, for the balance of forks and exits. Read from the iterator itself
 * and not from a ring, so that it holds when the rings are full. Alive until
 * the last thread ends, as on_exit has it.
 */
SEC("iter/task")
int census(struct bpf_iter__task *context)
{
	struct task_struct *task = context->task;
	struct whence_alive alive = {};

	if (!task || task->pid != task->tgid || task->flags & PF_KTHREAD)
		return 0;
	if (!is_task_excluded(task))
		alive.flags = WHENCE_ALIVE_IN_SCOPE;
	task = typed(struct task_struct, task);
	if (task->signal->live.counter <= 0)
		return 0;
	alive.process = process_of(task);
	alive.uid = task->real_cred->uid.val;
	if (!is_task_in_scope(task))
		alive.flags = 0;
	bpf_seq_write(context->meta->seq, &alive, sizeof(alive));
	return 0;
}
