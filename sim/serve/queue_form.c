/* queue_form.c - devices whose queues are looked at anew whenever they are free, since batches form
 * there, requests that are lost are dropped, devices fail, epochs take them, or costs change.
 *
 * flight.job_ps of a job that waits is the instant at which it became ready: what is oldest goes
 * first, be it a job in the queue or a batch. */
#include "sim/serve/internal.h"

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
    finish_ps = serve_predict_ps(serve, &serve->lanes[site->replica], flight->size, start_ps);
    return !admit_slo_ok(finish_ps, 0, flight->arrival_ps, slo_ps);
}

static bool devices_are_free(const struct serve *serve, const struct site *site)
{
    for (int i = 0; i < site->device_count; i++) {
        const struct station *station = &serve->stations[site->devices[i]];

        if (station->running != NO_FLIGHT || station->free_ps > engine_now_ps(serve->engine))
            return false;
    }
    return true;
}

/* A batch runs at once; it was never in a queue of the device. */
static void batch_begin(struct serve *serve, struct batcher *batcher)
{
    const struct site *site = batcher_site(batcher);
    int32_t index = batcher_take(serve, batcher);
    struct job job = serve_job(serve, index);
    int64_t now_ps = engine_now_ps(serve->engine);

    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];
        int64_t from_ps = station->booked_ps > now_ps ? station->booked_ps : now_ps;

        station->booked_ps = engine_after_ps(engine_after_ps(from_ps, job.cost_ps), job.gap_ps);
    }
    station_begin(serve, index, now_ps);
}

/* One look at a free device's queue and batchers. True: look again, something was dropped. */
static bool queue_look(struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];
    int64_t now_ps = engine_now_ps(serve->engine), start_ps;
    int32_t index = ring_peek(&station->queue);
    struct batcher *batcher = batcher_oldest(
        serve, station, index == NO_FLIGHT ? ENGINE_NEVER : serve->flights[index].job_ps);

    if (batcher) {
        if (devices_are_free(serve, batcher_site(batcher)))
            batch_begin(serve, batcher);
        return false;
    }
    if (index == NO_FLIGHT)
        return false;
    start_ps = station_earliest_ps(serve, index);
    if (start_ps == TRACE_NONE)
        return false;
    if (start_ps > now_ps) { /* another device of the stage is in a gap */
        engine_set(serve->engine, device, start_ps, ENGINE_COMPLETION);
        return false;
    }
    station_unqueue(serve, index);
    if (is_lost(serve, index, now_ps)) {
        flight_lose(serve, index, TRACE_DROPPED);
        return true;
    }
    station_begin(serve, index, now_ps);
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
        engine_set(serve->engine, device, station->free_ps, ENGINE_COMPLETION);
        return;
    }
    while (queue_look(serve, device))
        if (station->running != NO_FLIGHT || station->is_down)
            return;
}

/* ---- failure ---- */

/* Takes the running job off all its devices, as far as it had come. */
static void job_cancel(struct serve *serve, int32_t index)
{
    int64_t now_ps = engine_now_ps(serve->engine);
    int64_t start_ps = serve->flights[index].job_ps;
    const struct site *site = serve->flights[index].site;
    int64_t done_ps = now_ps > start_ps ? now_ps - start_ps : 0;

    engine_clear(serve->engine, site->device);
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->lost_ps +=
            (uint64_t)(station->end_ps - start_ps - done_ps) + (uint64_t)station->next_gap_ps;
        station->busy_ps += done_ps;
        station->running = NO_FLIGHT;
        station->free_ps = engine_after_ps(now_ps, station->held_ps);
        station->gap_ps = engine_after_ps(station->gap_ps, station->held_ps);
        station->switched_ps += (uint64_t)station->held_ps;
        station->held_ps = 0;
    }
}

void queue_form_fail(struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];
    int32_t index = station->running;
    const struct site *site;

    if (index != NO_FLIGHT) {
        site = serve->flights[index].site;
        job_cancel(serve, index);
        flight_lose(serve, index, TRACE_FAILED);
        for (int i = 0; i < site->device_count; i++)
            station_start(serve, site->devices[i]);
    }
    while (station->queue.count > 0) {
        index = ring_peek(&station->queue);
        site = serve->flights[index].site;
        for (int i = 0; i < site->device_count; i++)
            ring_remove(&serve->stations[site->devices[i]].queue, index);
        flight_lose(serve, index, TRACE_FAILED);
        for (int i = 0; i < site->device_count; i++)
            station_start(serve, site->devices[i]);
    }
    for (int b = 0; b < station->batcher_count; b++)
        batcher_fail(serve, station->batchers[b]);
    station->booked_ps = engine_now_ps(serve->engine);
}

bool queue_form_reprice(struct serve *serve, int32_t device, struct err *err)
{
    const struct ring *queue = &serve->stations[device].queue;

    for (uint32_t i = 0; i < queue->count; i++)
        if (serve->flights[ring_at(queue, i)].site->is_model &&
            !station_price(serve, ring_at(queue, i), err))
            return false;
    return true;
}
