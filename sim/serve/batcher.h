/* batcher.h - fixed batches in front of stages 0, for the files of this folder. */
#ifndef ORRERY_SIM_SERVE_BATCHER_H
#define ORRERY_SIM_SERVE_BATCHER_H

#include "sim/serve/internal.h"

#define BATCHER_MOST_OF_MODELS 4096
void batcher_build(struct serve *serve);
bool batcher_push(struct serve *serve, struct batcher *batcher, int32_t index, struct err *err);
/* The batcher of the device whose requests may leave now and have waited longest, if that is longer
 * than since ready_ps; else NULL. Drops heads that are lost, and plans when to look again: for all
 * devices that this concerns but `looker`, which is being looked at. */
struct batcher *batcher_oldest(struct serve *serve, int32_t device, int64_t ready_ps,
                               int32_t looker);
bool batcher_waits(const struct batcher *batcher);
int64_t batcher_waiting(const struct batcher *batcher); /* requests */
/* Whether requests may leave it now that have waited for longer than since ready_ps: of one in
 * front of a stage on several devices, which no device knows. */
bool batcher_is_older(struct serve *serve, struct batcher *batcher, int64_t ready_ps);
const struct site *batcher_site(const struct batcher *batcher);
/* Forms the batch that batcher_oldest has decided on: its first flight. */
int32_t batcher_take(struct serve *serve, struct batcher *batcher);
/* A batch of a model has ended, with all of its requests. Its place is free when all has come that
 * the source has sent by then, the requests that arrive at this instant among it. */
void batcher_done(struct serve *serve, struct batcher *batcher);
/* Behind all else of an instant, while there are sites in `ended`. */
void batcher_free_one(struct serve *serve);
/* A request that will wait there leaves the source; it is there, or lost. */
void batcher_sent(struct batcher *batcher);
void batcher_came(struct serve *serve, struct batcher *batcher);
void batcher_timer(struct serve *serve, int number);
/* Whether a flight that comes to the site waits to become a part of a batch. */
static inline bool batcher_takes(const struct serve *serve, int32_t index)
{
    return serve->flights[index].site->batcher && serve->batch_ids[index] < 0;
}
/* How long the requests that wait will keep their stage 0: by the rate of the largest batch; of
 * models as if each was computed alone. */
int64_t batcher_backlog_ps(const struct batcher *batcher);
/* The same for items of its lane in any stage. */
int64_t batcher_work_ps(const struct batcher *batcher, const struct site *site, int64_t items);
/* All that waits is lost. */
void batcher_fail(struct serve *serve, struct batcher *batcher);

#endif
