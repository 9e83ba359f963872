/* sliced.h - passes of a stage on several devices, as one of them sees them.
 *
 * A stage runs one step at a time, first in, first out. Its first device begins passes and numbers
 * them; the others learn of one by its first message, and take them in order of numbers. In a pass
 * (lib/policy/pass.h) each device walks through the steps by itself: what it computes is a job in
 * the worker's queue, what it sends leaves at once, and what it needs it waits for, while the
 * worker does other things. Sums are taken in the order of the exchange's messages, whatever order
 * these come in: results do not depend on timing. */
#ifndef ORRERY_RUNNER_SLICED_H
#define ORRERY_RUNNER_SLICED_H

#include <stdbool.h>
#include <stdint.h>

struct err;
struct setup_model;
struct sliced;
struct worker;

/* Stage `index` of the worker's setup, whose shard is there. */
struct sliced *sliced_create(struct worker *worker, int index);
/* The largest message, of any stage of the model. */
int64_t sliced_message_bytes(const struct setup_model *model);
/* A job whose message names this stage: a step, or a message of an exchange. False: it is neither,
 * or cannot be one, and stays the caller's. */
bool sliced_receive(struct sliced *sliced, int32_t job);
/* A step, which has been kept until it may begin; of the first device. */
void sliced_push(struct sliced *sliced, int32_t job);
/* As far as it comes without the processor. */
bool sliced_advance(struct sliced *sliced, struct err *err);
/* The piece that it has queued. */
bool sliced_compute(struct sliced *sliced, int32_t piece, struct err *err);
/* A stage of parts of layers on one device is a stage like any other: its steps wait in the
 * worker's queue, and nothing comes between the pieces of one. job: a step; below 0: the batch that
 * may leave now. */
bool sliced_run(struct sliced *sliced, int32_t job, struct err *err);
/* A request has ended: its steps that have not begun are dropped. True: it is in a pass now, and
 * its cache goes when that has ended. */
bool sliced_keeps(struct sliced *sliced, int64_t request);
/* The replica has been lost: whatever is here of it goes, a pass that runs at the next
 * sliced_advance. Messages that come from now on are of another generation. */
void sliced_reset(struct sliced *sliced);
/* Drops all messages. */
void sliced_close(struct sliced *sliced);

#endif
