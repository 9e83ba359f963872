/* alpaserve.h - --rules alpaserve: the fast simulator of AlpaServe (Li et al., OSDI 2023), which
 * books a request through all stages of its replica when it is dispatched, instead of simulating
 * events.
 *
 * The rules stand in sim/README.md. Costs of all stages are looked up and rounded once, before time
 * starts; after that a run is sums and comparisons of integers. Memory, links, gaps and all
 * overheads but that of the response are no part of these rules: what the caller knows of them is
 * his to check. Arrivals are pulled and ends are pushed, so that this file knows neither workloads
 * nor reports. */
#ifndef ORRERY_SIM_ALPASERVE_ALPASERVE_H
#define ORRERY_SIM_ALPASERVE_ALPASERVE_H

#include "lib/format/trace.h"
#include "lib/policy/batch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct cost_set;
struct err;
struct overheads;
struct plan;

#define ALPASERVE_NEVER INT64_MAX

struct alpaserve_input {
    const struct plan *plan; /* of executables alone */
    const struct cost_set *costs;
    const struct overheads *overheads; /* NULL = overhead_alpaserve(); only of the response */
    const bool *is_left_out;           /* by replica of the plan: it is never chosen; NULL = none */
    const int64_t *switch_ps; /* [epoch * devices + device]: taken so long from the epoch's begin
                                 on; NULL = not at all */
};

struct alpaserve_options {
    struct batch_options batch; /* none or fixed */
    int64_t slo_ps;             /* objective of requests without one of their own, 0 = none */
    uint64_t seed;              /* of responses that are drawn */
};

struct alpaserve_arrival {
    size_t index; /* whatever the caller knows it by */
    int64_t request_id, arrival_ps;
    int64_t slo_ps;  /* its own, 0 = none */
    int32_t service; /* of the plan */
    int32_t items;   /* >= 1 */
};

struct alpaserve_source {
    void *arg;
    /* The next arrivals in order, room of them at most; 0: none is known. Without peek_ps: of an
     * open stream, asked until it gives 0. With it: one, asked when peek_ps has named an instant.
     */
    size_t (*take)(void *arg, struct alpaserve_arrival *arrivals, size_t room);
    /* Closed loops: the instant of the next arrival that is known, else ALPASERVE_NEVER; and what
     * the end of a request makes known. A request ends when it is booked, at an instant to come.
     * Both NULL: nobody waits for an end. */
    int64_t (*peek_ps)(void *arg);
    void (*ended)(void *arg, size_t index, int64_t end_ps);
};

struct alpaserve_span { /* one request in one stage, on one of its devices */
    size_t index;       /* of the arrival */
    int64_t batch_id;   /* of the requests that ran together; -1 without batching */
    int32_t share;      /* 0 for the first request of a batch: the others share its interval */
    int32_t batch_size; /* in items; that of the profiled row */
    int32_t stage;      /* id in the plan */
    int32_t number;     /* of the stage in its replica */
    int32_t device;     /* of the cluster */
    int32_t position;   /* of the device in the stage */
    int64_t start_ps, finish_ps;
    int64_t wait_ps; /* how long it had waited for the device; in front of stage 0 of a batch
                        without the response, which these rules put there */
};

struct alpaserve_gap { /* a device that an epoch takes */
    int32_t device;
    int64_t from_ps, to_ps; /* may lie behind the end of the run */
};

struct alpaserve_end { /* times are TRACE_NONE when they never came */
    size_t index;
    int64_t request_id;
    int32_t service, replica; /* of the plan; replica -1 = never booked */
    /* ok: booked, whether or not it met an objective; dropped: it would have missed it; refused: no
     * replica of its service there, or it has more items than any profiled batch */
    enum trace_status status;
    int64_t arrival_ps, start_ps;
    int64_t finish_ps; /* the response included: it is the e2e time as well */
    int64_t slo_ps;    /* the request's own, 0 = none */
    int64_t end_ps;    /* finish, or the instant at which it was dropped or refused */
};

/* Told when a request is booked: spans of a request by stage and position, then its end. So ends
 * come in the order of booking, not of time. Functions may be NULL. */
struct alpaserve_observer {
    void *arg, *end_arg;
    void (*on_span)(void *arg, const struct alpaserve_span *span);
    void (*on_end)(void *end_arg, const struct alpaserve_end *end);
};

struct alpaserve_result {
    int64_t taken_count, ok_count, dropped_count, refused_count;
    int64_t first_ps, last_ps; /* arrivals; ALPASERVE_NEVER, 0 without any */
    int64_t end_ps;            /* latest end of a request */
    int64_t event_count;       /* arrivals, and groups that became idle or had waited */
    int64_t batch_count;       /* booked, with fixed batches */
    int64_t *busy_ps;          /* by device of the cluster */
    int64_t *wait_peak_ps;     /* by device: longest span.wait_ps */
    int32_t gap_count;
    struct alpaserve_gap *gaps; /* by time for each device */
};

/* Runs until no arrival is known and nothing waits. observer may be NULL. */
bool alpaserve_run(struct arena *arena, const struct alpaserve_input *input,
                   const struct alpaserve_options *options, const struct alpaserve_source *source,
                   const struct alpaserve_observer *observer, struct alpaserve_result *result,
                   struct err *err);

#endif
