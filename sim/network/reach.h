/* reach.h - which devices the source has a route to, so that planners can do without the others. */
#ifndef ORRERY_SIM_NETWORK_REACH_H
#define ORRERY_SIM_NETWORK_REACH_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;

/* Marks them by device, and returns how many there are. Routes lead over nodes that are attached to
 * several media, in both directions: devices that are reached reach each other. Without links or a
 * source nothing is said of routes from it, and all are reached. */
int32_t reach_from_source(struct arena *arena, const struct cluster *cluster, bool *is_reached);

#endif
