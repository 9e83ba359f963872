/* listener.h - when a step came in, while the worker computes.
 *
 * One thread computes and receives, and hears of what comes during a step when that has ended. For
 * long steps it lends its data channel to another thread, which only reads what comes, and notes
 * when. For short ones it does not: waking that thread would take longer than what is missed. */
#ifndef ORRERY_RUNNER_LISTENER_H
#define ORRERY_RUNNER_LISTENER_H

#include "lib/wire/channel.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct listener;

#define LISTENER_LONG_NS INT64_C(1000000) /* a step that is worth it */
#define LISTENER_ROOM 256 /* messages of one step; those behind them are as late as without it */

/* Its thread sleeps until the first loan. */
struct listener *listener_start(struct arena *arena, struct channel *channel, struct err *err);
/* From here on the channel is the listener's, until listener_return comes back. */
void listener_lend(struct listener *listener);
void listener_return(struct listener *listener);
/* What came meanwhile, in order: to be taken before the channel is read again. False: no more. Only
 * after true does message hold anything to close. */
bool listener_take(struct listener *listener, struct channel_message *message, int64_t *receive_ns);
/* Closes what has not been taken. NULL is allowed. */
void listener_stop(struct listener *listener);

#endif
