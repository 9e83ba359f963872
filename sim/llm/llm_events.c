/* llm_events.c - what happens to devices: one slot of the engine holds the next event. */
#include "lib/base/err.h"
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

void llm_events_plan(struct run *run)
{
    const struct events *events = run->input->events;

    skip_others(run);
    if (events && run->next_event < events->count)
        engine_set(run->engine, run->control_slot, events->events[run->next_event].time_ps,
                   ENGINE_EXOGENOUS);
}

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
    bool is_ok = happen(run, &run->input->events->events[run->next_event++], err);

    llm_events_plan(run);
    return is_ok;
}
