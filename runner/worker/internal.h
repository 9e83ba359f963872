/* internal.h - what the files of a worker share: its jobs, and how it receives and sends. */
#ifndef ORRERY_RUNNER_WORKER_INTERNAL_H
#define ORRERY_RUNNER_WORKER_INTERNAL_H

#include "lib/base/err.h"
#include "lib/base/ring.h"
#include "lib/wire/channel.h"
#include "runner/worker/worker.h"
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct batch_queue;
struct added;
struct batcher;
struct beat;
struct err;
struct handover;
struct listener;
struct pad;
struct setup;
struct shard;
struct sliced;

#define WORKER_TICK_NS INT64_C(500000000)
#define WORKER_NO_PIECE (-1)
#define WORKER_NO_STAGE (-1)
#define WORKER_NO_REQUEST INT64_MAX /* none that could be released */

struct job { /* something that waits for the processor: a step, or a piece of one */
    struct channel_message message; /* of a step */
    int64_t receive_ns, ready_ns;   /* ready: when it joined what waits for the processor */
    int stage;                      /* index into setup.stages */
    int32_t piece; /* of the pass of a stage on several devices; WORKER_NO_PIECE: a whole step */
};

struct came { /* a step */
    int64_t sent_ns, receive_ns;
};

struct made {            /* a fixed batch that has just been made up */
    struct arena *arena; /* of what follows */
    struct frame frame;
    const unsigned char *payload;
    int32_t count;
    const int32_t *jobs; /* of its requests, in order ... */
    const struct came *came;
};

struct worker {
    const struct worker_options *options;
    struct arena *arena;
    struct channel_hub *hub;
    struct channel *control, *data;
    struct beat *beat;
    const struct setup *setup;
    struct shard *shard;
    struct pad *pad; /* NULL without padding */
    int32_t peer_count, peer_capacity;
    int32_t *peer_numbers;  /* workers that this one sends to ... */
    struct channel **peers; /* ... and how, */
    const char **peer_endpoints;
    bool *are_lost;            /* unless nobody listens there any more */
    struct batch_queue *queue; /* of job numbers */
    struct job **jobs;
    int32_t *free_jobs;
    int job_count, free_count, job_capacity;
    /* by stage: steps that each copy of the next stage, whose queue is bounded, still takes */
    int32_t **room;
    int32_t *owed; /* by stage: steps that have left its bounded queue, and were not told of yet */
    int32_t *generations;      /* by stage: how often its replica has been lost */
    int64_t asked_number;      /* of the step that room was last asked for */
    bool is_granted;           /* it has it */
    struct sliced **sliced;    /* by stage of the setup; NULL: a stage of one device */
    struct batcher **batchers; /* by stage; NULL: its requests do not wait for others */
    struct handover *handover; /* KV caches that go from stages of prompts to others */
    struct listener *listener; /* of data, during long steps; NULL: a padded worker, which looks */
    int64_t *token_ns;         /* by stage: what a token takes to compute, about; 0: not known */
    int64_t data_bytes;        /* the largest message that data takes */
    struct added *asked;       /* stages that are asked for, to be loaded; NULL: none */
    struct added *added; /* stages that came while the run went on, the last first; NULL: none */
    int64_t waiting;     /* request whose step waits for its deadline or to be sent, -1 = none */
    int waiting_stage;   /* where that step was computed */
    const struct channel *room_of; /* the peer for whose room it waits; NULL: for none */
    bool is_lent;                  /* the data channel, to the listener */
    cpu_set_t processors;          /* that its threads may use; none: not known */
    int64_t begun_ns;              /* what computes now */
    int64_t free_ns;               /* when the last step or piece has ended, or should have */
    /* in the middle of a step: jobs of control messages, and of others, that wait for its end */
    bool has_phases, is_between;
    struct ring later, later_steps;
    struct err trouble;
    int64_t looked_ns; /* when it was last looked there */
    bool is_stopped;
};

/* ---- inbox.c: what comes in ---- */

int32_t worker_new_job(struct worker *worker);
/* Its message has been closed, or it had none. */
void worker_free_job(struct worker *worker, int32_t number);
/* A step that may begin joins what waits for its stage. */
void worker_push_step(struct worker *worker, int32_t number);
/* A step of the request, or of a batch that it is in. */
bool worker_is_of(const struct channel_message *message, int64_t request);
/* All that is there now. */
void worker_receive_steps(struct worker *worker);
/* Around what computes so many tokens of a stage without looking: others note what comes, if that
 * is worth while. */
void worker_begin_compute(struct worker *worker, int stage, int32_t tokens);
void worker_end_compute(struct worker *worker, int stage, int32_t tokens);
bool worker_receive_control(struct worker *worker, struct err *err);
/* In the middle of a step: MOVE is obeyed, all other control waits for the end of it. */
bool worker_receive_moves(struct worker *worker, struct err *err);
bool worker_on_control(struct worker *worker, const struct channel_message *message,
                       struct err *err);
