/* compare_metric.h - two columns of times, predicted and measured, and how far they are apart.
 *
 * MARE = mean over pairs of |predicted - measured| / measured; other errors are predicted /
 * measured - 1. A relative error needs a measured value above 0: other pairs are left out. */
#ifndef ORRERY_SIM_REPORT_COMPARE_METRIC_H
#define ORRERY_SIM_REPORT_COMPARE_METRIC_H

#include "lib/base/stats.h"
#include <stddef.h>
#include <stdint.h>

struct arena;

#define COMPARE_WORST 5

struct compare_metric {
    size_t pairs; /* 0: the metric does not exist for these requests */
    struct stats_summary predicted, real;
    double mare, mean_error_ratio, p50_error_ratio, p90_error_ratio, p99_error_ratio;
};

struct compare_pairs {
    size_t count;
    int64_t *predicted, *real;
};
void compare_pairs_reserve(struct arena *arena, struct compare_pairs *pairs, size_t count);
void compare_pairs_add(struct compare_pairs *pairs, int64_t predicted, int64_t real);
/* Sorts both columns. */
struct compare_metric compare_metric_of(struct compare_pairs *pairs);

struct compare_worst {
    int64_t request_id;
    int32_t step; /* of a stage, else 0 */
    int64_t predicted_ps, real_ps;
    double error_ratio;
};
struct compare_worst_list { /* largest error first, ties to what was added first */
    int count;
    struct compare_worst item[COMPARE_WORST];
};
/* Passes over a measured time that is not above 0. */
void compare_worst_add(struct compare_worst_list *list, int64_t request_id, int32_t step,
                       int64_t predicted_ps, int64_t real_ps);

/* a - b for times from outside: saturates. */
int64_t compare_minus(int64_t a_ps, int64_t b_ps);

#endif
