// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Files through system calls, seen at sys_exit: only what succeeded, with the
 * struct file that the descriptor names. One program, one table look-up per
 * system call; everything after the first touch is one hash look-up.
 */
#include "identity.bpf.h"
#include "path.bpf.h"
#include "unseen.bpf.h"

/*
 * What one touch is about; built once per call, on the stack. Kernel addresses
 * are plain numbers here, so that functions which take a touch are global: the
 * verifier then walks each once and not once per caller, which is most of the
 * time that loading takes.
 */
struct touch {
	__u64 task;
	__u64 file;
	__u64 bytes;
	__s32 fd;
	__u32 slot;
	__u32 flags;
	__u16 kind;
	__u16 unknown; /* (process, file) was looked for, and has no row */
};

static __always_inline __u32 epoch_of(__u64 number)
{
	return number >> 32;
}

/*
 * How many epochs began, of any file. As long as it stands still, no file's
 * version has to be looked up to know that its epoch is the same. Counted after
 * the version has changed: who sees the old count comes again. Wraps.
 */
__u32 epochs_begun = 0;

/* Before its number changes: who finds the new number finds this as well. */
static __always_inline void stamp(struct whence_version *version)
{
	*(volatile __u64 *)&version->changed_ns = bpf_ktime_get_boot_ns();
	*(volatile __u32 *)&version->writer = bpf_get_current_pid_tgid() >> 32;
}

/* A file is about to change for the first time since capture began. */
static __always_inline __u64 first_version(const struct whence_file *file, __u64 number, __u32 pending)
{
	struct whence_version version = { .number = number, .pending = pending };

	if (number)
		stamp(&version);
	bpf_map_update_elem(&versions, file, &version, BPF_NOEXIST);
	if (epoch_of(number))
		__sync_fetch_and_add(&epochs_begun, 1);
	return number;
}

/* A write happened: one more, and a new epoch when a writer had just opened. */
static __always_inline __u64 note_write(const struct whence_file *file)
{
	struct whence_version *version = bpf_map_lookup_elem(&versions, file);

	if (!version)
		return first_version(file, (1ULL << 32) + 1, 0);
	stamp(version);
	if (version->pending) {
		version->pending = 0;
		__sync_fetch_and_add(&version->number, (1ULL << 32) + 1);
		__sync_fetch_and_add(&epochs_begun, 1);
	} else {
		__sync_fetch_and_add(&version->number, 1);
	}
	return version->number;
}

/* The content was cut: a new epoch at once. */
static __always_inline __u64 note_truncation(const struct whence_file *file)
{
	struct whence_version *version = bpf_map_lookup_elem(&versions, file);

	if (!version)
		return first_version(file, 1ULL << 32, 0);
	stamp(version);
	version->pending = 0;
	__sync_fetch_and_add(&version->number, 1ULL << 32);
	__sync_fetch_and_add(&epochs_begun, 1);
	return version->number;
}

/*
 * Told in two parts: the directory, whose text many records share, and the
 * name. Not where the name is long or stands in no directory (a mount of one
 * file, a memfd).
 */
static __always_inline bool is_leaf(struct file *file)
{
	struct dentry *dentry = file->f_path.dentry;

	return dentry->d_name.len < WHENCE_NAME_BYTES && dentry->d_parent != dentry &&
	       dentry != file->f_path.mnt->mnt_root;
}

