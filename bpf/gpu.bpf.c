// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * GPU holds, an object of its own: loaded only where there is a GPU, so that
 * other hosts pay nothing.
 *
 * A hold belongs to the open file, not to a process: the driver frees what is
 * behind it when the last reference goes (dup, fork, SCM_RIGHTS, mappings all
 * hold one). Kernels that refuse fexit and kprobes show no release, so the
 * reference count itself is looked at whenever it may have dropped: after
 * close, dup2, close_range and exec of those who hold, when a task that holds
 * has left the processor for good, and every TICK_NS for whatever is left
 * (files in flight on a socket, mappings, io_uring). The first kinds give the
 * moment exactly; the last one says how much too late it may be.
 */
#include "kernel.h"
#include "gpu.h"
#include "identity.bpf.h"

#define TICK_NS 10000000ULL
/* The driver's own release may take seconds: the exact moment goes first. */
#define SETTLE_NS 2000000000ULL
#define CLOCK_MONOTONIC 1
#define TASK_DEAD 0x80

/* arch/x86/entry/syscalls/syscall_64.tbl */
#define CALL_OPEN 2
#define CALL_CLOSE 3
#define CALL_IOCTL 16
#define CALL_DUP 32
#define CALL_DUP2 33
#define CALL_EXECVE 59
#define CALL_FCNTL 72
#define CALL_OPENAT 257
#define CALL_DUP3 292
#define CALL_EXECVEAT 322
#define CALL_CLOSE_RANGE 436
#define CALL_OPENAT2 437

const volatile struct whence_gpu_config gpu_config SEC(".rodata.gpu") = {};

struct open_file {
	__u64 inode;		/* address: tells when the struct file serves another */
	__u64 since_ns;
	__u64 gone_ns;		/* when a tick found it without references, else 0 */
	__u32 device;
	__u32 role;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 13);
	__type(key, __u64); /* address of the struct file */
	__type(value, struct open_file);
} gpu_files SEC(".maps");

struct gpu_fd {
	__u32 tgid;
	__s32 fd;
};

/* Which file a descriptor stood for: after close(2) nobody can tell. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, struct gpu_fd);
	__type(value, __u64);
} gpu_fds SEC(".maps");

enum holder_state { HOLDER_INHERITED = 1, HOLDER_OWNER };

struct holder {
	__u64 ending_ns;	/* when its exit began, else 0 */
	__u32 state;		/* enum holder_state */
	__u32 unused;
};

/* Processes that opened, registered or inherited; never deleted by pid. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 14);
	__type(key, __u32); /* tgid */
	__type(value, struct holder);
} gpu_holders SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 19);
} gpu_events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct whence_gpu_count);
} gpu_counts SEC(".maps");

struct ticker {
	struct bpf_timer timer;
	__u32 armed;
	__u32 left; /* files that the last tick found open */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct ticker);
} gpu_ticker SEC(".maps");

static __always_inline struct whence_gpu_record *begin_gpu_record(__u16 kind)
{
	struct whence_gpu_record *record = bpf_ringbuf_reserve(&gpu_events, sizeof(*record), 0);
	__u32 zero = 0;
	struct whence_gpu_count *counter = bpf_map_lookup_elem(&gpu_counts, &zero);

	if (counter) {
		counter->attempted++;
		counter->lost += !record;
	}
	if (!record)
		return NULL;
	__builtin_memset(record, 0, sizeof(*record));
	record->kind = kind;
	record->at_ns = bpf_ktime_get_boot_ns();
	record->fd = -1;
	return record;
}

static __always_inline void fill_open_file(struct whence_gpu_record *record, __u64 address,
					   struct open_file *open)
{
	record->file = address;
	record->since_ns = open->since_ns;
	record->device = open->device;
	record->role = open->role;
}

/* 0: no node of a GPU. */
static __noinline __u32 role_of(__u32 device)
{
	__u32 major = device >> 20, minor = device & 0xfffff;

	for (int i = 0; i < WHENCE_GPU_NODES && i < gpu_config.node_count; i++)
		if (gpu_config.nodes[i].major == major && minor >= gpu_config.nodes[i].first_minor &&
		    minor <= gpu_config.nodes[i].last_minor)
			return gpu_config.nodes[i].role;
	return 0;
}

