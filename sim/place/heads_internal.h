/* heads_internal.h - costs of a choice of devices, for the files heads*.c alone. */
#ifndef ORRERY_SIM_PLACE_HEADS_INTERNAL_H
#define ORRERY_SIM_PLACE_HEADS_INTERNAL_H

#include "sim/place/heads.h"
#include <stddef.h>

struct heads_choice {
    int32_t end, projection, ffn;
};

static inline double heads_of(const struct heads_problem *p, int32_t device, int32_t heads)
{
    return p->head_costs[(size_t)device * ((size_t)p->head_count + 1) + (size_t)heads];
}

static inline size_t heads_at(const struct heads_problem *p, int32_t row, int32_t column)
{
    return (size_t)row * (size_t)p->device_count + (size_t)column;
}

/* What is not of the heads. */
static inline double heads_base(const struct heads_problem *p, struct heads_choice c)
{
    return p->projection_costs[c.projection] + p->pass_costs[heads_at(p, c.projection, c.ffn)] +
           p->ffn_costs[c.ffn] + p->end_costs[heads_at(p, c.end, c.ffn)];
}

/* Of messages, with so many heads on the device. */
static inline double heads_way(const struct heads_problem *p, struct heads_choice c, int32_t device,
                               int32_t heads)
{
    size_t at = heads_at(p, device, c.projection) * ((size_t)p->head_count + 1) + (size_t)heads;

    if (heads == 0)
        return 0;
    return p->enter_costs[heads_at(p, c.end, device)] + p->feed_costs[heads_at(p, c.ffn, device)] +
           p->gather_costs[at];
}

/* Heads that the device has room for beside what the choice puts there; -1 = not even for that. */
int32_t heads_room(const struct heads_problem *p, struct heads_choice c, int32_t device);

#endif
