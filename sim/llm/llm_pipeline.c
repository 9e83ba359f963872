/* llm_pipeline.c - batches as tasks that pass the stages of their instance: from the source over a
 * link into the queue of a device, and so on, and back to the source. Messages of a batch carry 4
 * bytes a token into stage 0, activations between stages, 4 bytes a request back.
 *
 * The source decides: as soon as fewer tasks than stages are under way, behind all else of that
 * instant. A stage with a bounded queue counts what is on its way to it; a task that is done before
 * and finds no room keeps its device, and the source plans nothing while stage 0 has none. */
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/llm/internal.h"
#include "sim/network/network.h"
#include "sim/sliced/sliced.h"

/* ---- tasks ---- */

/* Of all messages of the batch. */
static int64_t bytes_of(const struct run *run, int32_t number, const struct continuous_batch *batch)
{
    const struct instance *instance = &run->instances[number];
    int64_t bytes = 0;

    for (int s = 0; s < instance->stage_count; s++)
        if (instance->stages[s].route >= 0)
            bytes = network_add_bytes(
                bytes, plan_input_bytes(run->plan, instance->stages[s].plan, batch->tokens));
    if (instance->route_back >= 0)
        bytes = network_add_bytes(
            bytes, network_times_bytes(batch->count,
                                       plan_result_bytes(run->plan, &run->plan->replicas[number])));
    return bytes;
}

static int32_t task_create(struct run *run, int32_t instance, const struct continuous_batch *batch)
{
    int32_t index = run->first_free_task;

    if (index < 0) {
        int32_t room = arena_wider(run->task_room, 16);

        run->tasks = arena_grow(run->arena, run->tasks, (size_t)run->task_room, (size_t)room,
                                sizeof *run->tasks);
        for (index = room - 1; index >= run->task_room; index--) {
            run->tasks[index].instance = -1;
            run->tasks[index].next = run->first_free_task;
            run->first_free_task = index;
        }
        run->task_room = room;
        index = run->first_free_task;
    }
    run->first_free_task = run->tasks[index].next;
    run->live_tasks++;
    run->tasks[index] = (struct task){ .batch = batch,
                                       .state = TASK_MOVING,
                                       .instance = instance,
                                       .batch_id = run->next_batch_id++,
                                       .made_ps = run->now_ps };
    run->due_bytes = network_add_bytes(run->due_bytes, bytes_of(run, instance, batch));
    if (run->is_watched) {
        const struct flight *flight = &run->flights[batch->entries[0].tag];

        run->tasks[index].request_id = flight->request_id;
        run->tasks[index].step = flight->step;
    }
    return index;
}

void pipeline_task_free(struct run *run, int32_t index)
{
    run->tasks[index].instance = -1;
    run->tasks[index].next = run->first_free_task;
    run->first_free_task = index;
    run->live_tasks--;
}

struct stage *pipeline_stage(const struct run *run, const struct task *task)
{
    return &run->instances[task->instance].stages[task->stage];
}

void pipeline_wake(struct run *run, int32_t index)
{
    if (run->instances[index].state == INSTANCE_DECIDING)
        return;
    run->instances[index].state = INSTANCE_DECIDING;
    ring_push(&run->woken, run->arena, index);
    run->deciding_count++;
}

/* ---- observers ---- */

static void tell_span(struct run *run, const struct task *task, int32_t position,
                      enum llm_span_kind kind, int64_t begin_ps, int64_t end_ps)
{
    const struct stage *stage = pipeline_stage(run, task);

