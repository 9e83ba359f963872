/* station.c - devices as exclusive FIFO servers: start = max(ready, previous end + gap).
 *
 * A stage on several devices queues its job on all of them in one go, so all their queues hold
 * common jobs in the same order; the job starts when it heads every queue and every device is free.
 * Its events live in the slot of the stage's first device.
 *
 * While nothing can change the order or the costs of what is queued, a job is started the moment it
 * heads its queues, with a start that may lie ahead, behind a gap. Otherwise (has_queue_form) the
 * queue is looked at when the device is free: batches form, lost requests are dropped, devices
 * fail. */
#include "sim/serve/internal.h"

#include "lib/format/cost.h"
#include "lib/policy/price.h"

static bool job_price(struct serve *serve, int32_t index, struct err *err)
{
    const struct site *site = serve->flights[index].site;
    struct decode *decode = &serve->decodes[index];
    int extrapolated = 0;

    if (!price_step(serve->price, site->stage, site->model, site->table, site->threads,
                    serve->speeds[site->device], decode->new_tokens, decode->past_tokens,
                    &decode->cost_ps, &extrapolated, err))
        return false;
    serve->result->extrapolated_costs += extrapolated;
    return true;
}

/* ---- start ---- */

static void wait_note(struct station *station, int64_t wait_ps)
{
    if (wait_ps > station->wait_peak_ps)
        station->wait_peak_ps = wait_ps;
}

static void job_begin(struct serve *serve, int32_t index, int64_t start_ps)
{
    struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    int64_t cost_ps = serve_job(serve, index).cost_ps;
    int64_t end_ps = engine_after_ps(start_ps, cost_ps);
    int64_t wait_ps = serve->has_queue_form ? start_ps - flight->job_ps : 0;

    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->running = index;
        station->end_ps = end_ps;
        station->charged_ps += end_ps - start_ps;
        wait_note(station, wait_ps);
    }
    serve->late_starts += !serve->has_queue_form && flight->job_ps != start_ps;
    flight->job_ps = start_ps;
    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate)
        if (serve->flights[i].start_ps == TRACE_NONE)
            serve->flights[i].start_ps = start_ps;
    engine_set(serve->engine, site->device, end_ps, ENGINE_COMPLETION);
}

/* From when on the job may run: TRACE_NONE while it waits for a device. */
static int64_t earliest_ps(const struct serve *serve, int32_t index)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    int64_t start_ps = engine_now_ps(serve->engine);

    for (int i = 0; i < site->device_count; i++) {
        const struct station *station = &serve->stations[site->devices[i]];

        if (station->running != NO_FLIGHT || ring_peek(&station->queue) != index)
            return TRACE_NONE;
        start_ps = station->free_ps > start_ps ? station->free_ps : start_ps;
    }
    return flight->was_late ? engine_after_ps(start_ps, site->queued_ps) : start_ps;
}

static void job_unqueue(struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;

    for (int i = 0; i < site->device_count; i++)
        ring_take(&serve->stations[site->devices[i]].queue);
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
        station->offered_ps += job.cost_ps + job.gap_ps;
    }
    job_begin(serve, index, now_ps);
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
    start_ps = earliest_ps(serve, index);
    if (start_ps == TRACE_NONE)
        return false;
    if (start_ps > now_ps) { /* another device of the stage is in a gap */
        engine_set(serve->engine, device, start_ps, ENGINE_COMPLETION);
        return false;
    }
    job_unqueue(serve, index);
    if (is_lost(serve, index, now_ps)) {
        flight_lose(serve, index, TRACE_DROPPED);
        return true;
    }
    job_begin(serve, index, now_ps);
    return false;
}

static bool has_work(const struct station *station)
{
    bool has = station->queue.count > 0;

    for (int b = 0; b < station->batcher_count; b++)
        has = has || batcher_waits(station->batchers[b]);
    return has;
}

static void start_in_queue_form(struct serve *serve, int32_t device)
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

void station_start(struct serve *serve, int32_t device)
{
    const struct station *station = &serve->stations[device];
    int32_t index = ring_peek(&station->queue);
    int64_t start_ps;

    if (serve->has_queue_form) {
        start_in_queue_form(serve, device);
        return;
    }
    if (index == NO_FLIGHT || station->running != NO_FLIGHT)
        return;
    start_ps = earliest_ps(serve, index);
    if (start_ps == TRACE_NONE)
        return;
    job_unqueue(serve, index);
    job_begin(serve, index, start_ps);
}

/* ---- queue ---- */

static bool is_any_down(const struct serve *serve, const struct site *site)
{
    for (int i = 0; i < site->device_count; i++)
        if (serve->stations[site->devices[i]].is_down)
            return true;
    return false;
}

/* When all that is queued on the site's devices will be done, seen from now. */
static int64_t booked_ps(const struct serve *serve, const struct site *site)
{
    int64_t latest_ps = engine_now_ps(serve->engine);

    for (int i = 0; i < site->device_count; i++) {
        int64_t own_ps = serve->stations[site->devices[i]].booked_ps;

        latest_ps = own_ps > latest_ps ? own_ps : latest_ps;
    }
    return latest_ps;
}

