/* sliced_estimate.c - how much messages of a pass carry, and what a pass takes alone. */
#include "sim/serve/sliced.h"

#include "lib/base/wide.h"
#include "lib/format/cluster.h"
#include "lib/policy/price.h"
#include "sim/network/network.h"

/* ---- sizes ---- */

/* Bytes before part i of N, of a vector that is cut as evenly as can be. */
static int64_t even_before(int64_t bytes, int32_t part, int32_t parts)
{
    uint64_t rest;

    return (int64_t)wide_div(wide_mul((uint64_t)bytes, (uint64_t)part), (uint64_t)parts, &rest);
}

int64_t sliced_edge_bytes(const struct sliced *sliced, const struct sliced_op *op,
                          const struct sliced_edge *edge, int32_t tokens)
{
    const struct pass_step *step = op->step;
    const struct pass_member *members = &sliced->pass->members[step->first];
    int64_t vector_bytes = pass_vector_bytes(step, tokens), sum_bytes = 0;
    bool is_even = step->kind == PASS_SEND || step->kind == PASS_BROADCAST ||
                   step->kind == PASS_REDUCE || step->kind == PASS_ALL_REDUCE;

    if (step->kind == PASS_EXCHANGE)
        return edge->row_bytes * (step->is_last_row ? 1 : tokens);
    if (is_even && edge->part_count == step->count)
        return vector_bytes;
    for (int32_t i = 0; i < edge->part_count; i++) {
        int32_t part = (edge->first_part + i) % step->count;

        sum_bytes += is_even ? even_before(vector_bytes, part + 1, step->count) -
                                   even_before(vector_bytes, part, step->count)
                             : pass_part_bytes(step, &members[part], tokens);
    }
    return sum_bytes;
}

/* ---- what is to come ---- */

int64_t sliced_backlog_ps(const struct serve *serve, const struct sliced *sliced)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    return sliced->booked_ps > now_ps ? sliced->booked_ps - now_ps : 0;
}

static int64_t op_estimate_ps(const struct serve *serve, const struct sliced *sliced,
                              const struct sliced_op *op, int32_t tokens)
{
    int64_t sum_ps = 0, slowest_ps = 0;

    for (int32_t i = 0; i < op->edge_count; i++) { /* in order of slots */
        const struct sliced_edge *edge = &op->edges[i];
        int64_t alone_ps = network_alone_ps(serve->network, edge->route,
                                            sliced_edge_bytes(sliced, op, edge, tokens));

        if (i > 0 && edge->slot != op->edges[i - 1].slot) {
            sum_ps = engine_after_ps(sum_ps, slowest_ps);
            slowest_ps = 0;
        }
        slowest_ps = alone_ps > slowest_ps ? alone_ps : slowest_ps;
    }
    return engine_after_ps(sum_ps, slowest_ps);
}

static bool compute_estimate(struct serve *serve, const struct sliced *sliced,
                             const struct pass_step *step, int32_t new_tokens, int32_t past_tokens,
                             int64_t *slowest_ps, struct err *err)
{
    *slowest_ps = 0;
    for (int32_t i = 0; i < step->count; i++) {
        const struct pass_piece *piece = &sliced->pass->pieces[step->first + i];
        int32_t device = sliced->site->devices[piece->position];
        int extrapolated; /* counted when it is computed */
        int64_t time_ps;

        if (!price_piece(serve->price, piece, sliced->site->model, sliced->tables[piece->position],
                         serve->input->plan->cluster->devices[device].threads,
                         serve->speeds[device], new_tokens, past_tokens, &time_ps, &extrapolated,
                         err))
            return false;
        *slowest_ps = time_ps > *slowest_ps ? time_ps : *slowest_ps;
    }
    return true;
}

bool sliced_estimate(struct serve *serve, const struct sliced *sliced, int32_t new_tokens,
                     int32_t past_tokens, int64_t *time_ps, struct err *err)
{
    const struct pass *pass = sliced->pass;

    *time_ps = 0;
    for (int32_t s = 0; s < pass->segment_count; s++) {
        const struct pass_segment *segment = &pass->segments[s];

        for (int32_t i = 0; i < segment->step_count; i++) {
            const struct pass_step *step = &pass->steps[segment->first_step + i];
            int64_t step_ps;

            if (step->kind != PASS_COMPUTE)
                step_ps = op_estimate_ps(serve, sliced, &sliced->ops[segment->first_step + i],
                                         new_tokens);
            else if (!compute_estimate(serve, sliced, step, new_tokens, past_tokens, &step_ps, err))
                return false;
            for (int32_t r = 0; r < segment->repeats; r++)
                *time_ps = engine_after_ps(*time_ps, step_ps);
        }
    }
    return true;
}
