/* ledger.c - until when devices are promised to requests that were taken and are not there yet.
 *
 * A prediction is worth something only if what was taken before is booked on every stage, as
 * AlpaServe books it (Li et al., OSDI 2023): t = max(t, devices are done) + latency, stage by
 * stage. A request is booked when it is decided on: with --admission slo at dispatch, else when its
 * batch or its job starts in stage 0. Where times are constant and devices serve one stage each,
 * what is promised is what happens; elsewhere what really is queued counts as soon as it is later.
 * Executables alone. */
#include "sim/serve/internal.h"

#include "lib/format/overhead.h"
#include "lib/policy/admit.h"
#include "lib/policy/price.h"
#include "sim/network/network.h"

void ledger_begin(struct serve *serve)
{
    serve->has_ledger = serve->options->admission != ADMIT_NONE || serve->has_batchers;
}

/* ---- what is on the way ---- */

/* A message that meets no other, or none. */
static int64_t hop_ps(const struct serve *serve, int route, int64_t bytes)
{
    struct network_hop hop;

    if (route < 0)
        return 0;
    hop = network_hop(serve->network, route, bytes);
    return engine_after_ps(hop.occupy_ps, hop.latency_ps);
}

static int64_t mean_delay_ps(const struct serve *serve, enum overhead_where where)
{
    const struct overheads *overheads = serve->input->overheads;

    return overheads && overheads->at[where].is_given ? overheads->at[where].mean_ps : 0;
}

/* From the end of one stage to standing before the next. */
static int64_t way_ps(const struct serve *serve, int32_t index, const struct site *site, int size)
{
    const struct site *next;
    int route;

    if (site->is_last)
        return 0;
    next = way_at(serve, index, site->base + 1);
    route = site->base->copy_count > 1 ? next->routes_in[way_number(site)] : next->route_in;
    return engine_after_ps(hop_ps(serve, route, site->output_bytes[size]),
                           mean_delay_ps(serve, OVERHEAD_WORKER));
}

int64_t ledger_back_ps(const struct serve *serve, int32_t index, int size)
{
    const struct lane *lane = &serve->lanes[serve->flights[index].site->replica];
    const struct site *last = way_at(serve, index, &lane->sites[lane->stage_count - 1]);

    return hop_ps(serve, last->route_back, last->output_bytes[size]);
}

/* When a request that is dispatched now would stand before its stage 0. */
static int64_t ready_ps(const struct serve *serve, const struct flight *flight,
                        const struct site *site)
{
    int64_t bytes = plan_input_bytes(serve->input->plan, site->stage, flight->prompt_tokens);
    int64_t on_way_ps = engine_after_ps(mean_delay_ps(serve, OVERHEAD_DISPATCH),
                                        hop_ps(serve, site->route_in, bytes));

    on_way_ps = engine_after_ps(on_way_ps, mean_delay_ps(serve, OVERHEAD_WORKER));
    return engine_after_ps(engine_now_ps(serve->engine), on_way_ps);
}

/* ---- bookings ---- */

/* When the site's devices are done with all that is queued or promised there. */
static int64_t free_ps(const struct serve *serve, const struct site *site)
{
    int64_t latest_ps = 0;

    for (int i = 0; i < site->device_count; i++) {
        const struct station *station = &serve->stations[site->devices[i]];

        if (serve->has_rooms)
            room_shift(serve, site->devices[i]);
        latest_ps = station->booked_ps > latest_ps ? station->booked_ps : latest_ps;
        latest_ps = station->promised_ps > latest_ps ? station->promised_ps : latest_ps;
    }
    return latest_ps;
}

/* The end in the last stage of a job that stands before stage `first` at ready_ps; books it if
 * asked to. */
static int64_t walk(const struct serve *serve, int32_t index, int size, int first, int64_t ready_ps,
                    bool does_book)
{
    const struct lane *lane = &serve->lanes[serve->flights[index].site->replica];

    for (int s = first; s < lane->stage_count; s++) {
        const struct site *site = way_at(serve, index, &lane->sites[s]);
        const struct job *job = &site->jobs[size];
        int64_t taken_ps = free_ps(serve, site);
        int64_t end_ps = admit_slo_finish_ps(ready_ps, &taken_ps, &job->cost_ps, 1);

        for (int i = 0; does_book && i < site->device_count; i++)
            serve->stations[site->devices[i]].promised_ps = engine_after_ps(end_ps, job->gap_ps);
        ready_ps = engine_after_ps(end_ps, way_ps(serve, index, site, size));
    }
    return ready_ps;
}

