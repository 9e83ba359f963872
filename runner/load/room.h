/* room.h - bounded queues whose room the coordinator has: of stages 0, and of those that copies of
 * the stage before share. */
#ifndef ORRERY_RUNNER_ROOM_H
#define ORRERY_RUNNER_ROOM_H

#include <stdbool.h>
#include <stdint.h>

struct frame;
struct plan_stage;
struct serve;

void room_create(struct serve *serve);
void room_extend(struct serve *serve); /* stages of an update */
/* Whether another step may be sent to the stage 0, and that one has been. */
bool room_has(const struct serve *serve, const struct plan_stage *stage);
void room_take(struct serve *serve, const struct plan_stage *stage);
/* A CREDIT of a worker: steps have left a queue, or it asks for room in one. */
void room_credit(struct serve *serve, int worker, const struct frame *frame);
/* The stage has told of a step: it has left it. */
void room_left(struct serve *serve, const struct plan_stage *stage, int64_t way);
/* The worker is lost: it asks for nothing, and nobody asks for its queues. */
void room_lose(struct serve *serve, int worker);
/* The stage is there again, and nothing is on its way to it. */
void room_empty(struct serve *serve, const struct plan_stage *stage);

#endif
