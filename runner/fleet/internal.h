/* internal.h - what the files of the fleet share. */
#ifndef ORRERY_RUNNER_FLEET_INTERNAL_H
#define ORRERY_RUNNER_FLEET_INTERNAL_H

#include "runner/fleet/fleet.h"

struct assignment;
struct cluster;
struct frame;

/* ---- fleet.c ---- */

void fleet_die(struct fleet_worker *worker, const char *trouble);
/* A worker that cannot be told is dead. */
void fleet_send(struct fleet *fleet, struct fleet_worker *worker, const struct frame *frame,
                const void *payload);
void fleet_tell(struct fleet *fleet, struct fleet_worker *worker, enum frame_type type,
                int64_t request, const char *text);

/* Of the device that the assignment says, whom nobody has heard of yet. */
void fleet_init_worker(struct fleet *fleet, const struct cluster *cluster,
                       const struct assignment *assignment, int number);
/* A process for it. */
bool fleet_spawn_one(struct fleet *fleet, struct fleet_worker *worker, struct err *err);

/* ---- newcomers.c: of an update, until it is taken up ---- */

/* Makes room for workers of devices that the run does not have, and starts them where it is local.
 */
bool newcomers_invite(struct fleet *fleet, const struct cluster *cluster, int64_t wait_ns,
                      struct err *err);
/* One has said HELLO. */
void newcomers_admit(struct fleet *fleet, int number);
/* Whether all are in the state; what keeps one from it is the update's trouble. */
bool newcomers_look(struct fleet *fleet, enum fleet_state state);
/* To the stages 0 of the update on workers that had none, and whether all are reached. */
void newcomers_connect(struct fleet *fleet);
bool newcomers_are_reached(struct fleet *fleet);
/* They are workers like all others; or nothing comes of it. */
void newcomers_keep(struct fleet *fleet);
void newcomers_dismiss(struct fleet *fleet);

/* ---- update.c ---- */

/* An UPDATE: from somebody who asks for one, or (worker >= 0) the answer of a worker. */
void fleet_on_update(struct fleet *fleet, int worker, const struct channel_message *message);

/* ---- assemble.c: the start of a run, and of a worker that comes back ---- */

/* Of a worker that has just become ready, while the run goes on. */
void fleet_reconnect(struct fleet *fleet, int number);
/* Where the workers listen that a worker sends to; false while one of them does not yet. */
bool fleet_offer_peers(struct fleet *fleet, const struct assignment *assignment, int number);
/* Whoever sends to a worker learns where it listens now; "": nowhere, it is lost. */
void fleet_tell_senders(struct fleet *fleet, const struct assignment *assignment, int number,
                        const char *endpoint);
bool fleet_has_clock(const struct fleet *fleet, const struct fleet_worker *worker);
/* Whoever sends to a worker that is lost gives up what it has for it. */
void fleet_disconnect(struct fleet *fleet, int number);
/* The next exchange of clocks with a worker that is up, and its answer. */
void fleet_ping(struct fleet *fleet, struct fleet_worker *worker);
void fleet_on_pong(struct fleet *fleet, struct fleet_worker *worker, const struct frame *pong);

#endif
