/* heads_exchange.h - layers of a head-level placement changed two at a time. */
#ifndef ORRERY_SIM_PLACE_HEADS_EXCHANGE_H
#define ORRERY_SIM_PLACE_HEADS_EXCHANGE_H

#include "sim/place/heads.h"

struct heads_sequence {
    const struct heads_problem *layer; /* costs of one layer; ends and feeds are not read */
    struct heads_resource memory;      /* of one layer */
    const double *rooms;               /* by device, for all layers */
    int32_t end;                       /* the device with both ends of the model */
    const double *back_ps;             /* by device of the last FFN: to the ends */
    int32_t pool_count;                /* ways to cut a layer: counts, projection and FFN */
    const struct heads_answer *pool;
    int32_t layer_count;
    int32_t *columns; /* by layer: a number of the pool; together they fit. Is improved */
};

/* Ends when no change of two layers is better, or is_over says so. Arrays for it in arena. */
void heads_exchange(struct arena *arena, struct heads_sequence *sequence,
                    bool (*is_over)(void *arg), void *is_over_arg);

#endif
