/* sliced_sizes.c - how much messages of a pass carry, and what they take alone. */
#include "lib/base/wide.h"
#include "sim/sliced/internal.h"

/* Bytes before part i of N, of a vector that is cut as evenly as can be. */
static int64_t even_before(int64_t bytes, int32_t part, int32_t parts)
{
    uint64_t rest;

    return (int64_t)wide_div(wide_mul((uint64_t)bytes, (uint64_t)part), (uint64_t)parts, &rest);
}

int64_t sliced_edge_bytes(const struct sliced *sliced, const struct sliced_op *op,
                          const struct edge *edge, const struct sliced_load *load)
{
    const struct pass_step *step = op->step;
    const struct pass_member *members = &sliced->pass->members[step->first];
    /* lib/policy counts one last row */
    int64_t times = step->is_last_row ? load->sequences : 1, sum_bytes = 0;
    int64_t vector_bytes = times * pass_vector_bytes(step, load->tokens);
    bool is_even = step->kind == PASS_SEND || step->kind == PASS_BROADCAST ||
                   step->kind == PASS_REDUCE || step->kind == PASS_ALL_REDUCE;

    if (step->kind == PASS_EXCHANGE)
        return edge->row_bytes * op_rows(op, load);
    if (is_even && edge->part_count == step->count)
        return vector_bytes;
    for (int32_t i = 0; i < edge->part_count; i++) {
        int32_t part = (edge->first_part + i) % step->count;

        sum_bytes += is_even ? even_before(vector_bytes, part + 1, step->count) -
                                   even_before(vector_bytes, part, step->count)
                             : times * pass_part_bytes(step, &members[part], load->tokens);
    }
    return sum_bytes;
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
