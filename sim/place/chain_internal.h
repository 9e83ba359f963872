/* chain_internal.h - how costs of a chain go together, for the files chain*.c alone. */
#ifndef ORRERY_SIM_PLACE_CHAIN_INTERNAL_H
#define ORRERY_SIM_PLACE_CHAIN_INTERNAL_H

#include "sim/place/chain.h"
#include <stddef.h>

/* A latency adds up; the period is the longest of all. */
static inline double chain_join(enum chain_objective objective, double a, double b)
{
    if (objective == CHAIN_LATENCY)
        return a + b;
    return a > b ? a : b;
}

/* From the source to a first stage on a device of the kind. */
static inline double chain_entry(const struct chain *chain, int32_t kind)
{
    return chain->entry_cost ? chain->entry_cost(chain->arg, kind) : 0;
}

/* Up to the end of the last stage, and back to the source. */
static inline double chain_with_exit(const struct chain *chain, enum chain_objective objective,
                                     double cost, int32_t kind)
{
    return chain->exit_cost ? chain_join(objective, cost, chain->exit_cost(chain->arg, kind))
                            : cost;
}

/* Of every unit on a device of the kind. */
static inline const double *chain_units(const struct chain *chain, int32_t kind)
{
    return &chain->unit_costs[(size_t)kind * (size_t)chain->unit_count];
}

#endif