/* The first touch of its kind: say so now, with the path. */
__noinline int send_touch(struct touch *touch, __u64 number)
{
	struct whence_record *record;
	struct task_struct *task;
	struct dentry *dentry;
	struct file *file;
	__u64 now_ns, id = 0;
	__u32 flags;

	if (!touch)
		return 0;
	task = typed(struct task_struct, touch->task);
	file = typed(struct file, touch->file);
	dentry = file->f_path.dentry;
	flags = touch->flags;
	now_ns = bpf_ktime_get_boot_ns();

	if (is_leaf(file))
		id = directory_text(touch->file, now_ns, touch->slot);
	if (id) {
		flags |= WHENCE_F_LEAF;
	} else {
		id = next_text_id(touch->slot);
		flags |= send_path_at(&file->f_path, id, WHENCE_TEXT_PATH, touch->slot);
	}
	if (is_nameless(dentry))
		flags |= WHENCE_F_NAMELESS;
	record = begin_record_at(touch->kind, WHENCE_CLASS_TOUCH, now_ns);
	if (!record)
		return 0;
	if (flags & WHENCE_F_LEAF)
		bpf_probe_read_kernel_str(record->name, sizeof(record->name), dentry->d_name.name);
	record->process = process_of(task);
	fill_content(record, file->f_inode);
	record->uid = task->real_cred->uid.val;
	record->mount_ns = task->nsproxy->mnt_ns->ns.inum;
	record->version = number;
	record->value = touch->bytes;
	record->text = id;
	record->fd = touch->fd;
	record->flags = flags;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* The row of (process, file), NULL when there is none yet. */
static __always_inline struct whence_use *known_use(const struct whence_use_key *key)
{
	__u32 zero = 0;
	void *table = bpf_map_lookup_elem(&use_now, &zero);

	return table ? bpf_map_lookup_elem(table, key) : NULL;
}

/*
 * The same, made when missing; NULL when the table is full. For what is likely
 * missing: it is not looked for before it is made.
 */
static __noinline struct whence_use *use_of(const struct whence_use_key *key)
{
	struct whence_use fresh = { .first_ns = bpf_ktime_get_boot_ns() };
	struct whence_use *use;
	__u32 zero = 0;
	bool made;
	void *table = bpf_map_lookup_elem(&use_now, &zero);

	if (!table)
		return NULL;
	made = !bpf_map_update_elem(table, key, &fresh, BPF_NOEXIST);
	use = bpf_map_lookup_elem(table, key);
	/* it was there, or two threads try at once: one row, counted by the one that made it */
	if (made || !use)
		count(WHENCE_CLASS_USE, use);
	return use;
}

static __always_inline bool is_first(struct whence_use *use, __u16 kind)
{
	__u32 bit = 1U << kind;

	if (use->touched & bit)
		return false;
	__sync_fetch_and_or(&use->touched, bit);
	return true;
}

/*
 * Whether a read that ends now may have begun before its file came to be what it
 * is. Not if the file was opened since, or by who changed it.
 */
static __always_inline bool is_overlapped(const struct touch *touch, struct whence_version *version)
{
	__u64 changed_ns = *(volatile __u64 *)&version->changed_ns, *opened_ns;

	if (!changed_ns || bpf_ktime_get_boot_ns() - changed_ns > WHENCE_OVERLAP_NS ||
	    *(volatile __u32 *)&version->writer == bpf_get_current_pid_tgid() >> 32)
		return false;
	opened_ns = bpf_map_lookup_elem(&opened_after, &touch->file);
	return !opened_ns || *opened_ns <= changed_ns;
}

/* What a file that was just changed is opened for: see is_overlapped(). */
static __always_inline void opened_to_be_read(struct touch *touch, struct whence_version *version)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();

	if (version->changed_ns && now_ns - version->changed_ns <= WHENCE_OVERLAP_NS)
		bpf_map_update_elem(&opened_after, &touch->file, &now_ns, BPF_ANY);
}

static __always_inline void use_read(struct touch *touch, struct whence_use_key *key,
				     struct whence_use *use)
{
	/* before the version is looked up: see epochs_begun */
	__u32 epochs = *(volatile __u32 *)&epochs_begun;
	struct whence_version *version;
	__u64 number;

	if (use) {
		__sync_fetch_and_add(&use->read_ops, 1);
		__sync_fetch_and_add(&use->read_bytes, touch->bytes);
		if (use->touched & (1U << WHENCE_READ) && use->epochs == epochs)
			return;
	}
	version = bpf_map_lookup_elem(&versions, &key->file);
	number = version ? *(volatile __u64 *)&version->number : 0;
	if (use) {
		use->epochs = epochs;
		if (!is_first(use, WHENCE_READ) && use->read_epoch == epoch_of(number))
			return;
		use->read_epoch = epoch_of(number);
	}
	if (version && is_overlapped(touch, version))
		touch->flags |= WHENCE_F_OVERLAPPED;
	send_touch(touch, number);
}

/* Of whence_use.touched: no kind of record has this bit. */
#define MAPPED_BIT 30

static __always_inline void use_write(struct touch *touch, struct whence_use_key *key,
				      struct whence_use *use)
{
	__u64 number = touch->kind == WHENCE_TRUNCATE ? note_truncation(&key->file)
						      : note_write(&key->file);

	if (!use) {
		send_touch(touch, number);
		return;
	}
	__sync_fetch_and_add(&use->write_ops, 1);
	__sync_fetch_and_add(&use->write_bytes, touch->bytes);
	use->last_write_ns = bpf_ktime_get_boot_ns();
	/* a mapping is told although the file was written before: it has an end of its own */
	if (!is_first(use, touch->flags & WHENCE_F_MAY_WRITE ? MAPPED_BIT : touch->kind) &&
	    use->write_epoch == epoch_of(number))
		return;
	use->write_epoch = epoch_of(number);
	send_touch(touch, number);
}

/* Mappings, pipes: only that it happened. */
static __always_inline void use_once(struct touch *touch, struct whence_use_key *key,
				     struct whence_use *use)
{
	if (use && !is_first(use, touch->kind))
		return;
	send_touch(touch, version_of(&key->file));
}

