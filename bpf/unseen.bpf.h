/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Saying that a process took a way to bytes that capture cannot follow. */
#ifndef WHENCE_UNSEEN_H
#define WHENCE_UNSEEN_H

#include "identity.bpf.h"

/* Once for each process and way: the run is incomplete whatever the count. */
static __noinline int unseen(struct task_struct *task, __u64 how)
{
	struct unseen_key key = { .how = how };
	struct whence_record *record;
	__u32 told = 1;

	if (is_excluded())
		return 0;
	key.process = process_of(task);
	if (bpf_map_update_elem(&unseen_told, &key, &told, BPF_NOEXIST))
		return 0;
	record = begin_record(WHENCE_UNSEEN, WHENCE_CLASS_LIFE);
	if (!record) {
		bpf_map_delete_elem(&unseen_told, &key);
		return 0;
	}
	record->process = key.process;
	record->uid = task->real_cred->uid.val;
	record->value = how;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

#endif
