// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * io_uring: no system call carries these reads and writes. Seen at completion,
 * while the request still holds its file; the process is the one that owns the
 * ring's task, also for SQPOLL threads, which belong to its thread group.
 */
#include "changes.bpf.h"

#define URING_LAST 62 /* PIPE, Linux 6.18: the newest kind of request that was looked at */
#define URING_SPLICE 30
#define URING_TEE 33

/*
 * include/uapi/linux/io_uring.h: numbers are fixed for ever. Zero: no content of
 * a file is moved. WHENCE_UNSEEN: that is not known.
 */
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
	case URING_SPLICE:
	case URING_TEE:
		return WHENCE_WRITE;
	case 55: /* FTRUNCATE */
		return WHENCE_TRUNCATE;
	case 18: /* OPENAT */
	case 28: /* OPENAT2 */
		return WHENCE_OPEN_WRITE;
	case 19: /* CLOSE */
		return WHENCE_CLOSE_WRITE;
	case 35: /* RENAMEAT */
		return WHENCE_RENAME;
	case 36: /* UNLINKAT */
		return WHENCE_UNLINK;
	case 39: /* LINKAT */
		return WHENCE_LINK;
	case 46: /* URING_CMD */
		return WHENCE_UNSEEN;
	}
	return opcode > URING_LAST ? WHENCE_UNSEEN : 0;
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

static __noinline int uring_closed(struct task_struct *task, struct io_kiocb *request)
{
	struct io_close *close;

	if (!bpf_core_type_exists(struct io_close))
		return 0;
	close = typed(struct io_close, request);
	return close->file_slot ? 0 : closed(task, close->fd);
}

/* What a splice reads: a descriptor, or a place in the ring's table, which is not followed. */
static __noinline int uring_source(struct task_struct *task, struct io_kiocb *request, __s64 bytes)
{
	struct touch touch = { .slot = SCRATCH_URING, .flags = WHENCE_F_URING, .kind = WHENCE_READ };
	struct io_splice *splice;

	if (!bpf_core_type_exists(struct io_splice))
		return unseen(task, WHENCE_UNSEEN_URING);
	splice = typed(struct io_splice, request);
	if (splice->flags & SPLICE_F_FD_IN_FIXED)
		return unseen(task, WHENCE_UNSEEN_URING);
	touch.task = (__u64)task;
	touch.fd = splice->splice_fd_in;
	touch.file = (__u64)file_at(task, touch.fd);
	touch.bytes = bytes;
	return touch.file ? use_file(&touch) : 0;
}

/* Commands go to the driver of a file: sockets are no business of ours, files and devices are. */
static __noinline int uring_unknown(struct task_struct *task, struct io_kiocb *request)
{
	__u32 type;

	if (request->opcode > URING_LAST)
		return unseen(task, WHENCE_UNSEEN_URING);
	type = request->file ? request->file->f_inode->i_mode & S_IFMT : 0;
	if (type != S_IFREG && type != S_IFBLK && type != S_IFCHR)
		return 0;
	return unseen(task, WHENCE_UNSEEN_URING_COMMAND);
}

/* --- names: done by a worker thread, told at completion, maybe by another --- */

static __noinline __u32 send_kernel_text(struct filename *name, __u64 id, __u32 part)
{
	struct scratch *scratch = scratch_at(SCRATCH_CALL);
	long length;

	if (!scratch)
		return WHENCE_F_TEXT_LOST;
	length = bpf_probe_read_kernel_str(scratch->data, TEXT_BYTES, name->name);
	if (length <= 0)
		return WHENCE_F_TEXT_LOST;
	return send_text(scratch, SCRATCH_CALL, id, part, length, 0, 0) ? 0 : WHENCE_F_TEXT_LOST;
}

/* One path of a request: the kernel's copy of the string, and where it starts. */
static __noinline void send_request_name(struct task_struct *task, struct change *change,
					 struct filename *name, __s32 directory, __u32 part)
{
	char first = 0;

	if (!change)
		return;
	name = typed(struct filename, name);
	bpf_probe_read_kernel(&first, sizeof(first), name->name);
	change->flags |= send_kernel_text(name, change->text, part);
	change->flags |= send_base(task, directory, first, change->text,
				   part + WHENCE_TEXT_BASE_OLD - WHENCE_TEXT_USER_OLD);
	change->directory = directory;
	change->first = first;
}

/* The strings live until the request is done, so they are sent while it is worked on. */
static __noinline void send_request_names(struct task_struct *task, struct io_kiocb *request,
					  struct change *change, __u16 kind)
{
	if (!change)
		return;
	change->text = next_text_id(SCRATCH_CALL);
	if (kind == WHENCE_UNLINK) {
		struct io_unlink *unlink = typed(struct io_unlink, request);

		send_request_name(task, change, unlink->filename, unlink->dfd, WHENCE_TEXT_USER_OLD);
	} else if (kind == WHENCE_LINK) {
		struct io_link *link = typed(struct io_link, request);

		send_request_name(task, change, link->oldpath, link->old_dfd, WHENCE_TEXT_USER_OLD);
		send_request_name(task, change, link->newpath, link->new_dfd, WHENCE_TEXT_USER_NEW);
	} else {
		struct io_rename *rename = typed(struct io_rename, request);

		send_request_name(task, change, rename->oldpath, rename->old_dfd, WHENCE_TEXT_USER_OLD);
		send_request_name(task, change, rename->newpath, rename->new_dfd, WHENCE_TEXT_USER_NEW);
		if (rename->flags & RENAME_EXCHANGE)
			change->flags |= WHENCE_F_EXCHANGE;
	}
}

