/* room.c - bounded queues (queue_depth): no more jobs than that are on their way to a stage or wait
 * for it. Who finds no room waits at the source, or on the devices that are done with it, in the
 * order of asking.
 *
 * A place is free again when a job starts, or is lost. Who waits for it moves behind all else of
 * that instant: nothing moves inside something else, and ties do not depend on which device is
 * looked at first. In front of a stage 0 that forms batches each request takes as many places as it
 * has items, and there are as many as `depth` batches of the largest size have. The later steps of
 * a batch take none: they would wait for requests that leave only when the batch has ended. */
#include "sim/serve/crew.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"

void room_begin(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    if (serve->options->batch.kind == BATCH_CONTINUOUS)
        return; /* sim/llm has its own */
    for (int i = 0; i < plan->stage_count; i++) {
        struct site *site = &serve->sites[i];

        site->room = site->stage->queue_depth;
        if (site->batcher)
            site->room *= serve->lanes[site->replica].max_batch;
        serve->has_rooms = serve->has_rooms || site->room > 0;
    }
}

/* What a job, or a request that waits to become a part of one, takes of the queue of the site. */
static int64_t places_of(const struct serve *serve, int32_t index, const struct site *site)
{
    int32_t most = serve->lanes[site->replica].max_batch;
    int64_t places = 0;

    if (!site->batcher)
        return 1;
    if (site->is_model && serve->decodes[index].step > 0)
        return 0;
    for (; index != NO_FLIGHT; index = serve->flights[index].mate)
        places += serve->flights[index].items < most ? serve->flights[index].items : most;
    return places;
}

static bool has_places(const struct serve *serve, int32_t index, const struct site *site)
{
    return site->coming + places_of(serve, index, site) <= site->room;
}

bool room_take(struct serve *serve, int32_t index, struct site *site)
{
    if (site->room == 0 || places_of(serve, index, site) == 0)
        return true;
    if (site->askers.count == 0 && has_places(serve, index, site)) {
        site->coming += places_of(serve, index, site);
        return true;
    }
    serve->asks[index] = serve->next_ask++;
    ring_push(&site->askers, serve->arena, index);
    return false;
}

static bool can_move(const struct serve *serve, const struct site *site)
{
    return site->askers.count > 0 && has_places(serve, ring_peek(&site->askers), site);
}

/* There may be room for the first that asked. */
static void note(struct serve *serve, struct site *site)
{
    if (site->is_noted || !can_move(serve, site))
        return;
    site->is_noted = true;
    ring_push(&serve->noted, serve->arena, site->stage->id);
}

void room_give(struct serve *serve, int32_t index)
{
    struct site *site = serve->flights[index].site;

    if (site->room == 0)
        return;
    site->coming -= places_of(serve, index, site);
    note(serve, site);
}

/* ---- devices that are kept ---- */

void room_shift(const struct serve *serve, int32_t device)
{
    struct station *station = &serve->stations[device];
    int64_t now_ps = engine_now_ps(serve->engine);

    if (!station->is_kept || now_ps <= station->kept_ps)
        return;
    station->booked_ps = engine_after_ps(station->booked_ps, now_ps - station->kept_ps);
    station->kept_ps = now_ps;
}

bool room_keeps(struct serve *serve, int32_t index)
{
    struct site *site = serve->flights[index].site;

    if (site->is_last || room_take(serve, index, way_next(serve, index)))
        return false;
    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        station->running = index;
        station->is_kept = true;
        station->kept_ps = station->free_ps;
    }
    return true;
}

static void let_go(const struct serve *serve, const struct site *site)
{
    int64_t now_ps = engine_now_ps(serve->engine);

    /* A batch or request keeps a stage on several devices, but none of these. */
    for (int i = 0; i < site->device_count && !site->crew; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        room_shift(serve, site->devices[i]);
        station->running = NO_FLIGHT;
        station->is_kept = false;
        if (station->free_ps < now_ps)
            station->free_ps = now_ps;
    }
}

void room_lose(struct serve *serve, int32_t index)
{
    struct site *site = serve->flights[index].site, *next = way_next(serve, index);

    for (uint32_t left = next->askers.count; left > 0; left--) {
        int32_t other = ring_take(&next->askers);

        if (other != index)
            ring_push(&next->askers, serve->arena, other);
    }
    let_go(serve, site);
    serve->flights[index].site = next; /* it is done with the stage */
    note(serve, next);
}

/* ---- who moves ---- */

static bool move(struct serve *serve, int32_t index, const struct site *to, struct err *err)
{
    const struct site *from = serve->flights[index].site;

    if (from == to) /* it is at the source */
        return flight_go(serve, index, err);
    let_go(serve, from);
    if (!flight_leave(serve, index, err))
        return false;
    if (from->crew)
        return crew_let_go(serve, from->crew, err);
    for (int i = 0; i < from->device_count; i++)
        station_start(serve, from->devices[i]);
    return true;
}

bool room_move_one(struct serve *serve, struct err *err)
{
    struct site *first = NULL;
    int32_t index;

    for (uint32_t left = serve->noted.count; left > 0; left--) {
        struct site *site = &serve->sites[ring_take(&serve->noted)];

        site->is_noted = false;
        note(serve, site); /* again, if there is still room */
        if (site->is_noted && (!first || serve->asks[ring_peek(&site->askers)] <
                                             serve->asks[ring_peek(&first->askers)]))
            first = site;
    }
    if (!first)
        return true;
    index = ring_take(&first->askers);
    first->coming += places_of(serve, index, first);
    return move(serve, index, first, err);
}

/* ---- who waits for what ---- */

static bool asks_for(const struct site *site, int32_t index)
{
    for (uint32_t i = 0; i < site->askers.count; i++)
        if (ring_at(&site->askers, i) == index)
            return true;
    return false;
}

bool room_is_kept_by(const struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;
    const struct station *station = &serve->stations[site->device];

    if (site->crew)
        return site->crew->kept == index;
    return station->is_kept && station->running == index;
}

const char *room_waits_for(const struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;
    const struct site *next = room_is_kept_by(serve, index) ? way_next(serve, index) : site;
    const struct cluster_device *devices = serve->input->plan->cluster->devices;
    const char *where =
        next == site ? "at the source"
                     : arena_printf(serve->arena, "keeps device %.64s", devices[site->device].name);

    if (!asks_for(next, index))
        return NULL;
    return arena_printf(
        serve->arena, "%s until the queue of stage %d on device %.64s (queue_depth %d) has room",
        where, (int)next->stage->number, devices[next->device].name, (int)next->stage->queue_depth);
}
