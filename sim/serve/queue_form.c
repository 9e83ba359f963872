/* queue_form.c - devices whose queues are looked at anew whenever they are free, since batches form
 * there, requests that are lost are dropped, devices fail, epochs take them, or costs change.
 *
 * flight.job_ps of a job that waits is the instant at which it became ready: what is oldest goes
 * first, be it a job in the queue or a batch. */
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"

#include "lib/format/cluster.h"
#include "lib/policy/wake.h"

bool queue_form_is_down(const struct serve *serve, const struct site *site)
{
    for (int i = 0; i < site->device_count; i++)
        if (serve->stations[site->devices[i]].is_down)
            return true;
    return false;
}

/* Its objective is out of reach, now that its first job would start. */
static bool is_lost(const struct serve *serve, int32_t index, int64_t start_ps)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    int64_t slo_ps = flight->slo_ps > 0 ? flight->slo_ps : serve->options->slo_ps;
    int64_t finish_ps;

    if (!serve->has_late_drop || site->is_model || site->stage->number > 0)
        return false;
    finish_ps = ledger_predict_ps(serve, index, flight->size, start_ps);
    return !admit_slo_ok(finish_ps, ledger_back_ps(serve, index, flight->size), flight->arrival_ps,
                         slo_ps);
}

/* Work is conserved: a job starts as soon as it is there, its devices are free and nothing is in
 * front of it any more. A batch may wait for others, but no longer than told. */
bool queue_form_is_on_time(const struct serve *serve, int32_t index, int64_t start_ps)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    int64_t free_ps = flight->job_ps, due_ps = flight->job_ps;

    for (int i = 0; i < site->device_count; i++) {
        const struct station *station = &serve->stations[site->devices[i]];

        free_ps = station->free_ps > free_ps ? station->free_ps : free_ps;
        due_ps = station->cleared_ps > due_ps ? station->cleared_ps : due_ps;
    }
    due_ps = free_ps > due_ps ? free_ps : due_ps;
    if (site->batcher && (!site->is_model || serve->decodes[index].step == 0)) {
        int64_t until_ps = engine_after_ps(flight->job_ps, serve->options->batch.wait_ps);

        return start_ps >= free_ps && start_ps <= (until_ps > due_ps ? until_ps : due_ps);
    }
    return start_ps == station_late_ps(serve, index, due_ps);
}

/* ---- what is booked ---- */

/* How long the devices of a queued job will be taken for it. */
static int64_t job_ps(const struct serve *serve, int32_t index)
{
    struct job job = serve_job(serve, index);

    return station_late_ps(serve, index, engine_after_ps(job.cost_ps, job.gap_ps));
}

/* What was booked will not be computed: the device is done that much earlier. */
static void unbook(struct serve *serve, struct station *station, int64_t time_ps)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    station->booked_ps -= time_ps;
    if (station->booked_ps < now_ps)
        station->booked_ps = now_ps;
}

/* A queued job is lost. */
static void job_unbook(struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;
    int64_t time_ps = job_ps(serve, index);

    for (int i = 0; i < site->device_count; i++)
        unbook(serve, &serve->stations[site->devices[i]], time_ps);
}

void queue_form_lose(struct serve *serve, int32_t index, struct job job, enum trace_status status)
{
    const struct site *site = serve->flights[index].site;
    int64_t now_ps = engine_now_ps(serve->engine);

    for (int i = 0; i < site->device_count; i++)
        serve->stations[site->devices[i]].missed_ps += (uint64_t)job.cost_ps + (uint64_t)job.gap_ps;
    if (serve->observer.on_span)
        station_tell(serve, SERVE_SPAN_LOST, index, now_ps, now_ps, 0);
    if (serve->has_rooms)
        room_give(serve, index);
    flight_lose(serve, index, status);
}

void queue_form_rebook(struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];
    int64_t now_ps = engine_now_ps(serve->engine), booked_ps = now_ps;

    if (station->running != NO_FLIGHT && !station->is_kept)
        booked_ps = engine_after_ps(engine_after_ps(station->end_ps, station->next_gap_ps),
                                    station->held_ps);
    else if (station->free_ps > booked_ps)
        booked_ps = station->free_ps;
    for (uint32_t i = 0; i < station->queue.count; i++)
        booked_ps = engine_after_ps(booked_ps, job_ps(serve, ring_at(&station->queue, i)));
    station->booked_ps = booked_ps;
    station->kept_ps = now_ps > station->free_ps ? now_ps : station->free_ps;
}

/* ---- start ---- */