static __always_inline __u32 role_of_file(struct file *file)
{
	struct inode *inode = file->f_inode;

	if ((inode->i_mode & S_IFMT) != S_IFCHR)
		return 0;
	return role_of(inode->i_rdev);
}

/* Whether nothing refers to it: also when its memory serves another file now. */
static __always_inline bool is_gone(__u64 address, __u64 inode)
{
	struct file *file = typed(struct file, address);

	return (__u64)file->f_inode != inode || !has_references(file);
}

static __always_inline void released(__u64 address, struct open_file *open, __u64 at_ns,
				     __u64 uncertainty_ns)
{
	struct whence_gpu_record *record = begin_gpu_record(WHENCE_GPU_RELEASED);

	if (record) {
		fill_open_file(record, address, open);
		record->at_ns = at_ns;
		record->uncertainty_ns = uncertainty_ns;
		bpf_ringbuf_submit(record, 0);
	}
	bpf_map_delete_elem(&gpu_files, &address);
}

/* An event that may have dropped the last reference: then this is the moment. */
static __noinline int check_file(__u64 address)
{
	struct open_file *open = bpf_map_lookup_elem(&gpu_files, &address);

	if (open && is_gone(address, open->inode))
		released(address, open, bpf_ktime_get_boot_ns(), 0);
	return 0;
}

/*
 * After something that began at `began_ns` and may have closed several files. One
 * that a tick found gone before that went by other means.
 */
static long check_each(void *map, __u64 *address, struct open_file *open, __u64 *began_ns)
{
	if (!is_gone(*address, open->inode))
		return 0;
	if (open->gone_ns && open->gone_ns < *began_ns)
		released(*address, open, open->gone_ns, TICK_NS);
	else
		released(*address, open, bpf_ktime_get_boot_ns(), 0);
	return 0;
}

static long tick_each(void *map, __u64 *address, struct open_file *open, __u32 *left)
{
	__u64 now_ns = bpf_ktime_get_boot_ns();

	(*left)++;
	if (!is_gone(*address, open->inode))
		return 0;
	if (!open->gone_ns)
		open->gone_ns = now_ns;
	else if (now_ns - open->gone_ns > SETTLE_NS)
		released(*address, open, open->gone_ns, TICK_NS);
	return 0;
}

static int tick(void *map, __u32 *key, struct ticker *ticker)
{
	__u32 left = 0;

	ticker->armed = 0;
	bpf_for_each_map_elem(&gpu_files, tick_each, &left, 0);
	ticker->left = left;
	if (left) {
		ticker->armed = 1;
		bpf_timer_start(&ticker->timer, TICK_NS, 0);
	}
	return 0;
}

static __always_inline void arm_ticker(void)
{
	__u32 zero = 0;
	struct ticker *ticker = bpf_map_lookup_elem(&gpu_ticker, &zero);

	if (!ticker || ticker->armed)
		return;
	ticker->armed = 1;
	bpf_timer_init(&ticker->timer, &gpu_ticker, CLOCK_MONOTONIC); /* -EBUSY but once */
	bpf_timer_set_callback(&ticker->timer, tick);
	bpf_timer_start(&ticker->timer, TICK_NS, 0);
}

static __always_inline void remember_fd(__u32 tgid, __s32 fd, __u64 address)
{
	struct gpu_fd key = { .tgid = tgid, .fd = fd };

	bpf_map_update_elem(&gpu_fds, &key, &address, BPF_ANY);
}

static __always_inline void remember_holder(__u32 tgid, __u32 state)
{
	struct holder holder = { .state = state };

	bpf_map_update_elem(&gpu_holders, &tgid, &holder, BPF_ANY);
}

