/* stats.h - exact statistics of integer samples, and a mergeable log-linear histogram.
 *
 * Quantiles interpolate linearly between order statistics: position q*(n-1), as numpy's default
 * and Hyndman-Fan type 7; the result is rounded half to even to an integer. */
#ifndef ORRERY_BASE_STATS_H
#define ORRERY_BASE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* Sorts in place, ascending. */
void stats_sort(int64_t *values, size_t count);
/* Quantile numerator/denominator (for example 999/1000) of sorted values, count >= 1. */
int64_t stats_quantile(const int64_t *sorted, size_t count, int64_t numerator, int64_t denominator);
/* Mean by a 128-bit sum, rounded half to even; count >= 1. */
int64_t stats_mean(const int64_t *values, size_t count);
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

/* Log-linear histogram of values >= 0 with 2^bits sub-buckets an octave: the relative error of a
 * quantile is at most 2^-(bits+1). Merging is addition: order never matters. */
struct hist;
struct hist *hist_create(struct arena *arena, int bits); /* 1..14 */
void hist_add(struct hist *hist, int64_t value, uint64_t times);
void hist_merge(struct hist *into, const struct hist *from); /* same bits */
uint64_t hist_count(const struct hist *hist);
int64_t hist_quantile(const struct hist *hist, int64_t numerator, int64_t denominator);

#endif
