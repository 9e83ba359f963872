/* station.c - devices as exclusive FIFO servers: start = max(ready, previous end + gap).
 *
 * A stage on several devices queues its job on all of them in one go, so all their queues hold
 * common jobs in the same order; the job starts when it heads every queue and every device is free.
 * Its events live in the slot of the stage's first device. */
#include "sim/serve/internal.h"

#include "lib/format/cost.h"
#include "lib/policy/batch.h"
#include "lib/policy/price.h"
#include "sim/engine/engine.h"
#include <assert.h>

static bool job_price(struct serve *serve, struct flight *flight, const struct site *site,
                      struct err *err)
{
    int extrapolated = 0;

    serve->result->priced_steps++;
    if (!site->model) {
        flight->cost_ps = site->fixed_ps;
        return true;
    }
    if (!price_step(serve->price, site->stage, site->model, site->table, site->threads,
                    site->speed_ratio, flight->new_tokens, flight->past_tokens, &flight->cost_ps,
                    &extrapolated, err))
        return false;
    serve->result->extrapolated_costs += extrapolated;
    return true;
}

bool station_push(struct serve *serve, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];
    const struct site *site = serve_site(serve, flight);
    const struct plan_stage *stage = site->stage;
    int64_t start_ps = engine_now_ps(serve->engine);

    if (!job_price(serve, flight, site, err))
        return false;
    for (int i = 0; i < stage->device_count; i++) {
        int64_t booked_ps = serve->stations[stage->devices[i]].booked_ps;

        start_ps = booked_ps > start_ps ? booked_ps : start_ps;
    }
    flight->expected_ps = start_ps;
    for (int i = 0; i < stage->device_count; i++) {
        struct station *station = &serve->stations[stage->devices[i]];

        station->booked_ps =
            engine_after_ps(engine_after_ps(start_ps, flight->cost_ps), site->gap_ps);
        batch_push(station->queue, index);
    }
    station_start(serve, stage->devices[0]);
    return true;
}

static void job_begin(struct serve *serve, int32_t index, const struct plan_stage *stage)
{
    struct flight *flight = &serve->flights[index];
    struct serve_request *request = &serve->result->requests[flight->request];

    flight->start_ps = engine_now_ps(serve->engine);
    if (request->start_ps == TRACE_NONE)
        request->start_ps = flight->start_ps;
    for (int i = 0; i < stage->device_count; i++) {
        struct station *station = &serve->stations[stage->devices[i]];

        batch_take(station->queue);
        station->running = index;
        station->charged_ps = engine_after_ps(station->charged_ps, flight->cost_ps);
    }
    serve->late_starts += flight->start_ps != flight->expected_ps;
    engine_set(serve->engine, stage->devices[0], engine_after_ps(flight->start_ps, flight->cost_ps),
               ENGINE_COMPLETION);
}

void station_start(struct serve *serve, int device)
{
    int32_t index = batch_peek(serve->stations[device].queue);
    int64_t now_ps = engine_now_ps(serve->engine), start_ps = now_ps;
    const struct plan_stage *stage;

    if (index < 0)
        return;
    stage = serve_site(serve, &serve->flights[index])->stage;
    for (int i = 0; i < stage->device_count; i++) {
        const struct station *station = &serve->stations[stage->devices[i]];

        if (station->running >= 0 || batch_peek(station->queue) != index)
            return;
        start_ps = station->free_ps > start_ps ? station->free_ps : start_ps;
    }
    if (start_ps == now_ps)
        job_begin(serve, index, stage);
    else
        engine_set(serve->engine, stage->devices[0], start_ps, ENGINE_COMPLETION);
}

void station_event(struct serve *serve, int device, int32_t *ended)
{
    int64_t now_ps = engine_now_ps(serve->engine);
    int32_t index = serve->stations[device].running;
    const struct flight *flight;
    const struct site *site;
    struct serve_span span;

    *ended = index;
    if (index < 0) { /* the end of a gap that a job was waiting for */
        station_start(serve, device);
        return;
    }
    flight = &serve->flights[index];
    site = serve_site(serve, flight);
    span = (struct serve_span){ .request = flight->request,
                                .stage = site->stage->id,
                                .number = site->stage->number,
                                .step = flight->step,
                                .start_ps = flight->start_ps,
                                .finish_ps = now_ps,
                                .gap_ps = site->gap_ps };
    for (int i = 0; i < site->stage->device_count; i++) {
        struct station *station = &serve->stations[site->stage->devices[i]];

        assert(station->running == index);
        station->running = -1;
        station->busy_ps += now_ps - flight->start_ps;
        station->gap_ps = engine_after_ps(station->gap_ps, site->gap_ps);
        station->free_ps = engine_after_ps(now_ps, site->gap_ps);
        span.position = i;
        span.device = site->stage->devices[i];
        if (serve->observer.on_span)
            serve->observer.on_span(serve->observer.arg, &span);
    }
}

int64_t station_backlog_ps(const struct serve *serve, const struct plan_stage *stage)
{
    int64_t now_ps = engine_now_ps(serve->engine), backlog_ps = 0;

    for (int i = 0; i < stage->device_count; i++) {
        int64_t left_ps = serve->stations[stage->devices[i]].booked_ps - now_ps;

        backlog_ps = left_ps > backlog_ps ? left_ps : backlog_ps;
    }
    return backlog_ps;
}