static void job_queue(struct serve *serve, int32_t index)
{
    struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct job job = serve_job(serve, index);
    int64_t now_ps = engine_now_ps(serve->engine);
    int64_t start_ps = booked_ps(serve, site), done_ps;

    flight->was_late = false;
    if (site->queued_ps > 0)
        for (int i = 0; i < site->device_count; i++)
            flight->was_late =
                flight->was_late || serve->stations[site->devices[i]].running != NO_FLIGHT;
    if (flight->was_late)
        start_ps = engine_after_ps(start_ps, site->queued_ps);
    flight->job_ps = serve->has_queue_form ? now_ps : start_ps;
    done_ps = engine_after_ps(engine_after_ps(start_ps, job.cost_ps), job.gap_ps);
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->booked_ps = done_ps;
        station->offered_ps += job.cost_ps + job.gap_ps;
        wait_note(station, flight->job_ps - now_ps);
        ring_push(&station->queue, serve->arena, index);
    }
}

/* The common case, without a round through the queue: one device, and it is idle. */
static bool start_at_once(struct serve *serve, int32_t index)
{
    struct flight *flight = &serve->flights[index];
    struct station *station = &serve->stations[flight->site->device];
    int64_t now_ps = engine_now_ps(serve->engine);
    int64_t start_ps = station->free_ps > now_ps ? station->free_ps : now_ps;
    struct job job;

    if (serve->has_queue_form || flight->site->device_count > 1 || station->running != NO_FLIGHT ||
        station->queue.count > 0)
        return false;
    job = serve_job(serve, index);
    flight->was_late = false;
    flight->job_ps = station->booked_ps > now_ps ? station->booked_ps : now_ps;
    station->booked_ps = engine_after_ps(engine_after_ps(flight->job_ps, job.cost_ps), job.gap_ps);
    station->offered_ps += job.cost_ps + job.gap_ps;
    wait_note(station, flight->job_ps - now_ps);
    job_begin(serve, index, start_ps);
    return true;
}

bool station_push(struct serve *serve, int32_t index, struct err *err)
{
    const struct site *site = serve->flights[index].site;

    serve->result->priced_steps++;
    if (serve->has_queue_form && is_any_down(serve, site)) {
        flight_lose(serve, index, TRACE_FAILED);
        return true;
    }
    if (site->batcher) {
        batcher_push(serve, site->batcher, index);
        return true;
    }
    if (site->is_model && !job_price(serve, index, err))
        return false;
    if (start_at_once(serve, index))
        return true;
    job_queue(serve, index);
    station_start(serve, site->device);
    return true;
}

/* ---- end ---- */

static void span_tell(const struct serve *serve, int32_t index, int64_t end_ps)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct serve_span span = { .batch_id = serve_batch_id(serve, index),
                               .stage = site->stage->id,
                               .step = site->is_model ? serve->decodes[index].step : 0,
                               .start_ps = flight->job_ps,
                               .finish_ps = end_ps,
                               .gap_ps = serve_job(serve, index).gap_ps };

    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate, span.share++) {
        span.request = serve->flights[i].request;
        span.request_id = arrivals_id(&serve->arrivals, span.request);
        for (int k = 0; k < site->device_count; k++) {
            span.position = k;
            span.device = site->devices[k];
            serve->observer.on_span(serve->observer.arg, &span);
        }
    }
}

bool station_event(struct serve *serve, int32_t device, struct err *err)
{
    int64_t now_ps = engine_now_ps(serve->engine);
    int32_t index = serve->stations[device].running;
    const struct site *site;
    int64_t start_ps, gap_ps;

    if (index == NO_FLIGHT) { /* the end of a gap */
        station_start(serve, device);
        return true;
    }
    site = serve->flights[index].site;
    start_ps = serve->flights[index].job_ps;
    gap_ps = serve_job(serve, index).gap_ps;
    if (serve->observer.on_span)
        span_tell(serve, index, now_ps);
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        assert(station->running == index);
        station->running = NO_FLIGHT;
        station->busy_ps += now_ps - start_ps;
        station->gap_ps = engine_after_ps(station->gap_ps, gap_ps + station->held_ps);
        station->free_ps = engine_after_ps(now_ps, gap_ps + station->held_ps);
        station->held_ps = 0;
    }
    if (!flight_leave(serve, index, err))
        return false;
    for (int i = 0; i < site->device_count; i++)
        station_start(serve, site->devices[i]);
    return true;
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

        station->charged_ps -= station->end_ps - start_ps - done_ps;
        station->busy_ps += done_ps;
        station->running = NO_FLIGHT;
        station->free_ps = engine_after_ps(now_ps, station->held_ps);
        station->gap_ps += station->held_ps;
        station->held_ps = 0;
    }
}

void station_fail(struct serve *serve, int32_t device)
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

bool station_reprice(struct serve *serve, int32_t device, struct err *err)
{
    const struct ring *queue = &serve->stations[device].queue;

    for (uint32_t i = 0; i < queue->count; i++)
        if (serve->flights[ring_at(queue, i)].site->is_model &&
            !job_price(serve, ring_at(queue, i), err))
            return false;
    return true;
}

int64_t station_backlog_ps(const struct serve *serve, const struct site *site)
{
    int64_t backlog_ps = booked_ps(serve, site) - engine_now_ps(serve->engine);

    return site->batcher ? engine_after_ps(backlog_ps, batcher_backlog_ps(site->batcher))
                         : backlog_ps;
}
