/* station.c - devices as exclusive FIFO servers: start = max(ready, previous end + gap).
 *
 * A stage on several devices queues its job on all of them in one go, so all their queues hold
 * common jobs in the same order; the job starts when it heads every queue and every device is free.
 * Its events live in the slot of the stage's first device.
 *
 * While nothing can change the order or the costs of what is queued, a job is started the moment it
 * heads its queues, with a start that may lie ahead, behind a gap. Otherwise (has_queue_form) see
 * queue_form.c. Stages on one device have paths of their own: they are what a run spends its time
 * with. */
#include "sim/serve/internal.h"

#include "lib/policy/price.h"
#include "lib/policy/wake.h"
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"

bool station_price(struct serve *serve, int32_t index, struct err *err)
{
    const struct site *site = serve->flights[index].site;
    struct decode *decode = &serve->decodes[index];
    struct padded padded = flight_padded(serve, index);
    int extrapolated = 0;

    if (!price_batch(serve->price, site->stage, site->model, site->table, site->threads,
                     serve->speeds[site->device], padded.count, padded.new_tokens,
                     padded.past_tokens, &decode->cost_ps, &extrapolated, err))
        return false;
    serve->result->extrapolated_costs += extrapolated;
    return true;
}

/* ---- start ---- */

static inline void wait_note(struct station *station, int64_t wait_ps)
{
    if (wait_ps > 0 && wait_ps > station->wait_peak_ps)
        station->wait_peak_ps = wait_ps;
}

/* What a job that starts then takes more, since its device has been idle. */
static int64_t wake_ps(const struct serve *serve, const struct site *site, int64_t start_ps)
{
    if (!site->is_model && !site->crew) /* of a crew: a piece of a step */
        return 0;
    return wake_take_ps(&serve->wakes[site->device], start_ps, serve->speeds[site->device]);
}

/* The job of one request on one device. */
static inline void begin_one(struct serve *serve, struct station *station, int32_t index,
                             struct flight *flight, int64_t start_ps, int64_t cost_ps)
{
    station->running = index;
    serve->late_starts += flight->job_ps != start_ps;
    flight->job_ps = start_ps;
    if (flight->start_ps == TRACE_NONE)
        flight->start_ps = start_ps;
    engine_set(serve->engine, flight->site->slot, engine_after_ps(start_ps, cost_ps),
               ENGINE_COMPLETION);
}

void station_begin(struct serve *serve, int32_t index, int64_t start_ps)
{
    struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct job job = serve_job(serve, index);
    int64_t more_ps = serve->wakes ? wake_ps(serve, site, start_ps) : 0;
    int64_t end_ps = engine_after_ps(start_ps, engine_after_ps(job.cost_ps, more_ps));
    int64_t wait_ps = serve->has_queue_form ? start_ps - flight->job_ps : 0;

    serve->late_starts += serve->has_queue_form ? !queue_form_is_on_time(serve, index, start_ps)
                                                : flight->job_ps != start_ps;
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        if (i > 0) /* it may have planned to look at its queue */
            engine_clear(serve->engine, station->slot);
        station->running = index;
        station->end_ps = end_ps;
        station->booked_ps = engine_after_ps(station->booked_ps, more_ps);
        station->next_gap_ps = job.gap_ps;
        if (serve->has_queue_form)
            station->offered_ps += (uint64_t)(end_ps - start_ps) + (uint64_t)job.gap_ps;
        wait_note(station, wait_ps);
    }
    if (serve->has_rooms)
        room_give(serve, index);
    flight->job_ps = start_ps;
    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate)
        if (serve->flights[i].start_ps == TRACE_NONE)
            serve->flights[i].start_ps = start_ps;
    engine_set(serve->engine, site->slot, end_ps, ENGINE_COMPLETION);
}

int64_t station_free_ps(const struct serve *serve, const struct site *site)
{
    int64_t free_ps = engine_now_ps(serve->engine);

    for (int i = 0; i < site->device_count; i++) {
        const struct station *station = &serve->stations[site->devices[i]];

        if (station->running != NO_FLIGHT || station->is_down)
            return TRACE_NONE;
        free_ps = later_ps(free_ps, station->free_ps);
    }
    return free_ps;
}

int64_t station_late_ps(const struct serve *serve, int32_t index, int64_t start_ps)
{
    const struct flight *flight = &serve->flights[index];

    return flight->was_late ? engine_after_ps(start_ps, flight->site->queued_ps) : start_ps;
}

/* Nothing is in front of it on any of its devices. */
static bool is_head(const struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;

    for (int i = 0; i < site->device_count; i++)
        if (ring_peek(&serve->stations[site->devices[i]].queue) != index)
            return false;
    return true;
}

void station_unqueue(struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;

    for (int i = 0; i < site->device_count; i++)
        ring_take(&serve->stations[site->devices[i]].queue);
}

