/* internal.h - what the files of the fleet share. */
#ifndef ORRERY_RUNNER_FLEET_INTERNAL_H
#define ORRERY_RUNNER_FLEET_INTERNAL_H

#include "runner/fleet/fleet.h"

struct frame;

/* ---- fleet.c ---- */

void fleet_die(struct fleet_worker *worker, const char *trouble);
/* A worker that cannot be told is dead. */
void fleet_send(struct fleet *fleet, struct fleet_worker *worker, const struct frame *frame,
                const char *text);
void fleet_tell(struct fleet *fleet, struct fleet_worker *worker, enum frame_type type,
                int64_t request, const char *text);

/* ---- update.c ---- */

/* An UPDATE: from somebody who asks for one, or (worker >= 0) the answer of a worker. */
void fleet_on_update(struct fleet *fleet, int worker, const struct channel_message *message);

/* ---- assemble.c: the start of a run, and of a worker that comes back ---- */

/* Of a worker that has just become ready, while the run goes on. */
void fleet_reconnect(struct fleet *fleet, int number);
/* Whoever sends to a worker that is lost gives up what it has for it. */
void fleet_disconnect(struct fleet *fleet, int number);
/* To the workers of stages 0 that it has none to yet. */
bool fleet_connect_first_stages(struct fleet *fleet, const struct plan *plan, struct err *err);
/* The next exchange of clocks with a worker that is up, and its answer. */
void fleet_ping(struct fleet *fleet, struct fleet_worker *worker);
void fleet_on_pong(struct fleet *fleet, struct fleet_worker *worker, const struct frame *pong);

#endif
