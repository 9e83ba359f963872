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
#include <assert.h>
#include <stdio.h>

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

static void task_free(struct run *run, int32_t index)
{
    run->tasks[index].instance = -1;
    run->tasks[index].next = run->first_free_task;
    run->first_free_task = index;
    run->live_tasks--;
}

static struct stage *stage_of(const struct run *run, const struct task *task)
{
    return &run->instances[task->instance].stages[task->stage];
}

static void wake(struct run *run, int32_t index)
{
    if (run->instances[index].state == INSTANCE_DECIDING)
        return;
    run->instances[index].state = INSTANCE_DECIDING;
    ring_push(&run->woken, run->arena, index);
    run->deciding_count++;
}

/* ---- observers ---- */

static void tell_spans(struct run *run, const struct task *task, int64_t finish_ps, bool is_lost)
{
    const struct stage *stage = stage_of(run, task);

    for (int32_t i = 0; i < task->batch->entry_count; i++) {
        const struct continuous_entry *entry = &task->batch->entries[i];
        const struct flight *flight = &run->flights[entry->tag];
        int64_t ready_ps = task->stage > 0 ? task->ready_ps
                           : entry->is_new ? flight->arrival_ps
                                           : flight->left_ps;

        run->observer.on_span(run->observer.arg,
                              &(struct llm_span){ .index = flight->index,
                                                  .request_id = flight->request_id,
                                                  .batch_id = task->batch_id,
                                                  .replica = task->instance,
                                                  .device = stage->device,
                                                  .step = flight->step,
                                                  .share = i,
                                                  .tokens = entry->tokens,
                                                  .past_tokens = entry->past_tokens,
                                                  .stage = stage->plan->id,
                                                  .is_lost = is_lost,
                                                  .start_ps = task->begin_ps,
                                                  .finish_ps = finish_ps,
                                                  .wait_ps = task->begin_ps - ready_ps });
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

void pipeline_on_use(void *arg, int link, int32_t message, int64_t bytes, int64_t begin_ps,
                     int64_t end_ps)
{
    const struct run *run = arg;
    const struct task *task = &run->tasks[message];

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

static bool device_start(struct run *run, int32_t index, struct err *err);

static void enter(struct run *run, int32_t index)
{
    struct task *task = &run->tasks[index];

    task->state = TASK_QUEUED;
    task->ready_ps = run->now_ps;
    ring_push(&run->devices[stage_of(run, task)->device].waiting, run->arena, index);
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
    task_free(run, index);
    llm_tell_ends(run, instance->replica, continuous_step_done(instance->batcher));
    llm_tell_cache(run, number);
    wake(run, number);
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
    struct stage *stage = stage_of(run, task);

    stage->coming++;
    task->state = TASK_MOVING;
    if (stage->route >= 0) {
        go_over(run, index, stage->route,
                plan_input_bytes(run->plan, stage->plan, task->batch->tokens));
        return true;
    }
    enter(run, index);
    return device_start(run, stage->device, err);
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

/* Its job is done: it leaves its device, if there is room before the next stage. */
static bool leave(struct run *run, int32_t index, struct err *err)
{
    struct task *task = &run->tasks[index];
    const struct instance *instance = &run->instances[task->instance];
    int32_t device = stage_of(run, task)->device;
    struct stage *next =
        task->stage + 1 < instance->stage_count ? &instance->stages[task->stage + 1] : NULL;

    if (task->is_lost) {
        task_free(run, index);
    } else if (!next) {
        go_back(run, index);
    } else if (next->coming >= next->room) {
        task->state = TASK_BLOCKED;
        ring_push(&next->blocked, run->arena, index);
        return true;
    } else {
        run->devices[device].owner = -1; /* it may go back into the same device */
        task->stage++;
        if (!go_in(run, index, err))
            return false;
        return device_start(run, device, err);
    }
    run->devices[device].owner = -1;
    return device_start(run, device, err);
}

/* One fewer is before the stage. */
static bool give_room(struct run *run, int32_t number, int32_t stage_number, struct err *err)
{
    struct stage *stage = &run->instances[number].stages[stage_number];

    stage->coming--;
    if (stage_number == 0) {
        wake(run, number);
        return true;
    }
    return stage->blocked.count == 0 || leave(run, ring_take(&stage->blocked), err);
}

/* ---- devices ---- */

static bool job_begin(struct run *run, int32_t index, struct err *err)
{
    struct task *task = &run->tasks[index];
    const struct stage *stage = stage_of(run, task);
    struct device *device = &run->devices[stage->device];
    int64_t time_ps;

    if (!step_price_batch(stage->price, task->batch, &time_ps, &task->extrapolated, err))
        return false;
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

static bool device_start(struct run *run, int32_t number, struct err *err)
{
    struct device *device = &run->devices[number];

    while (device->owner < 0 && device->waiting.count > 0 && !device->is_down) {
        int32_t index = ring_take(&device->waiting);
        struct task task = run->tasks[index];

        if (task.is_lost)
            task_free(run, index);
        else if (!job_begin(run, index, err))
            return false;
        if (!give_room(run, task.instance, task.stage, err))
            return false;
    }
    return true;
}

static bool job_done(struct run *run, int32_t number, struct err *err)
{
    int32_t index = run->devices[number].owner;
    const struct task *task = &run->tasks[index];

    run->result->busy_ps[number] += run->now_ps - task->begin_ps;
    run->result->extrapolated_costs += task->extrapolated;
    if (!task->is_lost)
        llm_count_compute(run, run->now_ps - task->begin_ps, task->batch->count);
    if (run->observer.on_span && !task->is_lost)
        tell_spans(run, task, run->now_ps, false);
    return leave(run, index, err);
}

static bool arrive(struct run *run, int32_t index, struct err *err)
{
    struct task *task = &run->tasks[index];
    int32_t instance = task->instance, stage = task->stage;

    if (task->state == TASK_RETURNING && !task->is_lost) {
        come_back(run, index);
        return true;
    }
    if (task->is_lost) {
        bool was_coming = task->state == TASK_MOVING;

        task_free(run, index);
        return !was_coming || give_room(run, instance, stage, err);
    }
    enter(run, index);
    return device_start(run, stage_of(run, task)->device, err);
}

bool pipeline_event(struct run *run, int slot, struct err *err)
{
    int32_t message;

    if (slot < run->network_slot)
        return job_done(run, run->slot_devices[slot], err);
    if (slot == run->control_slot)
        return llm_events_next(run, err);
    if (slot == run->delay_slot) {
        delays_release(run);
        return true;
    }
    message = network_receive(run->input->network, slot);
    if (message == NETWORK_NOTHING)
        return true;
    if (run->observer.on_transfer && !run->tasks[message].is_lost &&
        network_slot_is_late(run->input->network, slot))
        tell_received(run, &run->tasks[message]);
    return arrive(run, message, err);
}

/* ---- the source ---- */

void pipeline_join(struct run *run, int32_t index, int32_t flight)
{
    const struct flight *joining = &run->flights[flight];

    continuous_arrive(run->instances[index].batcher, joining->prompt_tokens,
                      flight_outputs(run, joining), flight);
    run->instances[index].outstanding++;
    wake(run, index);
}

static bool decide(struct run *run, int32_t index, struct err *err)
{
    struct instance *instance = &run->instances[index];
    const struct stage *first = &instance->stages[0];

    while (continuous_in_flight(instance->batcher) < instance->options.max_in_flight &&
           first->coming < first->room && instance->down_count == 0) {
        const struct continuous_batch *batch = continuous_schedule(instance->batcher);

        if (batch->count == 0)
            break;
        llm_tell_cache(run, index);
        if (!go_in(run, task_create(run, index, batch), err))
            return false;
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

/* ---- failures ---- */

/* On that device it is cut off, elsewhere it goes on to the end of its job. */
static bool task_cut(struct run *run, int32_t index, int32_t device, struct err *err)
{
    const struct task *task = &run->tasks[index];
    int32_t own = stage_of(run, task)->device;

    if (task->state == TASK_RUNNING && own == device) {
        run->result->busy_ps[own] += run->now_ps - task->begin_ps;
        engine_clear(run->engine, run->devices[own].slot);
        return leave(run, index, err);
    }
    return task->state != TASK_BLOCKED || leave(run, index, err);
}

/* What is computed behind this is of no request any more. */
static void task_lose(struct run *run, struct task *task)
{
    if (task->is_lost)
        return;
    if (task->state == TASK_RUNNING && run->observer.on_span)
        tell_spans(run, task, run->now_ps, true);
    if (task->state == TASK_RUNNING)
        llm_count_compute(run, run->now_ps - task->begin_ps, task->batch->count);
    if (run->is_heard)
        gaps_of_batch(run, &run->instances[task->instance], task->batch, task->made_ps, true);
    task->is_lost = true;
}

/* Its requests lose their KV caches, in whatever stage they are. */
static bool instance_lose(struct run *run, int32_t number, int32_t device, struct err *err)
{
    struct instance *instance = &run->instances[number];
    int64_t tag;

    for (int s = 0; s < instance->stage_count; s++)
        instance->stages[s].blocked.count = 0;
    for (int32_t i = 0; i < run->task_room; i++)
        if (run->tasks[i].instance == number)
            task_lose(run, &run->tasks[i]);
    for (int32_t i = 0; i < run->task_room; i++)
        if (run->tasks[i].instance == number && !task_cut(run, i, device, err))
            return false;
    while (continuous_lose(instance->batcher, &tag))
        llm_end(run, (int32_t)tag, number, TRACE_FAILED, run->now_ps);
    llm_tell_cache(run, number);
    return true;
}

/* All that waits for a device that is down is lost. */
static void queue_clear(struct run *run, struct device *device)
{
    while (device->waiting.count > 0) {
        int32_t index = ring_take(&device->waiting);

        stage_of(run, &run->tasks[index])->coming--;
        task_free(run, index);
    }
}

static int32_t stages_on(const struct instance *instance, int32_t device)
{
    int32_t count = 0;

    for (int s = 0; s < instance->stage_count; s++)
        count += instance->stages[s].device == device;
    return count;
}

bool pipeline_device_down(struct run *run, int32_t device, struct err *err)
{
    run->devices[device].is_down = true;
    for (int32_t r = 0; r < run->plan->replica_count; r++) {
        int32_t count = stages_on(&run->instances[r], device);

        run->instances[r].down_count += count;
        if (count > 0 && !instance_lose(run, r, device, err))
            return false;
    }
    queue_clear(run, &run->devices[device]);
    return true;
}

bool pipeline_device_up(struct run *run, int32_t device, struct err *err)
{
    run->devices[device].is_down = false;
    for (int32_t r = 0; r < run->plan->replica_count; r++)
        run->instances[r].down_count -= stages_on(&run->instances[r], device);
    return device_start(run, device, err);
}

/* ---- what is stuck ---- */

#define BLOCKED_SHOWN 4

static const char *task_text(const struct run *run, const struct task *task)
{
    const struct instance *instance = &run->instances[task->instance];
    const struct plan_replica *replica = &run->plan->replicas[instance->replica];
    const char *device = run->plan->cluster->devices[stage_of(run, task)->device].name;
    const char *who = arena_printf(run->arena, "batch %lld of replica %d of service '%s'",
                                   (long long)task->batch_id, (int)replica->number,
                                   run->plan->services[replica->service].name);

    switch (task->state) {
    case TASK_BLOCKED:
        return arena_printf(
            run->arena,
            "%s keeps '%s' behind stage %d until the queue of stage %d on '%s' "
            "(queue_depth %d) has room",
            who, device, task->stage, task->stage + 1,
            run->plan->cluster->devices[instance->stages[task->stage + 1].device].name,
            instance->stages[task->stage + 1].room);
    case TASK_QUEUED:
        return arena_printf(run->arena, "%s waits for '%s' before stage %d", who, device,
                            task->stage);
    case TASK_RUNNING:
        return arena_printf(run->arena, "%s is in stage %d on '%s'", who, task->stage, device);
    case TASK_MOVING:
    case TASK_RETURNING:
        break;
    }
    return arena_printf(run->arena, "%s is on a link %s stage %d", who,
                        task->state == TASK_MOVING ? "to" : "behind", task->stage);
}

const char *pipeline_blocked(const struct run *run)
{
    const char *text = NULL;
    int shown = 0;

    for (int32_t i = 0; i < run->task_room && shown < BLOCKED_SHOWN; i++) {
        if (run->tasks[i].instance < 0)
            continue;
        text = text ? arena_printf(run->arena, "%s; %s", text, task_text(run, &run->tasks[i]))
                    : task_text(run, &run->tasks[i]);
        shown++;
    }
    return text;
}