static __noinline int gpu_opened(struct task_struct *task, __s32 fd)
{
	struct file *file = file_at(task, fd);
	struct open_file open = { .since_ns = bpf_ktime_get_boot_ns() };
	struct whence_gpu_record *record;
	struct open_file *before;
	__u64 address = (__u64)file;

	if (!file)
		return 0;
	open.role = role_of_file(file);
	if (!open.role || !in_scope(task) || is_excluded())
		return 0;
	open.inode = (__u64)file->f_inode;
	open.device = file->f_inode->i_rdev;
	before = bpf_map_lookup_elem(&gpu_files, &address);
	if (before) /* its memory was used again before anything looked */
		released(address, before, before->gone_ns ?: open.since_ns, TICK_NS);
	bpf_map_update_elem(&gpu_files, &address, &open, BPF_ANY);
	remember_fd(task->tgid, fd, address);
	remember_holder(task->tgid, HOLDER_OWNER);
	arm_ticker();
	record = begin_gpu_record(WHENCE_GPU_OPENED);
	if (!record)
		return 0;
	fill_open_file(record, address, &open);
	record->at_ns = open.since_ns;
	record->process = process_of(task);
	record->fd = fd;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

static __always_inline bool is_registration(__u32 request)
{
	return request == WHENCE_UVM_REGISTER_GPU || request == WHENCE_UVM_REGISTER_VASPACE ||
	       request == WHENCE_UVM_REGISTER_CHANNEL;
}

/* The argument is read after the call: it is in and out, and names the GPU. */
static __noinline int gpu_requested(struct task_struct *task, __s32 fd, __u32 request,
				    __u64 argument)
{
	struct file *file = file_at(task, fd);
	__u64 address = (__u64)file;
	struct whence_gpu_record *record;
	struct open_file *open;

	if (!file)
		return 0;
	open = bpf_map_lookup_elem(&gpu_files, &address);
	if (!open || open->role != WHENCE_GPU_UVM)
		return 0;
	remember_fd(task->tgid, fd, address);
	remember_holder(task->tgid, HOLDER_OWNER);
	record = begin_gpu_record(is_registration(request) ? WHENCE_GPU_REGISTERED :
							     WHENCE_GPU_UNREGISTERED);
	if (!record)
		return 0;
	fill_open_file(record, address, open);
	record->process = process_of(task);
	record->request = request;
	record->fd = fd;
	bpf_probe_read_user(record->uuid, sizeof(record->uuid), (void *)argument);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* A second descriptor; what the number stood for before is closed by it. */
static __noinline int gpu_duplicated(struct task_struct *task, __s32 fd)
{
	struct file *file = file_at(task, fd);
	struct gpu_fd key = { .tgid = task->tgid, .fd = fd };
	__u64 *before = bpf_map_lookup_elem(&gpu_fds, &key);
	__u64 address = (__u64)file;

	if (before && *before != address)
		check_file(*before);
	if (file && bpf_map_lookup_elem(&gpu_files, &address))
		remember_fd(task->tgid, fd, address);
	else if (before)
		bpf_map_delete_elem(&gpu_fds, &key);
	return 0;
}

static __noinline int gpu_closed(struct task_struct *task, __s32 fd)
{
	struct gpu_fd key = { .tgid = task->tgid, .fd = fd };
	__u64 *found = bpf_map_lookup_elem(&gpu_fds, &key);
	__u64 address;

	if (!found)
		return 0;
	address = *found;
	bpf_map_delete_elem(&gpu_fds, &key);
	return check_file(address);
}

static __always_inline bool is_holder(__u32 tgid)
{
	return bpf_map_lookup_elem(&gpu_holders, &tgid) != NULL;
}

static __always_inline bool is_uvm_request(__u32 request)
{
	return is_registration(request) || request == WHENCE_UVM_UNREGISTER_GPU ||
	       request == WHENCE_UVM_UNREGISTER_VASPACE;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_gpu_call, struct pt_regs *trusted_regs, long result)
{
	struct pt_regs *regs = typed(struct pt_regs, trusted_regs);
	struct task_struct *task;
	__u64 now_ns;

	switch (regs->orig_ax) {
	case CALL_OPEN:
	case CALL_OPENAT:
	case CALL_OPENAT2:
		return result < 0 ? 0 : gpu_opened(current_task(), result);
	case CALL_IOCTL:
		if (!is_uvm_request(regs->si) || (result < 0 && !gpu_config.count_failed))
			return 0;
		return gpu_requested(current_task(), regs->di, regs->si, regs->dx);
	case CALL_CLOSE:
		return gpu_closed(current_task(), regs->di);
	case CALL_DUP:
	case CALL_DUP2:
	case CALL_DUP3:
		task = current_task();
		return result < 0 || !is_holder(task->tgid) ? 0 : gpu_duplicated(task, result);
	case CALL_FCNTL: /* F_DUPFD, F_DUPFD_CLOEXEC */
		task = current_task();
		if (result < 0 || (regs->si != 0 && regs->si != 1030) || !is_holder(task->tgid))
			return 0;
		return gpu_duplicated(task, result);
	case CALL_EXECVE: /* closes what is marked so */
	case CALL_EXECVEAT:
	case CALL_CLOSE_RANGE:
		task = current_task();
		now_ns = bpf_ktime_get_boot_ns();
		if (is_holder(task->tgid))
			bpf_for_each_map_elem(&gpu_files, check_each, &now_ns, 0);
		return 0;
	}
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_gpu_fork, struct task_struct *parent, struct task_struct *child)
{
	struct task_struct *from = typed(struct task_struct, parent);
	struct task_struct *to = typed(struct task_struct, child);

	if (from->tgid != to->tgid && is_holder(from->tgid))
		remember_holder(to->tgid, HOLDER_INHERITED);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_gpu_exit, struct task_struct *dying)
{
	struct task_struct *task = typed(struct task_struct, dying);
	struct whence_gpu_record *record;
	__u32 tgid = task->tgid;
	struct holder *holder = bpf_map_lookup_elem(&gpu_holders, &tgid);

	if (!holder || task->signal->live.counter)
		return 0;
	holder->ending_ns = bpf_ktime_get_boot_ns();
	if (holder->state != HOLDER_OWNER)
		return 0;
	record = begin_gpu_record(WHENCE_GPU_ENDED);
	if (!record)
		return 0;
	record->process = process_of(task);
	bpf_ringbuf_submit(record, 0);
	return 0;
}

/* After the tracepoint of the exit come the closes; this is after them. */
SEC("tp_btf/sched_switch")
int BPF_PROG(on_gpu_switch, bool preempt, struct task_struct *from)
{
	struct task_struct *task = typed(struct task_struct, from);
	struct holder *holder;
	__u64 began_ns;
	__u32 tgid;

	if (!(task->__state & TASK_DEAD))
		return 0;
	tgid = task->tgid;
	holder = bpf_map_lookup_elem(&gpu_holders, &tgid);
	if (!holder)
		return 0;
	began_ns = holder->ending_ns ?: bpf_ktime_get_boot_ns();
	bpf_for_each_map_elem(&gpu_files, check_each, &began_ns, 0);
	return 0;
}

/* Who has GPU files open now: at the start, and to compare with what was seen. */
SEC("iter/task_file")
int seen_gpu_file(struct bpf_iter__task_file *context)
{
	struct task_struct *task = context->task;
	struct file *file = context->file;
	struct open_file fresh = { .since_ns = bpf_ktime_get_boot_ns() };
	struct whence_gpu_record *record;
	struct open_file *open;
	__u64 address = (__u64)file;

	if (!task || !file || task->pid != task->tgid)
		return 0;
	fresh.role = role_of_file(typed(struct file, file));
	if (!fresh.role || is_task_excluded(task) || !is_task_in_scope(typed(struct task_struct, task)))
		return 0;
	open = bpf_map_lookup_elem(&gpu_files, &address);
	if (!open) {
		fresh.inode = (__u64)file->f_inode;
		fresh.device = file->f_inode->i_rdev;
		bpf_map_update_elem(&gpu_files, &address, &fresh, BPF_ANY);
		arm_ticker();
		open = &fresh;
	}
	remember_fd(task->tgid, context->fd, address);
	if (!is_holder(task->tgid))
		remember_holder(task->tgid, HOLDER_INHERITED);
	record = begin_gpu_record(WHENCE_GPU_SEEN);
	if (!record)
		return 0;
	fill_open_file(record, address, open);
	record->process = process_of(typed(struct task_struct, task));
	record->fd = context->fd;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";
