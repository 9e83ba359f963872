/* topology_internal.h - what the files of the topology share. For nobody else. */
#ifndef ORRERY_SIM_NETWORK_TOPOLOGY_INTERNAL_H
#define ORRERY_SIM_NETWORK_TOPOLOGY_INTERNAL_H

#include "sim/network/topology.h"

struct names;

struct members { /* nodes of a medium in order of its rows */
    bool is_known;
    int32_t count;
    int32_t *nodes;                         /* by position */
    const struct cluster_attachment **rows; /* likewise */
    struct names *places;                   /* names of nodes, numbered by position */
};

struct builder {
    struct arena *arena;
    struct topology *topology;
    struct names *nodes;
    bool has_in_ports;
    struct members *members; /* by medium; listed when first asked for */
    struct names *port_names, *link_names, *circuit_names, *fibre_names; /* of keys */
    int32_t port_room, link_room, leg_room, step_room, circuit_room, hop_room;
    struct search *search; /* NULL until a pair has no medium in common */
};

/* Number of a key in order of first use. */
int32_t topology_key(struct names *names, int32_t medium, int32_t a, int32_t b);
/* Nodes of the medium, each with a row of its own or of "*". */
const struct members *topology_members(struct builder *builder, int32_t medium);
/* Position of a node on the medium; -1 = not attached. */
int32_t topology_place(struct builder *builder, int32_t medium, int32_t node);
/* Adds the leg over a medium that attaches both nodes. */
void topology_leg_add(struct builder *builder, int32_t medium, int32_t from, int32_t to);
/* Adds the legs of the route of fewest media between two nodes; false when there is none. */
bool topology_search(struct builder *builder, int32_t from, int32_t to);
/* Fills the rates of all legs, from the first instant on. */
void topology_rates_find(struct arena *arena, struct topology *topology,
                         const struct events *events);

/* Doubles the room of an array that grows one by one when it is full. */
#define TOPOLOGY_MAKE_ROOM(arena, items, count, room)                                              \
    do {                                                                                           \
        if ((count) == (room)) {                                                                   \
            int32_t wider = arena_wider(room, 16);                                                 \
            (items) = arena_grow(arena, (items), (size_t)(room), (size_t)wider, sizeof(*(items))); \
            (room) = wider;                                                                        \
        }                                                                                          \
    } while (0)

#endif
