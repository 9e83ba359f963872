/* llm_failures.c - devices that go down with all that their replicas hold, and come back with
 * nothing; and who waits for whom when nothing goes on. */
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "sim/llm/internal.h"
#include "sim/sliced/sliced.h"

/* On that device it is cut off, elsewhere it goes on to the end of its job. In a sliced stage it is
 * over: what its devices have begun is theirs alone. */
static bool task_cut(struct run *run, int32_t index, int32_t device, struct err *err)
{
    const struct task *task = &run->tasks[index];
    struct stage *stage = pipeline_stage(run, task);

    if (stage->sliced && task->state != TASK_MOVING && task->state != TASK_RETURNING) {
        stage->coming -= task->state == TASK_QUEUED;
        pipeline_task_free(run, index);
        return true;
    }
    if (task->state == TASK_RUNNING && stage->device == device) {
        run->result->busy_ps[device] += run->now_ps - task->begin_ps;
        llm_worked(run, device, run->now_ps);
        llm_events_settle(run, device);
        engine_clear(run->engine, run->devices[device].slot);
        return pipeline_leave(run, index, err);
    }
    return task->state != TASK_BLOCKED || pipeline_leave(run, index, err);
}

/* What is computed behind this is of no request any more. */
static void task_lose(struct run *run, struct task *task)
{
    if (task->is_lost)
        return;
    if (task->state == TASK_RUNNING && run->observer.on_span)
        pipeline_tell_spans(run, task, true);
    if (task->state == TASK_RUNNING && !pipeline_stage(run, task)->sliced)
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
    for (int s = 0; s < instance->stage_count; s++)
        if (instance->stages[s].sliced)
            llm_sliced_cut(run, &instance->stages[s]);
    for (int32_t i = 0; i < run->task_room; i++)
        if (run->tasks[i].instance == number && !task_cut(run, i, device, err))
            return false;
    pulls_lose(run, number);
    continuous_drop_kept(instance->batcher);
    instance->later_tokens = 0;
    while (continuous_lose(instance->batcher, &tag))
        llm_end(run, (int32_t)tag, instance->replica, TRACE_FAILED, run->now_ps);
    llm_tell_cache(run, number);
    return true;
}

/* All that waits for a device that is down is lost. */
static void queue_clear(struct run *run, struct device *device)
{
    while (device->waiting.count > 0) {
        int32_t index = ring_take(&device->waiting);

        pipeline_stage(run, &run->tasks[index])->coming--;
        pipeline_task_free(run, index);
    }
}

/* Those of the partner count as well: a cache is of use where both are. */
static int32_t stages_on(const struct run *run, const struct instance *instance, int32_t device)
{
    const struct plan_replica *replica = &run->plan->replicas[instance->replica];
    int32_t count = 0;

    for (int s = 0; s < replica->total_count; s++)
        count += plan_stage_has(&replica->stages[s], device);
    return count;
}

bool pipeline_device_down(struct run *run, int32_t device, struct err *err)
{
    run->devices[device].is_down = true;
    if (run->devices[device].owner == LLM_STRAY) {
        engine_clear(run->engine, run->devices[device].slot);
        llm_stray_end(run, device);
    }
    for (int32_t i = 0; i < run->instance_count; i++) {
        int32_t count = stages_on(run, &run->instances[i], device);

        run->instances[i].down_count += count;
        if (count > 0 && !instance_lose(run, i, device, err))
            return false;
    }
    queue_clear(run, &run->devices[device]);
    return true;
}

bool pipeline_device_up(struct run *run, int32_t device, struct err *err)
{
    run->devices[device].is_down = false;
    for (int32_t i = 0; i < run->instance_count; i++)
        run->instances[i].down_count -= stages_on(run, &run->instances[i], device);
    return pipeline_device_start(run, device, err);
}

/* ---- what is stuck ---- */

#define BLOCKED_SHOWN 4

static const char *task_text(const struct run *run, const struct task *task)
{
    const struct instance *instance = &run->instances[task->instance];
    const struct plan_replica *replica = &run->plan->replicas[instance->replica];
    const char *device = run->plan->cluster->devices[pipeline_stage(run, task)->device].name;
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
        if (pipeline_stage(run, task)->sliced)
            return arena_printf(run->arena, "%s is in stage %d: %s", who, task->stage,
                                sliced_waits_for(pipeline_stage(run, task)->sliced));
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