    for (int32_t i = 0; i < task->batch->entry_count; i++) {
        const struct continuous_entry *entry = &task->batch->entries[i];
        const struct flight *flight = &run->flights[entry->tag];
        int64_t ready_ps = task->stage > 0 ? task->ready_ps
                           : entry->is_new ? flight->arrival_ps
                                           : flight->left_ps;

        run->observer.on_span(run->observer.arg,
                              &(struct llm_span){ .kind = kind,
                                                  .index = flight->index,
                                                  .request_id = flight->request_id,
                                                  .batch_id = task->batch_id,
                                                  .replica = task->instance,
                                                  .device = stage->plan->devices[position],
                                                  .position = position,
                                                  .step = flight->step,
                                                  .share = i,
                                                  .tokens = entry->tokens,
                                                  .past_tokens = entry->past_tokens,
                                                  .stage = stage->plan->id,
                                                  .start_ps = begin_ps,
                                                  .finish_ps = end_ps,
                                                  .wait_ps = begin_ps - ready_ps });
    }
}

/* Of a sliced stage only what has ended is told, and its pieces tell of themselves. */
void pipeline_tell_spans(struct run *run, const struct task *task, bool is_lost)
{
    const struct stage *stage = pipeline_stage(run, task);

    if (!stage->sliced)
        tell_span(run, task, 0, is_lost ? LLM_SPAN_LOST : LLM_SPAN_JOB, task->begin_ps,
                  run->now_ps);
    for (int32_t i = 0; stage->sliced && !is_lost && i < stage->plan->device_count; i++) {
        int64_t begin_ps, end_ps;

        sliced_span(stage->sliced, i, &begin_ps, &end_ps);
        tell_span(run, task, i, LLM_SPAN_PASS, begin_ps, end_ps);
    }
}

static void tell_transfers(const struct run *run, const struct task *task,
                           const struct network_sent *sent, int64_t bytes, int64_t send_ps,
                           bool is_late)
{
    const struct instance *instance = &run->instances[task->instance];
    bool is_back = task->state == TASK_RETURNING;
    struct llm_transfer transfer = {
        .batch_id = task->batch_id,
        .service = instance->service,
        .from = is_back           ? instance->stages[task->stage].device
                : task->stage > 0 ? instance->stages[task->stage - 1].device
                                  : NETWORK_SOURCE,
        .to = is_back ? NETWORK_SOURCE : instance->stages[task->stage].device,
        .hop = task->stage + is_back,
        .is_late = is_late,
        .sent = sent,
        .bytes = bytes,
        .send_ps = send_ps,
    };

    for (int32_t i = 0; i < task->batch->entry_count; i++) {
        const struct flight *flight = &run->flights[task->batch->entries[i].tag];

        transfer.index = flight->index;
        transfer.request_id = flight->request_id;
        transfer.step = flight->step;
        transfer.share = i;
        run->observer.on_transfer(run->observer.arg, &transfer);
    }
}

/* What the network could not tell when it was sent. */
static void tell_received(const struct run *run, const struct task *task)
{
    struct network_received received = network_received(run->input->network);
    struct network_sent sent = { .link = received.link,
                                 .in_link = -1,
                                 .begin_ps = received.begin_ps,
                                 .end_ps = received.arrival_ps,
                                 .arrival_ps = received.arrival_ps };

    tell_transfers(run, task, &sent, received.bytes, received.send_ps, true);
}

static void use_of_pull(const struct run *run, int link, int32_t message, int64_t bytes,
                        int64_t begin_ps, int64_t end_ps)
{
    int32_t index = pull_flight(run, message);

    if (index >= 0)
        run->observer.on_use(run->observer.arg,
                             &(struct llm_use){ .request_id = run->flights[index].request_id,
                                                .service = run->flights[index].service,
                                                .step = run->flights[index].step,
                                                .link = link,
                                                .bytes = bytes,
                                                .begin_ps = begin_ps,
                                                .end_ps = end_ps });
}

