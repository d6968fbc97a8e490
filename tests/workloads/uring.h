/* SPDX-License-Identifier: Apache-2.0 */
/* io_uring by raw system calls: one request at a time, its result awaited. */
#ifndef URING_H
#define URING_H

#include "workload.h"

#include <linux/io_uring.h>
#include <stdatomic.h>

struct ring {
	int fd;
	unsigned int setup_flags;
	_Atomic unsigned int *submit_tail, *submit_flags, *complete_head, *complete_tail;
	unsigned int *submit_array, submit_mask, complete_mask;
	struct io_uring_sqe *requests;
	struct io_uring_cqe *completions;
};

#define ENTRIES 8

static inline void *map_ring(int fd, size_t bytes, off_t what)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);

	if (at == MAP_FAILED)
		exit(94);
	return at;
}

/* Needs IORING_FEAT_SINGLE_MMAP, Linux 5.4. */
static inline struct ring ring_of(unsigned int setup_flags)
{
	struct io_uring_params p = { .flags = setup_flags, .sq_thread_idle = 1000 };
	struct ring ring = { .setup_flags = setup_flags };
	char *at;

	ring.fd = must(syscall(SYS_io_uring_setup, ENTRIES, &p));
	at = map_ring(ring.fd, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
		      IORING_OFF_SQ_RING);
	ring.submit_tail = (void *)(at + p.sq_off.tail);
	ring.submit_flags = (void *)(at + p.sq_off.flags);
	ring.submit_array = (void *)(at + p.sq_off.array);
	ring.submit_mask = *(unsigned int *)(at + p.sq_off.ring_mask);
	ring.complete_head = (void *)(at + p.cq_off.head);
	ring.complete_tail = (void *)(at + p.cq_off.tail);
	ring.complete_mask = *(unsigned int *)(at + p.cq_off.ring_mask);
	ring.completions = (void *)(at + p.cq_off.cqes);
	ring.requests = map_ring(ring.fd, p.sq_entries * sizeof(struct io_uring_sqe),
				 IORING_OFF_SQES);
	return ring;
}

/* The kernel's thread takes requests by itself, unless it sleeps. */
static inline unsigned int wake_flags(struct ring *ring)
{
	if (ring->setup_flags & IORING_SETUP_SQPOLL && *ring->submit_flags & IORING_SQ_NEED_WAKEUP)
		return IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP;
	return IORING_ENTER_GETEVENTS;
}

static inline void queue(struct ring *ring, const struct io_uring_sqe *requests, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		unsigned int tail = *ring->submit_tail, slot = tail & ring->submit_mask;

		ring->requests[slot] = requests[i];
		ring->submit_array[slot] = slot;
		*ring->submit_tail = tail + 1;
	}
}

/* Several requests at once; each has to succeed. */
static inline void results_of(struct ring *ring, const struct io_uring_sqe *requests,
			      unsigned int count)
{
	queue(ring, requests, count);
	must(syscall(SYS_io_uring_enter, ring->fd, count, count, wake_flags(ring), NULL, 0));
	for (unsigned int i = 0; i < count; i++, ++*ring->complete_head)
		must(ring->completions[*ring->complete_head & ring->complete_mask].res);
}

/* Several requests at once, of which no completion is awaited. */
static inline void sent_off(struct ring *ring, const struct io_uring_sqe *requests, unsigned int count)
{
	queue(ring, requests, count);
	must(syscall(SYS_io_uring_enter, ring->fd, count, 0, 0, NULL, 0));
}

/* Result of one request; negative is an errno. */
static inline int result_of(struct ring *ring, struct io_uring_sqe request)
{
	unsigned int tail = *ring->submit_tail, slot = tail & ring->submit_mask, head;
	int result;

	ring->requests[slot] = request;
	ring->submit_array[slot] = slot;
	*ring->submit_tail = tail + 1;
	must(syscall(SYS_io_uring_enter, ring->fd, 1, 1, wake_flags(ring), NULL, 0));
	head = *ring->complete_head;
	while (*ring->complete_tail == head)
		;
	result = ring->completions[head & ring->complete_mask].res;
	*ring->complete_head = head + 1;
	return result;
}

static inline struct io_uring_sqe request_of(int opcode, int fd, const void *at, unsigned int length)
{
	struct io_uring_sqe request = {
		.opcode = opcode, .fd = fd, .addr = (uintptr_t)at, .len = length,
	};

	return request;
}

#endif
