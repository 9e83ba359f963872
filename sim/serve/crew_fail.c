/* crew_fail.c - passes that are lost with a device. What its other devices have begun goes on to
 * its end, for nobody, and so do messages: they are strays. */
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"

int32_t crew_part_flight(struct serve *serve)
{
    int32_t index = flight_reserve(serve);

    if (serve->batch_ids)
        serve->batch_ids[index] = -1;
    if (serve->promises)
        serve->promises[index] = LEDGER_NOTHING;
    serve->flights[index].site = NULL;
    return index;
}

bool crew_has_strays(const struct serve *serve)
{
    return serve->stray_count > 0 || (serve->crew_count > 0 && sliced_has_strays(serve->sliced));
}

void crew_stray_done(struct serve *serve, int32_t index)
{
    parts_add(serve, engine_now_ps(serve->engine) - serve->flights[index].job_ps, -1);
    serve->stray_count--;
    flight_drop(serve, index);
}

/* The part on one device of a pass that is cut. */
static void part_cut(struct serve *serve, struct crew *crew, int32_t position, bool is_down)
{
    int32_t index = crew->flights[position];
    const struct station *station = &serve->stations[crew->parts[position].device];

    if (!serve->flights[index].site)
        return;
    if (station->running != index) {
        queue_form_forget(serve, index);
        serve->flights[index].site = NULL;
    } else if (is_down) {
        int64_t start_ps = serve->flights[index].job_ps;

        queue_form_cancel(serve, index);
        parts_add(serve, engine_now_ps(serve->engine) - start_ps, -1);
        serve->flights[index].site = NULL;
    } else {
        crew->strays[position].job = crew->parts[position].job;
        serve->flights[index].site = &crew->strays[position];
        serve->stray_count++;
        crew->flights[position] = crew_part_flight(serve);
    }
}

/* Has waited, for the stage or for room behind it. */
static void waiter_lose(struct serve *serve, int32_t index)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    if (serve->observer.on_span)
        station_tell(serve, SERVE_SPAN_LOST, index, now_ps, now_ps, 0);
    flight_lose(serve, index, TRACE_FAILED);
}

static void waiters_lose(struct serve *serve, struct ring *waiting)
{
    while (waiting->count > 0) {
        int32_t index = ring_take(waiting);

        if (serve->has_rooms)
            room_give(serve, index);
        waiter_lose(serve, index);
    }
}

void crew_fail(struct serve *serve, struct crew *crew, int32_t device)
{
    int32_t running = sliced_running(crew->sliced), kept = crew->kept;
    struct ring waiting = { 0 };

    for (int32_t i = 0; i < crew->site->device_count && running != SLICED_NOBODY; i++)
        part_cut(serve, crew, i, crew->site->devices[i] == device);
    for (int32_t i = 0; i < sliced_waiting(crew->sliced); i++)
        ring_push(&waiting, serve->arena, sliced_waiting_at(crew->sliced, i));
    sliced_cut(crew->sliced);
    crew->kept = NO_FLIGHT;
    crew->booked_ps = engine_now_ps(serve->engine);
    if (running != SLICED_NOBODY)
        flight_lose(serve, running, TRACE_FAILED);
    if (kept != NO_FLIGHT) {
        room_lose(serve, kept);
        waiter_lose(serve, kept);
    }
    waiters_lose(serve, &waiting);
    waiters_lose(serve, &crew->queue);
    if (crew->site->batcher)
        batcher_fail(serve, crew->site->batcher);
}
