/* measure.h - the parent of the measuring processes: starts them in turn, keeps what they say.
 *
 * Each process is fresh, because physical pages and the like differ from process to process by
 * more than samples differ inside one. The parent itself never calls the BLAS. */
#ifndef ORRERY_PROFILER_MEASURE_H
#define ORRERY_PROFILER_MEASURE_H

#include "profiler/pool.h"
#include <stdbool.h>
#include <stdint.h>

struct counters;
struct err;
struct interrupt;
struct store;

/* Told once when a single round is expected to take several times the budget. */
typedef void measure_slow_fn(void *arg, int64_t round_ns);

struct measure {
    struct store *const *stores; /* one a thread count */
    int store_count;
    int processes; /* for each */
    int64_t budget_ns;
    uint64_t seed;
    struct pool_plan pool;
    const char *sysroot;
    struct counters *counters; /* opened only in its own process */
    struct interrupt *interrupt;
    measure_slow_fn *on_slow;
    void *arg;
    /* out */
    int processes_done; /* fewer when the budget was used up before */
    const char *counter_state;
};

/* False when a process failed or the user interrupted; then no process is left. */
bool measure_run(struct measure *measure, struct err *err);

#endif
