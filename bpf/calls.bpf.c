// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* The one program on system calls: look the number up, hand over. */

/* Calls that move bytes between two descriptors; none were moved where the source is at its end. */
static __noinline int moved(struct task_struct *task, __s32 from, __s32 to, __s64 bytes)
{
	touch_fd(task, from, WHENCE_READ, bytes);
	return !bytes ? 0 : touch_fd(task, to, WHENCE_WRITE, bytes);
}

/* Of a struct in user memory; 0 when it is gone. */
static __noinline __u64 first_word(__u64 address)
{
	__u64 word = 0;

	bpf_probe_read_user(&word, sizeof(word), (void *)address);
	return word;
}

/* A name that was noted before the call failed: the thread's next call begins anew. */
static __always_inline int call_failed(__u32 work)
{
	if (is_name_work(work))
		forget_change(bpf_get_current_pid_tgid());
	return 0;
}

/* The rarer calls, out of the hot path's way. */
static __noinline int rarer_call(struct task_struct *task, struct pt_regs *regs, __s64 result,
				 __u32 work)
{
	bool compat = is_compat(task);

	switch (work) {
	case WHENCE_WORK_OPEN:
		return open_done(task, result, argument(regs, compat, 2), SCRATCH_CALL);
	case WHENCE_WORK_OPENAT:
		return open_done(task, result, argument(regs, compat, 3), SCRATCH_CALL);
	case WHENCE_WORK_OPENAT2:
		return open_done(task, result, first_word(argument(regs, compat, 3)),
				 SCRATCH_CALL);
	case WHENCE_WORK_CREAT:
		return open_done(task, result, O_TRUNC, SCRATCH_CALL);
	case WHENCE_WORK_CLOSE:
		return closed(task, argument(regs, compat, 1));
	case WHENCE_WORK_MMAP:
		return mapped(task, regs, compat, result, false);
	case WHENCE_WORK_OLD_MMAP:
		return mapped(task, regs, compat, result, true);
	case WHENCE_WORK_MUNMAP:
		return unmapped(task, argument(regs, compat, 1));
	case WHENCE_WORK_MREMAP:
		return remapped(task, argument(regs, compat, 1), result);
	case WHENCE_WORK_MPROTECT:
		return protected(task, regs, compat);
	case WHENCE_WORK_SENDFILE:
		return moved(task, argument(regs, compat, 2), argument(regs, compat, 1), result);
	case WHENCE_WORK_SPLICE:
		return moved(task, argument(regs, compat, 1), argument(regs, compat, 3), result);
	case WHENCE_WORK_TEE:
		return moved(task, argument(regs, compat, 1), argument(regs, compat, 2), result);
	case WHENCE_WORK_VMSPLICE:
		return spliced_memory(task, argument(regs, compat, 1), result);
	case WHENCE_WORK_IO_SUBMIT:
		return submitted(task, argument(regs, compat, 3), result, compat);
	case WHENCE_WORK_FTRUNCATE:
		return touch_fd(task, argument(regs, compat, 1), WHENCE_TRUNCATE, 0);
	case WHENCE_WORK_IOCTL:
		return commanded(task, regs, compat, result);
	case WHENCE_WORK_FALLOCATE:
		return touch_fd(task, argument(regs, compat, 1), WHENCE_WRITE, 0);
	case WHENCE_WORK_DUP:
		return duplicated(task, argument(regs, compat, 1), result);
	case WHENCE_WORK_FCNTL:
		if (argument(regs, compat, 2) != F_DUPFD && argument(regs, compat, 2) != F_DUPFD_CLOEXEC)
			return 0;
		return duplicated(task, argument(regs, compat, 1), result);
	case WHENCE_WORK_CLOSE_RANGE:
		if (argument(regs, compat, 3) & CLOSE_RANGE_CLOEXEC)
			return 0;
		return range_closed(task, argument(regs, compat, 1), argument(regs, compat, 2));
	default:
		return name_changed(task, regs, compat, work);
	}
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_call, struct pt_regs *trusted_regs, long result)
{
	struct pt_regs *regs = typed(struct pt_regs, trusted_regs);
	struct task_struct *task = current_task();
	__u32 number = regs->orig_ax & (WHENCE_SYSCALLS - 1);
	bool compat = is_compat(task);
	__u32 work = compat ? config.work_compat[number] : config.work[number];

	if (!work)
		return 0;
	/* -4095..-1 are errors; an mmap address is none of them */
	if (result < 0 && result > -4096)
		return call_failed(work);
	if (!in_scope(task))
		return 0;
	if (work == WHENCE_WORK_READ)
		return read_fd(task, argument(regs, compat, 1), result);
	if (work == WHENCE_WORK_WRITE) /* a write of no byte changes nothing */
		return !result ? 0 : touch_fd(task, argument(regs, compat, 1), WHENCE_WRITE, result);
	return rarer_call(task, regs, result, work);
}
