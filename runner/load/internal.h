/* internal.h - what the files of the load share. For nobody else. */
#ifndef ORRERY_RUNNER_LOAD_INTERNAL_H
#define ORRERY_RUNNER_LOAD_INTERNAL_H

#include "lib/format/trace.h"
#include "lib/wire/channel.h"
#include "runner/load/serve.h"
#include "runner/setup/batching.h"

struct batches;
struct copies;
struct fixed;
struct dispatch;
struct failures;
struct model;
struct monitor;
struct plan_stage;
struct rooms;
struct source;

struct queue { /* requests whose next step is to be sent to a worker's stage 0 */
    size_t *requests;
    size_t head, count, capacity; /* a ring */
    bool is_blocked;              /* the first of them could not be sent */
};

struct serve {
    struct arena *arena;
    const struct serve_input *input;
    struct serve_input *own; /* the same: an update changes its plan */
    bool is_updating;        /* workers load what an update asks for */
    const char *update_path;
    struct fleet *fleet;
    struct table *table;
    struct source *source;
    struct dispatch *dispatch;
    struct dispatch_replica *choices; /* scratch: replicas of a service */
    struct queue *queues;             /* one a worker */
    int worker_count;                 /* for how many there is room */
    int32_t *tokens;                  /* scratch: a prompt */
    struct copies *copies;            /* what chooses the ways of requests */
    int16_t *way;                     /* scratch: of one */
    struct rooms *rooms;              /* of bounded queues */
    struct serve_run *run;
    struct batches *batches; /* NULL: none are continuous */
    struct fixed *fixed;     /* of replicas with fixed ones */
    struct failures *failures;
    struct monitor *monitor;
    size_t told_count, expected_count; /* RECORD frames: that have come; of results that have */
    int64_t t0_ns;
    int64_t progress_ns; /* when a message about a request last came */
};

int64_t serve_now_ps(const struct serve *serve);
const struct model *serve_model(const struct serve *serve, size_t request);
/* Of a stage's first device, by which steps come and go. */
int serve_worker_of(const struct serve *serve, const struct plan_stage *stage);
/* Of the worker in the stage; -1: it has no part in it. */
int32_t serve_position_of(const struct serve *serve, const struct plan_stage *stage, int worker);
/* Dispatches what has arrived by the instant; returns when the next one comes, or SOURCE_NEVER. */
int64_t serve_take_arrivals(struct serve *serve, int64_t until_ps);
/* Dispatches a request that waits, among the replicas of the epoch at the instant; false: none
 * takes it. */
bool serve_place(struct serve *serve, size_t request, int64_t at_ps);
/* Why: the epoch does not have its service, or one that is up cannot compute it (refused), or none
 * is up (failed). */
enum trace_status serve_why_not(const struct serve *serve, size_t request, int64_t at_ps);
/* Its replica need not keep anything of it any more. */
void serve_release(struct serve *serve, size_t request);
/* The request is no longer anybody's, and its client may send the next one. */
void serve_end(struct serve *serve, size_t request, enum trace_status status, int64_t at_ps);
/* The same, but its workers are not told yet. */
void serve_finish(struct serve *serve, size_t request, enum trace_status status, int64_t at_ps);

/* ---- send.c ---- */

/* Its next step waits to be sent. */
void serve_enqueue(struct serve *serve, size_t request);
/* Sends what waits for the worker, as far as it goes now. */
bool serve_flush(struct serve *serve, int worker, struct err *err);
/* The first tokens of the request's prompt, into serve->tokens. */
void serve_fill_prompt(struct serve *serve, size_t request, int32_t count);
/* Steps that the queue of a stage holds; 0: any number. In front of fixed batches each of its
 * places is one for as many requests as a batch has, and the later steps of batches take none. */
int32_t serve_most_room(const struct serve *serve, const struct plan_stage *stage);

/* ---- way.c: copies of stages ---- */

void way_create(struct serve *serve);
void way_extend(struct serve *serve); /* stages of an update */
/* Of a request that has just been dispatched to a replica. */
void way_choose(struct serve *serve, size_t request, const struct dispatch_request *who);
/* The request passes nothing any more. */
void way_leave(struct serve *serve, size_t request);
/* It goes the way of its batch, which began to be computed then; false: a stage of it is lost, or
 * was since. */
bool way_take(struct serve *serve, size_t request, int64_t way, int64_t since_ps);
/* The stage that it passes in the place (copies.h). */
const struct plan_stage *way_stage(const struct serve *serve, size_t request, int place);
bool way_passes(const struct serve *serve, size_t request, const struct plan_stage *stage);
bool way_is_up(const struct serve *serve, size_t request);
/* Of a replica: until its stage 0, or its last, is free, by the copy that is free first. */
int64_t way_backlog_ps(const struct serve *serve, int32_t replica);
int64_t way_last_backlog_ps(const struct serve *serve, int32_t replica);
/* Each of its stages has a copy that is up. */
bool way_has_copies_up(const struct serve *serve, int32_t replica);

/* ---- told.c ---- */

/* From the name that workers know to the request; false: of an attempt that is over. */
bool serve_find_request(const struct serve *serve, struct frame *frame);
/* Now, on the clock of a worker: what it takes for the instant at which a step was sent. */
int64_t serve_clock_of(const struct serve *serve, int worker);
/* A stamp in a payload: what a broken worker writes there must not overflow anything. */
int64_t serve_stamp_at(const unsigned char *payload);
/* A stamp of a worker's clock, on the run's time line. */
int64_t serve_stamp_ps(const struct serve *serve, int64_t stamp_ns, int64_t offset_ns);
/* The messages that the device at the position has taken in the step. */
void serve_keep_exchanges(struct serve *serve, const struct plan_stage *stage,
                          const struct serve_record *record, const struct channel_message *message);
/* When it computed, by its RECORD. */
struct serve_record serve_record_of(const struct serve *serve, const struct plan_stage *stage,
                                    int32_t position, const struct channel_message *message);

#endif
