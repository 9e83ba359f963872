/* table.h - the requests of a run: where each one stands, and what waits on each replica.
 *
 * Holds facts and keeps counts; it asks no clock and sends nothing. Times are picoseconds since the
 * start of the run. */
#ifndef ORRERY_RUNNER_TABLE_H
#define ORRERY_RUNNER_TABLE_H

#include "lib/format/trace.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

enum table_state { TABLE_WAITING, TABLE_RUNNING, TABLE_ENDED };

struct table_request {
    enum table_state state;
    enum trace_status status; /* once ended */
    int32_t replica;          /* -1 = never dispatched */
    int32_t step, step_count; /* the iteration that is under way, of how many */
    int32_t token;            /* the last one made: input of a decode step */
    int32_t sent_to;          /* stage 0 that has not computed its step; -1 = none */
    int64_t way;              /* the copies of stages that it passes (copies.h) ... */
    bool is_passing;          /* ... and is counted at */
    int64_t attempt;          /* 0, 1, ...: how often it has been replayed */
    int64_t begun_ps;         /* of the attempt that counts; 0 unless it has been replayed */
    int64_t arrival_ps, start_ps, first_token_ps, finish_ps; /* TRACE_NONE = not yet */
    int32_t readers;       /* devices that have not said that its KV caches are there */
    size_t next, previous; /* among the running ones of its replica */
};

struct table_replica {
    bool is_up;
    int32_t generation;  /* how often it has been lost */
    int64_t outstanding; /* dispatched and not ended */
    size_t running;      /* newest running request, TABLE_NOBODY = none */
};

struct table_stage { /* of the plan: each copy is one */
    bool is_up;
    int32_t lost_generation; /* of its replica, then */
    int64_t lost_ps;         /* when a worker of it was lost last; -1 = never */
    int64_t outstanding;     /* requests that pass it, dispatched and not ended */
    int64_t waiting;         /* steps sent to it, a stage 0, and not computed */
    int64_t count, total_ps; /* steps computed, and how long they took */
};

#define TABLE_NOBODY SIZE_MAX

struct table {
    size_t count;
    struct table_request *requests;
    int replica_count;
    struct table_replica *replicas;
    int stage_count;
    struct table_stage *stages;
    size_t running_count, ended_count;
    size_t *ended; /* requests, in the order in which they have */
    size_t by_status[TRACE_STATUS_COUNT];
};

struct table *table_create(struct arena *arena, size_t request_count, int replica_count,
                           int stage_count);
/* New ones, up, behind those that are there. */
void table_grow(struct arena *arena, struct table *table, int replica_count, int stage_count);
void table_arrive(struct table *table, size_t request, int64_t arrival_ps);
/* Dispatched. */
void table_start(struct table *table, size_t request, int32_t replica, int32_t step_count);
/* What was done for a running request is lost: it waits again, as if it had not been dispatched. */
void table_restart(struct table *table, size_t request, int64_t now_ps);
void table_end(struct table *table, size_t request, enum trace_status status, int64_t now_ps);

/* What workers call a request. Each attempt has a name of its own: nothing that is left of one is
 * taken for the next. */
int64_t table_name(const struct table *table, size_t request);
/* False: nobody has that name, or it is one of an attempt that is over. */
bool table_find(const struct table *table, int64_t name, size_t *request);

enum table_next {
    TABLE_STALE,    /* of a request that has ended, or not the step that is under way */
    TABLE_STEP,     /* another step is to be sent */
    TABLE_FINISHED, /* that was the last: the request has ended, ok */
};
/* The source holds the token of a step. */
enum table_next table_result(struct table *table, size_t request, int32_t step, int32_t token,
                             int64_t now_ps);

/* The request's step is on its way to a stage 0. */
void table_sent(struct table *table, size_t request, int32_t stage);
/* It has been computed in a stage. Who had nothing to compute, or tells times that cannot be, says
 * nothing of how long a step takes: compute_ps <= 0, or too long a sum. */
void table_computed(struct table *table, size_t request, int32_t stage, int64_t compute_ps);
/* Until a stage 0 is free, as far as one can tell: steps that wait there x the mean time of a step
 * so far (1 ps each before the first one is known). */
int64_t table_backlog_ps(const struct table *table, int32_t stage);
/* Until a later stage is free: the steps that are under way, one of each request that passes it, x
 * their mean time there so far (1 ps each before the first one is known). Where in the pipeline
 * they are is not known here. */
int64_t table_last_backlog_ps(const struct table *table, int32_t stage);

#endif
