/* topology.h - which links a message between two nodes takes, and what each of them can carry.
 *
 * A route is a list of legs, one a medium: the fewest media that lead from one node to the other,
 * found breadth first, so that ties go to the medium that stands first in links.csv, then to the
 * gateway whose row stands first in it. A message is stored and forwarded between two legs. Inside
 * a leg it passes one link after the other without being stored. Links of each kind of medium:
 *
 *   switch           a port out of each node and a port into it ("lan/a", "lan/a/in")
 *   wifi, hub, bus   one link for all ("air")
 *   ring             a link to each neighbour ("loop/a>b"); the shorter way, ties in file order
 *   mesh             a link to each neighbour ("grid/a>b"), along the row first, then the column;
 *                    where an unfinished last row has no node at that corner, the column first
 *   optical          a link for each pair and direction ("light/a>b") that a circuit makes
 *
 * Nodes stand on ring and mesh in the order of their rows; "*" stands for all nodes without a row
 * of their own, in order of devices.csv, the source last. */
#ifndef ORRERY_SIM_NETWORK_TOPOLOGY_H
#define ORRERY_SIM_NETWORK_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct cluster_attachment;
struct err;
struct event;
struct events;
struct network_pair;

struct topology_port { /* a node on a medium */
    int32_t medium, node;
    const struct cluster_attachment *attachment;
};

struct topology_link {
    const char *name;
    int32_t medium;
    int32_t ports[2]; /* whose rates limit it: one of a port, two of a link, none (-1) of all */
};

struct topology_rate { /* from an instant on */
    int64_t time_ps;
    int64_t rate_millibits_per_s; /* 0 = down */
};

struct topology_leg {
    int32_t medium, from, to; /* ports; from also says who pays per_message_ps */
    int32_t first_step, step_count;
    int32_t in_link; /* into `to` of a switch, when the topology has them; else -1 */
    int32_t circuit; /* of an optical medium; else -1 */
    int64_t per_message_ps, latency_ps; /* latency: of all its steps */
    int32_t first_rate, rate_count;     /* the lowest of its ports, over time */
};

struct topology_step {
    int32_t link;
    int64_t latency_ps; /* behind the link */
};

struct topology_circuit { /* a pair of nodes of an optical medium, in either direction */
    int32_t medium, ports[2];
    int32_t first_hop, hop_count; /* fibres that the light passes, in topology.hops */
};

struct topology_route {
    int32_t first_leg, leg_count; /* no legs: free */
};

struct topology {
    const struct cluster *cluster;
    int32_t port_count, link_count, leg_count, step_count, rate_count, route_count;
    int32_t circuit_count, hop_count, fibre_count;
    const char **nodes;          /* names: those of devices.csv in its order, then the source */
    struct topology_port *ports; /* those that routes need */
    struct topology_link *links;
    struct topology_leg *legs;
    struct topology_step *steps;
    struct topology_rate *rates;
    struct topology_route *routes; /* as the pairs that were given */
    struct topology_circuit *circuits;
    int32_t *hops; /* fibres, numbered over all optical media */
};

/* Routes for all pairs, in their order. events (NULL = none) change rates over time. A pair without
 * a route is an error that names both nodes. */
struct topology *topology_build(struct arena *arena, const struct cluster *cluster,
                                const struct events *events, bool has_in_ports,
                                const struct network_pair *pairs, int pair_count, struct err *err);

/* What each port reaches, at one instant. */
struct topology_state;
/* Before the first event. */
struct topology_state *topology_state_create(struct arena *arena, const struct topology *topology);
void topology_state_apply(struct topology_state *state, const struct event *event);
/* efficiency x bits_per_s of a port; 0 when it or its medium is down. */
int64_t topology_state_rate(const struct topology_state *state, int32_t port);
/* The lowest of a link's ports; of a link that all share, the highest of all. */
int64_t topology_state_link_rate(const struct topology_state *state,
                                 const struct topology_link *link);
/* The lowest of all ports that a message of the leg passes. */
int64_t topology_state_leg_rate(const struct topology_state *state, const struct topology_leg *leg);

#endif
