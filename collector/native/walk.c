// SPDX-License-Identifier: Apache-2.0
/*
 * The time-respecting closure of whence_collector/lineage.py over its arrays of
 * edges: the same bounds, steps and flags, a run at a time. Knows no database
 * and allocates nothing; every array belongs to the caller, who has checked
 * that each run and each edge is a valid index.
 *
 * A run is settled with the widest bound that any way gives it. A bound only
 * falls along a way, so runs that are taken in the order of their bounds are
 * settled the first time (Dijkstra, "A note on two problems in connexion with
 * graphs", 1959, with the least bound of a way for its length).
 */

#include <stdint.h>

/* Edges in the order of the run at one end: edge_arrays.Side. */
struct side {
	int64_t runs;
	const int64_t *first; /* runs + 1 of them */
	const int64_t *other;
	const int64_t *gate;
	const int64_t *gives;
	const uint8_t *is_file;
};

/* What a walk works on, one place for each run of the graph; bounds and hops
 * come in as "not reached", but for the bounds of the starts. */
struct walk {
	int64_t *bounds;
	int32_t *hops;
	uint8_t *by_file;
	int64_t *order; /* out: the runs reached, fewest steps first */
	int64_t *heap;
	int32_t *place; /* of a run in the heap, from 1; 0: not in it */
};

static void rise(struct walk *walk, int64_t at)
{
	int64_t run = walk->heap[at], bound = walk->bounds[run];

	while (at > 0) {
		int64_t above = (at - 1) / 2, other = walk->heap[above];

		if (walk->bounds[other] >= bound)
			break;
		walk->heap[at] = other;
		walk->place[other] = (int32_t)(at + 1);
		at = above;
	}
	walk->heap[at] = run;
	walk->place[run] = (int32_t)(at + 1);
}

static void sink(struct walk *walk, int64_t size, int64_t run)
{
	int64_t at = 0, bound = walk->bounds[run];

	for (;;) {
		int64_t below = 2 * at + 1;

		if (below >= size)
			break;
		if (below + 1 < size &&
		    walk->bounds[walk->heap[below + 1]] > walk->bounds[walk->heap[below]])
			below++;
		if (walk->bounds[walk->heap[below]] <= bound)
			break;
		walk->heap[at] = walk->heap[below];
		walk->place[walk->heap[at]] = (int32_t)(at + 1);
		at = below;
	}
	walk->heap[at] = run;
	walk->place[run] = (int32_t)(at + 1);
}

static int64_t take(struct walk *walk, int64_t *size)
{
	int64_t run = walk->heap[0];

	walk->place[run] = 0;
	if (--*size > 0)
		sink(walk, *size, walk->heap[*size]);
	return run;
}

/* Raise a run's bound; it enters the heap, or rises there. */
static void widen(struct walk *walk, int64_t *size, int64_t run, int64_t bound)
{
	walk->bounds[run] = bound;
	if (walk->place[run] == 0) {
		walk->heap[(*size)++] = run;
		walk->place[run] = (int32_t)*size;
	}
	rise(walk, walk->place[run] - 1);
}

static void settle(struct walk *walk, int64_t *size, const struct side *side, int64_t run)
{
	int64_t bound = walk->bounds[run];

	if (run >= side->runs)
		return;
	for (int64_t edge = side->first[run]; edge < side->first[run + 1]; edge++) {
		int64_t other = side->other[edge], given = side->gives[edge];

		if (side->gate[edge] > bound)
			continue;
		if (given > bound)
			given = bound;
		if (given > walk->bounds[other])
			widen(walk, size, other, given);
	}
}

/* Count steps along the edges that the settled bounds admit, breadth first. */
static int64_t measure(struct walk *walk, const struct side *sides, int64_t n_sides, int64_t end)
{
	for (int64_t next = 0; next < end; next++) {
		int64_t run = walk->order[next], bound = walk->bounds[run];

		for (int64_t nth = 0; nth < n_sides; nth++) {
			const struct side *side = &sides[nth];

			if (run >= side->runs)
				continue;
			for (int64_t edge = side->first[run]; edge < side->first[run + 1]; edge++) {
				int64_t other = side->other[edge];

				if (side->gate[edge] > bound)
					continue;
				walk->by_file[other] |= side->is_file[edge];
				if (walk->hops[other] < 0) {
					walk->hops[other] = walk->hops[run] + 1;
					walk->order[end++] = other;
				}
			}
		}
	}
	return end;
}

/* Walk from n_starts runs, whose bounds are set and which stand in order[];
 * returns how many runs were reached. */
int64_t whence_walk(struct walk *walk, const struct side *sides, int64_t n_sides, int64_t n_starts)
{
	int64_t size = 0;

	for (int64_t nth = 0; nth < n_starts; nth++)
		widen(walk, &size, walk->order[nth], walk->bounds[walk->order[nth]]);
	while (size > 0) {
		int64_t run = take(walk, &size);

		for (int64_t nth = 0; nth < n_sides; nth++)
			settle(walk, &size, &sides[nth], run);
	}
	for (int64_t nth = 0; nth < n_starts; nth++) {
		walk->hops[walk->order[nth]] = 0;
		walk->by_file[walk->order[nth]] = 1;
	}
	return measure(walk, sides, n_sides, n_starts);
}
