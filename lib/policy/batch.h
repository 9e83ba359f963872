/* batch.h - the queue of a device, what leaves it next, and how much at once. One code for
 * simulator and worker: it reads no clock, the caller says what time it is.
 *
 * none (FIFO): jobs leave one at a time, in the order in which they became ready, whatever their
 * stage or request. fixed: requests of one service leave together, in a size that was profiled.
 * continuous: at every iteration; not decided here yet. A job is an opaque number of the caller's.
 */
#ifndef ORRERY_POLICY_BATCH_H
#define ORRERY_POLICY_BATCH_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct batch_queue;
struct err;

enum batch_kind { BATCH_NONE, BATCH_FIXED, BATCH_CONTINUOUS, BATCH_KIND_COUNT };
extern const char *const batch_names[BATCH_KIND_COUNT];

/* ---- the command line ---- */

struct batch_options {
    enum batch_kind kind;
    int32_t max_size;     /* fixed: items in a batch at most, >= 1 */
    int64_t wait_ps;      /* fixed: how long the oldest request waits for others; 0 = not at all */
    int32_t max_seqs;     /* continuous: sequences in a batch at most, >= 1 */
    int32_t token_budget; /* continuous: tokens of a step at most; 0 = not given */
};
/* none | fixed:N[:WAIT] | continuous:MAX_SEQS[:TOKEN_BUDGET]; WAIT is a duration. Callers refuse
 * the kinds that they lack. */
bool batch_parse(const char *text, struct batch_options *options, struct err *err);

/* ---- fixed: what to do with the requests that wait for one stage 0 ---- */

#define BATCH_NEVER INT64_MAX

struct batch_ask { /* the requests of one service, oldest first, and what batches of them take */
    int64_t now_ps;
    int64_t count;        /* of the requests, >= 1 */
    int64_t items;        /* of all of them together; count when each has one */
    int64_t arrival_ps;   /* of the oldest, the head */
    int64_t deadline_ps;  /* of the head; BATCH_NEVER = none */
    bool does_drop;       /* drop a head that would miss its deadline alone */
    const int32_t *sizes; /* that were profiled, ascending; size_count >= 1 */
    int size_count;       /* of those up to max_size: batch_size_count */
    void *arg;            /* handed to the functions */
    /* Items of the request at a position, 0 = head, below count; NULL = one each. The head has at
     * most the largest size: the caller refuses what is larger. */
    int32_t (*items_at)(void *arg, int64_t position);
    /* When a batch of a profiled size that entered stage 0 now would be done, all included. The
     * later it enters, the later it is done, by no more than the delay. */
    int64_t (*finish_ps)(void *arg, int32_t size);
};
enum batch_action {
    BATCH_TAKE, /* the `count` oldest run now, as a batch of `size` */
    BATCH_DROP, /* the oldest cannot be done in time: drop it and ask again */
    BATCH_WAIT, /* ask again at until_ps, or as soon as another request has come */
};
struct batch_decision {
    enum batch_action action;
    int64_t count;
    int32_t size;
    int64_t until_ps;
};
/* AlpaServe's rule and a longest wait. Asked when the devices of stage 0 are free:
 * - The head alone takes the smallest size that holds it. does_drop: it is dropped when even so its
 *   deadline does not hold.
 * - WAIT > 0: while fewer items wait than the largest size, nothing runs until the head has waited
 *   WAIT; but it runs at once when waiting that long could cost the head a deadline that holds now.
 * - The batch grows through the sizes in order, and stops at the first one for which too few items
 *   wait or the head's deadline does not hold. A deadline that is lost anyway limits nothing. The
 *   oldest requests go in order and none is passed over; only when they fill a size exactly is it
 *   taken (no padding), so a size that items of several do not add up to is left out.
 * Looks at O(taken) requests and O(sizes) finishes; allocates nothing. options->kind is fixed. */
struct batch_decision batch_decide(const struct batch_options *options,
                                   const struct batch_ask *ask);
/* How many of count ascending sizes are at most max_size. */
int batch_size_count(int32_t max_size, const int32_t *sizes, int count);
/* Which of count queues has the oldest head: the arrival of each head, BATCH_NEVER for an empty
 * queue. Ties to the first; -1 when all are empty. For services that share a device. */
int batch_oldest(const int64_t *heads_ps, int count);

/* ---- the queue ---- */

struct batch_queue *batch_queue_create(struct arena *arena, enum batch_kind kind);
void batch_push(struct batch_queue *queue, int32_t job);
/* The job that would leave next, without taking it; -1 when empty. */
int32_t batch_peek(const struct batch_queue *queue);
int32_t batch_take(struct batch_queue *queue);
/* The job at a position, 0 = the one that would leave next, below the length. */
int32_t batch_at(const struct batch_queue *queue, int64_t position);
int64_t batch_length(const struct batch_queue *queue);
/* Removes every job for which gone(arg, job) is true, keeping the order of the rest. */
void batch_remove(struct batch_queue *queue, bool (*gone)(void *arg, int32_t job), void *arg);

#endif
