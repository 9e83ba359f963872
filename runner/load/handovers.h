/* handovers.h - KV caches of prompts on their way from the stages that computed them to those that
 * decode behind them: what the coordinator asks for, and what it is told. */
#ifndef ORRERY_RUNNER_HANDOVERS_H
#define ORRERY_RUNNER_HANDOVERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct channel_message;
struct frame;
struct frame_entry;
struct plan_replica;
struct plan_stage;
struct serve;

/* A result of the stage is a first token behind which others decode. */
bool handovers_follow(const struct serve *serve, const struct plan_stage *last);
/* Has all that is kept of the prompts sent, before that step. They go the way, by the copies of
 * both phases. Of a batch, if its number is not SERVE_NO_BATCH; else of the only request. tokens:
 * of each its prompt. */
struct handovers_of {
    const struct plan_replica *replica;
    int64_t way, batch;
    int32_t step;
};
void handovers_begin(struct serve *serve, const struct handovers_of *of,
                     const struct frame_entry *entries, int32_t count);
/* How many devices get something from others: each says once that all of its own has come. What a
 * device only copies is there before a step behind it. */
int32_t handovers_receivers(const struct plan_replica *replica);
/* The request is refused: nobody waits for what has not come of its caches. */
void handovers_forget(struct serve *serve, size_t request);
/* A MOVED of the worker. */
void handovers_told(struct serve *serve, int worker, const struct channel_message *message);

#endif
