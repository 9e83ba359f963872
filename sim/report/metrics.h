/* metrics.h - what a run amounts to: counts, latencies and rates, for all and for each service.
 *
 * latency = finish - arrival; TTFT = first token - arrival; TPOT = (finish - first token) /
 * (output_tokens - 1); of requests that ended ok. A request is good when it is ok and within its
 * slo_s, else within --slo; without either, when it is ok. */
#ifndef ORRERY_SIM_REPORT_METRICS_H
#define ORRERY_SIM_REPORT_METRICS_H

#include "lib/base/stats.h"
#include "lib/format/trace.h"
#include <stdint.h>

struct arena;
struct serve_input;
struct serve_result;

struct metrics {
    const char *service; /* NULL: all of them */
    int64_t total, status[TRACE_STATUS_COUNT];
    int64_t good;
    int64_t output_tokens;                    /* of decoders' requests that ended ok */
    struct stats_summary latency, ttft, tpot; /* in ps */
};

/* slo_ps 0 = none. (*services)[i] is for plan service i. */
struct metrics metrics_compute(struct arena *arena, const struct serve_input *input,
                               const struct serve_result *result, int64_t slo_ps,
                               struct metrics **services);
/* Requests that missed: late by the same rule, or not ok at all. */
int64_t metrics_missed(const struct metrics *metrics);

#endif
