/* chain_order.c - the best cut of a chain over devices in a fixed order: a shortest path over
 * (device, last unit of its stage). */
#include "sim/place/chain.h"

#include "lib/base/arena.h"
#include "sim/place/chain_internal.h"
#include <math.h>
#include <stddef.h>

#define NOBODY (-1)

struct node { /* the stage of a device that ends at a unit, and what comes before it */
    double cost;
    int32_t first;  /* unit of the stage */
    int32_t before; /* device of the stage before; NOBODY: it is the first */
};

struct order {
    const struct chain *chain;
    enum chain_objective objective;
    bool is_strict;
    struct node *nodes; /* [device][unit] */
};

static struct node *node_at(const struct order *order, int32_t device, int32_t unit)
{
    return &order->nodes[(size_t)device * (size_t)order->chain->unit_count + (size_t)unit];
}

/* The cheapest way to a stage of the device that begins at a unit. */
static struct node way_to(const struct order *order, int32_t device, int32_t first)
{
    const struct chain *chain = order->chain;
    struct node best = { INFINITY, first, NOBODY };

    if (first == 0) {
        if (!order->is_strict || device == 0)
            best.cost = chain_entry(chain, device);
        return best;
    }
    for (int32_t before = order->is_strict && device > 0 ? device - 1 : 0; before < device;
         before++) {
        double cost = chain_join(order->objective, node_at(order, before, first - 1)->cost,
                                 chain->border_cost(chain->arg, before, device, first - 1));

        if (cost < best.cost)
            best = (struct node){ cost, first, before };
    }
    return best;
}

static void device_fill(const struct order *order, int32_t device)
{
    const struct chain *chain = order->chain;
    const double *units = chain_units(chain, device);

    for (int32_t u = 0; u < chain->unit_count; u++)
        node_at(order, device, u)->cost = INFINITY;
    for (int32_t first = 0; first < chain->unit_count; first++) {
        struct node way = way_to(order, device, first);
        double stage = 0;

        if (isinf(way.cost))
            continue;
        for (int32_t last = first; last < chain->unit_count; last++) {
            struct node *node = node_at(order, device, last);
            double cost;

            stage += units[last];
            cost = chain_join(order->objective, way.cost, stage);
            if (cost < node->cost && chain->has_room(chain->arg, device, first, last))
                *node = (struct node){ cost, first, way.before };
        }
    }
}

static struct chain_answer answer_of(struct arena *arena, const struct order *order, int32_t device,
                                     double cost)
{
    struct chain_answer answer = { .is_feasible = true, .cost = cost };
    int32_t last = order->chain->unit_count - 1, at;

    for (int32_t d = device, u = last; d != NOBODY; answer.stage_count++) {
        const struct node *node = node_at(order, d, u);

        d = node->before;
        u = node->first - 1;
    }
    answer.stages = arena_array(arena, (size_t)answer.stage_count, sizeof *answer.stages);
    for (at = answer.stage_count - 1; at >= 0; at--) {
        const struct node *node = node_at(order, device, last);

        answer.stages[at] = (struct chain_stage){ device, node->first, last };
        last = node->first - 1;
        device = node->before;
    }
    return answer;
}

struct chain_answer chain_order(struct arena *arena, const struct chain *chain,
                                enum chain_objective objective, bool is_strict)
{
    struct order order = { chain, objective, is_strict, NULL };
    size_t devices = (size_t)chain->kind_count, units = (size_t)chain->unit_count;
    double best = INFINITY;
    int32_t end = NOBODY;

    order.nodes = arena_array(arena, devices * units, sizeof *order.nodes);
    for (int32_t d = 0; d < chain->kind_count; d++)
        device_fill(&order, d);
    for (int32_t d = is_strict ? chain->kind_count - 1 : 0; d < chain->kind_count; d++) {
        double cost =
            chain_with_exit(chain, objective, node_at(&order, d, chain->unit_count - 1)->cost, d);

        if (cost < best) {
            best = cost;
            end = d;
        }
    }
    if (end == NOBODY)
        return (struct chain_answer){ .cost = INFINITY };
    return answer_of(arena, &order, end, best);
}
