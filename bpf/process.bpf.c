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
	if (!send_text(walk->scratch, SCRATCH_LIFE, walk->id, walk->part, length, 0, index))
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

/*
 * A shell and all that it starts have one environment, which is most of what an
 * exec would send: it is told once, like a directory. By user, so that nobody can
 * make another's look told; by what it holds, of which 64 bits and the length are
 * compared, so that a change is never missed by chance.
 */
struct environment_key {
	__u64 hash;
	__u32 length;
	__u32 uid;
};

struct environment {
	__u64 text;	/* id of its text */
	__u64 at_ns;	/* when that was sent */
	__u64 flags;	/* WHENCE_F_ENV_TRUNCATED */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 10);
	__type(key, struct environment_key);
	__type(value, struct environment);
} environments SEC(".maps");

struct hash_walk {
	struct scratch *scratch;
	__u64 at;
	__u64 end;
	__u64 hash;
};

#define TEXT_WORDS (TEXT_BYTES / 8)

/* One chunk, as stack_step(), but nothing is sent. A bpf_loop() callback: verified only once. */
static long hash_step(__u64 index, struct hash_walk *walk)
{
	__u64 left = walk->end - walk->at, hash = walk->hash;
	__u32 length = left > TEXT_BYTES ? TEXT_BYTES : left;
	__u64 *words = (__u64 *)walk->scratch->data;

	if (!length || bpf_probe_read_user(words, length, (void *)walk->at))
		return 1;
	__builtin_memset(&walk->scratch->data[length], 0, 8);
	for (__u32 word = 0; word < TEXT_WORDS && word * 8 < length; word++) {
		hash = (hash ^ words[word]) * SPREAD;
		hash ^= hash >> 32;
	}
	walk->hash = hash;
	walk->at += length;
	return 0;
}

/*
 * What of it may be kept is decided by whenced (environment.py), and the rest
 * forgotten there. Returns flags, and the id of the text in *shared.
 */
static __noinline __u32 send_environment(struct task_struct *task, __u64 now_ns, __u64 *shared)
{
	struct stack_walk walk = {
		.at = task->mm->env_start,
		.end = task->mm->env_end,
		.part = WHENCE_TEXT_ENVIRONMENT,
		.cut = WHENCE_F_ENV_TRUNCATED,
	};
	struct hash_walk hash = {
		.scratch = scratch_at(SCRATCH_LIFE), .at = walk.at, .end = walk.end,
	};
	struct environment_key key = {
		.length = walk.end - walk.at, .uid = task->real_cred->uid.val,
	};
	struct environment fresh = { .at_ns = now_ns };
	struct environment *known;

	if (!hash.scratch)
		return WHENCE_F_TEXT_LOST;
	bpf_loop(ENVIRONMENT_CHUNKS, hash_step, &hash, 0);
	key.hash = hash.hash;
	known = bpf_map_lookup_elem(&environments, &key);
	if (known && now_ns - known->at_ns < WHENCE_DIRECTORY_NS) {
		*shared = known->text;
		return known->flags;
	}
	walk.id = fresh.text = next_text_id(SCRATCH_LIFE);
	fresh.flags = send_stack(&walk, ENVIRONMENT_CHUNKS);
	if (fresh.flags & WHENCE_F_TEXT_LOST)
		return fresh.flags;
	bpf_map_update_elem(&environments, &key, &fresh, BPF_ANY);
	*shared = fresh.text;
	return fresh.flags;
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
	       (send_text(scratch, SCRATCH_LIFE, id, WHENCE_TEXT_SCRIPT, length, 0, 0) ? 0 : WHENCE_F_TEXT_LOST);
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	struct whence_record *record;
	struct file *executable;
	__u64 id, environment = 0;
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
	flags |= send_environment(task, bpf_ktime_get_boot_ns(), &environment);
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
	record->text2 = environment;
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
