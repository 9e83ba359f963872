/* llm_events.c - what happens to devices: events and, where these take them, epochs; one slot of
 * the engine holds the next. An epoch that starts at the instant of an event comes first. */
#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "sim/llm/internal.h"

/* Events of media and ports are the network's. */
static void skip_others(struct run *run)
{
    const struct events *events = run->input->events;

    while (events && run->next_event < events->count &&
           events->events[run->next_event].target != EVENT_DEVICE)
        run->next_event++;
}

bool llm_events_change_devices(const struct run *run)
{
    const struct events *events = run->input->events;

    for (size_t i = 0; events && i < events->count; i++)
        if (events->events[i].target == EVENT_DEVICE)
            return true;
    return false;
}

static int64_t event_ps(struct run *run)
{
    const struct events *events = run->input->events;

    skip_others(run);
    return events && run->next_event < events->count ? events->events[run->next_event].time_ps
                                                     : LLM_NEVER;
}

static int64_t epoch_ps(const struct run *run)
{
    int32_t next = run->switch_epoch + 1;

    return run->input->is_switched && next < run->plan->epoch_count
               ? run->plan->epochs[next].from_ps
               : LLM_NEVER;
}

void llm_events_plan(struct run *run)
{
    int64_t event = event_ps(run), epoch = epoch_ps(run);
    int64_t next_ps = epoch < event ? epoch : event;

    if (next_ps != LLM_NEVER)
        engine_set(run->engine, run->control_slot, next_ps, ENGINE_EXOGENOUS);
}

/* ---- epochs ---- */

/* From then on, or when it is free. */
static void take(struct run *run, int32_t device, int64_t time_ps)
{
    int64_t *free_ps = &run->result->free_ps[device];
    int64_t from_ps = *free_ps > run->now_ps ? *free_ps : run->now_ps;

    *free_ps = engine_after_ps(from_ps, time_ps);
    run->result->gap_ps[device] += *free_ps - from_ps;
    llm_worked(run, device, *free_ps);
    if (run->observer.on_switch)
        run->observer.on_switch(run->observer.arg, device, from_ps, *free_ps);
}

void llm_events_settle(struct run *run, int32_t device)
{
    int64_t held_ps = run->devices[device].held_ps;

    run->devices[device].held_ps = 0;
    if (held_ps > 0)
        take(run, device, held_ps);
}

/* A batch that is done and keeps it for room does not compute. */
static bool is_computing(const struct run *run, int32_t device)
{
    int32_t owner = run->devices[device].owner;

    return owner >= LLM_STRAY || (owner >= 0 && run->tasks[owner].state == TASK_RUNNING);
}

static void epoch_begin(struct run *run)
{
    int32_t count = run->plan->cluster->device_count;
    const bool *is_switched = &run->input->is_switched[(size_t)++run->switch_epoch * (size_t)count];

    for (int32_t i = 0; i < count; i++)
        if (is_switched[i] && is_computing(run, i))
            run->devices[i].held_ps =
                engine_after_ps(run->devices[i].held_ps, run->input->switch_cost_ps);
        else if (is_switched[i])
            take(run, i, run->input->switch_cost_ps);
}

/* ---- events ---- */

static bool happen(struct run *run, const struct event *event, struct err *err)
{
    switch (event->kind) {
    case EVENT_DOWN:
        return pipeline_device_down(run, event->device, err);
    case EVENT_UP:
        return pipeline_device_up(run, event->device, err);
    case EVENT_SPEED_RATIO: /* of jobs that begin from now on */
        run->devices[event->device].speed_ratio = event->value;
        return llm_price_device(run, event->device, err);
    case EVENT_BITS_PER_S:
    case EVENT_KIND_COUNT:
        break;
    }
    return true;
}

bool llm_events_next(struct run *run, struct err *err)
{
    bool is_ok = true;

    if (epoch_ps(run) <= event_ps(run))
        epoch_begin(run);
    else
        is_ok = happen(run, &run->input->events->events[run->next_event++], err);
    llm_events_plan(run);
    return is_ok;
}
