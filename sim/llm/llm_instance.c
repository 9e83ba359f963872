/* llm_instance.c - an instance in time: planned steps, steady steps one by one or many at once, and
 * a device that several instances share. */
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cost.h"
#include "sim/llm/internal.h"
#include "sim/network/network.h"
#include <assert.h>

/* ---- the device ---- */

static void decide_now(struct run *run, int32_t index)
{
    run->instances[index].state = INSTANCE_DECIDING;
    run->deciding[run->deciding_count++] = index;
}

/* Whoever has waited longest has it next. */
static void device_pass_on(struct run *run, struct device *device)
{
    device->owner = -1;
    if (device->waiting.count > 0) {
        device->owner = ring_take(&device->waiting);
        decide_now(run, device->owner);
    }
}

/* It has something to do and is not at it: it decides as soon as it has its device. */
static void instance_wake(struct run *run, int32_t index)
{
    struct instance *instance = &run->instances[index];
    struct device *device = &run->devices[instance->device];

    if (instance->is_alone) {
        decide_now(run, index);
    } else if (device->owner < 0) {
        device->owner = index;
        decide_now(run, index);
    } else {
        instance->state = INSTANCE_WAITING;
        ring_push(&device->waiting, run->arena, index);
    }
}

/* ---- links ---- */

/* The only instance of a run, where nothing else is sent: each of its messages goes at once. */
static void hop_find(const struct run *run, int route, int64_t bytes, struct hop *hop)
{
    struct network_hop alone;

    if (route < 0)
        return;
    alone = network_hop(run->input->network, route, bytes);
    *hop = (struct hop){ alone.link, route, alone.occupy_ps, alone.latency_ps, bytes };
}

static inline int64_t hop_ps(const struct hop *hop)
{
    return hop->link < 0 ? 0 : engine_after_ps(hop->occupy_ps, hop->latency_ps);
}

/* Messages of a step of so many tokens and requests: how long they take. */
static int64_t hops_find(const struct run *run, struct instance *instance, int32_t tokens,
                         int32_t count)
{
    const struct stage *stage = &instance->stages[0];

    if (instance->in.link < 0 && instance->back.link < 0)
        return 0;
    hop_find(run, stage->route, plan_input_bytes(run->plan, stage->plan, tokens), &instance->in);
    hop_find(run, instance->route_back,
             network_times_bytes(
                 count, plan_result_bytes(run->plan, &run->plan->replicas[instance->replica])),
             &instance->back);
    return engine_after_ps(hop_ps(&instance->in), hop_ps(&instance->back));
}

static void hop_account(struct run *run, const struct hop *hop, int64_t times, int32_t requests)
{
    int64_t bytes = network_times_bytes(times, hop->bytes);

    if (hop->link < 0)
        return;
    network_account(run->input->network, hop->route, times, hop->occupy_ps, hop->bytes);
    network_carry(run->input->network, hop->route, times * (requests - 1), hop->bytes);
    run->sent_bytes = network_add_bytes(run->sent_bytes, bytes);
    run->due_bytes = network_add_bytes(run->due_bytes, bytes);
}

/* So many steps of so many requests are done, since then: all but their messages is the device's.
 */
static void count_busy(struct run *run, const struct instance *instance, int64_t times,
                       int64_t since_ps, int32_t requests)
{
    int64_t time_ps =
        run->now_ps - since_ps - times * (hop_ps(&instance->in) + hop_ps(&instance->back));

    hop_account(run, &instance->in, times, requests);
    hop_account(run, &instance->back, times, requests);
    run->result->busy_ps[instance->device] += time_ps;
    llm_worked(run, instance->device, run->now_ps - hop_ps(&instance->back));
    llm_count_compute(run, time_ps, requests);
}

/* ---- steady steps ---- */

/* Of the first `steps` under way: exact. */
static int64_t sum_ps(const struct instance *instance, int32_t steps)
{
    return steps * instance->step_ps + instance->slope_ps * ((int64_t)steps * (steps - 1) / 2);
}

