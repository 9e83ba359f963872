/* failures.h - workers that are lost during a run, and come back: what becomes of their requests,
 * and the drill that makes it happen (--events). Semantics: runner/README.md. */
#ifndef ORRERY_RUNNER_LOAD_FAILURES_H
#define ORRERY_RUNNER_LOAD_FAILURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct serve;

void failures_create(struct serve *serve); /* into serve->failures */
/* Performs the events that are due. */
bool failures_drill(struct serve *serve, struct err *err);
int64_t failures_next_ns(const struct serve *serve); /* when the next is; INT64_MAX = none */
/* A worker is lost. */
void failures_bury(struct serve *serve, int worker);
/* What a request has passed is lost. A replay begins anew when failures_look comes by next, so that
 * the workers that are left have long heard that they may forget the first attempt. */
void failures_lose(struct serve *serve, size_t request, int64_t at_ps);
/* Raises the replicas of workers that have come back, places what has waited for that, and gives up
 * when nobody is left to wait for. */
void failures_look(struct serve *serve);
/* A request that waits has found no replica of its service up. */
void failures_turn_away(struct serve *serve, size_t request, int64_t at_ps);
/* Requests that wait for a replica to be up. */
size_t failures_held(const struct serve *serve);
/* Nothing can go on: what runs has failed now, and what has not arrived fails as it would have. */
void failures_give_up(struct serve *serve);
/* After the run: drops the traces of attempts that were replayed. */
void failures_forget(struct serve *serve);

#endif
