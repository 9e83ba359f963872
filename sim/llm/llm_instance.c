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

/* Of the first `steps` of a line that begins with a step of first_ps: exact. */
static int64_t sum_ps(const struct step_line *line, int64_t first_ps, int32_t steps)
{
    return steps * first_ps + line->slope_ps * ((int64_t)steps * (steps - 1) / 2);
}

/* Least number of steps up to window, whose sum is at least span_ps. */
static int32_t steps_until(const struct instance *instance, int64_t first_ps, int64_t span_ps)
{
    int32_t low = 1, high = instance->window;

    while (low < high) {
        int32_t middle = low + (high - low) / 2;

        if (sum_ps(instance->line, first_ps, middle) >= span_ps)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static int64_t first_step_ps(const struct instance *instance)
{
    return step_line_ps(instance->line, instance->mean_past + instance->taken);
}

/* How many steps of the line can be one event: those up to the limit, on this line, whose sum is in
 * no danger of running over. */
static int32_t window_of(const struct run *run, const struct instance *instance, int64_t first_ps)
{
    int64_t mean = instance->mean_past + instance->taken;
    int64_t most = instance->line->to - mean + 1;
    int32_t steps = instance->limit - instance->taken;
    int64_t last_ps;

    if (run->options->is_stepped || !instance->is_alone)
        return 1;
    steps = most < steps ? (int32_t)most : steps;
    while (steps > 1) {
        last_ps = step_line_ps(instance->line, mean + steps - 1);
        if ((last_ps > first_ps ? last_ps : first_ps) <= UNITS_MAX_PS / steps)
            break;
        steps /= 2;
    }
    return steps;
}

/* The next steady steps are under way. */
static bool launch_steady(struct run *run, int32_t index, struct err *err)
{
    struct instance *instance = &run->instances[index];
    int64_t mean = instance->mean_past + instance->taken, first_ps;

    if (!instance->line || mean > instance->line->to) {
        instance->line = step_price_line(instance->price, instance->decodes, mean, err);
        if (!instance->line)
            return false;
    }
    first_ps = first_step_ps(instance);
    instance->window = window_of(run, instance, first_ps);
    instance->begin_ps = run->now_ps;
    instance->end_ps =
        engine_after_ps(run->now_ps, sum_ps(instance->line, first_ps, instance->window));
    engine_set(run->engine, index, instance->end_ps, ENGINE_COMPLETION);
    return true;
}

/* An arrival that the next decision could admit: no step begins behind it. */
static void cut_short(struct run *run, int32_t index)
{
    struct instance *instance = &run->instances[index];
    int64_t first_ps = first_step_ps(instance);

    instance->window = steps_until(instance, first_ps, run->now_ps - instance->begin_ps);
    instance->limit = instance->taken + instance->window;
    instance->end_ps =
        engine_after_ps(instance->begin_ps, sum_ps(instance->line, first_ps, instance->window));
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
        done +=
            steps_until(instance, first_step_ps(instance), run->now_ps - instance->begin_ps + 1) -
            1;
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
            instance->taken = 0;
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

    run->result->busy_ps[instance->device] += instance->end_ps - instance->begin_ps;
    if (instance->state == INSTANCE_STEPPING) {
        run->result->extrapolated_costs += instance->extrapolated;
        ends = continuous_step_done(instance->batcher);
    } else {
        assert(instance->state == INSTANCE_DECODING);
        run->result->extrapolated_costs += (int64_t)instance->window * instance->line->extrapolated;
        instance->taken += instance->window;
        if (instance->taken < instance->limit)
            return launch_steady(run, index, err);
        ends = continuous_advance(instance->batcher, instance->taken);
    }
    tell_ends(run, instance, ends);
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
