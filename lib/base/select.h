/* select.h - order statistics of many integers without sorting, moving or copying them.
 *
 * Radix select in two passes over the values: count them in log-linear buckets, then pick out those
 * of the few buckets that hold a wanted rank. Where values crowd into a bucket, passes in between
 * split it further, so the answer is exact whatever the values are. */
#ifndef ORRERY_BASE_SELECT_H
#define ORRERY_BASE_SELECT_H

#include "lib/base/stats.h"
#include <stddef.h>
#include <stdint.h>

struct arena;

#define SELECT_MAX_RANKS 16

struct select_span {
    const int64_t *values;
    size_t count;
};

/* found[i] = the value at position ranks[i] (0..) of all spans' values in ascending order; ranks
 * ascend. Fills totals on the way. Takes about 1/64 of the values' memory, and 2 MB, from scratch.
 */
void select_ranks(struct arena *scratch, const struct select_span *spans, size_t span_count,
                  const uint64_t *ranks, int rank_count, int64_t *found,
                  struct stats_totals *totals);

#endif
