/* llm_sliced.c - batches in stages on several devices: the host of sim/sliced. What a device
 * computes in a pass is a part, a job among the others of its queue. */
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/overhead.h"
#include "lib/policy/price.h"
#include "sim/llm/internal.h"
#include "sim/sliced/sliced.h"
#include <assert.h>

/* ---- whose a stage is ---- */

static struct stage *stage_of(const struct run *run, const struct sliced *sliced)
{
    const struct plan_stage *plan = sliced_plan(sliced);

    return &run->instances[llm_instance_of(run, plan)].stages[plan->number];
}

const struct task *llm_sliced_task(const struct run *run, int32_t message)
{
    int32_t task = sliced_message_of(run->input->sliced, message);

    return task == SLICED_NOBODY ? NULL : &run->tasks[task];
}

/* ---- passes ---- */

static bool begin(void *arg, const struct sliced *sliced, int32_t who, struct sliced_load *load,
                  struct err *err)
{
    struct run *run = arg;
    struct task *task = &run->tasks[who];

    (void)sliced;
    task->state = TASK_RUNNING;
    *load = (struct sliced_load){ task->batch->tokens, task->batch->count,
                                  task->batch->decodes == task->batch->count };
    return pipeline_give_room(run, task->instance, task->stage, err);
}

static bool price(void *arg, const struct sliced *sliced, int32_t who, int32_t piece,
                  int64_t *time_ps, int *extrapolated, struct err *err)
{
    const struct run *run = arg;

    return step_price_batch(stage_of(run, sliced)->pieces[piece], run->tasks[who].batch, time_ps,
                            extrapolated, err);
}

static int64_t lead_ps(void *arg, const struct sliced *sliced, int32_t position, int32_t sequences)
{
    const struct run *run = arg;
    int32_t device = sliced_plan(sliced)->devices[position];

    return price_scale(overhead_step_ps(run->input->overheads, sequences),
                       run->devices[device].speed_ratio);
}

/* The batch is computed for the first time in its stage. */
static void note_begin(struct run *run, struct task *task, int32_t device, int64_t begin_ps)
{
    if (task->has_begun)
        return;
    task->has_begun = true;
    task->begin_ps = begin_ps;
    if (task->stage == 0)
        llm_note_starts(run, device, task->batch, begin_ps);
}

/* In closed form nobody has seen it begin. */
static void note_first(struct run *run, struct task *task, const struct sliced *sliced)
{
    const struct plan_stage *plan = sliced_plan(sliced);
    int64_t first_ps = run->now_ps;
    int32_t first = 0;

    for (int32_t i = 0; i < plan->device_count; i++) {
        int64_t begin_ps, end_ps;

        sliced_span(sliced, i, &begin_ps, &end_ps);
        if (begin_ps < end_ps && begin_ps < first_ps) {
            first_ps = begin_ps;
            first = i;
        }
    }
    note_begin(run, task, plan->devices[first], first_ps);
}

static bool end(void *arg, const struct sliced *sliced, int32_t who, struct err *err)
{
    struct run *run = arg;
    struct task *task = &run->tasks[who];

    if (!task->has_begun)
        note_first(run, task, sliced);
    if (run->observer.on_span)
        pipeline_tell_spans(run, task, false);
    llm_count_compute(run, sliced_compute_ps(sliced), task->batch->count);
    return pipeline_leave(run, who, err);
}

/* ---- parts ---- */

static bool compute(void *arg, const struct sliced *sliced, int32_t who, int32_t piece,
                    int64_t cost_ps, struct err *err)
{
    struct run *run = arg;
    const struct stage *stage = stage_of(run, sliced);
    int32_t position = sliced_pass(sliced)->pieces[piece].position;
    int32_t number = stage->first_part + position, device = stage->plan->devices[position];
    struct part *part = &run->parts[number];

    (void)who;
    part->piece = piece;
    part->cost_ps = cost_ps;
    part->ready_ps = run->now_ps;
    ring_push(&run->devices[device].waiting, run->arena, LLM_FIRST_PART + number);
    return pipeline_device_start(run, device, err);
}

