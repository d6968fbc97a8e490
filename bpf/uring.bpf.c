// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * io_uring: no system call carries these reads and writes. Seen at completion,
 * while the request still holds its file; the process is the one that owns the
 * ring's task, also for SQPOLL threads, which belong to its thread group.
 */

/* include/uapi/linux/io_uring.h: numbers are fixed for ever */
static __always_inline __u16 uring_kind(__u8 opcode)
{
	switch (opcode) {
	case 1:	 /* READV */
	case 4:	 /* READ_FIXED */
	case 22: /* READ */
	case 49: /* READ_MULTISHOT */
	case 60: /* READV_FIXED */
		return WHENCE_READ;
	case 2:	 /* WRITEV */
	case 5:	 /* WRITE_FIXED */
	case 17: /* FALLOCATE */
	case 23: /* WRITE */
	case 61: /* WRITEV_FIXED */
		return WHENCE_WRITE;
	case 55: /* FTRUNCATE */
		return WHENCE_TRUNCATE;
	case 18: /* OPENAT */
	case 28: /* OPENAT2 */
		return WHENCE_OPEN_WRITE;
	case 19: /* CLOSE */
		return WHENCE_CLOSE_WRITE;
	}
	return 0;
}

/* An open into the ring's own table gives a place there, not a descriptor. */
static __noinline int uring_opened(struct task_struct *task, struct io_kiocb *request, __s32 fd)
{
	struct io_open *open;

	/* a type of one .c file: a kernel's BTF may lack it */
	if (!bpf_core_type_exists(struct io_open))
		return open_done(task, fd, 0, SCRATCH_URING);
	open = typed(struct io_open, request);
	return open->file_slot ? 0 : open_done(task, fd, open->how.flags, SCRATCH_URING);
}

SEC("tp_btf/io_uring_complete")
int on_uring(__u64 *arguments)
{
	struct io_kiocb *request;
	struct task_struct *task;
	struct touch touch = { .slot = SCRATCH_URING, .flags = WHENCE_F_URING, .fd = -1 };
	__s32 result;

	/* 6.18 passes the completion entry; before, its fields one by one */
	if (config.uring_cqe_argument)
		result = typed(struct io_uring_cqe, arguments[2])->res;
	else
		result = arguments[3];
	if (!arguments[1] || result < 0)
		return 0;
	request = typed(struct io_kiocb, arguments[1]);
	touch.kind = uring_kind(request->opcode);
	task = uring_task(request);
	if (!touch.kind || !task || !in_scope(task))
		return 0;
	if (touch.kind == WHENCE_OPEN_WRITE)
		return uring_opened(typed(struct task_struct, task), request, result);
	if (touch.kind == WHENCE_CLOSE_WRITE || !request->file)
		return 0;
	touch.task = (__u64)task;
	touch.file = (__u64)request->file;
	touch.bytes = result;
	return use_file(&touch);
}
