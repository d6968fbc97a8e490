/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Maps and rings, and the only functions that put records into rings. */
#ifndef WHENCE_MAPS_H
#define WHENCE_MAPS_H

#include "kernel.h"
#include "record.h"
#include "shims.bpf.h"

/* A section of its own: the loader finds the one variable at offset 0. */
const volatile struct whence_config config SEC(".rodata.config") = {};

/* The same: whenced writes it whole. */
struct whence_control control SEC(".data.control") = {};

static __always_inline bool is_asleep(void)
{
	return *(volatile __u32 *)&control.asleep;
}

/* A record found no room: is anybody there to make some? */
static __always_inline void doze(__u64 now_ns)
{
	__u64 alive_ns = *(volatile __u64 *)&control.alive_ns;

	if (alive_ns && now_ns > alive_ns + WHENCE_PATIENCE_NS)
		control.asleep = 1;
}

/*
 * Rings by importance. None can crowd out another: a flood of touches leaves the
 * life of processes its room, and a flood of names the touches theirs. The sizes
 * are what whenced asks for by default (config.py); it sets them before the load.
 */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} life SEC(".maps"); /* WHENCE_CLASS_LIFE */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} hot SEC(".maps"); /* WHENCE_CLASS_TOUCH */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} names SEC(".maps"); /* WHENCE_CLASS_NAME */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} life_text SEC(".maps"); /* texts of SCRATCH_LIFE: of programs that begin */

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} text SEC(".maps"); /* all other texts */

/* The inner map is replaced as a whole, never drained live: see record.h. */
struct use_table {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct whence_use_key);
	__type(value, struct whence_use);
};

struct use_table use_first SEC(".maps");
struct use_table use_second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, struct use_table);
} use_now SEC(".maps") = {
	.values = { &use_first },
};

/* LRU: an evicted file looks unwritten; whenced then notices mtime and size. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 17);
	__type(key, struct whence_file);
	__type(value, struct whence_version);
} versions SEC(".maps");

struct open_key {
	__u32 tgid;
	__s32 fd;
};

/* Descriptors that were opened for writing: makes close(2) tell which file. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 15);
	__type(key, struct open_key);
	__type(value, struct whence_file);
} open_for_writing SEC(".maps");

/* When a file that had just been changed was opened for reading, by its struct file. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 12);
	__type(key, __u64);
	__type(value, __u64);
} opened_after SEC(".maps");

struct mapping_key {
	__u64 address;
	__u32 tgid;
	__u32 unused;
};

/* Shared writable mappings by where they begin: makes munmap(2) tell which file. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 13);
	__type(key, struct mapping_key);
	__type(value, struct whence_file);
} shared_mappings SEC(".maps");

struct unseen_key {
	struct whence_process process;
	__u64 how; /* enum whence_unseen */
};

/* Said once for each process and way. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 12);
	__type(key, struct unseen_key);
	__type(value, __u32);
} unseen_told SEC(".maps");

/* Thread groups that opened nvidia-fs: what they open, the GPU may read. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 10);
	__type(key, __u32);
	__type(value, __u32);
} gpudirect_users SEC(".maps");

/* Non-zero in the leader's storage: whence itself, and its descendants. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} excluded SEC(".maps");

/* In the leader's storage: what the accounts of the kernel hold beside regular files. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct whence_moved);
} elsewhere SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
	__uint(max_entries, 8);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} scope_cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, WHENCE_CLASS_COUNT);
	__type(key, __u32);
	__type(value, struct whence_count);
} counts SEC(".maps");

/*
 * Who lost what: a loss marks the run that it touched, not all that ran then.
 * When this is full too, the counters above still tell that there was more.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 13);
	__type(key, struct whence_process);
	__type(value, struct whence_loser);
} losers SEC(".maps");

/* Programs that can interrupt each other on one CPU use different slots. */
enum scratch_slot { SCRATCH_CALL, SCRATCH_LIFE, SCRATCH_URING, SCRATCH_ITERATOR, SCRATCH_COUNT };

