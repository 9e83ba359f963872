/* journey.h - messages that are more than one booking of one port: over several links or media,
 * over circuits that have to be set up, or as flows that share their links.
 *
 * What is planned stands in one heap in order of time, then of planning, and the first of it (or
 * the end of the first flow) in one slot of the engine. At one instant flows end first, then rates
 * change, then what was planned happens. */
#ifndef ORRERY_SIM_NETWORK_JOURNEY_H
#define ORRERY_SIM_NETWORK_JOURNEY_H

#include "sim/network/network.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct engine;
struct events;
struct journeys;
struct topology;

struct network_link { /* what a sender occupies */
    const char *name, *medium;
    int64_t free_ps, busy_ps, bytes; /* free and busy: of ports that are FIFO servers */
};

/* links as in the topology, events NULL = none. */
struct journeys *journeys_create(struct arena *arena, const struct topology *topology,
                                 enum network_model model, const struct events *events,
                                 struct network_link *links);
void journeys_attach(struct journeys *journeys, struct engine *engine, int slot);
void journeys_watch(struct journeys *journeys, const struct network_watcher *watcher);
/* A message begins its way now; route of the topology, number is the caller's, >= 0. */
void journeys_send(struct journeys *journeys, int32_t route, int64_t bytes, int32_t number);
/* The slot's event. Fills received and returns true when a message has arrived. */
bool journeys_receive(struct journeys *journeys, struct network_received *received);
/* Of a link under flows. */
int64_t journeys_busy_ps(const struct journeys *journeys, int32_t link);
struct network_circuits journeys_circuits(const struct journeys *journeys);

#endif
