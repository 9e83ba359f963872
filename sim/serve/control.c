/* control.c - what comes from outside and is no request: epochs of the placement, failures and
 * recoveries of devices, changes of their speed.
 *
 * All of it is known before the run: one slot of the engine holds the next of them. An epoch that
 * starts at the instant of an event comes first. */
#include "sim/serve/internal.h"

#include "lib/format/cluster.h"
#include "lib/format/events.h"
#include "lib/policy/wake.h"
#include <string.h>

static int64_t epoch_ps(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    return serve->epoch + 1 < plan->epoch_count ? plan->epochs[serve->epoch + 1].from_ps
                                                : ENGINE_NEVER;
}

/* Events of media and ports are the network's. */
static int64_t event_ps(struct serve *serve)
{
    const struct events *events = serve->input->events;

    while (events && serve->next_event < events->count &&
           events->events[serve->next_event].target != EVENT_DEVICE)
        serve->next_event++;
    return events && serve->next_event < events->count ? events->events[serve->next_event].time_ps
                                                       : ENGINE_NEVER;
}

static void next_plan(struct serve *serve)
{
    int64_t epoch = epoch_ps(serve), event = event_ps(serve);
    int64_t next_ps = epoch < event ? epoch : event;

    if (next_ps != ENGINE_NEVER)
        engine_set(serve->engine, serve->control_slot, next_ps, ENGINE_EXOGENOUS);
}

/* Which sites a device is part of, in order of their ids: epochs and events ask for it often. */
static void sites_index(struct serve *serve)
{
    size_t device_count = (size_t)serve->input->plan->cluster->device_count;
    int32_t stage_count = (int32_t)serve->input->plan->stage_count;
    size_t *first = arena_array(serve->arena, device_count + 2, sizeof(*first));
    size_t *next = first + 1; /* moves up to what it is to be as the sites are put */

    for (int32_t i = 0; i < stage_count; i++)
        for (int k = 0; k < serve->sites[i].device_count; k++)
            next[serve->sites[i].devices[k] + 1]++;
    for (size_t d = 1; d <= device_count; d++)
        next[d] += next[d - 1];
    serve->device_sites = arena_array(serve->arena, next[device_count], sizeof(struct site *));
    for (int32_t i = 0; i < stage_count; i++)
        for (int k = 0; k < serve->sites[i].device_count; k++)
            serve->device_sites[next[serve->sites[i].devices[k]]++] = &serve->sites[i];
    serve->device_first = first;
}

bool control_changes_devices(const struct serve *serve)
{
    const struct events *events = serve->input->events;

    for (size_t i = 0; events && i < events->count; i++)
        if (events->events[i].target == EVENT_DEVICE)
            return true;
    return false;
}

void control_begin(struct serve *serve)
{
    if (control_changes_devices(serve) || serve->input->plan->epoch_count > 1)
        sites_index(serve);
    next_plan(serve);
}

/* ---- epochs ---- */

static bool is_same_slice(const struct plan_slice *a, const struct plan_slice *b)
{
    return a->blocks == b->blocks && a->layer_first == b->layer_first &&
           a->layer_last == b->layer_last && a->part_first == b->part_first &&
           a->part_last == b->part_last && a->part_of == b->part_of;
}

/* From number i on, of that device; slice_count = none. */
static int next_slice(const struct plan_stage *stage, int i, int32_t device)
{
    while (i < stage->slice_count && stage->slices[i].device != device)
        i++;
    return i;
}

static bool is_same_slices(const struct plan_stage *a, const struct plan_stage *b, int32_t device)
{
    if (a->executable)
        return b->executable && strcmp(a->executable, b->executable) == 0 &&
               a->exec_first == b->exec_first && a->exec_last == b->exec_last;
    if (b->executable)
        return false;
    for (int i = 0, k = 0;; i++, k++) {
        i = next_slice(a, i, device);
        k = next_slice(b, k, device);
        if (i == a->slice_count || k == b->slice_count)
            return i == a->slice_count && k == b->slice_count;
        if (!is_same_slice(&a->slices[i], &b->slices[k]))
            return false;
    }
}

/* Whether the device held the stage's slices for the same service in the epoch before. */
static bool was_there(const struct serve *serve, const struct plan_stage *stage, int32_t device,
                      int32_t epoch)
{
    const struct plan *plan = serve->input->plan;
    int32_t service = plan->replicas[stage->replica].service;

    for (size_t i = serve->device_first[device]; i < serve->device_first[device + 1]; i++) {
        const struct plan_stage *other = serve->device_sites[i]->stage;
        const struct plan_replica *replica = &plan->replicas[other->replica];

        if (replica->epoch == epoch && replica->service == service &&
            is_same_slices(stage, other, device))
            return true;
    }
    return false;
}