void pipeline_on_use(void *arg, int link, int32_t message, int64_t bytes, int64_t begin_ps,
                     int64_t end_ps)
{
    const struct run *run = arg;
    const struct task *task;

    if (message >= LLM_FIRST_PULL && message < SLICED_FIRST_MESSAGE) {
        use_of_pull(run, link, message, bytes, begin_ps, end_ps);
        return;
    }
    task = message < SLICED_FIRST_MESSAGE ? &run->tasks[message] : llm_sliced_task(run, message);

    if (!task)
        return;
    run->observer.on_use(run->observer.arg,
                         &(struct llm_use){ .request_id = task->request_id,
                                            .service = run->instances[task->instance].service,
                                            .step = task->step,
                                            .link = link,
                                            .bytes = bytes,
                                            .begin_ps = begin_ps,
                                            .end_ps = end_ps });
}

void pipeline_on_busy(void *arg, int link, int64_t begin_ps, int64_t end_ps, int64_t busy_ps)
{
    const struct run *run = arg;

    run->observer.on_busy(run->observer.arg, link, begin_ps, end_ps, busy_ps);
}

/* ---- the way ---- */

bool pipeline_reach(struct run *run, int32_t index, struct err *err)
{
    struct task *task = &run->tasks[index];
    struct stage *stage = pipeline_stage(run, task);
    int32_t instance = task->instance, number = task->stage;

    if (task->is_lost) {
        pipeline_task_free(run, index);
        return pipeline_give_room(run, instance, number, err);
    }
    task->state = TASK_QUEUED;
    task->has_begun = false;
    task->ready_ps = run->now_ps;
    if (stage->sliced)
        return sliced_push(stage->sliced, index, err);
    ring_push(&run->devices[stage->device].waiting, run->arena, index);
    return pipeline_device_start(run, stage->device, err);
}

/* The source has its result. */
static void come_back(struct run *run, int32_t index)
{
    const struct task *task = &run->tasks[index];
    int32_t number = task->instance;
    struct instance *instance = &run->instances[number];

    for (int32_t i = 0; run->is_watched && i < task->batch->entry_count; i++) {
        struct flight *flight = &run->flights[task->batch->entries[i].tag];

        flight->step++;
        flight->left_ps = run->now_ps;
    }
    if (run->is_heard)
        gaps_of_batch(run, instance, task->batch, task->made_ps, false);
    pipeline_task_free(run, index);
    llm_tell_ends(run, number, continuous_step_done(instance->batcher));
    llm_tell_cache(run, number);
    pipeline_wake(run, number);
}

/* Over the link to its stage, or to the source. */
static void go_over(struct run *run, int32_t index, int route, int64_t bytes)
{
    const struct task *task = &run->tasks[index];

    run->sent_bytes = network_add_bytes(run->sent_bytes, bytes);
    network_carry(run->input->network, route, task->batch->count - 1, bytes);
    if (run->observer.on_transfer) {
        struct network_sent sent = network_send(run->input->network, route, bytes, index);

        if (sent.arrival_ps != NETWORK_LATER)
            tell_transfers(run, task, &sent, bytes, run->now_ps, false);
    } else {
        network_post(run->input->network, route, bytes, index);
    }
}

/* Into its stage: there is room. */
static bool go_in(struct run *run, int32_t index, struct err *err)
{
    struct task *task = &run->tasks[index];
    struct stage *stage = pipeline_stage(run, task);

    stage->coming++;
    task->state = TASK_MOVING;
    if (stage->route >= 0) {
        go_over(run, index, stage->route,
                plan_input_bytes(run->plan, stage->plan, task->batch->tokens));
        return true;
    }
    return delays_hold_task(run, index) || pipeline_reach(run, index, err);
}

static void go_back(struct run *run, int32_t index)
{
    struct task *task = &run->tasks[index];
    const struct instance *instance = &run->instances[task->instance];
    int64_t each_bytes;

    task->state = TASK_RETURNING;
    if (instance->route_back < 0) {
        come_back(run, index);
        return;
    }
    each_bytes = plan_result_bytes(run->plan, &run->plan->replicas[instance->replica]);
    go_over(run, index, instance->route_back, network_times_bytes(task->batch->count, each_bytes));
}

/* Others may have what the task had of the stage. */
static bool stage_pass_on(struct run *run, struct stage *stage, struct err *err)
{
    if (stage->sliced)
        return sliced_release(stage->sliced, err);
    return pipeline_device_start(run, stage->device, err);
}

