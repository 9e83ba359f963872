/* merge.h - which of many sorted sequences comes next: a loser tree (Knuth 5.4.1), log2(n) compares
 * a step, each with one neighbour in memory. Ties go to the lower slot. */
#ifndef ORRERY_SIM_GENERATE_MERGE_H
#define ORRERY_SIM_GENERATE_MERGE_H

#include <stdint.h>

struct arena;
struct merge;

/* heads_ps: where each sequence stands; INT64_MAX = at its end. count >= 1. */
struct merge *merge_create(struct arena *arena, const int64_t *heads_ps, int count);
/* The slot whose head is least. */
int merge_first(const struct merge *merge);
/* The first slot's head has moved on to at_ps; returns the slot that is first now. */
int merge_replace(struct merge *merge, int64_t at_ps);

#endif
