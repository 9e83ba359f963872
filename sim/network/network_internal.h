/* network_internal.h - the inside of a network, for network.c and network_links.c alone. */
#ifndef ORRERY_SIM_NETWORK_NETWORK_INTERNAL_H
#define ORRERY_SIM_NETWORK_NETWORK_INTERNAL_H

#include "sim/network/journey.h"
#include "sim/network/network.h"
#include "sim/network/topology.h"

struct message {
    int64_t arrival_ps;
    int32_t number;
    uint32_t bytes; /* modulo 2^32 */
};

enum route_kind {
    ROUTE_FREE,
    ROUTE_PORT,     /* one port, at a rate that never changes */
    ROUTE_CHANGING, /* one port whose rate changes */
    ROUTE_JOURNEY,  /* more than that, and all under flows */
};

struct route { /* a large placement has thousands */
    enum route_kind kind;
    int link;                       /* the first; -1 = free */
    const struct topology_leg *leg; /* the first */
    int64_t per_message_ps, latency_ps;
    int64_t rate_millibits_per_s;     /* of a ROUTE_PORT */
    int64_t last_bytes, last_wire_ps; /* most messages of a route are as long as the one before */
    struct message *ring;             /* capacity is a power of two or 0 */
    uint32_t capacity, head, count;
    struct network_traffic sent;
};

struct network {
    struct arena *arena;
    const struct cluster *cluster;
    enum network_model model;
    struct engine *engine;
    int first_slot;
    int route_slots; /* 0 when no route needs one; then the journeys' one, if there are any */
    int link_count, route_count;
    struct network_link *links;
    struct route *routes;
    struct network_traffic *carried; /* by route; NULL until network_carry */
    struct network_traffic *beside;  /* by route; NULL until network_beside */
    struct network_pair *pairs;      /* of the routes */
    int32_t *table;                  /* hash of (from, to) to route, -1 = empty */
    uint32_t table_mask;
    int64_t in_flight;
    uint32_t balance_bytes; /* sent over ports and not arrived, modulo 2^32 */
    const struct topology *topology;
    bool has_journeys;
    struct journeys *journeys; /* NULL = no route needs them */
    struct network_received received;
};

#endif
