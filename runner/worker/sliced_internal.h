/* sliced_internal.h - what sliced.c and sliced_setup.c share. For nobody else. */
#ifndef ORRERY_RUNNER_SLICED_INTERNAL_H
#define ORRERY_RUNNER_SLICED_INTERNAL_H

#include "lib/base/ring.h"
#include "lib/wire/frame.h"
#include "runner/worker/sliced.h"

struct exchange;
struct forward_kv;
struct kv_pool;
struct parts;
struct pass;
struct setup_stage;

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
    int32_t sequences, *past, *counts;
    int64_t *requests;
    bool *is_ended;
    const struct forward_kv **caches;
    int32_t ordinal, at; /* at: of mine in this step */
    int64_t sent_ns, received_ns, start_ns, finish_ns;
    unsigned char *words; /* a message: tag and words */
    /* requests that ended before their first step has come here: one device is ahead of another */
    int64_t gone[SLICED_GONE_MOST];
    int gone_at;
    unsigned char *told; /* messages taken in this pass, as RECORD tells of them */
    int told_count;
};

#endif