/* A batch runs at once; it was never in a queue of the device. */
static void batch_begin(struct serve *serve, struct batcher *batcher)
{
    const struct site *site = batcher_site(batcher);
    int32_t index = batcher_take(serve, batcher);
    int64_t now_ps = engine_now_ps(serve->engine);
    struct job job;

    if (site->is_model && !serve->has_failed)
        serve->has_failed = !station_price(serve, index, &serve->failure);
    job = serve_job(serve, index);
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];
        int64_t from_ps = station->booked_ps > now_ps ? station->booked_ps : now_ps;

        station->booked_ps = engine_after_ps(engine_after_ps(from_ps, job.cost_ps), job.gap_ps);
    }
    if (serve->has_ledger)
        ledger_start(serve, index, now_ps);
    station_begin(serve, index, now_ps);
}

void queue_form_wake(struct serve *serve, const struct site *site, int32_t device)
{
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->cleared_ps = engine_now_ps(serve->engine);
        if (site->devices[i] != device && station->running == NO_FLIGHT && !station->is_down)
            engine_set(serve->engine, station->slot, engine_now_ps(serve->engine),
                       ENGINE_COMPLETION);
    }
}

struct next { /* what a device would take next; both empty: nothing */
    int32_t index;
    struct batcher *batcher;
};

/* The oldest of its queue's head and of the batches that may leave. Asked while `looker` is being
 * looked at: the device itself, or another one of a stage that both are part of. */
static struct next next_of(struct serve *serve, int32_t device, int32_t looker)
{
    struct next next = { ring_peek(&serve->stations[device].queue), NULL };

    next.batcher = batcher_oldest(
        serve, device, next.index == NO_FLIGHT ? ENGINE_NEVER : serve->flights[next.index].job_ps,
        looker);
    if (next.batcher)
        next.index = NO_FLIGHT;
    return next;
}

/* Whether all devices of a stage would take it: nothing is overtaken on any of them. */
static bool is_next_everywhere(struct serve *serve, const struct site *site, int32_t device,
                               const struct next *next)
{
    for (int i = 0; i < site->device_count; i++) {
        struct next other;

        if (site->devices[i] == device)
            continue;
        other = next_of(serve, site->devices[i], device);
        if (other.index != next->index || other.batcher != next->batcher)
            return false;
    }
    return true;
}

/* One look at a free device's queue and batchers. True: look again, something was dropped. */
static bool queue_look(struct serve *serve, int32_t device)
{
    int64_t now_ps = engine_now_ps(serve->engine), start_ps;
    struct next next = next_of(serve, device, device);
    const struct site *site;

    if (!next.batcher && next.index == NO_FLIGHT)
        return false;
    site = next.batcher ? batcher_site(next.batcher) : serve->flights[next.index].site;
    start_ps = station_free_ps(serve, site);
    if (start_ps == TRACE_NONE)
        return false;
    if (start_ps > now_ps) { /* another device of the stage is in a gap */
        engine_set(serve->engine, serve->stations[device].slot, start_ps, ENGINE_COMPLETION);
        return false;
    }
    if (!is_next_everywhere(serve, site, device, &next))
        return false;
    if (next.batcher) {
        batch_begin(serve, next.batcher);
        return false;
    }
    station_unqueue(serve, next.index);
    if (is_lost(serve, next.index, station_late_ps(serve, next.index, now_ps))) {
        job_unbook(serve, next.index);
        queue_form_lose(serve, next.index, serve_job(serve, next.index), TRACE_DROPPED);
        queue_form_wake(serve, site, device);
        return true;
    }
    if (serve->has_ledger)
        ledger_start(serve, next.index, now_ps);
    station_begin(serve, next.index, station_late_ps(serve, next.index, now_ps));
    return false;
}

static bool has_work(const struct station *station)
{
    bool has = station->queue.count > 0;

    for (int b = 0; b < station->batcher_count; b++)
        has = has || batcher_waits(station->batchers[b]);
    return has;
}

void queue_form_start(struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];

    if (station->running != NO_FLIGHT || station->is_down || !has_work(station))
        return;
    if (station->free_ps > engine_now_ps(serve->engine)) {
        engine_set(serve->engine, station->slot, station->free_ps, ENGINE_COMPLETION);
        return;
    }
    while (queue_look(serve, device))
        if (station->running != NO_FLIGHT || station->is_down)
            return;
}

/* ---- failure ---- */