/* The device is taken for the cost of the switch as soon as its running job has ended. */
static void device_switch(struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];
    int64_t now_ps = engine_now_ps(serve->engine), cost_ps = serve->options->switch_cost_ps;

    serve->result->migrations++;
    if (cost_ps == 0)
        return;
    room_shift(serve, device);
    if (station->running != NO_FLIGHT && !station->is_kept) {
        station->held_ps = engine_after_ps(station->held_ps, cost_ps);
    } else {
        int64_t from_ps = station->free_ps > now_ps ? station->free_ps : now_ps;

        station->free_ps = engine_after_ps(from_ps, cost_ps);
        station->gap_ps += station->free_ps - from_ps;
        station->switched_ps += (uint64_t)(station->free_ps - from_ps);
        if (serve->wakes)
            serve->wakes[device].awake_ps = station->free_ps;
        station->kept_ps = station->free_ps;
        if (serve->observer.on_span)
            station_tell_switch(serve, device, from_ps, station->free_ps);
    }
    station->booked_ps =
        engine_after_ps(station->booked_ps > now_ps ? station->booked_ps : now_ps, cost_ps);
    ledger_delay(serve, device, cost_ps);
}

static void stage_switch(const struct serve *serve, const struct plan_stage *stage, int32_t epoch,
                         bool *is_switched)
{
    for (int k = 0; k < stage->device_count; k++)
        if (!is_switched[stage->devices[k]])
            is_switched[stage->devices[k]] = !was_there(serve, stage, stage->devices[k], epoch - 1);
}

void control_switched(const struct serve *serve, int32_t epoch, bool *is_switched)
{
    const struct plan *plan = serve->input->plan;

    memset(is_switched, 0, (size_t)plan->cluster->device_count * sizeof(*is_switched));
    for (int i = 0; i < plan->epochs[epoch].replica_count && epoch > 0; i++) {
        int32_t r = plan->epochs[epoch].replicas[i];

        for (int s = 0; s < plan->replicas[r].total_count && !serve->lanes[r].is_left_out; s++)
            stage_switch(serve, &plan->replicas[r].stages[s], epoch, is_switched);
    }
}

static void epoch_begin(struct serve *serve)
{
    control_switched(serve, ++serve->epoch, serve->scratch_switched);
    for (int32_t i = 0; i < serve->input->plan->cluster->device_count; i++)
        if (serve->scratch_switched[i])
            device_switch(serve, i);
}

/* ---- failures ---- */

/* Dispatch asks each replica how many of its devices are down. */
static void lanes_count_down(struct serve *serve, int32_t device, int change)
{
    for (size_t i = serve->device_first[device]; i < serve->device_first[device + 1]; i++) {
        struct lane *lane = &serve->lanes[serve->device_sites[i]->replica];

        serve->device_sites[i]->down_count += change;
        lane->down_count += change;
        if (lane->has_ways)
            way_count_down(lane);
    }
}

/* Anew, once each: the devices of all stages that the device is part of. */
static void neighbours_rebook(struct serve *serve, int32_t device)
{
    size_t end = serve->device_first[device + 1];

    for (int pass = 0; pass < 2; pass++)
        for (size_t i = serve->device_first[device]; i < end; i++) {
            const struct site *site = serve->device_sites[i];

            for (int k = 0; k < site->device_count; k++) {
                bool *is_done = &serve->scratch_switched[site->devices[k]];

                if (pass == 1 && !*is_done)
                    queue_form_rebook(serve, site->devices[k]);
                *is_done = pass == 1;
            }
        }
}

/* The jobs of stages that the device is part of cost something else, on all of their devices. */
static bool speed_change(struct serve *serve, int32_t device, double ratio, struct err *err)
{
    serve->speeds[device] = ratio;
    if (serve->has_ledger)
        ledger_reprice(serve, device, -1);
    for (size_t i = serve->device_first[device]; i < serve->device_first[device + 1]; i++) {
        struct site *site = serve->device_sites[i];

        if (!site->is_model)
            costs_scale(serve, &serve->lanes[site->replica], site);
    }
    if (serve->has_ledger)
        ledger_reprice(serve, device, 1);
    if (!queue_form_reprice(serve, device, err) ||
        (serve->has_comings && !coming_reprice(serve, err)))
        return false;
    neighbours_rebook(serve, device);
    return true;
}

static bool event_happen(struct serve *serve, const struct event *event, struct err *err)
{
    struct station *station = &serve->stations[event->device];
    int64_t now_ps = engine_now_ps(serve->engine);

    switch (event->kind) {
    case EVENT_DOWN:
        station->is_down = true;
        lanes_count_down(serve, event->device, 1);
        queue_form_fail(serve, event->device);
        return true;
    case EVENT_UP:
        station->is_down = false;
        lanes_count_down(serve, event->device, -1);
        if (station->free_ps < now_ps)
            station->free_ps = now_ps;
        return true;
    case EVENT_SPEED_RATIO:
        return speed_change(serve, event->device, event->value, err);
    case EVENT_BITS_PER_S:
    case EVENT_KIND_COUNT:
        break;
    }
    return true;
}

bool control_event(struct serve *serve, struct err *err)
{
    bool is_ok = true;

    if (epoch_ps(serve) <= event_ps(serve))
        epoch_begin(serve);
    else
        is_ok = event_happen(serve, &serve->input->events->events[serve->next_event++], err);
    next_plan(serve);
    return is_ok;
}
