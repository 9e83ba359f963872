/* serve.h - the load of a run: arrivals on time, dispatch, steps out, results in, failures.
 *
 * Calls lib/policy exactly as the simulator does, under real time. */
#ifndef ORRERY_RUNNER_SERVE_H
#define ORRERY_RUNNER_SERVE_H

#include "lib/policy/dispatch.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct batch_options;
struct batching;
struct err;
struct events;
struct fleet;
struct plan;
struct table;
struct workload;

struct serve_input {
    const struct plan *plan;
    const struct workload *workload;
    const int32_t *service_of;
    struct fleet *fleet; /* assembled */
    enum dispatch_kind dispatch;
    const struct batching *batching; /* continuous batches; NULL: none */
    const struct batch_options *batch;
    uint64_t seed;
    bool keep_transfers;
    bool replays;                /* what ran on a lost worker begins anew, else it has failed */
    int64_t rejoin_wait_ns;      /* how long the run goes on without any replica up */
    const struct events *events; /* a drill: devices that go down and up; NULL = none */
    /* Called at least twice a second while the load runs: what is in the run then has happened. */
    void (*look)(void *arg);
    /* Somebody wants the run to go on with another placement: checks it, and tells workers what
     * they lack (fleet_begin_update). number: of updates that were taken. False with why not. */
    bool (*prepare)(void *arg, const char *path, const char *text, int64_t number, int64_t now_ps,
                    struct err *err);
    /* All is loaded: the plan of before, with another epoch from that instant on, behind the
     * others.
     */
    const struct plan *(*adopt)(void *arg, int64_t from_ps, struct err *err);
    void *arg; /* of these */
};

#define SERVE_NO_BATCH (-1)

/* One interval of one stage, or (stage_count of its replica) the way of a result to the source. */
struct serve_record {
    size_t request;
    int32_t step, stage; /* number within the replica */
    int32_t stage_id;    /* of the plan; that of the last stage for a result */
    int32_t from_id;     /* what it worked on came from; -1: the source */
    int32_t position;    /* of the device in the stage; what is received comes to the first */
    int64_t batch;       /* SERVE_NO_BATCH; else a row for each of its requests */
    int32_t batch_count, batch_tokens, share; /* share: place of the request in it */
    bool is_chunk;                            /* more than one token of the request */
    bool came_alone; /* it joined its batch in this stage: what it worked on came by itself */
    bool is_late;
    bool has_computed; /* else start and finish say nothing */
    int64_t start_ps, finish_ps;
    int64_t send_ps, receive_ps; /* of what it worked on */
};

/* A message between devices that is of a step of a stage: between those of the stage, or KV caches
 * of a prompt that it will read. */
struct serve_exchange {
    size_t request;
    int64_t batch; /* SERVE_NO_BATCH; else one for each of its requests */
    int32_t step, stage;
    int32_t from, to; /* devices, indices into the cluster */
    int64_t bytes, send_ps, receive_ps;
};

struct serve_update { /* an epoch that the placement did not have at the start */
    int32_t epoch;    /* its number */
    const char *path; /* of the placement, as whoever asked for it calls it */
    int64_t from_ps;
};

struct serve_run {
    struct table *table;
    size_t record_count, result_count, exchange_count;
    struct serve_record *records;     /* by request, step, stage */
    struct serve_record *results;     /* only with keep_transfers; by request, step */
    struct serve_exchange *exchanges; /* the same; by request, step, stage, when received */
    size_t record_room, result_room, exchange_room;
    int64_t late_count;
    int64_t span_ps;      /* from the start to the last end of a request */
    int signal_number;    /* that ended the run early, 0 = none */
    int dead_count;       /* workers lost, */
    int return_count;     /* and that took the place of one */
    size_t replay_count;  /* requests begun anew, each time */
    size_t missing_count; /* RECORDs that never came, though nothing failed */
    int update_count;
    struct serve_update *updates;
};

/* Runs the whole workload. False only when the machine itself fails; lost workers are results. */
bool serve_run(struct arena *arena, const struct serve_input *input, struct serve_run *run,
               struct err *err);

#endif
