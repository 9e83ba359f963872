/* compare.h - how far a prediction is from what was measured, request by request.
 *
 * Pairs are the requests that are ok in both files. latency = finish - arrival; TTFT = first token
 * - arrival; TPOT = (finish - first token) / (output_tokens - 1), of pairs that have them. MARE =
 * mean over pairs of |predicted - measured| / measured; other errors are predicted / measured - 1.
 */
#ifndef ORRERY_SIM_REPORT_COMPARE_H
#define ORRERY_SIM_REPORT_COMPARE_H

#include "lib/base/stats.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct out;
struct trace_requests;

#define COMPARE_WORST 5

struct compare_metric {
    size_t pairs; /* 0: the metric does not exist for these requests */
    struct stats_summary predicted, real;
    double mare, mean_error_ratio, p50_error_ratio, p90_error_ratio, p99_error_ratio;
};

struct compare_worst {
    int64_t request_id, predicted_ps, real_ps;
    double error_ratio;
};

struct compare {
    int64_t pairs;    /* ok in both */
    int64_t missing;  /* ids that only one file has */
    int64_t excluded; /* ids left out on request */
    int64_t not_ok;   /* in both, but not ok in both */
    struct compare_metric latency, ttft, tpot;
    int worst_count;
    struct compare_worst worst[COMPARE_WORST]; /* by latency, largest error first */
};

struct compare_range { /* of request ids, inclusive */
    int64_t first, last;
};
struct compare_excluded { /* ascending, and no two that overlap */
    size_t count;
    struct compare_range *ranges;
};
/* One id or FIRST-LAST a line; blank lines, # lines and a first line `request_id` are skipped, text
 * after a comma is a remark. "-" = stdin. */
bool compare_load_excluded(struct arena *arena, const char *path, struct compare_excluded *excluded,
                           struct err *err);

/* Fails when no request is ok in both, or when an id stands twice in a file. */
bool compare_run(struct arena *arena, const struct trace_requests *predicted,
                 const struct trace_requests *real, const struct compare_excluded *excluded,
                 struct compare *compare, struct err *err);
void compare_text(const struct compare *compare, struct out *out);
void compare_json(struct arena *arena, const struct compare *compare, struct out *out);

#endif