void station_start(struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];
    int32_t index = ring_peek(&station->queue);
    struct flight *flight;
    int64_t start_ps;

    if (serve->has_queue_form) {
        queue_form_start(serve, device);
        return;
    }
    if (index == NO_FLIGHT || station->running != NO_FLIGHT)
        return;
    flight = &serve->flights[index];
    if (flight->site->device_count == 1) {
        start_ps = later_ps(engine_now_ps(serve->engine), station->free_ps);
        start_ps = station_late_ps(serve, index, start_ps);
        ring_take(&station->queue);
        begin_one(serve, station, index, flight, start_ps, serve_job(serve, index).cost_ps);
        return;
    }
    start_ps = is_head(serve, index) ? station_free_ps(serve, flight->site) : TRACE_NONE;
    if (start_ps == TRACE_NONE)
        return;
    station_unqueue(serve, index);
    station_begin(serve, index, station_late_ps(serve, index, start_ps));
}

/* ---- queue ---- */

/* When all that is queued on the site's devices will be done, seen from now. */
static int64_t booked_ps(const struct serve *serve, const struct site *site)
{
    int64_t latest_ps = engine_now_ps(serve->engine);

    for (int i = 0; i < site->device_count && serve->has_rooms; i++)
        room_shift(serve, site->devices[i]);
    for (int i = 0; i < site->device_count; i++)
        latest_ps = later_ps(latest_ps, serve->stations[site->devices[i]].booked_ps);
    return latest_ps;
}

/* Something runs or waits there. */
static inline bool is_taken(const struct station *station)
{
    return station->running != NO_FLIGHT || station->queue.count > 0;
}

static void queue_on_all(struct serve *serve, int32_t index)
{
    struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct job job = serve_job(serve, index);
    int64_t now_ps = engine_now_ps(serve->engine);
    int64_t start_ps = booked_ps(serve, site), done_ps;

    flight->was_late = false;
    if (site->queued_ps > 0)
        for (int i = 0; i < site->device_count; i++)
            flight->was_late = flight->was_late || is_taken(&serve->stations[site->devices[i]]);
    if (flight->was_late)
        start_ps = engine_after_ps(start_ps, site->queued_ps);
    flight->job_ps = serve->has_queue_form ? now_ps : start_ps;
    done_ps = engine_after_ps(engine_after_ps(start_ps, job.cost_ps), job.gap_ps);
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->booked_ps = done_ps;
        if (!serve->has_queue_form)
            station->offered_ps += (uint64_t)job.cost_ps + (uint64_t)job.gap_ps;
        wait_note(station, flight->job_ps - now_ps);
        ring_push(&station->queue, serve->arena, index);
    }
    station_start(serve, site->device);
}

/* One device: its queue, or at once when it has none. */
static inline void queue_on_one(struct serve *serve, int32_t index, struct job job)
{
    struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct station *station = &serve->stations[site->device];
    int64_t now_ps = engine_now_ps(serve->engine);
    int64_t start_ps = later_ps(now_ps, station->booked_ps);

    flight->was_late = site->queued_ps > 0 && is_taken(station);
    if (flight->was_late)
        start_ps = engine_after_ps(start_ps, site->queued_ps);
    if (serve->wakes && !is_taken(station))
        job.cost_ps = engine_after_ps(job.cost_ps, wake_ps(serve, site, start_ps));
    flight->job_ps = start_ps;
    station->booked_ps = engine_after_ps(engine_after_ps(start_ps, job.cost_ps), job.gap_ps);
    station->offered_ps += (uint64_t)job.cost_ps + (uint64_t)job.gap_ps;
    wait_note(station, start_ps - now_ps);
    if (!is_taken(station))
        begin_one(serve, station, index, flight, later_ps(now_ps, station->free_ps), job.cost_ps);
    else
        ring_push(&station->queue, serve->arena, index);
}

void station_push_plain(struct serve *serve, int32_t index)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;

    queue_on_one(serve, index, site->is_sized ? site->jobs[flight->size] : site->job);
}

void station_queue(struct serve *serve, int32_t index)
{
    if (serve->flights[index].site->device_count == 1 && !serve->has_queue_form)
        queue_on_one(serve, index, serve_job(serve, index));
    else
        queue_on_all(serve, index);
}

bool station_push(struct serve *serve, int32_t index, struct err *err)
{
    const struct site *site = serve->flights[index].site;

    if (serve->has_comings)
        coming_enter(serve, index);
    if (serve->readies_ps)
        serve->readies_ps[index] = engine_now_ps(serve->engine);
    if (site->batcher && batcher_takes(serve, index))
        batcher_came(serve, site->batcher);
    if (serve->has_queue_form && queue_form_is_down(serve, site)) {
        if (serve->has_rooms)
            room_give(serve, index);
        flight_lose(serve, index, TRACE_FAILED);
        return true;
    }
    if (site->batcher && batcher_takes(serve, index))
        return batcher_push(serve, site->batcher, index, err);
    if (site->crew)
        return crew_push(serve, index, err);
    if (site->is_model && !station_price(serve, index, err))
        return false;
    station_queue(serve, index);
    return true;
}

/* ---- end ---- */