static __always_inline bool is_name_kind(__u16 kind)
{
	return kind == WHENCE_RENAME || kind == WHENCE_LINK || kind == WHENCE_UNLINK;
}

/* Types of single .c files: a kernel's BTF may lack them. */
static __always_inline bool are_requests_known(void)
{
	return bpf_core_type_exists(struct io_worker) && bpf_core_type_exists(struct io_rename) &&
	       bpf_core_type_exists(struct io_link) && bpf_core_type_exists(struct io_unlink);
}

/* A worker thread changes an inode: is a request that it works on about names? */
static __noinline int request_changes(struct task_struct *worker, struct inode *inode)
{
	struct changing changing = { .inode = (__u64)inode };
	struct io_kiocb *request;
	__u64 work = 0;
	__u16 kind;

	if (!are_requests_known())
		return 0;
	/* a probe read, because a number is wanted and no pointer */
	bpf_probe_read_kernel(&work, sizeof(work),
			      &typed(struct io_worker, worker->worker_private)->cur_work);
	if (!work)
		return 0;
	changing.id = work - bpf_core_field_offset(struct io_kiocb, work);
	request = typed(struct io_kiocb, changing.id);
	kind = uring_kind(request->opcode);
	if (!is_name_kind(kind))
		return 0;
	if (!change_of(changing.id) && is_observed(worker))
		send_request_names(typed(struct task_struct, uring_task(request)), request,
				   new_change(changing.id), kind);
	return note_inode(&changing);
}

static __noinline int uring_names(struct task_struct *task, struct io_kiocb *request, __u16 kind)
{
	struct change *change = change_of((__u64)request);
	struct name_call call = {
		.task = (__u64)task, .id = (__u64)request, .old_directory = -1, .kind = kind,
		.slot = SCRATCH_URING,
	};

	if (!change)
		return unseen(task, WHENCE_UNSEEN_URING_NAME);
	call.flags = change->flags;
	call.text = change->text;
	call.base = (__u64)base_of(task, change->directory, change->first);
	send_names(&call);
	forget_change(call.id);
	return 0;
}

static __always_inline bool is_folder_removal(struct io_kiocb *request, __u16 kind)
{
	return kind == WHENCE_UNLINK && bpf_core_type_exists(struct io_unlink) &&
	       typed(struct io_unlink, request)->flags & AT_REMOVEDIR;
}

/* Everything but bytes moved in and out of a file that is open. */
static __noinline int rarer_request(struct task_struct *task, struct io_kiocb *request, __u16 kind,
				    __s32 result)
{
	if (kind == WHENCE_OPEN_WRITE)
		return uring_opened(task, request, result);
	if (kind == WHENCE_CLOSE_WRITE)
		return uring_closed(task, request);
	if (kind == WHENCE_UNSEEN)
		return uring_unknown(task, request);
	return uring_names(task, request, kind);
}

#define URING_FALLOCATE 17
#define URING_READ_MULTISHOT 49

/*
 * Requests whose completion tells nothing: of successes that are not wanted
 * (IOSQE_CQE_SKIP_SUCCESS) there is none, and each piece of a multishot read has
 * one without its request. So the edge is of the submission, as with libaio, and
 * has no bytes; what cannot be named then makes the run incomplete.
 */
static __noinline int uring_silent(struct task_struct *task, struct io_kiocb *request, __u16 kind)
{
	struct touch touch = {
		.task = (__u64)task, .slot = SCRATCH_URING, .flags = WHENCE_F_URING, .kind = kind,
	};

	if (is_name_kind(kind))
		return is_folder_removal(request, kind) ? 0 : unseen(task, WHENCE_UNSEEN_URING_NAME);
	if (kind == WHENCE_CLOSE_WRITE)
		return 0;
	if (kind == WHENCE_UNSEEN)
		return uring_unknown(task, request);
	if (kind == WHENCE_OPEN_WRITE || request->opcode == URING_SPLICE ||
	    request->opcode == URING_TEE || request->flags & REQ_F_FIXED_FILE)
		return unseen(task, WHENCE_UNSEEN_URING);
	touch.fd = request->cqe.fd;
	touch.file = (__u64)file_at(task, touch.fd);
	return touch.file ? use_file(&touch) : 0;
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_uring_submit, struct io_kiocb *request)
{
	struct task_struct *task;
	__u16 kind;

	request = typed(struct io_kiocb, request);
	if (!(request->flags & REQ_F_CQE_SKIP) && request->opcode != URING_READ_MULTISHOT)
		return 0;
	kind = uring_kind(request->opcode);
	task = uring_task(request);
	if (!kind || !task || !in_scope(task))
		return 0;
	return uring_silent(typed(struct task_struct, task), request, kind);
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
	if (!arguments[1])
		return 0;
	request = typed(struct io_kiocb, arguments[1]);
	touch.kind = uring_kind(request->opcode);
	if (!touch.kind)
		return 0;
	if (result < 0 || is_folder_removal(request, touch.kind)) {
		if (is_name_kind(touch.kind))
			forget_change(arguments[1]);
		return 0;
	}
	task = uring_task(request);
	if (!task || !in_scope(task))
		return 0;
	task = typed(struct task_struct, task);
	if (touch.kind != WHENCE_READ && touch.kind != WHENCE_WRITE && touch.kind != WHENCE_TRUNCATE)
		return rarer_request(task, request, touch.kind, result);
	if (!request->file)
		return 0;
	if (request->opcode == URING_SPLICE || request->opcode == URING_TEE)
		uring_source(task, request, result);
	if (!result && touch.kind == WHENCE_WRITE && request->opcode != URING_FALLOCATE)
		return 0;
	touch.task = (__u64)task;
	touch.file = (__u64)request->file;
	touch.bytes = result;
	return use_file(&touch);
}
