/* message.h - what a measuring process tells its parent over a pipe, and how both keep it.
 *
 * Fixed size, same program at both ends, so no framing is needed. The measuring process applies its
 * own messages too: its copy of the store tells it when a point is finished. */
#ifndef ORRERY_PROFILER_MESSAGE_H
#define ORRERY_PROFILER_MESSAGE_H

#include "profiler/measure/store.h"
#include <stdbool.h>
#include <stdint.h>

struct err;

enum message_kind {
    MESSAGE_SAMPLE, /* index = point */
    MESSAGE_ANCHOR, /* index = anchor */
    MESSAGE_ROUND,
    MESSAGE_COUNT,     /* index = point: one counted call */
    MESSAGE_REASON,    /* index = counter: text */
    MESSAGE_STATE,     /* text: the counters' back end */
    MESSAGE_STAMP,     /* ns = what reading the clock adds to an operator */
    MESSAGE_SUSTAINED, /* the board does not get cooler: what is slow by heat stays */
    MESSAGE_SCOUT,     /* round = tile period, ns = a forward: what the scouting process found */
    MESSAGE_ENERGY,    /* index = point: ns = uJ of one call, -1 with text: why not */
    MESSAGE_SLOW,      /* ns = what one round is expected to take, far beyond the budget */
    MESSAGE_FAILED,    /* text: the process could not go on */
};

struct message {
    enum message_kind kind;
    int32_t index, op, counter, round;
    bool is_dirty;
    int64_t ns, cpu_ns; /* MESSAGE_COUNT: ns is the count */
    union {
        struct store_round round;
        char text[160];
    } body;
};

/* Messages of one visit, sent at once after it. */
#define MESSAGE_BATCH 256
struct message_batch {
    struct message items[MESSAGE_BATCH];
    int count;
};

void message_put_text(struct message *message, const char *text);
/* False when the pipe is closed: the parent has gone. */
bool message_send(int fd, const struct message_batch *batch);
/* Keeps a message of process proc in the store. MESSAGE_FAILED becomes the error, and false. */
bool message_apply(struct store *store, int proc, const struct message *message, struct err *err);

#endif
