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

/* A file can be written through memory from here on, until it is unmapped there. */
static __always_inline void share_mapping(struct task_struct *task, __u64 address, struct file *file)
{
	struct mapping_key key = { .address = address, .tgid = task->tgid };
	struct whence_file identity = file_of(file->f_inode);

	bpf_map_update_elem(&shared_mappings, &key, &identity, BPF_ANY);
}

/* What a mapping with this protection may do to its file. */
static __always_inline int use_mapping(struct touch *touch, __u32 protection, bool shared, __u64 address)
{
	touch->kind = protection & PROT_EXEC ? WHENCE_EXECUTE : WHENCE_MAP;
	touch->slot = SCRATCH_CALL;
	use_file(touch);
	if (shared && protection & PROT_WRITE) {
		touch->kind = WHENCE_WRITE;
		touch->flags = WHENCE_F_MAY_WRITE;
		use_file(touch);
		share_mapping(typed(struct task_struct, touch->task), address,
			      typed(struct file, touch->file));
	}
	return 0;
}

/* The arguments of mmap() as 32-bit programs once passed it (arch/x86/kernel/sys_ia32.c). */
struct old_mmap {
	__u32 address, length, protection, flags, fd, offset;
};

static __noinline int mapped(struct task_struct *task, struct pt_regs *regs, bool compat, __u64 address,
			     bool is_old)
{
	__u32 protection = argument(regs, compat, 3), flags = argument(regs, compat, 4);
	__s32 fd = argument(regs, compat, 5);
	struct old_mmap old = {};

	if (is_old) {
		if (bpf_probe_read_user(&old, sizeof(old), (void *)argument(regs, compat, 1)))
			return unseen(task, WHENCE_UNSEEN_MAPPING);
		protection = old.protection;
		flags = old.flags;
		fd = old.fd;
	}
	struct touch touch = {
		.task = (__u64)task, .file = (__u64)file_at(task, fd), .fd = fd,
	};

	if (flags & MAP_ANONYMOUS || !touch.file)
		return 0;
	return use_mapping(&touch, protection, flags & MAP_SHARED, address);
}

#define PROTECTED_AREAS 8

struct protect_walk {
	__u64 at, end;
	__u32 protection;
	__u32 found;
};

static long protect_area(struct task_struct *task, struct vm_area_struct *trusted,
			 struct protect_walk *walk)
{
	struct vm_area_struct *area = typed(struct vm_area_struct, trusted);
	struct touch touch = {
		.task = (__u64)task, .file = (__u64)area->vm_file, .fd = -1,
	};

	walk->found = 1;
	walk->at = area->vm_end;
	if (touch.file)
		use_mapping(&touch, walk->protection, area->vm_flags & VM_SHARED, area->vm_start);
	return 0;
}

/*
 * A mapping that was made for reading can be written or executed from here on.
 * Inlined, like submitted(): a chain of calls has at most eight links.
 */
static __always_inline int protected(struct task_struct *task, struct pt_regs *regs, bool compat)
{
	struct protect_walk walk = {
		.at = argument(regs, compat, 1),
		.end = argument(regs, compat, 1) + argument(regs, compat, 2),
		.protection = argument(regs, compat, 3),
	};

	if (!(walk.protection & (PROT_WRITE | PROT_EXEC)))
		return 0;
	for (int i = 0; i < PROTECTED_AREAS && walk.at < walk.end; i++) {
		walk.found = 0;
		/* -EBUSY: another thread changes the map just now */
		if (bpf_find_vma(bpf_get_current_task_btf(), walk.at, protect_area, &walk, 0) == -EBUSY)
			return unseen(task, WHENCE_UNSEEN_MAPPING);
		if (!walk.found)
			return 0;
	}
	return walk.at < walk.end ? unseen(task, WHENCE_UNSEEN_MAPPING) : 0;
}

/* The mapping is gone; which file it was of was kept when it began. */
static __noinline int unmapped(struct task_struct *task, __u64 address)
{
	struct mapping_key key = { .address = address, .tgid = task->tgid };
	struct whence_file *file = bpf_map_lookup_elem(&shared_mappings, &key);
	struct whence_record *record;
	__u64 number;

	if (!file)
		return 0;
	/* counted as a write: who read while the mapping was there has another number */
	number = note_write(file);
	record = begin_record(WHENCE_UNMAP, WHENCE_CLASS_TOUCH);
	if (record) {
		record->process = process_of(task);
		record->file = *file;
		record->version = number;
		bpf_ringbuf_submit(record, 0);
	}
	bpf_map_delete_elem(&shared_mappings, &key);
	return 0;
}

/* The mapping is elsewhere now. */
static __noinline int remapped(struct task_struct *task, __u64 from, __u64 to)
{
	struct mapping_key key = { .address = from, .tgid = task->tgid };
	struct whence_file *known = bpf_map_lookup_elem(&shared_mappings, &key);
	struct whence_file file;

	if (!known || from == to)
		return 0;
	file = *known;
	bpf_map_delete_elem(&shared_mappings, &key);
	key.address = to;
	bpf_map_update_elem(&shared_mappings, &key, &file, BPF_ANY);
	return 0;
}

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