/* Its job is done: it leaves its device, if there is room before the next stage. Of a sliced stage
 * it keeps the stage, not the devices. */
bool pipeline_leave(struct run *run, int32_t index, struct err *err)
{
    struct task *task = &run->tasks[index];
    const struct instance *instance = &run->instances[task->instance];
    struct stage *stage = pipeline_stage(run, task);
    bool is_last = task->stage + 1 == instance->stage_count;
    struct stage *next = is_last ? stage : stage + 1;

    if (task->is_lost) {
        pipeline_task_free(run, index);
    } else if (is_last) {
        go_back(run, index);
    } else if (next->coming >= next->room) {
        task->state = TASK_BLOCKED;
        ring_push(&next->blocked, run->arena, index);
        if (stage->sliced)
            sliced_hold(stage->sliced);
        return true;
    } else {
        if (!stage->sliced)
            run->devices[stage->device].owner = -1; /* it may go back into the same device */
        task->stage++;
        return go_in(run, index, err) && stage_pass_on(run, stage, err);
    }
    if (!stage->sliced)
        run->devices[stage->device].owner = -1;
    return stage_pass_on(run, stage, err);
}

/* One fewer is before the stage. */
bool pipeline_give_room(struct run *run, int32_t number, int32_t stage_number, struct err *err)
{
    struct stage *stage = &run->instances[number].stages[stage_number];

    stage->coming--;
    if (stage_number == 0) {
        pipeline_wake(run, number);
        return true;
    }
    return stage->blocked.count == 0 || pipeline_leave(run, ring_take(&stage->blocked), err);
}

/* ---- devices ---- */

static bool job_begin(struct run *run, int32_t index, struct err *err)
{
    struct task *task = &run->tasks[index];
    const struct stage *stage = pipeline_stage(run, task);
    struct device *device = &run->devices[stage->device];
    int64_t time_ps;

    if (!step_price_batch(stage->price, task->batch, &time_ps, &task->extrapolated, err))
        return false;
    time_ps = engine_after_ps(time_ps, llm_wake_ps(run, stage->device));
    device->owner = index;
    task->state = TASK_RUNNING;
    task->begin_ps = run->now_ps;
    if (task->stage == 0)
        llm_note_starts(run, stage->device, task->batch, run->now_ps);
    else if (run->now_ps - task->ready_ps > run->result->wait_peak_ps[stage->device])
        run->result->wait_peak_ps[stage->device] = run->now_ps - task->ready_ps;
    engine_set(run->engine, device->slot, engine_after_ps(run->now_ps, time_ps), ENGINE_COMPLETION);
    return true;
}

bool pipeline_device_start(struct run *run, int32_t number, struct err *err)
{
    struct device *device = &run->devices[number];
    int64_t free_ps = run->result->free_ps[number];

    if (free_ps > run->now_ps) { /* an epoch has it */
        if (device->owner < 0 && device->waiting.count > 0)
            engine_set(run->engine, device->slot, free_ps, ENGINE_COMPLETION);
        return true;
    }
    while (device->owner < 0 && device->waiting.count > 0 && !device->is_down) {
        int32_t index = ring_take(&device->waiting);
        struct task task;

        if (index >= LLM_FIRST_PART) {
            llm_part_begin(run, index);
            continue;
        }
        task = run->tasks[index];
        if (task.is_lost)
            pipeline_task_free(run, index);
        else if (!job_begin(run, index, err))
            return false;
        if (!pipeline_give_room(run, task.instance, task.stage, err))
            return false;
    }
    return true;
}

