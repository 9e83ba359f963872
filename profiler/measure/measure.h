/* measure.h - the parent of the measuring processes: starts them in turn, keeps what they say.
 *
 * Each process is fresh, because physical pages and the like differ from process to process by
 * more than samples differ inside one. The parent itself never calls the BLAS. */
#ifndef ORRERY_PROFILER_MEASURE_H
#define ORRERY_PROFILER_MEASURE_H

#include "profiler/measure/pool.h"
#include <stdbool.h>
#include <stdint.h>

struct counters;
struct err;
struct interrupt;
struct journal;
struct store;

#define MEASURE_MAX_STORES 32

/* Told once when a single round is expected to take several times the budget. */
typedef void measure_slow_fn(void *arg, int64_t round_ns);
/* What the scout of an earlier, cut off run found: comes before any of its samples. */
typedef void measure_scout_fn(void *arg, int variant, int32_t period, int64_t forward_ns);

struct measure {
    struct store *const *stores; /* one a variant */
    int store_count;
    const struct pool_plan *pools; /* one a variant */
    int processes;                 /* for each */
    int64_t budget_ns;             /* for all */
    int anchor_percent;            /* of the time, at most, for whole forwards */
    int max_sizes;                 /* refine up to so many sizes of new tokens; 0: not at all */
    int64_t preheat_ns;            /* compute in each process before its first round */
    uint64_t seed;
    const char *sysroot;
    struct counters *counters; /* opened only in its own process; NULL: no counting */
    bool has_energy;           /* with a pass for energy */
    const char *energy_reason; /* why not */
    struct journal *journal;   /* of all messages; NULL: none */
    struct interrupt *interrupt;
    measure_slow_fn *on_slow;
    measure_scout_fn *on_scout;
    void *arg;
    /* out */
    int processes_done; /* fewer when the budget was used up before */
    const char *counter_state;
};

/* False when a process failed or the user interrupted; then no process is left. */
bool measure_run(struct measure *measure, struct err *err);

/* A few quick rounds of the store's points in a process of its own: see scout.h. */
bool measure_scout(struct measure *measure, struct store *store, const struct pool_plan *pool,
                   struct err *err);

#endif