/* Sleeps until something comes or the deadline, and receives it. */
bool worker_receive_until(struct worker *worker, int64_t deadline_ns, struct err *err);

/* ---- reset.c: a replica that has been lost begins anew ---- */

/* Whatever is here of the stage goes, if its replica is of an earlier generation. */
void worker_reset(struct worker *worker, int stage, int32_t generation);
/* Whether a frame of that generation is of now; one of a later one resets the stage first. */
bool worker_is_current(struct worker *worker, int stage, int64_t generation);

/* ---- room.c: bounded queues ---- */

enum worker_room_step { /* of a CREDIT, to the coordinator */
                        WORKER_ROOM_GRANTED = 0,
                        WORKER_ROOM_ASKED = 1,
                        WORKER_ROOM_LEFT = 2, /* what was asked for is not wanted any more */
};

/* A step has left the queue of the stage: whoever sent it may send another. In front of fixed
 * batches requests alone take places, and give them back when they leave as a batch. */
void worker_owe(struct worker *worker, int stage);
void worker_owe_waiting(struct worker *worker, int stage, int32_t requests);
/* Tells of what is owed, as far as it can be sent now. */
bool worker_grant(struct worker *worker, struct err *err);
/* All queues of the next stage are empty. */
void worker_fill_room(struct worker *worker, int stage);
/* So are those of a worker that is lost, or has come back, where other copies go on. */
void worker_reset_room(struct worker *worker, int32_t number);
/* A stage after one of ours has room again, for no more steps than its queue holds. */
void worker_take_credit(struct worker *worker, const struct frame *frame);
/* The coordinator grants what was asked for. */
void worker_take_grant(struct worker *worker, const struct frame *frame);
/* Until the stage that the step goes to has room, which is taken; *is_wanted false: it is given up.
 */
bool worker_wait_for_room(struct worker *worker, int stage, const struct frame *step,
                          bool *is_wanted, struct err *err);

/* ---- worker.c: what the start of a run and an update share ---- */

/* The largest message that may come for the stages of the setup. */
int64_t worker_message_bytes(const struct worker *worker);
/* Begins to connect to a worker that this one sends to. */
bool worker_add_peer(struct worker *worker, int32_t number, const char *endpoint, struct err *err);
/* Waits until those from `first` on have answered, and checks that all are known that the stages
 * from first_stage on send to. */
bool worker_await_peers(struct worker *worker, int32_t first, int first_stage, int64_t wait_ns,
                        struct err *err);
/* Makes room for what is kept for each stage of the setup, of which first_stage and later are new.
 */
void worker_hold_stages(struct worker *worker, int first_stage);

/* ---- added.c: stages that are added while the run goes on ---- */

/* An UPDATE with them: nothing changes before worker_look_added. */
void worker_ask_stages(struct worker *worker, const struct channel_message *message);
/* Between steps. Has what was asked for loaded, by a thread of its own; takes what has been loaded,
 * and tells the coordinator. */
bool worker_look_added(struct worker *worker, struct err *err);
/* Ends what is under way, and frees what has been added. */
void worker_drop_added(struct worker *worker);

/* ---- members.c ---- */

/* What the batcher of the stage lets go now: batcher_head_ns has said so. To be dropped also where
 * it was none. */
bool worker_make_batch(struct worker *worker, int stage, struct made *made, struct err *err);
void worker_drop_made(struct worker *worker, const struct made *made);

/* ---- step.c: computing and sending ---- */

/* Moves pieces of KV caches for a while, not beyond the deadline. *until_ns: when to look again. */
bool worker_hand_over(struct worker *worker, int64_t deadline_ns, int64_t *until_ns,
                      struct err *err);
/* Has KV caches moved in the middle of steps as well, when stages of the setup have such. */
void worker_look_between(struct worker *worker);

/* Of a worker among those that PEERS named, -1: it is none of them; and the channel to it, NULL. */
int32_t worker_find_peer_index(const struct worker *worker, int32_t number);
struct channel *worker_find_peer(const struct worker *worker, int32_t number);
/* Nobody listens there any more. */
bool worker_is_lost(const struct worker *worker, const struct channel *out);
/* Sends what the stage has (WORKER_NO_STAGE: it is of none), and receives while there is no room.
 * A step is given up in silence when the run is over, its request is released, or its replica or
 * the peer is lost: nobody waits for it then. */
bool worker_send(struct worker *worker, int stage, struct channel *out, const struct frame *frame,
                 const void *payload, bool is_words, struct err *err);
/* The output of a stage, to the next one or to the coordinator. step: the frame that asked. */
bool worker_send_output(struct worker *worker, int stage, const struct frame *step,
                        const void *words, int64_t bytes, struct err *err);
/* Until start + price of a step of the stage, receiving meanwhile. *is_wanted: false when the run
 * is over or the request has been released before that. */
bool worker_wait_for(struct worker *worker, int stage, int64_t request, int64_t deadline_ns,
                     bool *is_wanted, bool *is_late, struct err *err);
bool worker_serve(struct worker *worker, struct err *err);

#endif
