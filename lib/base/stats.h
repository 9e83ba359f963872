/* stats.h - exact statistics of integer samples, and a mergeable log-linear histogram.
 *
 * Quantiles interpolate linearly between order statistics: position q*(n-1), as numpy's default
 * and Hyndman-Fan type 7; the result is rounded half to even to an integer. */
#ifndef ORRERY_BASE_STATS_H
#define ORRERY_BASE_STATS_H

#include "lib/base/wide.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* Sorts in place, ascending. */
void stats_sort(int64_t *values, size_t count);
/* Quantile numerator/denominator (for example 999/1000) of sorted values, count >= 1. */
int64_t stats_quantile(const int64_t *sorted, size_t count, int64_t numerator, int64_t denominator);
/* What a quantile is made of: q*(count-1) lies between the order statistics `returned` and
 * `returned` + 1, rest/denominator of the way; count >= 1, 0 <= q <= 1. */
uint64_t stats_position(uint64_t count, int64_t numerator, int64_t denominator, uint64_t *rest);
/* low + (high - low) * rest / denominator, rounded half to even. */
int64_t stats_interpolate(int64_t low, int64_t high, uint64_t rest, uint64_t denominator);

/* Mean by a 128-bit sum, rounded half to even; count >= 1. */
int64_t stats_mean(const int64_t *values, size_t count);
struct stats_totals { /* begin with all 0; min and max are void while count is 0 */
    uint64_t count;
    struct wide sum; /* two's complement */
    int64_t min, max;
};
void stats_totals_add(struct stats_totals *totals, const int64_t *values, size_t count);
/* Values as of hist_add_line, whose sum fits 63 bits where each counts once. */
void stats_totals_add_line(struct stats_totals *totals, int64_t first, int64_t slope, int64_t count,
                           int64_t times);
void stats_totals_merge(struct stats_totals *into, const struct stats_totals *from);
int64_t stats_totals_mean(const struct stats_totals *totals); /* as stats_mean */

/* Sample standard deviation over mean is left to callers through doubles. */
double stats_sd(const double *values, size_t count); /* n-1; 0 for count < 2 */
double stats_mean_double(const double *values, size_t count);
/* Two-sided 95 % Student t factor for the given degrees of freedom (>= 1). */
double stats_t95(size_t degrees);

struct stats_summary { /* of int64 samples; all 0 when count is 0 */
    size_t count;
    int64_t mean, min, p50, p90, p95, p99, p999, max;
};
/* Sorts values in place. */
struct stats_summary stats_summarize(int64_t *values, size_t count);

/* Log-linear histogram with 2^bits sub-buckets an octave: a quantile is off by at most 2^-(bits+1)
 * of itself (between values of opposite signs: of the larger magnitude), and magnitudes below
 * 2^(bits+1) are exact. Merging is addition: order never matters. Memory is taken octave by octave,
 * 8 * 2^bits bytes each, where the first value falls. */
struct hist;
struct hist *hist_create(struct arena *arena, int bits); /* 1..14 */
void hist_add(struct hist *hist, const int64_t *values, size_t count);
/* first, first + slope, ...: `count` values >= 0, each `times` times, 1 or more of both. It costs
 * as much as they fill buckets. */
void hist_add_line(struct hist *hist, int64_t first, int64_t slope, int64_t count, int64_t times);
void hist_merge(struct hist *into, const struct hist *from); /* same bits */
/* 0 when it is empty. */
int64_t hist_quantile(const struct hist *hist, int64_t numerator, int64_t denominator);

#endif
