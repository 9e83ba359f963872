/* worker.h - a measuring process: visits points in rounds until its share of the budget is used. */
#ifndef ORRERY_PROFILER_WORKER_H
#define ORRERY_PROFILER_WORKER_H

#include "profiler/pool.h"
#include "profiler/store.h"
#include <stdbool.h>
#include <stdint.h>

struct counters;

struct worker {
    struct store *store; /* this process's copy, with what earlier processes found */
    struct pool_plan pool;
    int proc, processes;
    int64_t slow_ns;     /* a round expected to take longer is told of; 0: never */
    int64_t deadline_ns; /* clock_now_ns; the first round is completed in any case */
    uint64_t seed;
    const char *sysroot;
};

/* Fails when the BLAS does not work with as many threads as asked for. */
int worker_check(const struct worker *worker, int fd);
/* Times everything; messages go to fd. Returns the exit status of the process. */
int worker_time(const struct worker *worker, int fd);
/* Counts everything in as many passes as the counters need. */
int worker_count(const struct worker *worker, struct counters *counters, int fd);

#endif
