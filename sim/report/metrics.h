/* metrics.h - what a run amounts to: counts, latencies and rates, for all and for each service.
 *
 * latency = finish - arrival; TTFT = first token - arrival; TPOT = (finish - first token) /
 * (output_tokens - 1); queue = start - arrival; of requests that ended ok. ITL, the inter-token
 * latency, is the time between two tokens of a request, over all tokens. A request is good when it
 * is ok and within its slo_s, else within --slo; and its TTFT and TPOT, if it has them, within
 * --slo-ttft and --slo-tpot; without any of these, when it is ok.
 *
 * Fed request by request as they end, so that nobody need keep requests: an exact run keeps 8 bytes
 * a latency (and a TTFT, and a TPOT, of services that have them), a histogram nothing. Queue and
 * ITL are always histograms: exact up to SAMPLES_HISTOGRAM_FROM values. */
#ifndef ORRERY_SIM_REPORT_METRICS_H
#define ORRERY_SIM_REPORT_METRICS_H

#include "lib/base/samples.h"
#include "lib/base/stats.h"
#include "lib/format/trace.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct meter;
struct plan;
struct serve_block;
struct serve_end;
struct serve_gap;
struct serve_observer;

struct metrics_options {
    int64_t slo_ps;                   /* of requests without one of their own, 0 = none */
    int64_t slo_ttft_ps, slo_tpot_ps; /* 0 = none */
    bool has_all;                     /* queue and ITL as well */
    enum samples_kind samples;        /* how latencies are kept */
    /* Leave out requests that arrive before this instant, or later than this before the last
     * arrival of the run. */
    int64_t trim_ps;
};

struct metrics {
    const char *service; /* NULL: all of them */
    int64_t total, status[TRACE_STATUS_COUNT];
    int64_t good;
    int64_t trimmed;            /* left out of all that stands here */
    int64_t output_tokens;      /* of decoders' requests that ended ok */
    int64_t run_ok, run_tokens; /* ok and their output tokens, of the whole run: trimmed or not */
    int64_t window_ps;          /* what rates are over; 0 = there is none */
    struct stats_summary latency, ttft, tpot; /* in ps */
    struct stats_summary e2e;                 /* seen by the client: with overheads alone */
    struct stats_summary queue, itl;
};

struct meter *metrics_begin(struct arena *arena, const struct plan *plan,
                            const struct metrics_options *options);
/* What tells the meter of a run. */
struct serve_observer metrics_observer(struct meter *meter);
/* A serve_end_fn; arg is the meter. With a trim, requests of its last seconds wait in a queue. */
void metrics_add(void *arg, const struct serve_end *end);
/* The same for many at once: serve_observer.on_block. */
void metrics_add_block(void *arg, const struct serve_block *block);
/* Tokens, of requests that ended ok or not: serve_observer.on_gap. With a trim those of the last
 * seconds' requests wait as these do. */
void metrics_add_gap(void *arg, const struct serve_gap *gap);
/* Once, after the last request. (*services)[i] is for plan service i. end_ps: of the simulation,
 * the window of rates; with a trim that is the time between the two trimmed ends. */
struct metrics metrics_end(struct meter *meter, int64_t end_ps, struct metrics **services);
/* An objective was given for the run. */
bool metrics_has_slo(const struct metrics_options *options);
/* Requests that missed: late by the same rule, or not ok at all. */
int64_t metrics_missed(const struct metrics *metrics);

#endif
