// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Bytes that move by other calls than read and write: vmsplice, libaio, clones. */

/* One end of a pipe and memory of the process. */
static __noinline int spliced_memory(struct task_struct *task, __s32 fd, __s64 bytes)
{
	struct file *file = file_at(task, fd);

	if (!file)
		return 0;
	return touch_fd(task, fd, file->f_mode & FMODE_WRITE ? WHENCE_WRITE : WHENCE_READ, bytes);
}

#define SUBMITTED 1024 /* control blocks of one io_submit() that are looked at */

struct submit_walk {
	__u64 task;
	__u64 blocks;
	__u32 pointer_bytes;
	__u32 unread;
};

/*
 * One control block. User memory says which descriptor and direction, the
 * kernel's table which file: a block that is rewritten between submission and
 * here can misname the direction or the descriptor, never a file that the
 * process does not have open.
 */
static long submitted_one(__u64 index, struct submit_walk *walk)
{
	struct task_struct *task = typed(struct task_struct, walk->task);
	struct control_block block;
	__u64 address = 0;

	if (bpf_probe_read_user(&address, walk->pointer_bytes & 8 ? 8 : 4,
				(void *)(walk->blocks + index * walk->pointer_bytes)) ||
	    bpf_probe_read_user(&block, sizeof(block), (void *)address)) {
		walk->unread = 1;
		return 0;
	}
	switch (block.opcode) {
	case AIO_PREAD:
		touch_fd(task, block.fd, WHENCE_READ, block.length_bytes);
		break;
	case AIO_PREADV:
		touch_fd(task, block.fd, WHENCE_READ, 0);
		break;
	case AIO_PWRITE:
		if (block.length_bytes)
			touch_fd(task, block.fd, WHENCE_WRITE, block.length_bytes);
		break;
	case AIO_PWRITEV:
		touch_fd(task, block.fd, WHENCE_WRITE, 0);
		break;
	}
	return 0;
}

/*
 * libaio. Results come back through a ring in user memory that programs read
 * by themselves: no hook sees them. So the edge is of the submission, and the
 * bytes are those that were asked for.
 */
static __always_inline int submitted(struct task_struct *task, __u64 blocks, __u32 number, bool compat)
{
	struct submit_walk walk = {
		.task = (__u64)task, .blocks = blocks, .pointer_bytes = compat ? 4 : 8,
	};

	bpf_loop(number < SUBMITTED ? number : SUBMITTED, submitted_one, &walk, 0);
	if (walk.unread || number > SUBMITTED)
		return unseen(task, WHENCE_UNSEEN_AIO);
	return 0;
}

/* Commands that change space, by their numbers; two have no name of their own. */
static __always_inline bool is_space_command(__u32 command)
{
	__u32 number = command & 0xff;

	return (command & ~0xffU) == SPACE_COMMAND &&
	       ((number >= FS_IOC_RESVSP && number <= FS_IOC_UNRESVSP64) || number == FS_IOC_ZERO_RANGE);
}

static __noinline int commanded(struct task_struct *task, struct pt_regs *regs, bool compat, __s64 result)
{
	__u32 command = argument(regs, compat, 2);
	__u64 parameter = argument(regs, compat, 3);
	__s64 source = parameter;

	if (is_space_command(command))
		return touch_fd(task, argument(regs, compat, 1), WHENCE_WRITE, 0);
	if (command == BTRFS_IOC_ENCODED_READ)
		return touch_fd(task, argument(regs, compat, 1), WHENCE_READ, result);
	if (command == BTRFS_IOC_ENCODED_WRITE)
		return touch_fd(task, argument(regs, compat, 1), WHENCE_WRITE, result);
	if (command != FICLONE && command != FICLONERANGE)
		return 0;
	/* struct file_clone_range begins with the source descriptor */
	if (command == FICLONERANGE &&
	    bpf_probe_read_user(&source, sizeof(source), (void *)parameter))
		return 0;
	touch_fd(task, source, WHENCE_READ, 0);
	return touch_fd(task, argument(regs, compat, 1), WHENCE_WRITE, 0);
}