/* From the start of its job in stage 0. */
static int64_t walk_on(const struct serve *serve, int32_t index, int size, int64_t start_ps,
                       bool does_book)
{
    const struct site *site =
        way_at(serve, index, serve->lanes[serve->flights[index].site->replica].sites);
    int64_t end_ps = engine_after_ps(start_ps, site->jobs[size].cost_ps);

    return walk(serve, index, size, 1, engine_after_ps(end_ps, way_ps(serve, index, site, size)),
                does_book);
}

int64_t ledger_predict_ps(const struct serve *serve, int32_t index, int size, int64_t start_ps)
{
    return walk_on(serve, index, size, start_ps, false);
}

/* It is booked at dispatch, and not when it starts. */
static bool is_early(const struct serve *serve, const struct site *site)
{
    return serve->options->admission == ADMIT_SLO && !site->batcher;
}

bool ledger_admit(struct serve *serve, int32_t index)
{
    const struct flight *flight = &serve->flights[index];
    int64_t slo_ps = flight->slo_ps > 0 ? flight->slo_ps : serve->options->slo_ps;
    int64_t from_ps;

    if (flight->site->is_model || !is_early(serve, flight->site))
        return true; /* who takes it to stage 0 decides */
    from_ps = ready_ps(serve, flight, flight->site);
    if (!admit_slo_ok(walk(serve, index, flight->size, 0, from_ps, false),
                      ledger_back_ps(serve, index, flight->size), flight->arrival_ps, slo_ps))
        return false;
    (void)walk(serve, index, flight->size, 0, from_ps, true);
    serve->promises[index] = LEDGER_ALL_STAGES;
    return true;
}

void ledger_start(struct serve *serve, int32_t index, int64_t start_ps)
{
    const struct flight *flight = &serve->flights[index];
    const struct site *site = flight->site;

    if (site->is_model || site->crew || site->stage->number > 0 || is_early(serve, site))
        return;
    (void)walk_on(serve, index, flight->size, start_ps, true);
    serve->promises[index] = LEDGER_LATER_STAGES;
}

/* ---- what comes otherwise ---- */

static void move(struct station *station, int64_t by_ps)
{
    station->promised_ps =
        by_ps > 0 ? engine_after_ps(station->promised_ps, by_ps) : station->promised_ps + by_ps;
}

/* Takes the jobs of the stages that are still before it off their devices, or books them again
 * there; of all stages, or of those that the device is part of. */
static void rest_move(struct serve *serve, int32_t index, int32_t device, int sign)
{
    const struct flight *flight = &serve->flights[index];
    const struct lane *lane = &serve->lanes[flight->site->replica];
    int first = flight->site->stage->number;
    bool is_done = serve->has_rooms && room_is_kept_by(serve, index);

    if (serve->promises[index] == LEDGER_NOTHING || flight->is_back)
        return;
    if (first == 0 && serve->promises[index] == LEDGER_LATER_STAGES)
        first = 1;
    else if (is_done)
        first++;
    for (int s = first; s < lane->stage_count; s++) {
        const struct site *site = way_at(serve, index, &lane->sites[s]);
        const struct job *job = &site->jobs[flight->size];
        int64_t time_ps = engine_after_ps(job->cost_ps, job->gap_ps);

        if (device != LEDGER_ANY_DEVICE && !plan_stage_has(site->stage, device))
            continue;
        for (int i = 0; i < site->device_count; i++)
            move(&serve->stations[site->devices[i]], sign * time_ps);
    }
}

void ledger_drop(struct serve *serve, int32_t index)
{
    rest_move(serve, index, LEDGER_ANY_DEVICE, -1);
    serve->promises[index] = LEDGER_NOTHING;
}

void ledger_reprice(struct serve *serve, int32_t device, int sign)
{
    for (int32_t i = 0; i < serve->flight_count; i++)
        if (serve->flights[i].site)
            rest_move(serve, i, device, sign);
}

void ledger_delay(struct serve *serve, int32_t device, int64_t time_ps)
{
    struct station *station = &serve->stations[device];
    int64_t now_ps = engine_now_ps(serve->engine);

    if (station->promised_ps < now_ps)
        station->promised_ps = now_ps;
    move(station, time_ps);
}
