// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Identity, version and writers of one descriptor of the *calling* process,
 * as the kernel holds them. Never attached: the hasher runs it by
 * BPF_PROG_TEST_RUN before and after it reads a file, which is how a digest is
 * known to belong to a version. Context: descriptor, slot of the answer.
 */

#define PROBE_SLOTS 16

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PROBE_SLOTS);
	__type(key, __u32);
	__type(value, struct whence_probe);
} probes SEC(".maps");

SEC("raw_tp/whence_probe")
int probe(struct bpf_raw_tracepoint_args *context)
{
	struct task_struct *task = current_task();
	struct file *file = file_at(task, context->args[0]);
	__u32 slot = context->args[1] & (PROBE_SLOTS - 1);
	struct whence_probe *answer = bpf_map_lookup_elem(&probes, &slot);
	struct inode *inode;

	if (!answer)
		return 0;
	__builtin_memset(answer, 0, sizeof(*answer));
	if (!file)
		return 0;
	inode = file->f_inode;
	answer->file = file_of(inode);
	answer->version = version_of(&answer->file);
	answer->size_bytes = inode->i_size;
	answer->mtime_ns = inode_mtime_ns(inode);
	answer->ctime_ns = inode_ctime_ns(inode);
	answer->writers = inode->i_writecount.counter;
	answer->mode = inode->i_mode;
	answer->magic = inode->i_sb->s_magic;
	answer->found = 1;
	return 1;
}
