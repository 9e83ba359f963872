/* moment.h - a cluster as it is at an instant, for planners of epochs. */
#ifndef ORRERY_SIM_PLACE_MOMENT_H
#define ORRERY_SIM_PLACE_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

struct arena;
struct cluster;
struct events;

/* The cluster behind all events up to and including the instant. It has the same devices and media,
 * so that numbers of both are good for either. A device that is down has no room for anything; a
 * link that is down has a rate at which nobody would use it. In arena, with the names of the
 * original. */
const struct cluster *moment_cluster(struct arena *arena, const struct cluster *cluster,
                                     const struct events *events, int64_t time_ps);
/* By device: whether it is down then. In arena. */
const bool *moment_down(struct arena *arena, const struct cluster *cluster,
                        const struct events *events, int64_t time_ps);

#endif
