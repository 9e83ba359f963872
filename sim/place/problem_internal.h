/* problem_internal.h - what the files of a problem share. */
#ifndef ORRERY_SIM_PLACE_PROBLEM_INTERNAL_H
#define ORRERY_SIM_PLACE_PROBLEM_INTERNAL_H

#include "sim/place/problem.h"

struct cost_table;
struct network;
struct ranges;

struct kind {
    int32_t *devices; /* file order */
    int32_t count;
    const struct cost_table *table;
    int threads;
    double speed_ratio;
    int64_t *sums_ps;                /* of the units before each one, raw: unit_count + 1 */
    const struct ranges *held_bytes; /* of an executable: weights summed, largest activations */
};

struct problem {
    struct problem_input input;
    struct arena *arena;
    struct network *network;
    int32_t unit_count, kind_count, step_count;
    struct kind *kinds;
    int32_t *kind_of;       /* by device */
    int64_t *weights_bytes; /* of the units before each one; of a model's embed and layers */
    int64_t work_bytes[3];  /* most activations of embed, of a layer, of the LM head */
};

/* problem_way.c: the routes between all devices, and from the source and back. */
bool problem_open_network(struct problem *problem, struct err *err);

#endif
