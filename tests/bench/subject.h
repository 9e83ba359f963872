/* subject.h - what the simulator is timed on: M services, each a pipeline of S stages of 5 to 15
 * ms, spread over D devices in turn, a link of 1 ms between stages, Poisson arrivals.
 *
 * The files of a run are written into a folder and read back by the simulator's own readers. */
#ifndef ORRERY_TESTS_BENCH_SUBJECT_H
#define ORRERY_TESTS_BENCH_SUBJECT_H

#include "sim/cmd/scenario.h"
#include "sim/report/metrics.h"
#include "sim/serve/serve.h"

struct arena;
struct err;

struct subject_shape {
    int stages, services, devices; /* devices: a multiple of stages */
    double load;                   /* of the device that has most to do, of each service */
};

struct subject {
    const char *folder;
    struct subject_shape shape;
    struct scenario_files files;
    struct scenario scenario;
    struct serve_options options;
};

/* Makes an empty folder in $TMPDIR, or in /tmp. NULL when that fails. */
const char *subject_folder(struct arena *arena, struct err *err);
/* Removes it and what subject_write put there. */
void subject_remove(struct arena *arena, const char *folder);

/* Fills the folder: placement.csv, cluster/, costs/. */
bool subject_write(struct arena *arena, const char *folder, const struct subject_shape *shape,
                   struct err *err);
/* The requests: one Poisson process, shares of the services such that each has `load`. */
struct generate_options subject_requests(struct arena *arena, const struct subject_shape *shape,
                                         int64_t requests);

/* Writes, and reads back. Requests are drawn as a run goes on, or stand in memory beforehand. */
bool subject_open(struct arena *arena, const char *folder, const struct subject_shape *shape,
                  int64_t requests, bool is_stored, struct subject *subject, struct err *err);

struct subject_run {  /* what became of one run; lives in the arena given to it */
    double thread_ns; /* serve_run and metrics_end, with what they are told in between */
    struct serve_result result;
    int service_count;
    struct metrics all, *services;
    uint64_t ends; /* sum of a hash of every request's end: whatever their order */
};

/* Runs it with statistics of latencies alone; with has_ends, run->ends is filled, at some cost. */
bool subject_run(struct arena *arena, const struct subject *subject, bool has_ends,
                 struct subject_run *run, struct err *err);
/* Whether two runs of one pipeline had the same result: all of it but how they came by it. */
bool subject_is_same(const struct subject *subject, const struct subject_run *a,
                     const struct subject_run *b);
/* Mean number of events that stood in the simulator's queue, by observing a run. */
bool subject_pending(struct arena *arena, const struct subject *subject, double *pending,
                     struct err *err);

#endif