void station_tell(const struct serve *serve, enum serve_span_kind kind, int32_t index,
                  int64_t start_ps, int64_t end_ps, int64_t gap_ps)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;
    struct serve_span span = { .kind = kind,
                               .batch_id = serve_batch_id(serve, index),
                               .stage = site->stage->id,
                               .step = site->is_model ? serve->decodes[index].step : 0,
                               .start_ps = start_ps,
                               .finish_ps = end_ps,
                               .gap_ps = gap_ps };

    for (int32_t i = index; i != NO_FLIGHT; i = serve->flights[i].mate, span.share++) {
        span.request = serve->flights[i].request;
        span.request_id = arrivals_id(&serve->arrivals, span.request);
        /* Behind stage 0 of the first step the first of a batch stands for all. */
        span.wait_ps =
            span.start_ps - serve->readies_ps[site->batcher && span.step == 0 ? i : index];
        for (int k = 0; k < site->device_count; k++) {
            span.position = k;
            span.device = site->devices[k];
            serve->observer.on_span(serve->observer.arg, &span);
        }
    }
}

void station_tell_switch(const struct serve *serve, int32_t device, int64_t from_ps, int64_t to_ps)
{
    serve->observer.on_span(serve->observer.arg, &(struct serve_span){ .kind = SERVE_SPAN_SWITCH,
                                                                       .batch_id = -1,
                                                                       .stage = -1,
                                                                       .device = device,
                                                                       .start_ps = from_ps,
                                                                       .finish_ps = to_ps });
}

/* The running job has ended, and behind its gap comes what an epoch has held up. */
static void job_tell(const struct serve *serve, int32_t index, int64_t gap_ps)
{
    const struct flight *flight = &serve->flights[index];
    int64_t now_ps = engine_now_ps(serve->engine), from_ps = engine_after_ps(now_ps, gap_ps);

    station_tell(serve, SERVE_SPAN_JOB, index, flight->job_ps, now_ps, gap_ps);
    for (int i = 0; i < flight->site->device_count; i++) {
        int32_t device = flight->site->devices[i];
        int64_t held_ps = serve->stations[device].held_ps;

        if (held_ps > 0)
            station_tell_switch(serve, device, from_ps, engine_after_ps(from_ps, held_ps));
    }
}

/* The device has done a job; held_ps is what an epoch adds behind it. */
static inline void end_one(struct station *station, int64_t start_ps, int64_t now_ps,
                           int64_t gap_ps)
{
    int64_t free_ps = engine_after_ps(now_ps, gap_ps);

    if (free_ps == ENGINE_LAST_PS) /* what lies beyond the end of time */
        station->lost_ps += (uint64_t)(gap_ps - (free_ps - now_ps));
    if (station->held_ps > 0) {
        int64_t held_ps = engine_after_ps(free_ps, station->held_ps);

        station->switched_ps += (uint64_t)(held_ps - free_ps);
        free_ps = held_ps;
        station->held_ps = 0;
    }
    station->running = NO_FLIGHT;
    station->busy_ps += now_ps - start_ps;
    station->free_ps = free_ps;
    station->gap_ps += free_ps - now_ps;
}

bool station_event(struct serve *serve, int32_t device, struct err *err)
{
    int64_t now_ps = engine_now_ps(serve->engine);
    struct station *station = &serve->stations[device];
    int32_t index = station->running;
    const struct flight *flight;
    const struct site *site;
    int64_t gap_ps;

    if (index == NO_FLIGHT) { /* the end of a gap */
        station_start(serve, device);
        return true;
    }
    flight = &serve->flights[index];
    site = flight->site;
    gap_ps = serve->has_queue_form ? station->next_gap_ps : serve_job(serve, index).gap_ps;
    if (serve->observer.on_span && !site->crew) /* crew.c tells itself */
        job_tell(serve, index, gap_ps);
    for (int i = 0; i < site->device_count && serve->wakes; i++)
        serve->wakes[site->devices[i]].awake_ps = engine_after_ps(now_ps, gap_ps);
    if (site->device_count > 1 || flight->mate != NO_FLIGHT)
        parts_job(serve, index, now_ps - flight->job_ps);
    if (site->device_count == 1) {
        end_one(station, flight->job_ps, now_ps, gap_ps);
        if (serve->has_rooms && room_keeps(serve, index))
            return true;
        if (!flight_leave(serve, index, err))
            return false;
        station_start(serve, device);
        return true;
    }
    for (int i = 0; i < site->device_count; i++)
        end_one(&serve->stations[site->devices[i]], flight->job_ps, now_ps, gap_ps);
    if (serve->has_rooms && room_keeps(serve, index))
        return true;
    if (!flight_leave(serve, index, err))
        return false;
    for (int i = 0; i < site->device_count; i++)
        station_start(serve, site->devices[i]);
    return true;
}

int64_t station_backlog_ps(const struct serve *serve, const struct site *site)
{
    int64_t backlog_ps = booked_ps(serve, site) - engine_now_ps(serve->engine);

    if (site->crew)
        backlog_ps = crew_backlog_ps(serve, site->crew);
    return site->batcher ? engine_after_ps(backlog_ps, batcher_backlog_ps(site->batcher))
                         : backlog_ps;
}