static struct stage *stage_of_part(const struct run *run, const struct part *part)
{
    return &run->instances[part->instance].stages[part->stage];
}

bool llm_part_reprice(struct run *run, int32_t number, struct err *err)
{
    struct part *part = &run->parts[number - LLM_FIRST_PART];

    return sliced_reprice(stage_of_part(run, part)->sliced, part->piece, &part->cost_ps, err);
}

void llm_part_begin(struct run *run, int32_t number)
{
    struct part *part = &run->parts[number - LLM_FIRST_PART];
    const struct stage *stage = stage_of_part(run, part);
    int32_t device = stage->plan->devices[part->position];
    int64_t wait_ps = run->now_ps - part->ready_ps;

    run->devices[device].owner = number;
    part->begin_ps = run->now_ps;
    if (wait_ps > run->result->wait_peak_ps[device])
        run->result->wait_peak_ps[device] = wait_ps;
    note_begin(run, &run->tasks[sliced_running(stage->sliced)], device, run->now_ps);
    engine_set(
        run->engine, run->devices[device].slot,
        engine_after_ps(run->now_ps, engine_after_ps(part->cost_ps, llm_wake_ps(run, device))),
        ENGINE_COMPLETION);
}

static void tell_piece(const struct run *run, const struct part *part, const struct task *task)
{
    const struct stage *stage = stage_of_part(run, part);
    const struct continuous_entry *entry = &task->batch->entries[0];
    const struct flight *flight = &run->flights[entry->tag];

    run->observer.on_span(run->observer.arg,
                          &(struct llm_span){ .kind = LLM_SPAN_PIECE,
                                              .index = flight->index,
                                              .request_id = flight->request_id,
                                              .batch_id = task->batch_id,
                                              .replica = part->instance,
                                              .device = stage->plan->devices[part->position],
                                              .position = part->position,
                                              .step = flight->step,
                                              .tokens = entry->tokens,
                                              .past_tokens = entry->past_tokens,
                                              .stage = stage->plan->id,
                                              .start_ps = part->begin_ps,
                                              .finish_ps = run->now_ps });
}

void llm_stray_end(struct run *run, int32_t device)
{
    run->result->busy_ps[device] += run->now_ps - run->devices[device].stray_ps;
    llm_worked(run, device, run->now_ps);
    llm_events_settle(run, device);
    run->devices[device].owner = -1;
    run->live_tasks--;
}

bool llm_part_done(struct run *run, int32_t device, struct err *err)
{
    int32_t number = run->devices[device].owner;
    const struct part *part;
    struct stage *stage;

    if (number == LLM_STRAY) {
        llm_stray_end(run, device);
        return pipeline_device_start(run, device, err);
    }
    part = &run->parts[number - LLM_FIRST_PART];
    stage = stage_of_part(run, part);
    run->result->busy_ps[device] += run->now_ps - part->begin_ps;
    llm_worked(run, device, run->now_ps);
    llm_events_settle(run, device);
    run->devices[device].owner = -1;
    if (run->observer.on_span)
        tell_piece(run, part, &run->tasks[sliced_running(stage->sliced)]);
    return sliced_computed(stage->sliced, part->position, part->begin_ps, err) &&
           pipeline_device_start(run, device, err);
}

/* ---- the closed form ---- */

/* Of the only replica, with one batch at a time, nothing that arrives changes anything before the
 * batch has come back. */
static bool is_only_batch(const struct run *run, const struct stage *stage)
{
    return run->instance_count == 1 &&
           run->instances[stage->plan->replica].options.max_in_flight == 1;
}

static bool is_quiet(void *arg, const struct sliced *sliced, int64_t *next_ps)
{
    const struct run *run = arg;
    const struct stage *stage = stage_of(run, sliced);

    *next_ps = LLM_NEVER;
    if (!is_only_batch(run, stage)) {
        *next_ps = *run->next_arrival_ps;
        if (run->deciding_count > 0 || run->live_pulls > 0 || /* who waits for a cache decides */
            run->live_tasks != 1 + sliced_waiting(sliced))
            return false;
    }
    for (int32_t i = 0; i < stage->plan->device_count; i++) {
        int32_t device = stage->plan->devices[i];

        if (run->devices[device].owner >= 0 || run->result->free_ps[device] > run->now_ps)
            return false;
        if (run->input->wakes && wake_could_ps(&run->input->wakes[device]) < *next_ps)
            *next_ps = wake_could_ps(&run->input->wakes[device]); /* no closed form of waking */
    }
    return true;
}

