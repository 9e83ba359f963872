/* sliced_sizes.c - how much messages of a pass carry, and what they take alone. */
#include "sim/sliced/internal.h"

int64_t sliced_edge_bytes(const struct sliced *sliced, const struct sliced_op *op,
                          const struct edge *edge, const struct sliced_load *load)
{
    return exchange_bytes(sliced->pass, op->step, edge->message, load->tokens, load->sequences);
}

int64_t sliced_exchange_ps(const struct sliced *sliced, int32_t number,
                           const struct sliced_load *load)
{
    const struct sliced_op *op = &sliced->ops[number];
    int64_t sum_ps = 0, slowest_ps = 0;

    for (int32_t i = 0; i < op->edge_count; i++) { /* in order of slots */
        const struct edge *edge = &op->edges[i];
        int64_t alone_ps = network_alone_ps(sliced->set->network, edge->route,
                                            sliced_edge_bytes(sliced, op, edge, load));

        if (i > 0 && edge->slot != op->edges[i - 1].slot) {
            sum_ps = engine_after_ps(sum_ps, slowest_ps);
            slowest_ps = 0;
        }
        slowest_ps = alone_ps > slowest_ps ? alone_ps : slowest_ps;
    }
    return engine_after_ps(sum_ps, slowest_ps);
}
