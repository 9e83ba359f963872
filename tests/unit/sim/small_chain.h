/* small_chain.h - a chain of a few units with drawn costs, borders, ends and rooms, small enough to
 * try every cut of it. */
#ifndef ORRERY_TESTS_UNIT_SIM_SMALL_CHAIN_H
#define ORRERY_TESTS_UNIT_SIM_SMALL_CHAIN_H

#include "lib/base/rng.h"
#include "sim/place/chain.h"
#include <math.h>
#include <stdint.h>

#define MOST_UNITS 8
#define MOST_KINDS 4
#define MOST_ALL 4 /* devices, of chains of many units: else there are too many cuts to try */
#define FEW_UNITS 5

struct small { /* a chain with drawn tables */
    struct chain chain;
    int32_t counts[MOST_KINDS];
    double units[MOST_KINDS * MOST_UNITS];
    double borders[MOST_KINDS][MOST_KINDS][MOST_UNITS];
    double ends[2][MOST_KINDS];
    double sizes[MOST_UNITS], rooms[MOST_KINDS];
};

static inline double small_border(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    return ((const struct small *)arg)->borders[from][to][unit];
}

static inline bool small_room(const void *arg, int32_t kind, int32_t first, int32_t last)
{
    const struct small *small = arg;
    double size = 0;

    for (int32_t u = first; u <= last; u++)
        size += small->sizes[u];
    return size <= small->rooms[kind];
}

static inline double small_entry(const void *arg, int32_t kind)
{
    return ((const struct small *)arg)->ends[0][kind];
}

static inline double small_exit(const void *arg, int32_t kind)
{
    return ((const struct small *)arg)->ends[1][kind];
}

static inline int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static inline void small_draw(struct rng *rng, struct small *small)
{
    struct chain *chain = &small->chain;
    bool has_ends = draw(rng, 0, 1) > 0;

    *chain = (struct chain){ .unit_count = draw(rng, 1, MOST_UNITS),
                             .kind_count = draw(rng, 1, MOST_KINDS),
                             .device_counts = small->counts,
                             .unit_costs = small->units,
                             .border_cost = small_border,
                             .has_room = small_room,
                             .entry_cost = has_ends ? small_entry : NULL,
                             .exit_cost = has_ends ? small_exit : NULL,
                             .arg = small };
    for (int k = 0, left = chain->unit_count > FEW_UNITS ? MOST_ALL : 2 * MOST_KINDS;
         k < chain->kind_count; left -= small->counts[k++]) {
        small->counts[k] = draw(rng, 0, left < 2 ? left : 2);
        small->rooms[k] = draw(rng, 2, 16);
        small->ends[0][k] = draw(rng, 0, 5);
        small->ends[1][k] = draw(rng, 0, 5);
        for (int u = 0; u < chain->unit_count; u++)
            small->units[k * chain->unit_count + u] = draw(rng, 0, 20);
        for (int other = 0; other < chain->kind_count; other++)
            for (int u = 0; u < MOST_UNITS; u++)
                small->borders[k][other][u] = draw(rng, 0, 30) == 0 ? HUGE_VAL : draw(rng, 0, 15);
    }
    for (int u = 0; u < MOST_UNITS; u++)
        small->sizes[u] = draw(rng, 1, 4);
}

#endif
