/* compare.h - how far a prediction is from what was measured, request by request.
 *
 * Pairs are the requests that are ok in both files. latency = finish - arrival; TTFT = first token
 * - arrival; TPOT = (finish - first token) / (output_tokens - 1); e2e = e2e_s, what the client saw;
 * each of pairs that have it. What MARE and the other errors are says compare_metric.h. */
#ifndef ORRERY_SIM_REPORT_COMPARE_H
#define ORRERY_SIM_REPORT_COMPARE_H

#include "sim/report/compare_metric.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;
struct trace_request;
struct trace_requests;

struct compare_match { /* a request that is ok in both files */
    const struct trace_request *predicted, *real;
};

struct compare_totals { /* over a set of pairs */
    size_t pairs;
    const struct compare_match *matches; /* by request id */
    struct compare_metric latency, ttft, tpot, e2e;
};

struct compare {
    struct compare_totals kept;      /* without the excluded requests */
    struct compare_totals all;       /* with them; pairs 0 when none were to be excluded */
    int64_t missing;                 /* ids that only one file has, excluded ones aside */
    int64_t excluded;                /* requests of the measured file that were left out */
    int64_t not_ok;                  /* in both, but not ok in both, excluded ones aside */
    struct compare_worst_list worst; /* by latency */
};

struct compare_range { /* of request ids, inclusive */
    int64_t first, last;
};
struct compare_excluded { /* ascending, and no two that overlap */
    size_t count;
    struct compare_range *ranges;
};
/* Either a list: one id or FIRST-LAST a line; blank lines, # lines and a first line `request_id`
 * are skipped, text after a comma is a remark. Or a table with the columns first_request,
 * last_request[,trace_id,requests,what], of which the rows of trace_id are taken (NULL: a table of
 * one trace; of a list it must be NULL). "-" = stdin. */
bool compare_load_excluded(struct arena *arena, const char *path, const char *trace_id,
                           struct compare_excluded *excluded, struct err *err);
bool compare_is_excluded(const struct compare_excluded *excluded, int64_t request_id);

/* excluded may be NULL. Fails when no request is ok in both, when an id stands twice in a file, or
 * when a measured latency that counts is not above 0. */
bool compare_run(struct arena *arena, const struct trace_requests *predicted,
                 const struct trace_requests *real, const struct compare_excluded *excluded,
                 struct compare *compare, struct err *err);

#endif
