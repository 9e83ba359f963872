/* llm_instance.c - an instance in time: planned steps, steady steps one by one or many at once, and
 * a device that several instances share. */
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "sim/llm/internal.h"
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
    instance->step_ps = step_line_ps(instance->line, mean);
    instance->window = 1;
    if (run->options->is_stepped)
        instance->ahead = left - 1;
    else
        instance->window = window_of(instance, left);
    instance->begin_ps = run->now_ps;
    instance->end_ps = engine_after_ps(run->now_ps, sum_ps(instance, instance->window));
    engine_set(run->engine, index, instance->end_ps, ENGINE_COMPLETION);
    return true;
}

/* Steady steps that are taken, and no more of those planned. */
static const struct continuous_ends *end_steady(struct run *run, struct instance *instance)
{
    leave_line(run, instance);
    instance->ahead = 0;
    run->result->busy_ps[instance->device] += run->now_ps - instance->busy_from_ps;
    return continuous_advance(instance->batcher, instance->taken);
}

/* An arrival that the next decision could admit: no step begins behind it, nor one at this instant.
 */
static void cut_short(struct run *run, int32_t index)
{
    struct instance *instance = &run->instances[index];
    int32_t window;

    if (run->now_ps == instance->begin_ps && instance->taken > 0) {
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
    engine_set(run->engine, index, instance->end_ps, ENGINE_COMPLETION);
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
                                              .step = flight->step++,
                                              .share = share,
                                              .tokens = entry->tokens,
                                              .past_tokens = entry->past_tokens,
                                              .start_ps = instance->begin_ps,
                                              .finish_ps = instance->end_ps,
                                              .wait_ps = instance->begin_ps - ready_ps });
    flight->left_ps = instance->end_ps;
}

/* A step was planned, or has ended: other blocks are in use. */
static void tell_cache(struct run *run, struct instance *instance)
{
    struct device *device = &run->devices[instance->device];
    int64_t bytes = instance->block_bytes * continuous_used_blocks(instance->batcher);

    if (!run->observer.on_cache || bytes == instance->told_bytes)
        return;
    device->told_bytes += bytes - instance->told_bytes;
    instance->told_bytes = bytes;
    run->observer.on_cache(run->observer.arg, instance->device, run->now_ps, device->told_bytes);
}

/* Requests that are computed for the first time. */
static void note_starts(struct run *run, const struct instance *instance,
                        const struct continuous_batch *batch)
{
    int64_t *peak_ps = &run->result->wait_peak_ps[instance->device];

    for (int32_t i = 0; i < batch->count; i++) {
        struct flight *flight = &run->flights[batch->entries[i].tag];

        if (!batch->entries[i].is_new)
            continue;
        flight->start_ps = run->now_ps;
        if (run->now_ps - flight->arrival_ps > *peak_ps)
            *peak_ps = run->now_ps - flight->arrival_ps;
    }
}

static bool launch_step(struct run *run, int32_t index, const struct continuous_batch *batch,
                        struct err *err)
{
    struct instance *instance = &run->instances[index];
    int64_t time_ps;

    if (!step_price_batch(instance->price, batch, &time_ps, &instance->extrapolated, err))
        return false;
    instance->state = INSTANCE_STEPPING;
    instance->begin_ps = run->now_ps;
    instance->end_ps = engine_after_ps(run->now_ps, time_ps);
    engine_set(run->engine, index, instance->end_ps, ENGINE_COMPLETION);
    note_starts(run, instance, batch);
    tell_cache(run, instance);
    if (run->observer.on_span) {
        for (int32_t i = 0; i < batch->count; i++)
            tell_span(run, instance, &batch->entries[i], i);
        run->next_batch_id++;
    }
    return true;
}

bool instance_decide(struct run *run, int32_t index, struct err *err)
{
    struct instance *instance = &run->instances[index];
    const struct continuous_batch *batch;

    assert(instance->state == INSTANCE_DECIDING);
    if (!run->observer.on_span) {
        struct continuous_steady steady = continuous_steady(instance->batcher);

        if (steady.steps > 0) {
            instance->state = INSTANCE_DECODING;
            instance->taken = instance->on_line = 0;
            instance->busy_from_ps = run->now_ps;
            instance->limit = instance->is_alone ? steady.steps : 1;
            instance->decodes = steady.decodes;
            instance->mean_past = steady.past_tokens / steady.decodes;
            instance->line = NULL;
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

static void tell_ends(struct run *run, const struct instance *instance,
                      const struct continuous_ends *ends)
{
    for (int32_t i = 0; i < ends->first_count; i++)
        run->flights[ends->firsts[i]].first_token_ps = run->now_ps;
    for (int32_t i = 0; i < ends->finished_count; i++)
        llm_end(run, (int32_t)ends->finished[i], instance->replica, TRACE_OK, run->now_ps);
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
        run->result->busy_ps[instance->device] += run->now_ps - instance->begin_ps;
        ends = continuous_step_done(instance->batcher);
    } else {
        assert(instance->state == INSTANCE_DECODING && instance->ahead == 0);
        instance->taken += instance->window;
        if (instance->taken < instance->limit)
            return launch_steady(run, index, err);
        ends = end_steady(run, instance);
    }
    tell_ends(run, instance, ends);
    tell_cache(run, instance);
    go_on(run, index);
    return true;
}

void instance_join(struct run *run, int32_t index, int32_t flight)
{
    struct instance *instance = &run->instances[index];
    const struct flight *joining = &run->flights[flight];
    bool is_open = instance->state == INSTANCE_DECODING && continuous_is_open(instance->batcher);

    continuous_arrive(instance->batcher, joining->prompt_tokens, joining->output_tokens, flight);
    instance->outstanding++;
    if (is_open)
        cut_short(run, index);
    if (instance->state == INSTANCE_IDLE)
        instance_wake(run, index);
}
