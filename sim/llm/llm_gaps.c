/* llm_gaps.c - tells of iterations: how long they took, what was in the caches, and the times
 * between the tokens of each request.
 *
 * Between two tokens of a request lies an iteration, or what kept it from taking part: others that
 * had the tokens of a step, the device or its blocks. Of steady steps only the first can follow
 * such a time; the others are on a line. */
#include "lib/base/units.h"
#include "sim/llm/internal.h"

/* tag: the only request that they are of, or, of several, any. */
static void tell_gap(const struct run *run, const struct instance *instance, int64_t tag,
                     int64_t first_ps, int64_t slope_ps, int32_t count, int32_t times)
{
    if (count > 0 && times > 0)
        run->observer.on_gap(run->observer.end_arg,
                             &(struct llm_gap){ instance->service, first_ps, slope_ps, count, times,
                                                run->flights[tag].arrival_ps });
}

/* The request has made a token now; what lies between it and the one before, -1 for the first. */
static int64_t token_made(struct run *run, int64_t tag, int64_t now_ps)
{
    struct flight *flight = &run->flights[tag];
    int64_t gap_ps = flight->token_ps == TRACE_NONE ? -1 : now_ps - flight->token_ps;

    flight->token_ps = now_ps;
    return gap_ps;
}

void gaps_of_batch(struct run *run, const struct instance *instance,
                   const struct continuous_batch *batch, int64_t begin_ps, bool is_lost)
{
    int64_t step_ps = run->now_ps - begin_ps;
    int32_t alike = 0; /* nearly all decode in every step */
    int64_t tag = 0;

    if (run->observer.on_line)
        run->observer.on_line(run->observer.arg,
                              &(struct llm_line){ instance->replica, step_ps, 0, 1, batch->count,
                                                  batch->chunk_past_tokens +
                                                      batch->decode_past_tokens + batch->tokens,
                                                  instance->is_decoding });
    if (!run->observer.on_gap || is_lost)
        return;
    for (int32_t i = 0; i < batch->entry_count; i++) { /* with on_gap it lists all */
        int64_t gap_ps;

        if (!batch->entries[i].makes_token)
            continue;
        tag = batch->entries[i].tag;
        gap_ps = token_made(run, tag, run->now_ps);
        if (gap_ps == step_ps && !run->observer.wants_arrivals)
            alike++;
        else if (gap_ps >= 0)
            tell_gap(run, instance, tag, gap_ps, 0, 1, 1);
    }
    tell_gap(run, instance, tag, step_ps, 0, 1, alike);
}

/* The first steady step of all is left to gaps_of_steady. */
void gaps_of_line(struct run *run, const struct instance *instance)
{
    int32_t count = instance->taken - instance->on_line, before = instance->on_line == 0;
    int64_t first_ps;

    if (count == 0)
        return;
    first_ps =
        step_line_ps(instance->line, instance->mean_past + instance->on_line) + instance->hops_ps;
    if (run->observer.on_line)
        run->observer.on_line(
            run->observer.arg,
            &(struct llm_line){
                instance->replica, first_ps, instance->line->slope_ps, count, instance->decodes,
                instance->past_tokens + (int64_t)(instance->on_line + 1) * instance->decodes,
                false });
    if (!run->observer.on_gap)
        return;
    first_ps += before * instance->line->slope_ps;
    for (int32_t k = 0, all = instance->decodes; k < all;
         k += run->observer.wants_arrivals ? 1 : all)
        tell_gap(run, instance, continuous_running_tag(instance->batcher, k), first_ps,
                 instance->line->slope_ps, count - before, run->observer.wants_arrivals ? 1 : all);
}

void gaps_of_steady(struct run *run, const struct instance *instance)
{
    int32_t alike = 0;
    int64_t tag = 0;

    if (!run->observer.on_gap)
        return;
    for (int32_t k = 0; k < instance->decodes; k++) {
        int64_t late_ps;

        tag = continuous_running_tag(instance->batcher, k);
        late_ps = instance->busy_from_ps - run->flights[tag].token_ps;
        if (late_ps == 0 && !run->observer.wants_arrivals)
            alike++;
        else
            tell_gap(run, instance, tag, late_ps + instance->first_ps, 0, 1, 1);
        run->flights[tag].token_ps = run->now_ps;
    }
    tell_gap(run, instance, tag, instance->first_ps, 0, 1, alike);
}