/* Least number of steps up to window, whose sum is at least span_ps >= 0. */
static int32_t steps_until(const struct instance *instance, int64_t span_ps)
{
    int64_t first_ps = instance->step_ps;
    int64_t last_ps = first_ps + instance->slope_ps * (instance->window - 1);
    int64_t most_ps = first_ps > last_ps ? first_ps : last_ps;
    int32_t low = 1, high = instance->window;

    if (high > 2 && most_ps > 0 && span_ps / most_ps < high) /* none takes longer than that */
        low = span_ps / most_ps > 1 ? (int32_t)(span_ps / most_ps) : 1;
    while (low < high) {
        int32_t middle = low + (high - low) / 2;

        if (sum_ps(instance, middle) >= span_ps)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* Sums of so many steps, of so much each, are in no danger of running over. */
static bool is_small(int64_t step_ps, int32_t steps)
{
    return (step_ps < UNITS_PS_PER_S && steps < 1 << 20) || step_ps <= UNITS_MAX_PS / steps;
}

/* Of the steps that are left on the line, how many can be one event. */
static int32_t window_of(const struct instance *instance, int32_t left)
{
    while (left > 1) {
        int64_t last_ps = instance->step_ps + instance->slope_ps * (left - 1);

        if (is_small(last_ps > instance->step_ps ? last_ps : instance->step_ps, left))
            break;
        left /= 2;
    }
    return left;
}

static void leave_line(struct run *run, struct instance *instance)
{
    if (run->is_heard)
        gaps_of_line(run, instance);
    run->result->extrapolated_costs +=
        (int64_t)(instance->taken - instance->on_line) * instance->line->extrapolated;
    instance->on_line = instance->taken;
}

/* The next steady steps are under way. */
static bool launch_steady(struct run *run, int32_t index, struct err *err)
{
    struct instance *instance = &run->instances[index];
    int64_t mean = instance->mean_past + instance->taken, most;
    int32_t left = instance->limit - instance->taken;

    if (!instance->line || mean > instance->line->to) {
        if (instance->line)
            leave_line(run, instance);
        instance->line = step_price_line(instance->price, instance->decodes, mean, err);
        if (!instance->line)
            return false;
        instance->slope_ps = instance->line->slope_ps;
    }
    most = instance->line->to - mean + 1;
    left = most < left ? (int32_t)most : left;
    instance->step_ps = step_line_ps(instance->line, mean) + instance->hops_ps;
    if (instance->taken == 0)
        instance->first_ps = instance->step_ps;
    instance->window = 1;
    if (run->options->is_stepped)
        instance->ahead = left - 1;
    else
        instance->window = window_of(instance, left);
    instance->begin_ps = run->now_ps;
    instance->end_ps = engine_after_ps(run->now_ps, sum_ps(instance, instance->window));
    instance_plan(run, index, instance->end_ps);
    return true;
}

/* Steady steps that are taken, and no more of those planned. */
static const struct continuous_ends *end_steady(struct run *run, struct instance *instance)
{
    leave_line(run, instance);
    if (run->is_heard)
        gaps_of_steady(run, instance);
    instance->ahead = 0;
    count_busy(run, instance, instance->taken, instance->busy_from_ps, instance->decodes);
    return continuous_advance(instance->batcher, instance->taken);
}

/* An arrival that the next decision could admit: no step begins behind it, nor one at this instant.
 */
static void cut_short(struct run *run, int32_t index)
{
    struct instance *instance = &run->instances[index];
    int32_t window;

    if (run->now_ps == instance->begin_ps && instance->taken > 0) {
        if (run->is_solo)
            run->solo_ps = LLM_NEVER;
        else
            engine_clear(run->engine, index);
        (void)end_steady(run, instance); /* nobody ends before the last of those planned */
        decide_now(run, index);
        return;
    }
    window = steps_until(instance, run->now_ps - instance->begin_ps);
    instance->limit = instance->taken + window;
    instance->ahead = 0;
    if (window == instance->window)
        return;
    instance->window = window;
    instance->end_ps = engine_after_ps(instance->begin_ps, sum_ps(instance, window));
    instance_plan(run, index, instance->end_ps);
}

int64_t instance_work_tokens(const struct run *run, const struct instance *instance)
{
    int64_t tokens = continuous_work_tokens(instance->batcher);
    int32_t done;

    if (instance->state != INSTANCE_DECODING)
        return tokens;
    done = instance->taken;
    if (run->now_ps > instance->begin_ps) /* whole steps that lie behind */
        done += steps_until(instance, run->now_ps - instance->begin_ps + 1) - 1;
    return tokens - (int64_t)done * instance->decodes;
}

/* ---- decisions ---- */

static void tell_span(struct run *run, const struct instance *instance,
                      const struct continuous_entry *entry, int32_t share)
{
    struct flight *flight = &run->flights[entry->tag];
    int64_t ready_ps = entry->is_new ? flight->arrival_ps : flight->left_ps;

    run->observer.on_span(run->observer.arg,
                          &(struct llm_span){ .index = flight->index,
                                              .request_id = flight->request_id,
                                              .batch_id = run->next_batch_id,
                                              .replica = instance->replica,
                                              .device = instance->device,
                                              .stage = instance->stages[0].plan->id,
                                              .step = flight->step++,
                                              .share = share,
                                              .tokens = entry->tokens,
                                              .past_tokens = entry->past_tokens,
                                              .start_ps = instance->begin_ps,
                                              .finish_ps = instance->end_ps,
                                              .wait_ps = instance->begin_ps - ready_ps });
    flight->left_ps = instance->end_ps;
}

/* A step was planned, or has ended: other blocks are in use, in all stages. */
void llm_tell_cache(struct run *run, int32_t index)
{
    struct instance *instance = &run->instances[index];
    int32_t blocks;

    if (!run->observer.on_cache)
        return;
    blocks = continuous_used_blocks(instance->batcher);
    for (int s = 0; s < instance->stage_count && blocks != instance->told_blocks; s++) {
        const struct stage *stage = &instance->stages[s];

        for (int32_t i = 0; i < stage->plan->device_count; i++) {
            int32_t number = stage->plan->devices[i];
            struct device *device = &run->devices[number];

            if (stage->blocks_bytes[i] == 0)
                continue;
            device->told_bytes += stage->blocks_bytes[i] * (blocks - instance->told_blocks);
            run->observer.on_cache(run->observer.arg, number, run->now_ps, device->told_bytes);
        }
    }
    instance->told_blocks = blocks;
}

/* Requests that are computed for the first time. */
void llm_note_starts(struct run *run, int32_t device, const struct continuous_batch *batch,
                     int64_t start_ps)
{
    int64_t *peak_ps = &run->result->wait_peak_ps[device];

    for (int32_t i = 0; i < batch->entry_count; i++) {
        struct flight *flight = &run->flights[batch->entries[i].tag];

        if (!batch->entries[i].is_new)
            continue;
        flight->start_ps = start_ps;
        if (start_ps - flight->arrival_ps > *peak_ps)
            *peak_ps = start_ps - flight->arrival_ps;
    }
}

static bool launch_step(struct run *run, int32_t index, const struct continuous_batch *batch,
                        struct err *err)
{
    struct instance *instance = &run->instances[index];
    int64_t time_ps, hops_ps;

    if (!step_price_batch(instance->price, batch, &time_ps, &instance->extrapolated, err))
        return false;
    hops_ps = hops_find(run, instance, batch->tokens, batch->count);
    if (run->input->wakes)
        time_ps = engine_after_ps(time_ps,
                                  wake_take_ps(&run->input->wakes[instance->device],
                                               engine_after_ps(run->now_ps, hop_ps(&instance->in)),
                                               run->devices[instance->device].speed_ratio));
    instance->state = INSTANCE_STEPPING;
    instance->batch = batch;
    instance->begin_ps = run->now_ps;
    instance->end_ps = engine_after_ps(run->now_ps, engine_after_ps(time_ps, hops_ps));
    instance_plan(run, index, instance->end_ps);
    llm_note_starts(run, instance->device, batch,
                    engine_after_ps(run->now_ps, hop_ps(&instance->in)));
    llm_tell_cache(run, index);
    if (run->observer.on_span) {
        for (int32_t i = 0; i < batch->entry_count; i++)
            tell_span(run, instance, &batch->entries[i], i);
        run->next_batch_id++;
    }
    return true;
}

/* Whether a steady step of so many requests, the next or a later one, finds its device idle for so
 * long that it would pay for waking it: such steps are taken one by one. */
static bool wakes_on_the_way(const struct run *run, struct instance *instance, int32_t decodes)
{
    const struct wake *wake;
    int64_t hops_ps;

    if (!run->input->wakes)
        return false;
    wake = &run->input->wakes[instance->device];
    hops_ps = hops_find(run, instance, decodes, decodes);
    return wake->resume_ps > 0 &&
           (hops_ps >= COST_IDLE_PS ||
            wake_is_due(wake, engine_after_ps(run->now_ps, hop_ps(&instance->in))));
}

bool instance_decide(struct run *run, int32_t index, struct err *err)
{
    struct instance *instance = &run->instances[index];
    const struct continuous_batch *batch;

    assert(instance->state == INSTANCE_DECIDING);
    if (!run->observer.on_span) {
        struct continuous_steady steady = continuous_steady(instance->batcher);

        if (steady.steps > 0 && !wakes_on_the_way(run, instance, steady.decodes)) {
            instance->state = INSTANCE_DECODING;
            instance->taken = instance->on_line = 0;
            instance->busy_from_ps = run->now_ps;
            instance->limit = instance->is_alone ? steady.steps : 1;
            instance->decodes = steady.decodes;
            instance->past_tokens = steady.past_tokens;
            instance->mean_past = steady.past_tokens / steady.decodes;
            instance->line = NULL;
            instance->hops_ps = hops_find(run, instance, steady.decodes, steady.decodes);
            return launch_steady(run, index, err);
        }
    }
    batch = continuous_schedule(instance->batcher);
    if (batch->count > 0)
        return launch_step(run, index, batch, err);
    instance->state = INSTANCE_IDLE;
    if (!instance->is_alone)
        device_pass_on(run, &run->devices[instance->device]);
    return true;
}

/* ---- ends ---- */

/* What its prompt left is decoded by the other instance. */
static void hand_over(struct run *run, struct instance *instance, int32_t index)
{
    const struct flight *flight = &run->flights[index];

    instance->later_tokens -= flight->output_tokens - 1;
    continuous_arrive_cached(run->instances[instance->partner].batcher, flight->prompt_tokens,
                             flight->output_tokens, index);
    pipeline_wake(run, instance->partner);
}

void llm_tell_ends(struct run *run, int32_t number, const struct continuous_ends *ends)
{
    struct instance *instance = &run->instances[number];
    bool has_partner = instance->partner >= 0 && !instance->is_decoding;

    for (int32_t i = 0; i < ends->first_count; i++)
        run->flights[ends->firsts[i]].first_token_ps = run->now_ps;
    for (int32_t i = 0; i < ends->finished_count; i++) {
        int32_t index = (int32_t)ends->finished[i];

        if (has_partner && run->flights[index].output_tokens > 1)
            hand_over(run, instance, index);
        else
            llm_end(run, index, instance->replica, TRACE_OK, run->now_ps);
    }
}

/* What it does next is decided behind all else of this instant. */
static void go_on(struct run *run, int32_t index)
{
    struct instance *instance = &run->instances[index];
    struct device *device = &run->devices[instance->device];

    if (instance->is_alone) {
        decide_now(run, index);
        return;
    }
    instance->state = INSTANCE_IDLE;
    if (!continuous_is_idle(instance->batcher)) {
        instance->state = INSTANCE_WAITING;
        ring_push(&device->waiting, run->arena, index);
    }
    device_pass_on(run, device);
}

bool instance_done(struct run *run, int32_t index, struct err *err)
{
    struct instance *instance = &run->instances[index];
    const struct continuous_ends *ends;

    if (instance->state == INSTANCE_STEPPING) {
        run->result->extrapolated_costs += instance->extrapolated;
        count_busy(run, instance, 1, instance->begin_ps, instance->batch->count);
        if (run->is_heard)
            gaps_of_batch(run, instance, instance->batch, instance->begin_ps, false);
        ends = continuous_step_done(instance->batcher);
    } else {
        assert(instance->state == INSTANCE_DECODING && instance->ahead == 0);
        instance->taken += instance->window;
        if (instance->taken < instance->limit)
            return launch_steady(run, index, err);
        ends = end_steady(run, instance);
    }
    llm_tell_ends(run, instance->replica, ends);
    llm_tell_cache(run, index);
    go_on(run, index);
    return true;
}

void instance_join(struct run *run, int32_t index, int32_t flight)
{
    struct instance *instance = &run->instances[index];
    const struct flight *joining = &run->flights[flight];
    bool is_open = instance->state == INSTANCE_DECODING && continuous_is_open(instance->batcher);

    continuous_arrive(instance->batcher, joining->prompt_tokens, flight_outputs(run, joining),
                      flight);
    instance->outstanding++;
    if (is_open)
        cut_short(run, index);
    if (instance->state == INSTANCE_IDLE)
        instance_wake(run, index);
}
