// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Files through memory: mapped, protected, moved, unmapped. */

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
