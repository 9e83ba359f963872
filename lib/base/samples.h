/* samples.h - a growing set of integers (latencies in ps, say), and what is asked of it: count,
 * mean, least, greatest and quantiles.
 *
 * Exact: every value is kept, 8 bytes each in chunks that are never copied; quantiles are those of
 * stats_quantile. Histogram: exact as well up to SAMPLES_HISTOGRAM_FROM values; then memory is
 * constant: 16 KiB an octave that values fall into. Count, mean, min and max are exact, and a
 * quantile is off by at most SAMPLES_ERROR_RATIO of itself. Neither depends on the order of adding.
 */
#ifndef ORRERY_BASE_SAMPLES_H
#define ORRERY_BASE_SAMPLES_H

#include "lib/base/stats.h"
#include <stddef.h>
#include <stdint.h>

struct arena;
struct hist;
struct samples_chunk;

enum samples_kind { SAMPLES_EXACT, SAMPLES_HISTOGRAM, SAMPLES_KIND_COUNT };
extern const char *const samples_kind_names[SAMPLES_KIND_COUNT]; /* "exact", "histogram" */

/* Of the histogram, which has 2^11 sub-buckets an octave: half the width of a bucket. */
#define SAMPLES_HISTOGRAM_BITS 11
#define SAMPLES_ERROR_RATIO 0x1p-12
/* A set of more values than this is counted in buckets. */
#define SAMPLES_HISTOGRAM_FROM 4032

struct samples {         /* for samples_add's sake in the open: use the functions */
    int64_t *next, *end; /* free room of the last chunk */
    struct samples_chunk *last;
    size_t full_count; /* values in chunks that are full, and in the histogram */
    enum samples_kind kind;
    struct arena *arena;
    struct hist *hist;
    struct stats_totals totals; /* of the histogram */
};

/* The set lives in the arena and takes next to nothing there until a value comes. */
struct samples *samples_create(struct arena *arena, enum samples_kind kind);

void samples_make_room(struct samples *samples); /* for samples_add alone */
static inline void samples_add(struct samples *samples, int64_t value)
{
    if (samples->next == samples->end)
        samples_make_room(samples);
    *samples->next++ = value;
}

/* first, first + slope, ...: `count` values >= 0, each `times` times, whose sum fits 63 bits where
 * each counts once. An exact set keeps every one of them. */
void samples_add_line(struct samples *samples, int64_t first, int64_t slope, int64_t count,
                      int64_t times);

size_t samples_count(const struct samples *samples);

/* Summary over the union of several sets of one kind, at most INT_MAX of them; all 0 when they are
 * empty. Sets without buckets: about 3 ns a value, and scratch memory of 1/64 of theirs that is
 * returned. The sets may grow afterwards. */
struct stats_summary samples_summarize(struct samples *const *sets, int count);

#endif