static void account(void *arg, const struct sliced *sliced, int32_t position, int64_t busy_ps,
                    int64_t end_ps)
{
    struct run *run = arg;

    run->result->busy_ps[sliced_plan(sliced)->devices[position]] += busy_ps;
    llm_worked(run, sliced_plan(sliced)->devices[position], end_ps);
}

/* ---- messages ---- */

static void on_message(void *arg, const struct sliced *sliced, const struct sliced_message *message)
{
    const struct run *run = arg;
    const struct stage *stage = stage_of(run, sliced);
    const struct task *task = &run->tasks[sliced_running(sliced)];
    const struct flight *flight = &run->flights[task->batch->entries[0].tag];

    run->observer.on_transfer(
        run->observer.arg,
        &(struct llm_transfer){ .index = flight->index,
                                .request_id = flight->request_id,
                                .batch_id = task->batch_id,
                                .service = run->instances[task->instance].service,
                                .from = stage->plan->devices[message->from],
                                .to = stage->plan->devices[message->to],
                                .step = flight->step,
                                .hop = task->stage,
                                .is_inside = true,
                                .is_late = message->is_late,
                                .sent = message->sent,
                                .bytes = message->bytes,
                                .send_ps = message->send_ps });
}

/* ---- failures ---- */

static void forget(struct run *run, struct ring *ring, int32_t item)
{
    for (uint32_t left = ring->count; left > 0; left--) {
        int32_t other = ring_take(ring);

        if (other != item)
            ring_push(ring, run->arena, other);
    }
}

void llm_sliced_cut(struct run *run, struct stage *stage)
{
    for (int32_t i = 0; i < stage->plan->device_count; i++) {
        struct device *device = &run->devices[stage->plan->devices[i]];
        int32_t number = stage->first_part + i;

        forget(run, &device->waiting, LLM_FIRST_PART + number);
        if (device->owner != LLM_FIRST_PART + number)
            continue;
        device->owner = LLM_STRAY;
        device->stray_ps = run->parts[number].begin_ps;
        run->live_tasks++;
        if (device->is_down) {
            engine_clear(run->engine, device->slot);
            llm_stray_end(run, stage->plan->devices[i]);
        }
    }
    sliced_cut(stage->sliced);
}

/* ---- before time starts ---- */

void llm_sliced_fill(struct run *run, int32_t instance, struct stage *stage)
{
    int32_t count = run->part_count + stage->plan->device_count;
    const struct pass *pass;

    stage->sliced = run->input->sliced_stages[stage->plan->id];
    assert(stage->sliced && count < LLM_STRAY);
    pass = sliced_pass(stage->sliced);
    stage->pieces =
        arena_array(run->arena, (size_t)pass->piece_count + 1, sizeof(struct step_price *));
    stage->first_part = run->part_count;
    run->parts = arena_grow(run->arena, run->parts, (size_t)run->part_count, (size_t)count,
                            sizeof *run->parts);
    for (int32_t i = 0; i < stage->plan->device_count; i++)
        run->parts[run->part_count++] =
            (struct part){ .instance = instance, .stage = stage->plan->number, .position = i };
}

void llm_sliced_begin(struct run *run)
{
    const struct sliced_host host = {
        .arg = run,
        .begin = begin,
        .price = price,
        .lead_ps = lead_ps,
        .compute = compute,
        .end = end,
        .is_quiet = is_quiet,
        .account = account,
        .on_message = run->observer.on_transfer ? on_message : NULL,
    };
    int32_t *slots =
        arena_array(run->arena, (size_t)run->plan->cluster->device_count, sizeof *slots);

    for (int i = 0; i < run->plan->cluster->device_count; i++)
        slots[i] = run->devices[i].slot;
    sliced_attach(run->input->sliced, run->plan->cluster, run->engine, run->sliced_slot, slots,
                  &host);
}
