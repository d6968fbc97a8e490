// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Descriptors: opened, copied, closed. An open for writing begins a version. */

/* Who creates a file writes it: the record of the open says so, the first write need not. */
static __always_inline void note_maker(struct touch *touch, const struct whence_file *file, __u32 epoch)
{
	struct whence_use_key key = {
		.process = process_of(typed(struct task_struct, touch->task)),
		.file = *file,
	};
	struct whence_use *use = use_of(&key);

	if (!use)
		return;
	__sync_fetch_and_or(&use->touched, 1U << WHENCE_WRITE);
	use->write_epoch = epoch;
}

/* Set by the first open of nvidia-fs on this host: spares all others a look-up. */
static volatile bool gpudirect_seen;

/* A device: GPUDirect Storage reads files by ioctl, past every hook that we have. */
static __noinline int device_opened(struct touch *touch)
{
	struct task_struct *task = typed(struct task_struct, touch->task);
	__u32 tgid = task->tgid, yes = 1;
	char wanted[] = "nvidia-fs", name[sizeof(wanted)] = {};

	bpf_probe_read_kernel_str(name, sizeof(name),
				  typed(struct file, touch->file)->f_path.dentry->d_name.name);
	for (__u32 i = 0; i < sizeof(wanted) - 1; i++)
		if (name[i] != wanted[i])
			return 0;
	if (is_excluded())
		return 0;
	gpudirect_seen = true;
	bpf_map_update_elem(&gpudirect_users, &tgid, &yes, BPF_ANY);
	return unseen(task, WHENCE_UNSEEN_GPUDIRECT);
}

/* An open for reading: no touch, except by who may read without a call. */
static __always_inline int opened_to_read(struct touch *touch, __u32 tgid)
{
	if (!gpudirect_seen || !bpf_map_lookup_elem(&gpudirect_users, &tgid))
		return 0;
	touch->kind = WHENCE_READ;
	touch->flags = WHENCE_F_INFERRED;
	return 1;
}

/*
 * An open for writing: the file may be new, or empty now. 1: the touch is one of
 * reading and remains to be made (by the caller: call chains have eight links).
 */
__noinline int opened(struct touch *touch)
{
	struct whence_version *version;
	struct whence_file file;
	struct open_key key;
	struct inode *inode;
	__u64 number = 0;
	__u32 mode, type;

	if (!touch)
		return 0;
	key.tgid = typed(struct task_struct, touch->task)->tgid;
	key.fd = touch->fd;
	inode = typed(struct file, touch->file)->f_inode;
	mode = typed(struct file, touch->file)->f_mode;
	type = inode->i_mode & S_IFMT;
	if (type != S_IFREG)
		return type == S_IFCHR ? device_opened(touch) : 0;
	if (mode & FMODE_CREATED)
		touch->flags |= WHENCE_F_CREATED;
	file = file_of(inode);
	version = bpf_map_lookup_elem(&versions, &file);
	if (version && mode & FMODE_READ)
		opened_to_be_read(touch, version);
	/* who asks to read alone can still make the file, or cut it (fs/open.c build_open_flags()) */
	if (!(mode & FMODE_WRITE) && !(touch->flags & (WHENCE_F_CREATED | WHENCE_F_TRUNCATED)))
		return opened_to_read(touch, key.tgid);
	if (is_pseudo(inode->i_sb->s_magic) || is_excluded())
		return 0;
	bpf_map_update_elem(&open_for_writing, &key, &file, BPF_ANY);
	if (touch->flags & (WHENCE_F_CREATED | WHENCE_F_TRUNCATED)) {
		number = note_truncation(&file);
		if (touch->flags & WHENCE_F_CREATED)
			note_maker(touch, &file, epoch_of(number));
	} else {
		if (version) {
			version->pending = 1;
			number = version->number;
		} else {
			first_version(&file, 0, 1);
		}
	}
	touch->kind = WHENCE_OPEN_WRITE;
	send_touch(touch, number);
	return 0;
}

/* `flags` are the call's: struct file does not keep the two that are asked for. */
static __always_inline int open_done(struct task_struct *task, __s64 fd, __u64 flags, __u32 slot)
{
	struct touch touch = {
		.task = (__u64)task, .file = (__u64)file_at(task, fd), .fd = fd, .slot = slot,
	};

	if (flags & O_PATH)
		return 0;
	if (flags & O_TMPFILE_BIT)
		touch.flags = WHENCE_F_CREATED;
	else if (flags & O_TRUNC)
		touch.flags = WHENCE_F_TRUNCATED;
	return touch.file && opened(&touch) ? use_file(&touch) : 0;
}

/* The struct file is gone by now; its identity was kept when it was opened. */
static __noinline int closed(struct task_struct *task, __s32 fd)
{
	struct open_key key = { .tgid = task->tgid, .fd = fd };
	struct whence_file *file = bpf_map_lookup_elem(&open_for_writing, &key);
	struct whence_record *record;

	if (!file)
		return 0;
	record = begin_record(WHENCE_CLOSE_WRITE, WHENCE_CLASS_TOUCH);
	if (record) {
		record->process = process_of(task);
		record->file = *file;
		record->version = version_of(file);
		record->fd = fd;
		bpf_ringbuf_submit(record, 0);
	}
	bpf_map_delete_elem(&open_for_writing, &key);
	return 0;
}

/* A second number for the same open file; whatever had that number is closed. */
static __noinline int duplicated(struct task_struct *task, __s32 from, __s32 to)
{
	struct open_key key = { .tgid = task->tgid, .fd = from };
	struct whence_file *known, file;

	if (from == to)
		return 0;
	closed(task, to);
	known = bpf_map_lookup_elem(&open_for_writing, &key);
	if (!known)
		return 0;
	file = *known;
	key.fd = to;
	bpf_map_update_elem(&open_for_writing, &key, &file, BPF_ANY);
	return 0;
}

struct close_walk {
	__u64 task;
	__u32 first;
};

static long close_step(__u64 index, struct close_walk *walk)
{
	closed(typed(struct task_struct, walk->task), walk->first + index);
	return 0;
}

#define CLOSED 1024 /* descriptors of one close_range() that are looked at */

/* What lies beyond is found closed later, when its hash is tried again. */
static __noinline int range_closed(struct task_struct *task, __u32 first, __u32 last)
{
	struct close_walk walk = { .task = (__u64)task, .first = first };
	__u32 end = task->files->fdt->max_fds;

	if (last < end)
		end = last + 1;
	if (first >= end)
		return 0;
	bpf_loop(end - first < CLOSED ? end - first : CLOSED, close_step, &walk, 0);
	return 0;
}