/* Takes the running job off all its devices, as far as it had come. */
void queue_form_cancel(struct serve *serve, int32_t index)
{
    int64_t now_ps = engine_now_ps(serve->engine);
    int64_t start_ps = serve->flights[index].job_ps;
    const struct site *site = serve->flights[index].site;
    int64_t done_ps = now_ps > start_ps ? now_ps - start_ps : 0;

    engine_clear(serve->engine, site->slot);
    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate)
        if (serve->flights[i].start_ps > now_ps) /* --rules dlsim: it was to start later */
            serve->flights[i].start_ps = TRACE_NONE;
    if (serve->observer.on_span && site->route_back == CREW_PART)
        crew_tell_piece(serve, SERVE_SPAN_LOST, index, now_ps - done_ps);
    else if (serve->observer.on_span && !site->crew)
        station_tell(serve, SERVE_SPAN_LOST, index, now_ps - done_ps, now_ps, 0);
    parts_job(serve, index, done_ps);
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->lost_ps +=
            (uint64_t)(station->end_ps - start_ps - done_ps) + (uint64_t)station->next_gap_ps;
        unbook(serve, station, engine_after_ps(station->end_ps - now_ps, station->next_gap_ps));
        station->busy_ps += done_ps;
        if (serve->wakes)
            serve->wakes[site->devices[i]].awake_ps = now_ps;
        station->running = NO_FLIGHT;
        station->free_ps = engine_after_ps(now_ps, station->held_ps);
        station->gap_ps += station->free_ps - now_ps;
        station->switched_ps += (uint64_t)(station->free_ps - now_ps);
        station->held_ps = 0;
        if (serve->observer.on_span && station->free_ps > now_ps)
            station_tell_switch(serve, site->devices[i], now_ps, station->free_ps);
    }
}

/* Takes the jobs that need a device out of the queue of another one, in one pass. */
static void queue_leave(struct serve *serve, struct ring *queue, int32_t device)
{
    for (uint32_t left = queue->count; left > 0; left--) {
        int32_t index = ring_take(queue);

        if (!plan_stage_has(serve->flights[index].site->stage, device))
            ring_push(queue, serve->arena, index);
    }
}

/* What waits there is lost, also where it waits for other devices. */
static void queue_fail(struct serve *serve, int32_t device)
{
    struct ring *queue = &serve->stations[device].queue;
    bool is_shared = false;

    for (uint32_t i = 0; i < queue->count && !is_shared; i++)
        is_shared = serve->flights[ring_at(queue, i)].site->device_count > 1;
    for (int32_t i = 0; is_shared && i < serve->input->plan->cluster->device_count; i++)
        if (i != device)
            queue_leave(serve, &serve->stations[i].queue, device);
    while (queue->count > 0) {
        int32_t index = ring_take(queue);
        const struct site *site = serve->flights[index].site;

        job_unbook(serve, index);
        queue_form_lose(serve, index, serve_job(serve, index), TRACE_FAILED);
        queue_form_wake(serve, site, device);
    }
}

void queue_form_forget(struct serve *serve, int32_t index)
{
    struct station *station = &serve->stations[serve->flights[index].site->device];
    struct job job = serve_job(serve, index);

    job_unbook(serve, index);
    for (uint32_t left = station->queue.count; left > 0; left--) {
        int32_t other = ring_take(&station->queue);

        if (other != index)
            ring_push(&station->queue, serve->arena, other);
    }
    station->missed_ps += (uint64_t)job.cost_ps + (uint64_t)job.gap_ps;
}

/* Passes of stages that the device is part of. */
static void crews_fail(struct serve *serve, int32_t device)
{
    for (size_t i = serve->device_first[device]; i < serve->device_first[device + 1]; i++)
        if (serve->device_sites[i]->crew)
            crew_fail(serve, serve->device_sites[i]->crew, device);
}

void queue_form_fail(struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];

    crews_fail(serve, device);

    if (station->running != NO_FLIGHT) {
        int32_t index = station->running;
        const struct site *site = serve->flights[index].site;

        if (station->is_kept)
            room_lose(serve, index);
        else
            queue_form_cancel(serve, index);
        if (site->crew) /* a stray */
            crew_stray_done(serve, index);
        else
            flight_lose(serve, index, TRACE_FAILED);
        queue_form_wake(serve, site, device);
    }
    queue_fail(serve, device);
    for (int b = 0; b < station->batcher_count; b++) {
        batcher_fail(serve, station->batchers[b]);
        queue_form_wake(serve, batcher_site(station->batchers[b]), device);
    }
    station->booked_ps = engine_now_ps(serve->engine);
    if (station->free_ps > station->booked_ps)
        station->booked_ps = station->free_ps;
}

bool queue_form_reprice(struct serve *serve, int32_t device, struct err *err)
{
    const struct ring *queue = &serve->stations[device].queue;

    for (uint32_t i = 0; i < queue->count; i++) {
        int32_t index = ring_at(queue, i);
        const struct site *site = serve->flights[index].site;

        if (site->crew ? !crew_reprice(serve, index, err)
                       : site->is_model && !station_price(serve, index, err))
            return false;
    }
    return true;
}
