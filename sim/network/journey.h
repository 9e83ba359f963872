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
    int32_t port_route;              /* one that books it as such, or from the port before; -1 */
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
/* The first link of a message's leg; -1 when it is not under way. */
int32_t journeys_where(const struct journeys *journeys, int32_t number);
/* Bytes of all messages sent, and of those that have arrived; each counted once. */
int64_t journeys_sent_bytes(const struct journeys *journeys);
int64_t journeys_received_bytes(const struct journeys *journeys);
/* What they have added to the bytes of links. */
int64_t journeys_link_bytes(const struct journeys *journeys);
/* Of a link under flows. */
int64_t journeys_busy_ps(const struct journeys *journeys, int32_t link);
bool journeys_have_circuits(const struct journeys *journeys);
struct network_circuits journeys_circuits(const struct journeys *journeys);

#endif
