/* sliced_internal.h - what the files of sliced.h share. For nobody else. */
#ifndef ORRERY_RUNNER_SLICED_INTERNAL_H
#define ORRERY_RUNNER_SLICED_INTERNAL_H

#include "lib/base/ring.h"
#include "lib/wire/frame.h"
#include "runner/setup/setup.h"
#include "runner/worker/sliced.h"

struct came;
struct exchange;
struct forward_kv;
struct kv_pool;
struct parts;
struct pass;

#define SLICED_TAG_BYTES                                                                           \
    8 /* in front of a message's words: which step of the pass, which message */
#define SLICED_GONE_MOST 64
#define SLICED_NOBODY (-1)

struct sliced_mine { /* messages of a step that this device sends or takes, in order */
    int32_t count;
    const struct exchange *exchange;
    int32_t *messages;
};

struct sliced {
    struct worker *worker;
    int index;
    const struct setup_stage *setup;
    struct parts *parts;
    const struct pass *pass;
    struct kv_pool *kv;           /* NULL without layers */
    struct sliced_mine *mine;     /* by step */
    int32_t *piece_of, *steps_of; /* by step: this device's piece; by ordinal: the step ... */
    int32_t *repeats_of;          /* ... and how many like it lie before it */
    int32_t ordinal_count;
    struct ring waiting; /* jobs: steps that have not begun; the first device's alone */
    int32_t *held;       /* jobs: messages of exchanges that are not taken yet */
    int held_count, held_room;
    int64_t next_number; /* of the pass that runs, or comes next */
    bool is_running, has_queued, is_late;
    bool is_void;      /* the replica has been lost: the pass is to be given up */
    struct frame step; /* what is being computed */
    int32_t *head;     /* of a batch: its entries, those that only lose their caches included */
    /* of each request that computes; is_ended: its cache goes when the pass ends */
    int32_t sequences, *past, *counts, *own; /* own: of a fixed batch, without its padding */
    int32_t keys;                            /* of that: what attention looks at; else 0 */
    int64_t *requests;
    bool *is_ended;
    const struct forward_kv **caches;
    int32_t ordinal, at; /* at: of mine in this step */
    struct came *came;   /* by sequence; of stages that are not first in it 0 */
    int64_t start_ns, finish_ns;
    int64_t ready_ns;     /* when what the next piece needs was there */
    unsigned char *words; /* a message: tag and words */
    /* requests that ended before their first step has come here: one device is ahead of another */
    int64_t gone[SLICED_GONE_MOST];
    int gone_at;
    unsigned char *told; /* messages taken in this pass, as RECORD tells of them */
    int told_count;
};

/* Its batches are fixed: all count as the longest of them. */
static inline bool sliced_is_padded(const struct sliced *sliced)
{
    return sliced->setup->batch_size > 1;
}

/* Of the entries of a batch, which go with all its messages: who gets the first one is told so. */
static inline int64_t sliced_head_bytes(const struct frame *step)
{
    return INT64_C(4) * FRAME_ENTRY_WORDS * step->entries;
}

struct channel_message *sliced_message_of(const struct sliced *sliced, int32_t job);
void sliced_drop_job(struct sliced *sliced, int32_t job);
/* A held message of the pass: of that step and number, or, with ordinal -1, any. -1: none. */
int sliced_find_held(const struct sliced *sliced, int32_t ordinal, int32_t number);

/* ---- sliced_ends.c ---- */

/* A pass of the job's step, or of the requests whose batch may leave now. None, where nobody wants
 * it any more: sliced->is_running. */
bool sliced_begin_step(struct sliced *sliced, int32_t job, struct err *err);
bool sliced_begin_batch(struct sliced *sliced, struct err *err);
/* The next pass, if there is one to begin: sliced->is_running. */
bool sliced_begin_next(struct sliced *sliced, struct err *err);
bool sliced_end(struct sliced *sliced, struct err *err);

#endif
