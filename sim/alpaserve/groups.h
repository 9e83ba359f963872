/* groups.h - which replicas compete for first stages, for fixed batches by AlpaServe's rules. */
#ifndef ORRERY_SIM_ALPASERVE_GROUPS_H
#define ORRERY_SIM_ALPASERVE_GROUPS_H

#include "sim/alpaserve/internal.h"

struct seat { /* a service in a group */
    int32_t service;
    struct choice choice; /* its replicas there, in order of preference */
};

/* The replicas of an epoch whose first stages share devices, directly or through others. Where
 * groups of devices are disjoint, as in AlpaServe, these are the replicas of one such group. */
struct group {
    int32_t seat_count;
    struct seat *seats;
    bool is_uniform; /* all first stages are on the same devices: one that is taken takes all */
};

struct groups {
    int32_t count;
    struct group *groups;       /* by epoch, then in order of their first replica */
    const int32_t *epoch_first; /* groups of epoch e: epoch_first[e] up to epoch_first[e + 1] */
};

/* Also tells every path its group and seat. */
struct groups *groups_create(struct run *run);

#endif
