/* handoff.h - KV caches on their way from stages of prompts to stages of decode steps. All but the
 * first two for runs with handoffs alone. */
#ifndef ORRERY_SIM_SERVE_HANDOFF_H
#define ORRERY_SIM_SERVE_HANDOFF_H

#include "sim/serve/internal.h"

/* Numbers of messages from here on; below are flights, above those of sliced stages. */
#define HANDOFF_FIRST_MESSAGE (INT32_C(1) << 29)
void handoff_begin(struct serve *serve); /* sets handoffs */
bool handoff_is_live(const struct serve *serve);
/* The batch has its first tokens: its caches go to where it is decoded. */
void handoff_send(struct serve *serve, int32_t index);
/* It stands before a stage: whether it waits there for its cache, or is lost for ever. */
bool handoff_holds(struct serve *serve, int32_t index);
bool handoff_arrive(struct serve *serve, int32_t message, bool is_told, struct err *err);
/* Whom a message is for; NO_FLIGHT = for nobody any more. */
int32_t handoff_flight(const struct serve *serve, int32_t message);
/* Whether that move has taken what it takes of the request's cache from where it was computed. */
bool handoff_has_left(const struct serve *serve, int32_t index, int32_t m);
/* Its batch is lost. */
void handoff_drop(struct serve *serve, int32_t number);

#endif
