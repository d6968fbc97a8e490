// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* fork, exec, exit: the life of processes. Threads are not processes. */
#include "identity.bpf.h"
#include "path.bpf.h"

#define ARGUMENT_CHUNKS 16 /* of TEXT_BYTES: the longest single argument fits */
#define ENVIRONMENT_CHUNKS 8

/*
 * Runs in the parent before the child can run (kernel/fork.c kernel_clone()),
 * so the edge is known before the child's first event.
 */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct whence_record *record;
	__u32 yes = 1;

	if (child->pid != child->tgid)
		return 0;
	if (is_excluded()) {
		bpf_task_storage_get(&excluded, child, &yes, BPF_LOCAL_STORAGE_GET_F_CREATE);
		return 0;
	}
	if (!in_scope(parent))
		return 0;
	record = begin_record(WHENCE_FORK, WHENCE_CLASS_LIFE);
	if (!record) {
		/* the child's loss as well as its parent's: nobody was told of it */
		struct whence_process born = process_of(typed(struct task_struct, child));

		add_loser(&born, WHENCE_CLASS_LIFE);
		return 0;
	}
	fill_process(record, typed(struct task_struct, child));
	fill_other(record, process_of(typed(struct task_struct, parent)));
	bpf_ringbuf_submit(record, 0);
	return 0;
}

struct stack_walk {
	struct scratch *scratch;
	__u64 id;
	__u64 at;
	__u64 end;
	__u32 part;
	__u32 cut; /* flag that says that not all of it was sent */
	__u32 flags;
};

static long stack_step(__u64 index, struct stack_walk *walk)
{
	__u64 left = walk->end - walk->at;
	__u32 length = left > TEXT_BYTES ? TEXT_BYTES : left;

	if (!left)
		return 1;
	if (bpf_probe_read_user(walk->scratch->data, length, (void *)walk->at)) {
		walk->flags |= walk->cut;
		return 1;
	}
	if (!send_text(walk->scratch, walk->id, walk->part, length, 0, index))
		walk->flags |= WHENCE_F_TEXT_LOST;
	walk->at += length;
	return 0;
}

/*
 * Sends what the kernel laid at the top of the new stack (fs/exec.c
 * copy_strings()). At this tracepoint nobody but the kernel has written there
 * yet: no other thread shares the map, the program has not begun. Later it may
 * be rewritten, which is why it is never read again.
 */
static __noinline __u32 send_stack(struct stack_walk *walk, __u32 chunks)
{
	walk->scratch = scratch_at(SCRATCH_LIFE);
	if (!walk->scratch)
		return WHENCE_F_TEXT_LOST;
	bpf_loop(chunks, stack_step, walk, 0);
	if (walk->at < walk->end)
		walk->flags |= walk->cut;
	return walk->flags;
}

static __noinline __u32 send_arguments(struct task_struct *task, __u64 id)
{
	struct stack_walk walk = {
		.id = id,
		.at = task->mm->arg_start,
		.end = task->mm->arg_end,
		.part = WHENCE_TEXT_ARGS,
		.cut = WHENCE_F_ARGS_TRUNCATED,
	};

	return send_stack(&walk, ARGUMENT_CHUNKS);
}

/* What of it may be kept is decided by whenced (environment.py), and the rest forgotten there. */
static __noinline __u32 send_environment(struct task_struct *task, __u64 id)
{
	struct stack_walk walk = {
		.id = id,
		.at = task->mm->env_start,
		.end = task->mm->env_end,
		.part = WHENCE_TEXT_ENVIRONMENT,
		.cut = WHENCE_F_ENV_TRUNCATED,
	};

	return send_stack(&walk, ENVIRONMENT_CHUNKS);
}

/* A script: the kernel ran an interpreter in its place (fs/binfmt_script.c). */
static __noinline __u32 send_script(struct linux_binprm *bprm, __u64 id)
{
	struct scratch *scratch = scratch_at(SCRATCH_LIFE);
	long length;

	if (!scratch || bprm->filename == bprm->interp)
		return 0;
	length = bpf_probe_read_kernel_str(scratch->data, TEXT_BYTES, bprm->filename);
	if (length <= 0)
		return 0;
	return WHENCE_F_SCRIPT |
	       (send_text(scratch, id, WHENCE_TEXT_SCRIPT, length, 0, 0) ? 0 : WHENCE_F_TEXT_LOST);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct whence_record *record;
	struct file *executable;
	__u64 id;
	__u32 flags;

	task = typed(struct task_struct, task);
	bprm = typed(struct linux_binprm, bprm);
	if (!is_observed(task))
		return 0;
	executable = bprm->file;
	id = next_text_id(SCRATCH_LIFE);
	flags = send_path_at(&executable->f_path, id,
			  WHENCE_TEXT_PATH, SCRATCH_LIFE);
	flags |= send_path_at(&task->fs->pwd, id,
			   WHENCE_TEXT_CWD, SCRATCH_LIFE);
	flags |= send_arguments(task, id);
	flags |= send_environment(task, id);
	flags |= send_script(bprm, id);
	if (is_nameless(executable->f_path.dentry))
		flags |= WHENCE_F_NAMELESS;
	record = begin_record(WHENCE_EXEC, WHENCE_CLASS_LIFE);
	if (!record)
		return 0;
	fill_process(record, task);
	fill_file(record, executable->f_inode);
	fill_other(record, process_of(task->real_parent));
	record->text = id;
	record->flags = flags;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/*
 * Fires for each thread; the process ends with its last one. Two threads that
 * end at once may both find none left: whenced takes the first.
 */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *trusted)
{
	struct task_struct *task = typed(struct task_struct, trusted);
	struct signal_struct *signal = task->signal;
	struct whence_record *record;
	struct whence_moved *moved;

	if (signal->live.counter > 0 || !is_observed(task))
		return 0;
	record = begin_record(WHENCE_EXIT, WHENCE_CLASS_LIFE);
	if (!record)
		return 0;
	record->process = process_of(task);
	/* kernel/exit.c wait_task_zombie(): the word that wait(2) reports */
	record->value = signal->flags & SIGNAL_GROUP_EXIT ? signal->group_exit_code
							  : task->group_leader->exit_code;
	moved = bpf_task_storage_get(&elsewhere, trusted->group_leader, NULL, 0);
	if (moved) {
		record->version = moved->read;
		record->size_bytes = moved->written;
		record->mtime_ns = moved->read_uring;
		record->other_start_ns = moved->written_uring;
	}
	bpf_ringbuf_submit(record, 0);
	return 0;
}
