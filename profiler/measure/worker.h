/* worker.h - a measuring process: visits points in rounds until its share of the budget is used. */
#ifndef ORRERY_PROFILER_WORKER_H
#define ORRERY_PROFILER_WORKER_H

#include "profiler/measure/pool.h"
#include "profiler/measure/store.h"
#include <stdbool.h>
#include <stdint.h>

struct counters;

struct worker {
    struct store *store; /* this process's copy, with what earlier processes found */
    struct pool_plan pool;
    int proc, processes;
    int max_rounds;      /* 0: until finished, or the deadline */
    int64_t slow_ns;     /* a round expected to take longer is told of; 0: never */
    int64_t deadline_ns; /* clock_now_ns; the first round is completed in any case */
    int anchor_percent;  /* of the time, at most, for anchors */
    int64_t preheat_ns;  /* compute for so long before the first round */
    uint64_t seed;
    const char *sysroot;
};

/* Fails when the BLAS does not work with as many threads as asked for. */
int worker_check(const struct worker *worker, int fd);
/* A few rounds of one layer at every point: enough to see the tiles, and how long a forward takes.
 */
int worker_scout(const struct worker *worker, int fd);
/* Times everything; messages go to fd. Returns the exit status of the process. */
int worker_time(const struct worker *worker, int fd);
/* Counts everything in as many passes as the counters need. */
int worker_count(const struct worker *worker, struct counters *counters, int fd);
/* Energy of each product and attention, where the board has a sensor. */
int worker_energy(const struct worker *worker, int fd);

#endif
