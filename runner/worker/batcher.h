/* batcher.h - requests that wait in front of a stage 0 until they leave it as a fixed batch.
 *
 * What leaves when is decided by lib/policy/batch, as in the simulator; here are the queue and the
 * message that it becomes. The caller says what time it is. */
#ifndef ORRERY_RUNNER_BATCHER_H
#define ORRERY_RUNNER_BATCHER_H

#include "lib/wire/frame.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct batcher;
struct setup_stage;

#define BATCHER_NEVER_NS INT64_MAX
#define BATCHER_LATE_NS INT64_C(1000000000)

/* Of a stage with batch_size > 1 that has embed. */
struct batcher *batcher_create(struct arena *arena, const struct setup_stage *stage,
                               int32_t max_tokens);
/* A job, the first step of a request, which waits from when it has come. */
void batcher_push(struct batcher *batcher, int32_t job, int64_t request, int64_t receive_ns);
/* When the oldest that waits has come, if a batch may leave now. Else BATCHER_NEVER_NS, and
 * *until_ns says when to ask again at the latest. */
int64_t batcher_head_ns(struct batcher *batcher, int64_t now_ns, int64_t *until_ns);
/* How many leave now, where batcher_head_ns has said so. They are taken one by one. */
int64_t batcher_count(const struct batcher *batcher);
int32_t batcher_take(struct batcher *batcher);
/* After that: the number of the batch that they are. */
int64_t batcher_leave(struct batcher *batcher);
/* A request has ended. Its job, if it waits here, is handed back; -1: it does not. The place of its
 * batch is free when sent_count jobs have come since the start, or BATCHER_LATE_NS after the first
 * look: one may be lost. */
int32_t batcher_release(struct batcher *batcher, int64_t request, int64_t sent_count);
/* Those that wait have been dropped, and nobody knows of those that left: its replica has been
 * lost.
 */
void batcher_reset(struct batcher *batcher);
/* Any job that waits; -1: none does. */
int32_t batcher_drop(struct batcher *batcher);
/* Words of a batch: entries, and the tokens of each padded to the longest. */
int32_t *batcher_words(struct batcher *batcher);

#endif
