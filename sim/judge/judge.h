/* judge.h - what the simulator says of a placement that exists in memory alone.
 *
 * A judge holds what all candidates of a search have in common: devices, cost tables, models, a
 * workload, and how it is served. It simulates one candidate after the other, each in memory of its
 * own that is given back before the next one. The same rows get the same verdict, whatever was
 * judged before. */
#ifndef ORRERY_SIM_JUDGE_JUDGE_H
#define ORRERY_SIM_JUDGE_JUDGE_H

#include "sim/serve/serve.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct err;
struct events;
struct judge;
struct model_catalogue;
struct placement_row;

struct judge_input {
    const struct cluster *cluster;
    const struct cost_set *costs;
    struct model_catalogue *catalogue;
    struct workload *workload; /* NULL: only judge_alone may be asked */
    /* What happens to devices and links while a workload runs, though not to judge_alone's
     * requests; NULL: nothing */
    const struct events *events;
    struct serve_options serve;
    /* Objectives of requests without one of their own, 0 = none: as of struct metrics_options. */
    int64_t slo_ps, slo_ttft_ps, slo_tpot_ps;
};

enum judge_resource { JUDGE_DEVICE, JUDGE_LINK, JUDGE_STAGE };

struct judge_verdict {
    /* false: it is no placement, does not fit into memory, or cannot make progress; why says so and
     * is valid until the next call */
    bool is_feasible;
    const char *why;
    int64_t total_count, ok_count, good_count; /* good: ok and within their objectives */
    int64_t window_ps; /* from 0 to the last end: good_count / window is the goodput */
    int64_t latency_mean_ps, latency_p50_ps, latency_p99_ps; /* of those that ended ok */
    int64_t latency_p90_ps, latency_p95_ps, latency_p999_ps, latency_max_ps;
    int64_t ttft_mean_ps, tpot_mean_ps; /* 0: of none */
    int64_t output_tokens;
    int64_t extrapolated_costs; /* operators whose cost lies outside the measured range */
    /* The longest that a device computed, a link was busy, or a step ran in a stage on several
     * devices, which takes one at a time. */
    int64_t busiest_ps;
    enum judge_resource busiest_kind; /* which of the three, */
    int32_t busiest; /* its index in the cluster, or in the result's links or passes; -1: none */
    const char *busiest_name; /* "device 'a'", "switch lan (a's port)", "stage s/0/1 on 2 devices";
                                 valid until the next call */
    /* Likewise of what is taken next longest, "" where there is nothing else. A device and a stage
     * that it is of are both told. */
    int64_t next_ps;
    enum judge_resource next_kind;
    int32_t next;
    const char *next_name;
    int64_t room_bytes; /* least of memory_bytes less the peak; INT64_MAX: no memory is known */
    int32_t room_device;
    double energy_j; /* of all devices of the cluster over the run; below 0: not known */
    /* Both valid until the next call: good requests by service of the workload, and how long each
     * device of the cluster was taken, gaps included. */
    const int64_t *service_good, *device_busy_ps;
};

/* In arena; what the input points to must outlive it. */
struct judge *judge_create(struct arena *arena, const struct judge_input *input);
const struct judge_input *judge_input(const struct judge *judge);

/* Whether a simulation is given up while it runs: such a placement is infeasible, for want of time.
 */
struct judge_stop {
    bool (*is_over)(void *arg); /* NULL: never */
    void *arg;
};
/* From now on; returns what was there before. */
struct judge_stop judge_set_stop(struct judge *judge, struct judge_stop stop);

/* Simulates the workload. */
struct judge_verdict judge_rows(struct judge *judge, const struct placement_row *rows, int count);
/* The same on another workload. */
struct judge_verdict judge_workload(struct judge *judge, const struct placement_row *rows,
                                    int count, struct workload *workload);

/* Without a workload: one request of prompt and output tokens (of an executable: neither) on each
 * replica of the service, or as many as let each copy of its stages take its turn, one after the
 * other. Latencies are over these; busiest_ps, next_ps and energy_j are of one request, so that
 * busiest_ps is the period of the placement. */
struct judge_verdict judge_alone(struct judge *judge, const struct placement_row *rows, int count,
                                 const char *service, int32_t prompt_tokens, int32_t output_tokens);

/* Below 0: a is the better one by goodput. Feasible ones first, then more good requests in less
 * time, then lower mean latency. Integers alone. */
int judge_compare(const struct judge_verdict *a, const struct judge_verdict *b);

/* Candidates simulated so far. */
int64_t judge_count(const struct judge *judge);

#endif