#define TEXT_BYTES 8192
#define NAME_BYTES 256

struct scratch {
	struct whence_text head;
	char data[TEXT_BYTES + NAME_BYTES];
	__u64 serial; /* per CPU and slot: ids of texts */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SCRATCH_COUNT);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

/* Gap-free numbers of records, one sequence per CPU for all rings. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} sequences SEC(".maps");

/* identity.bpf.h: a global function, verified once */
int note_loser(__u32 class);

static __always_inline void count(__u32 class, bool stored)
{
	struct whence_count *counter = bpf_map_lookup_elem(&counts, &class);

	if (!counter)
		return;
	counter->attempted++;
	if (stored) {
		counter->stored++;
		return;
	}
	counter->lost++;
	note_loser(class);
}

static __always_inline struct scratch *scratch_at(__u32 slot)
{
	return bpf_map_lookup_elem(&scratches, &slot);
}

/* An id that no other text of this boot has: CPU, slot, serial. */
static __always_inline __u64 next_text_id(__u32 slot)
{
	struct scratch *scratch = scratch_at(slot);

	if (!scratch)
		return 0;
	return ((__u64)bpf_get_smp_processor_id() << 52) | ((__u64)slot << 48) | ++scratch->serial;
}

/* Sends the first `length` bytes of the scratch text, which is of that slot. */
static __always_inline bool send_text(struct scratch *scratch, __u32 slot, __u64 id, __u32 part,
				      __u32 length, __u32 flags, __u32 chunk)
{
	long failed;

	if (length > TEXT_BYTES)
		length = TEXT_BYTES;
	scratch->head.id = id;
	scratch->head.part = part;
	scratch->head.length = length;
	scratch->head.flags = flags;
	scratch->head.chunk = chunk;
	if (slot == SCRATCH_LIFE)
		failed = bpf_ringbuf_output(&life_text, scratch,
					    sizeof(struct whence_text) + length, BPF_RB_NO_WAKEUP);
	else
		failed = bpf_ringbuf_output(&text, scratch, sizeof(struct whence_text) + length,
					    BPF_RB_NO_WAKEUP);
	count(WHENCE_CLASS_TEXT, !failed);
	return !failed;
}

/* Room in the ring of a class, which is a constant wherever this is inlined. */
static __always_inline struct whence_record *reserve(__u32 class)
{
	switch (class) {
	case WHENCE_CLASS_LIFE:
		return bpf_ringbuf_reserve(&life, sizeof(struct whence_record), 0);
	case WHENCE_CLASS_NAME:
		return bpf_ringbuf_reserve(&names, sizeof(struct whence_record), 0);
	default:
		return bpf_ringbuf_reserve(&hot, sizeof(struct whence_record), 0);
	}
}

/*
 * Reserves a record. The sequence counts attempts, so that a record which found
 * no room shows as a gap. The time was read before: daemon/whenced/rings.py puts
 * the rings in one order by that.
 */
static __always_inline struct whence_record *begin_record_at(__u16 kind, __u32 class, __u64 now_ns)
{
	__u32 zero = 0;
	__u64 *sequence = bpf_map_lookup_elem(&sequences, &zero);
	struct whence_record *record;

	if (!sequence)
		return NULL;
	++*sequence;
	record = reserve(class);
	count(class, record);
	if (!record) {
		doze(now_ns);
		return NULL;
	}
	__builtin_memset(record, 0, sizeof(*record));
	record->sequence = *sequence;
	record->cpu = bpf_get_smp_processor_id();
	record->kind = kind;
	record->at_ns = now_ns;
	record->fd = -1;
	return record;
}

static __always_inline struct whence_record *begin_record(__u16 kind, __u32 class)
{
	return begin_record_at(kind, class, bpf_ktime_get_boot_ns());
}

#endif
