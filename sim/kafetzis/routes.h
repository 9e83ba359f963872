/* routes.h - how fast device a sends to device b: the path of fewest media, at the rate of its
 * slowest, without latency or store and forward (DistributedTransformerInferenceSimulator, commit
 * 252528f: breadth-first search, then bytes / the least bandwidth of the path).
 *
 * Ties go to the media that come first in links.csv. A medium has the lower rate of both ends, with
 * efficiency_ratio. Ring, mesh and optical media are no part of these rules: no route uses them.
 * Between devices of one node transfers are free unless a bus is attached to it; so are all where
 * there is no links.csv. */
#ifndef ORRERY_SIM_KAFETZIS_ROUTES_H
#define ORRERY_SIM_KAFETZIS_ROUTES_H

#include <stdint.h>

struct arena;
struct cluster;

struct kafetzis_route {
    int32_t hop_count;    /* 0: nothing is sent over links, transfers take no time */
    const int32_t *media; /* of the cluster, from the sender on */
    double bits_per_s;    /* of the slowest hop */
};

struct kafetzis_routes;

/* cluster must outlive it. Routes are looked for when they are first asked for. */
struct kafetzis_routes *kafetzis_routes_create(struct arena *arena, const struct cluster *cluster);
/* Between devices of the cluster; NULL: there is none. */
const struct kafetzis_route *kafetzis_route(struct kafetzis_routes *routes, int32_t from,
                                            int32_t to);
double kafetzis_route_s(const struct kafetzis_route *route, double bytes);

#endif