/* For the comparison with the kernel's own accounts: see struct whence_moved. */
static __noinline int note_moved(__u64 bytes, bool is_write, bool is_uring)
{
	struct whence_moved *moved;

	moved = bpf_task_storage_get(&elsewhere, bpf_get_current_task_btf()->group_leader, NULL,
				     BPF_LOCAL_STORAGE_GET_F_CREATE);
	if (!moved)
		return 0;
	if (is_uring)
		__sync_fetch_and_add(is_write ? &moved->written_uring : &moved->read_uring, bytes);
	else
		__sync_fetch_and_add(is_write ? &moved->written : &moved->read, bytes);
	return 0;
}

/* What is no regular file of a storage: its bytes alone, where the kernel accounts them. */
static __always_inline void moved_elsewhere(struct touch *touch)
{
	if (touch->bytes && !(touch->flags & WHENCE_F_URING) &&
	    (touch->kind == WHENCE_READ || touch->kind == WHENCE_WRITE))
		note_moved(touch->bytes, touch->kind == WHENCE_WRITE, false);
}

/* Regular files by kind; a pipe or FIFO only as a stream; the rest only as bytes. */
__noinline int use_file(struct touch *touch)
{
	struct whence_use_key key;
	struct whence_use *use;
	struct inode *inode;
	__u32 type;

	if (!touch)
		return 0;
	inode = typed(struct file, touch->file)->f_inode;
	type = inode->i_mode & S_IFMT;
	if (type != S_IFREG) {
		moved_elsewhere(touch);
		if (type == S_IFBLK)
			return unseen(typed(struct task_struct, touch->task),
				      WHENCE_UNSEEN_BLOCK_DEVICE);
		if (type != S_IFIFO)
			return 0;
	}
	key.process = process_of(typed(struct task_struct, touch->task));
	key.file = file_of(inode);
	use = touch->unknown ? NULL : known_use(&key);
	if (!use) {
		/* what has a row was asked this when the row was made */
		if (is_pseudo(inode->i_sb->s_magic)) {
			if (type == S_IFREG)
				moved_elsewhere(touch);
			return 0;
		}
		if (is_excluded())
			return 0;
		use = use_of(&key);
	}
	if (touch->flags & WHENCE_F_URING && type == S_IFREG && touch->bytes)
		note_moved(touch->bytes, touch->kind == WHENCE_WRITE, true);
	if (type == S_IFIFO) {
		if (touch->kind != WHENCE_READ && touch->kind != WHENCE_WRITE)
			return 0;
		touch->kind = touch->kind == WHENCE_READ ? WHENCE_PIPE_READ : WHENCE_PIPE_WRITE;
		use_once(touch, &key, use);
	} else if (touch->kind == WHENCE_READ) {
		use_read(touch, &key, use);
	} else if (touch->kind == WHENCE_WRITE || touch->kind == WHENCE_TRUNCATE) {
		use_write(touch, &key, use);
	} else {
		use_once(touch, &key, use);
	}
	return 0;
}

static __always_inline int touch_fd(struct task_struct *task, __s32 fd, __u16 kind, __s64 bytes)
{
	struct touch touch = {
		.task = (__u64)task,
		.file = (__u64)file_at(task, fd),
		.bytes = bytes,
		.fd = fd,
		.kind = kind,
		.slot = SCRATCH_CALL,
	};

	return touch.file ? use_file(&touch) : 0;
}

/*
 * A read. Nearly always one that goes on, which two additions tell; what that
 * takes stands here in one piece, because each call of a function costs as much
 * as a look-up (the return thunks of today's processors).
 */
static __always_inline int read_fd(struct task_struct *task, __s32 fd, __s64 bytes)
{
	/* before the version is looked up: see epochs_begun */
	__u32 epochs = *(volatile __u32 *)&epochs_begun;
	struct touch touch = {
		.task = (__u64)task,
		.file = (__u64)file_at(task, fd),
		.bytes = bytes,
		.fd = fd,
		.kind = WHENCE_READ,
		.slot = SCRATCH_CALL,
	};
	struct whence_use_key key;
	struct whence_use *use;
	struct inode *inode;

	if (!touch.file)
		return 0;
	inode = typed(struct file, touch.file)->f_inode;
	if ((inode->i_mode & S_IFMT) != S_IFREG)
		return use_file(&touch);
	key.process = process_of(task);
	key.file = file_of(inode);
	use = known_use(&key);
	if (!use) {
		touch.unknown = 1;
		return use_file(&touch);
	}
	if (!(use->touched & (1U << WHENCE_READ)) || use->epochs != epochs)
		return use_file(&touch);
	__sync_fetch_and_add(&use->read_ops, 1);
	__sync_fetch_and_add(&use->read_bytes, bytes);
	return 0;
}
