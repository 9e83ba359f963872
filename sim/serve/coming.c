/* coming.c - work that was dispatched and has not reached the queue that dispatch goes by.
 *
 * least-idle goes by stage 0, least-last-stage by the last stage: what is on a link, held by an
 * overhead or in an earlier stage is booked nowhere there yet, and counts with what it will cost,
 * on the devices of that stage: whatever service or epoch asks for them. Costs of a batch that is
 * not formed are shared out at the rate of the largest size. */
#include "sim/serve/internal.h"

#include "lib/policy/price.h"
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"

/* Of the stages that the flight's step passes. */
static const struct site *target_of(const struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;
    const struct lane *lane = &serve->lanes[site->replica];
    bool is_decode = site->stage->phase == PLACEMENT_DECODE;
    struct site *first = is_decode ? lane->decode_sites : lane->sites;
    int32_t count = is_decode ? lane->decode_count : lane->stage_count;

    return way_at(serve, index,
                  serve->options->dispatch == DISPATCH_LEAST_IDLE ? first : &first[count - 1]);
}

void coming_begin(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    enum dispatch_kind dispatch = serve->options->dispatch;
    bool has_way = serve->delays != NULL || serve->has_rooms;

    if (serve->options->rules != SERVE_DEFAULT || plan->replica_count == plan->service_count ||
        (dispatch != DISPATCH_LEAST_IDLE && dispatch != DISPATCH_LEAST_LAST_STAGE))
        return;
    for (int r = 0; r < plan->replica_count; r++)
        has_way = has_way || serve->lanes[r].sites[0].route_in >= 0 ||
                  (dispatch == DISPATCH_LEAST_LAST_STAGE && serve->lanes[r].stage_count > 1);
    serve->has_comings = has_way;
}

/* What the flight, which is not there yet, will keep the devices of its target for. */
static bool work_find(struct serve *serve, int32_t index, int64_t *work_ps, struct err *err)
{
    const struct flight *flight = &serve->flights[index];
    const struct lane *lane = &serve->lanes[flight->site->replica];
    const struct site *site = target_of(serve, index);

    if (site->is_model) {
        const struct decode *decode = &serve->decodes[index];
        int extrapolated = 0; /* counted when it is computed */

        if (site->crew)
            return crew_estimate(serve, site->crew, index, work_ps, err);
        return price_step(serve->price, site->stage, site->model, site->table, site->threads,
                          serve->speeds[site->device], decode->new_tokens, decode->past_tokens,
                          work_ps, &extrapolated, err);
    }
    if (lane->sites[0].batcher && serve_batch_id(serve, index) < 0)
        *work_ps = batcher_work_ps(way_at(serve, index, lane->sites)->batcher, site, flight->items);
    else
        *work_ps =
            engine_after_ps(site->jobs[flight->size].cost_ps, site->jobs[flight->size].gap_ps);
    return true;
}

/* Adds to what is on its way to the devices of the flight's target, or takes off it. */
static void work_move(struct serve *serve, int32_t index, int64_t work_ps, bool does_add)
{
    const struct site *site = target_of(serve, index);
    uint64_t by_ps = (uint64_t)work_ps;

    for (int i = 0; i < site->device_count; i++) {
        struct station *station = &serve->stations[site->devices[i]];

        if (does_add) {
            station->coming_ps += by_ps;
            station->coming_carry += station->coming_ps < by_ps;
        } else {
            station->coming_carry -= station->coming_ps < by_ps;
            station->coming_ps -= by_ps;
        }
    }
}

void coming_drop(struct serve *serve, int32_t index)
{
    work_move(serve, index, serve->comings_ps[index], false);
    serve->comings_ps[index] = 0;
}

bool coming_set(struct serve *serve, int32_t index, struct err *err)
{
    int64_t work_ps = 0;

    if (!work_find(serve, index, &work_ps, err))
        return false;
    coming_drop(serve, index);
    serve->comings_ps[index] = work_ps;
    work_move(serve, index, work_ps, true);
    return true;
}

void coming_enter(struct serve *serve, int32_t index)
{
    const struct site *site = serve->flights[index].site;

    if (site == target_of(serve, index))
        coming_drop(serve, index);
}

void coming_batch(struct serve *serve, int32_t index)
{
    const struct flight *flight = &serve->flights[index];

    if (flight->site == target_of(serve, index))
        return;
    for (int32_t i = flight->mate; i != NO_FLIGHT; i = serve->flights[i].mate)
        coming_drop(serve, i);
    if (!flight->site->is_model) /* a batch of a model counts as its first request does alone */
        (void)coming_set(serve, index, NULL); /* executables have their costs */
}

bool coming_reprice(struct serve *serve, struct err *err)
{
    for (int32_t i = 0; i < serve->flight_count; i++)
        if (serve->flights[i].site && serve->comings_ps[i] > 0 && !coming_set(serve, i, err))
            return false;
    return true;
}

int64_t coming_backlog_ps(const struct serve *serve, const struct site *site)
{
    int64_t now_ps = engine_now_ps(serve->engine), latest_ps = now_ps;

    if (serve->tandem)
        return tandem_backlog_ps(serve, site);
    if (!serve->has_comings)
        return station_backlog_ps(serve, site);
    for (int i = 0; i < site->device_count; i++) {
        const struct station *station = &serve->stations[site->devices[i]];
        int64_t time_ps;

        if (serve->has_rooms)
            room_shift(serve, site->devices[i]);
        time_ps = station->booked_ps > now_ps ? station->booked_ps : now_ps;

        if (station->coming_carry > 0 || station->coming_ps > (uint64_t)ENGINE_LAST_PS)
            return ENGINE_LAST_PS;
        time_ps = engine_after_ps(time_ps, (int64_t)station->coming_ps);
        latest_ps = time_ps > latest_ps ? time_ps : latest_ps;
    }
    latest_ps -= now_ps;
    return site->batcher ? engine_after_ps(latest_ps, batcher_backlog_ps(site->batcher))
                         : latest_ps;
}