static bool job_done(struct run *run, int32_t number, struct err *err)
{
    int32_t index = run->devices[number].owner;
    const struct task *task = &run->tasks[index];

    if (index < 0)
        return pipeline_device_start(run, number, err);
    if (index >= LLM_STRAY)
        return llm_part_done(run, number, err);
    run->result->busy_ps[number] += run->now_ps - task->begin_ps;
    llm_worked(run, number, run->now_ps);
    llm_events_settle(run, number);
    run->result->extrapolated_costs += task->extrapolated;
    if (!task->is_lost)
        llm_count_compute(run, run->now_ps - task->begin_ps, task->batch->count);
    if (run->observer.on_span && !task->is_lost)
        pipeline_tell_spans(run, task, false);
    return pipeline_leave(run, index, err);
}

static bool arrive(struct run *run, int32_t index, struct err *err)
{
    const struct task *task = &run->tasks[index];

    if (task->state != TASK_RETURNING)
        return (!task->is_lost && delays_hold_task(run, index)) || pipeline_reach(run, index, err);
    if (task->is_lost)
        pipeline_task_free(run, index);
    else
        come_back(run, index);
    return true;
}

bool pipeline_event(struct run *run, int slot, struct err *err)
{
    int32_t message;

    if (slot < run->network_slot)
        return job_done(run, run->slot_devices[slot], err);
    if (slot == run->control_slot)
        return llm_events_next(run, err);
    if (slot == run->delay_slot)
        return delays_release(run, err);
    if (slot >= run->sliced_slot)
        return sliced_event(run->input->sliced, slot - run->sliced_slot, err);
    message = network_receive(run->input->network, slot);
    if (message == NETWORK_NOTHING)
        return true;
    if (message >= SLICED_FIRST_MESSAGE)
        return sliced_arrive(
            run->input->sliced, message,
            run->observer.on_transfer && network_slot_is_late(run->input->network, slot), err);
    if (message >= LLM_FIRST_PULL) {
        pull_arrive(run, message,
                    run->observer.on_transfer && network_slot_is_late(run->input->network, slot));
        return true;
    }
    if (run->observer.on_transfer && !run->tasks[message].is_lost &&
        network_slot_is_late(run->input->network, slot))
        tell_received(run, &run->tasks[message]);
    return arrive(run, message, err);
}

/* ---- the source ---- */

void pipeline_join(struct run *run, int32_t index, int32_t flight)
{
    const struct flight *joining = &run->flights[flight];
    struct instance *instance = &run->instances[index];
    int32_t outputs = flight_outputs(run, joining);

    if (instance->partner >= 0 && outputs > 1) {
        continuous_arrive_kept(instance->batcher, joining->prompt_tokens, flight);
        instance->later_tokens += outputs - 1;
    } else {
        continuous_arrive(instance->batcher, joining->prompt_tokens, outputs, flight);
    }
    instance->outstanding++;
    pipeline_wake(run, index);
}

/* Whoever gets blocks has his cache sent. */
static void fetch_all(struct run *run, int32_t index)
{
    const int64_t *tags;
    int32_t count = continuous_fetch(run->instances[index].batcher, &tags);

    for (int32_t i = 0; i < count; i++)
        pull_begin(run, index, (int32_t)tags[i]);
    if (count > 0)
        llm_tell_cache(run, index);
}

static bool decide(struct run *run, int32_t index, struct err *err)
{
    struct instance *instance = &run->instances[index];
    const struct stage *first = &instance->stages[0];

    fetch_all(run, index);
    while (continuous_in_flight(instance->batcher) < instance->options.max_in_flight &&
           first->coming < first->room && instance->down_count == 0) {
        const struct continuous_batch *batch = continuous_schedule(instance->batcher);

        if (batch->count == 0)
            break;
        llm_tell_cache(run, index);
        if (!go_in(run, task_create(run, index, batch), err))
            return false;
        fetch_all(run, index);
    }
    instance->state = INSTANCE_IDLE;
    return true;
}

bool pipeline_decide_all(struct run *run, struct err *err)
{
    while (run->woken.count > 0) {
        if (!decide(run, ring_take(&run->woken), err))
            return false;
        run->deciding_count--;
    }
    return true;
}
