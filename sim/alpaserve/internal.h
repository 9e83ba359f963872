/* internal.h - the state of one run by AlpaServe's rules, shared by this folder alone.
 *
 * What is done for every request is inline: a booking costs 10 to 20 ns. */
#ifndef ORRERY_SIM_ALPASERVE_INTERNAL_H
#define ORRERY_SIM_ALPASERVE_INTERNAL_H

#include "lib/base/saturate.h"
#include "lib/format/overhead.h"
#include "lib/policy/plan.h"
#include "sim/alpaserve/alpaserve.h"

/* A replica made ready to book. Devices that are always taken together share one clock: a stage on
 * disjoint groups of devices, as AlpaServe has them, has one. */
struct path {
    int32_t replica;
    int32_t stage_count;
    bool is_simple;        /* every stage has one clock: clock k is that of stage k */
    const int32_t *clocks; /* of all stages in turn */
    const int32_t
        *clock_first;   /* stage k: clocks[clock_first[k]] up to clocks[clock_first[k + 1]] */
    int32_t size_count; /* profiled batches that may be used, ascending, from 1 on */
    const int32_t *sizes;
    const int64_t *latency_ps; /* [size * stage_count + stage], with the penalty of pipelines */
    int64_t *booked;           /* by size: how often */
    int64_t *wait_peak_ps;     /* by stage */
    /* fixed batches: */
    struct batch_options batch; /* with the largest size of this replica */
    int32_t group;              /* of those whose first stages share devices */
    int32_t seat;               /* of its service in that group */
};

struct choice { /* the replicas of a service in one epoch, in order of preference */
    int32_t count;
    int32_t max_items; /* that each of them can take; 0 without any */
    struct path **paths;
};

struct run {
    struct arena *arena;
    const struct alpaserve_input *input;
    const struct alpaserve_options *options;
    const struct plan *plan;
    const struct alpaserve_source *source;
    struct alpaserve_observer observer;
    struct alpaserve_result *result;
    struct overheads overheads;
    bool is_drawn;       /* the response differs from request to request */
    int64_t response_ps; /* where it does not */
    struct path *paths;  /* by replica */
    int32_t clock_count;
    int32_t *clock_of;        /* by device */
    int64_t *clock_ps;        /* when its devices are done with all that is booked */
    int64_t *times_ps;        /* scratch: end of each stage of what is predicted */
    int64_t *taken_ps;        /* scratch, by clock */
    struct choice *choices;   /* [epoch * services + service] */
    const struct choice *now; /* by service, in the current epoch */
    int32_t epoch;
    int64_t next_epoch_ps; /* ALPASERVE_NEVER: there is none */
};

/* alpaserve_setup.c: looks up and rounds all costs, finds clocks and choices. */
bool alpaserve_setup(struct run *run, struct err *err);

/* alpaserve_batch.c: runs with fixed batches, after alpaserve_setup. */
bool alpaserve_run_batches(struct run *run, struct err *err);

/* alpaserve.c: what both kinds of runs do. */
int64_t alpaserve_response_ps(const struct run *run, int64_t request_id);
/* Spans of a request that runs as predicted in times_ps, and that could have begun at ready_ps. */
void alpaserve_tell_spans(const struct run *run, const struct path *path, int32_t size,
                          size_t index, int64_t ready_ps, int64_t batch_id, int32_t share);
/* A request has ended; path and start_ps count for TRACE_OK alone. */
bool alpaserve_end(const struct run *run, const struct alpaserve_arrival *arrival,
                   const struct path *path, enum trace_status status, int64_t start_ps,
                   int64_t end_ps, struct err *err);
void alpaserve_next_epoch(struct run *run);

static inline int64_t run_deadline_ps(const struct run *run,
                                      const struct alpaserve_arrival *arrival)
{
    int64_t slo_ps = arrival->slo_ps > 0 ? arrival->slo_ps : run->options->slo_ps;

    return slo_ps > 0 ? saturate_add(arrival->arrival_ps, slo_ps) : INT64_MAX;
}

/* Latencies of all stages in a batch of that size. */
static inline const int64_t *path_latency_ps(const struct path *path, int32_t size)
{
    return &path->latency_ps[(ptrdiff_t)size * path->stage_count];
}

/* Until when the stage's devices are taken. */
static inline int64_t path_clock_ps(const struct run *run, const struct path *path, int32_t stage)
{
    int64_t clock_ps = 0;

    if (path->is_simple)
        return run->clock_ps[path->clocks[stage]];
    for (int32_t i = path->clock_first[stage]; i < path->clock_first[stage + 1]; i++)
        if (run->clock_ps[path->clocks[i]] > clock_ps)
            clock_ps = run->clock_ps[path->clocks[i]];
    return clock_ps;
}

/* The replica whose last stage is done first; ties to the first. */
static inline struct path *choice_path(const struct run *run, const struct choice *choice)
{
    struct path *best = choice->paths[0];
    int64_t best_ps;

    if (choice->count == 1)
        return best;
    best_ps = path_clock_ps(run, best, best->stage_count - 1);
    for (int32_t i = 1; i < choice->count; i++) {
        struct path *path = choice->paths[i];
        int64_t clock_ps = path_clock_ps(run, path, path->stage_count - 1);

        best = clock_ps < best_ps ? path : best;
        best_ps = clock_ps < best_ps ? clock_ps : best_ps;
    }
    return best;
}

/* The smallest profiled size that holds the items: there is one. */
static inline int32_t path_size(const struct path *path, int32_t items)
{
    int32_t size = 0;

    while (path->sizes[size] < items)
        size++;
    return size;
}

/* End of the last stage of a batch that enters stage 0 at enter_ps; the ends of all stages are left
 * in times_ps. Books nothing. */
static inline int64_t path_predict_ps(const struct run *run, const struct path *path, int32_t size,
                                      int64_t enter_ps)
{
    const int64_t *latency_ps = path_latency_ps(path, size);
    int64_t time_ps = enter_ps;

    for (int32_t k = 0; k < path->stage_count; k++) {
        int64_t clock_ps = path_clock_ps(run, path, k);

        time_ps = saturate_add(clock_ps > time_ps ? clock_ps : time_ps, latency_ps[k]);
        run->times_ps[k] = time_ps;
    }
    return time_ps;
}

/* Makes the prediction that stands in times_ps come true; it could have begun at ready_ps. */
static inline void path_book(const struct run *run, const struct path *path, int32_t size,
                             int64_t ready_ps)
{
    const int64_t *latency_ps = path_latency_ps(path, size);

    path->booked[size]++;
    for (int32_t k = 0; k < path->stage_count; k++) {
        int64_t wait_ps = run->times_ps[k] - latency_ps[k] - ready_ps;

        ready_ps = run->times_ps[k];
        path->wait_peak_ps[k] = wait_ps > path->wait_peak_ps[k] ? wait_ps : path->wait_peak_ps[k];
        if (path->is_simple) {
            run->clock_ps[path->clocks[k]] = run->times_ps[k];
            continue;
        }
        for (int32_t i = path->clock_first[k]; i < path->clock_first[k + 1]; i++)
            run->clock_ps[path->clocks[i]] = run->times_ps[k];
    }
}

#endif
