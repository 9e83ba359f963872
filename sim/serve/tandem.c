/* tandem.c - the closed form of models, one step of one request at a time.
 *
 * Where every device and link of a pipeline is fed by one sender alone, steps pass all stages in
 * the order in which the source sends them. So a step is Lindley's recursion along its stages, at
 * the moment at which it is sent: start = max(ready, free of the device), and the same for each
 * link. What is left for the event loop is one event a step, in the slot of the event that it
 * stands for: the source holds the result. Arrivals, dispatch, memory and ends are those of the
 * loop. */
#include "sim/serve/internal.h"

#include "lib/format/cluster.h"
#include "lib/policy/price.h"
#include "lib/policy/wake.h"
#include "sim/network/network.h"
#include <string.h>

#define NOT_KNOWN (-1)

/* What decode steps cost, by tokens in the cache: one for all stages that cost the same. */
struct costs {
    const struct site *site; /* the first of them */
    struct plan_counts counts;
    int64_t codec_ps;
    double speed_ratio;
    struct cost {
        int64_t time_ps; /* NOT_KNOWN: nobody has asked */
        int32_t extrapolated;
    } * costs;
    int32_t room;
};

struct hop {
    int64_t *free_ps;       /* of its link; NULL: there is no message */
    struct network_hop one; /* of one token */
    int64_t bytes;
};

struct coming { /* a step on its way to a stage 0, or queued there */
    int64_t at_ps, end_ps, cost_ps;
};

/* What least-idle goes by, of a device of stages 0: when all that is there will be done, and what
 * is on its way (coming.c; its sum is in the station). */
struct backlog {
    struct coming *comings; /* a ring: steps in order */
    uint32_t room, head, count;
    int64_t booked_ps;
};

struct stop { /* a stage as its steps see it */
    struct site *site;
    struct station *station;
    struct wake *wake;       /* of the device; NULL: waking it costs nothing */
    struct backlog *backlog; /* of a stage 0, where dispatch asks for it; else NULL */
    struct costs *costs;
    struct hop in;
};

struct line { /* a replica */
    struct stop *stops;
    int32_t stop_count;
    int32_t event_count; /* of a step, when each job and message is one */
    struct hop back;
    struct costs **kinds; /* of its stages, each once */
    int32_t kind_count;
    int64_t token_count; /* steps of one token so far */
    int64_t back_count;  /* steps */
    int slot;            /* of the event that brings a step back */
    enum engine_class class;
};

struct tandem {
    struct line *lines;     /* by replica of the plan */
    struct ring *returns;   /* by slot of the engine: steps that will be back there, in order; when:
                             * flight.job_ps */
    int64_t *links_free_ps; /* by link */
    struct costs **kinds;   /* all that there are */
    int32_t kind_count;
    struct backlog *backlogs; /* by device; NULL: nobody asks for what is on its way */
};

/* ---- the guard ---- */

/* Here requests end in order of time, too: how many a replica has is known. */
static bool dispatch_is_plain(const struct serve *serve)
{
    return lindley_dispatch_is_plain(serve) ||
           serve->options->dispatch == DISPATCH_LEAST_OUTSTANDING ||
           (serve->options->dispatch == DISPATCH_LEAST_IDLE && !serve->wakes);
}

/* Whether another replica is fed by the same link of the source's, or at the same device. */
static bool has_neighbour(const struct serve *serve, int32_t replica)
{
    const struct site *own = serve->lanes[replica].sites;
    int own_link = own->route_in < 0 ? -1 : network_route_link(serve->network, own->route_in);

    for (int32_t r = 0; r < serve->input->plan->replica_count; r++) {
        const struct site *other = serve->lanes[r].sites;

        if (r != replica && (other->device == own->device ||
                             (own_link >= 0 && other->route_in >= 0 &&
                              network_route_link(serve->network, other->route_in) == own_link)))
            return true;
    }
    return false;
}

/* Who sends first at one instant goes by the events that bring steps back. Here those stand in the
 * tree before that instant, as among all events only if the last message takes its time. */
static bool source_is_orderly(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];
        int route_back = lane->sites[lane->stage_count - 1].route_back;
        struct network_hop hop;

        if (!has_neighbour(serve, r))
            continue;
        if (route_back < 0)
            return false;
        hop = network_hop(serve->network, route_back, plan_result_bytes(plan, &plan->replicas[r]));
        if (hop.occupy_ps + hop.latency_ps == 0)
            return false;
    }
    return true;
}

static bool applies(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    if (serve->options->fast_path != SERVE_FAST_ON || serve->options->rules != SERVE_DEFAULT ||
        serve->input->events || !serve_is_undisturbed(serve) || !dispatch_is_plain(serve) ||
        (serve->arrivals.source && plan->replica_count > 1) || serve->handoffs)
        return false;
    for (int i = 0; i < plan->stage_count; i++)
        if (!serve->sites[i].is_model || serve->sites[i].device_count > 1)
            return false;
    return lindley_is_apart(serve) && source_is_orderly(serve);
}

/* ---- begin ---- */

static bool is_same(const struct costs *costs, const struct site *site,
                    const struct plan_counts *counts, double speed_ratio)
{
    return costs->site->model == site->model && costs->site->table == site->table &&
           costs->site->threads == site->threads &&
           costs->codec_ps == plan_stage_codec_ps(site->stage) &&
           memcmp(&costs->counts, counts, sizeof *counts) == 0 &&
           !(costs->speed_ratio < speed_ratio) && !(costs->speed_ratio > speed_ratio);
}

static struct costs *costs_of(struct serve *serve, struct tandem *tandem, const struct site *site)
{
    const struct plan_counts counts = plan_stage_counts(site->stage);
    double speed_ratio = serve->speeds[site->device];
    struct costs *costs;

    for (int32_t i = 0; i < tandem->kind_count; i++)
        if (is_same(tandem->kinds[i], site, &counts, speed_ratio))
            return tandem->kinds[i];
    costs = arena_alloc(serve->arena, sizeof *costs);
    costs->site = site;
    costs->counts = counts;
    costs->codec_ps = plan_stage_codec_ps(site->stage);
    costs->speed_ratio = speed_ratio;
    return tandem->kinds[tandem->kind_count++] = costs;
}

static struct hop hop_of(struct serve *serve, const struct tandem *tandem, int route, int64_t bytes)
{
    struct hop hop = { .bytes = bytes };

    if (route < 0)
        return hop;
    hop.one = network_hop(serve->network, route, bytes);
    hop.free_ps = &tandem->links_free_ps[hop.one.link];
    return hop;
}

static struct wake *wake_find(const struct serve *serve, int32_t device)
{
    bool has_cost = serve->wakes && serve->wakes[device].resume_ps > 0;

    return has_cost ? &serve->wakes[device] : NULL;
}

static void kind_note(struct line *line, struct costs *costs)
{
    for (int32_t i = 0; i < line->kind_count; i++)
        if (line->kinds[i] == costs)
            return;
    line->kinds[line->kind_count++] = costs;
}

static void line_begin(struct serve *serve, struct tandem *tandem, int32_t replica)
{
    const struct plan *plan = serve->input->plan;
    const struct lane *lane = &serve->lanes[replica];
    const struct site *last = &lane->sites[lane->stage_count - 1];
    struct line *line = &tandem->lines[replica];

    line->stops = arena_array(serve->arena, (size_t)lane->stage_count, sizeof *line->stops);
    line->stop_count = line->event_count = lane->stage_count;
    for (int32_t s = 0; s < lane->stage_count; s++) {
        struct site *site = &lane->sites[s];

        line->stops[s] = (struct stop){
            .site = site,
            .station = &serve->stations[site->device],
            .wake = wake_find(serve, site->device),
            .backlog = s == 0 && tandem->backlogs ? &tandem->backlogs[site->device] : NULL,
            .costs = costs_of(serve, tandem, site),
            .in = hop_of(serve, tandem, site->route_in, plan_input_bytes(plan, site->stage, 1))
        };
        line->event_count += site->route_in >= 0;
    }
    line->back =
        hop_of(serve, tandem, last->route_back, plan_result_bytes(plan, &plan->replicas[replica]));
    line->event_count += last->route_back >= 0;
    line->kinds = arena_array(serve->arena, (size_t)lane->stage_count, sizeof(struct costs *));
    for (int32_t s = 0; s < lane->stage_count; s++)
        kind_note(line, line->stops[s].costs);
    line->slot = last->route_back >= 0 ? serve->network_slot + last->route_back : last->slot;
    line->class = last->route_back >= 0 ? ENGINE_LINK_ARRIVAL : ENGINE_COMPLETION;
}

void tandem_begin(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    size_t link_count = (size_t)network_link_count(serve->network);
    struct tandem *tandem;

    if (!applies(serve))
        return;
    tandem = arena_alloc(serve->arena, sizeof *tandem);
    tandem->lines = arena_array(serve->arena, (size_t)plan->replica_count, sizeof *tandem->lines);
    tandem->returns =
        arena_array(serve->arena, (size_t)serve->control_slot, sizeof *tandem->returns);
    tandem->links_free_ps = arena_array(serve->arena, link_count, sizeof *tandem->links_free_ps);
    tandem->kinds = arena_array(serve->arena, (size_t)plan->stage_count, sizeof(struct costs *));
    if (serve->has_comings)
        tandem->backlogs = arena_array(serve->arena, (size_t)plan->cluster->device_count,
                                       sizeof *tandem->backlogs);
    serve->has_comings = false; /* they are kept here */
    for (int32_t r = 0; r < plan->replica_count; r++)
        if (!serve->lanes[r].is_left_out)
            line_begin(serve, tandem, r);
    serve->tandem = tandem;
    serve->result->fast_path = SERVE_FAST_ON;
}

/* ---- what is on its way ---- */

static void coming_add(struct serve *serve, const struct stop *stop, struct coming coming)
{
    struct backlog *backlog = stop->backlog;
    struct station *station = stop->station;

    if (backlog->count == backlog->room) {
        uint32_t room = (uint32_t)arena_wider((int32_t)backlog->room, 16);
        struct coming *wider = arena_array(serve->arena, room, sizeof *wider);

        for (uint32_t i = 0; i < backlog->count; i++)
            wider[i] = backlog->comings[(backlog->head + i) & (backlog->room - 1)];
        backlog->comings = wider;
        backlog->room = room;
        backlog->head = 0;
    }
    backlog->comings[(backlog->head + backlog->count++) & (backlog->room - 1)] = coming;
    station->coming_ps += (uint64_t)coming.cost_ps;
    station->coming_carry += station->coming_ps < (uint64_t)coming.cost_ps;
}

/* What has come by now is booked. */
static void comings_enter(struct backlog *backlog, struct station *station, int64_t now_ps)
{
    while (backlog->count > 0 && backlog->comings[backlog->head].at_ps <= now_ps) {
        const struct coming *coming = &backlog->comings[backlog->head];

        backlog->booked_ps = coming->end_ps;
        station->coming_carry -= station->coming_ps < (uint64_t)coming->cost_ps;
        station->coming_ps -= (uint64_t)coming->cost_ps;
        backlog->head = (backlog->head + 1) & (backlog->room - 1);
        backlog->count--;
    }
}

int64_t tandem_backlog_ps(const struct serve *serve, const struct site *site)
{
    int64_t now_ps = engine_now_ps(serve->engine);
    struct station *station = &serve->stations[site->device];
    struct backlog *backlog;

    if (!serve->tandem->backlogs)
        return station_backlog_ps(serve, site);
    backlog = &serve->tandem->backlogs[site->device];
    comings_enter(backlog, station, now_ps);
    if (station->coming_carry > 0 || station->coming_ps > (uint64_t)ENGINE_LAST_PS)
        return ENGINE_LAST_PS;
    return engine_after_ps(later_ps(backlog->booked_ps, now_ps), (int64_t)station->coming_ps) -
           now_ps;
}

/* ---- a step ---- */

static bool price(struct serve *serve, const struct site *site, double speed_ratio,
                  const struct decode *decode, struct cost *cost, struct err *err)
{
    int extrapolated = 0;

    if (!price_step(serve->price, site->stage, site->model, site->table, site->threads, speed_ratio,
                    decode->new_tokens, decode->past_tokens, &cost->time_ps, &extrapolated, err))
        return false;
    cost->extrapolated = extrapolated;
    return true;
}

static void costs_widen(struct serve *serve, struct costs *costs, int32_t past_tokens)
{
    int32_t room = costs->room > 0 ? costs->room : 256;

    while (room <= past_tokens)
        room = arena_wider(room, 256);
    costs->costs = arena_grow(serve->arena, costs->costs, (size_t)costs->room, (size_t)room,
                              sizeof *costs->costs);
    for (int32_t i = costs->room; i < room; i++)
        costs->costs[i].time_ps = NOT_KNOWN;
    costs->room = room;
}

/* Of a step of one token: it is in costs->costs from then on. */
static bool cost_find(struct serve *serve, struct costs *costs, const struct decode *decode,
                      struct err *err)
{
    int32_t past_tokens = decode->past_tokens;

    if (past_tokens >= costs->room)
        costs_widen(serve, costs, past_tokens);
    return costs->costs[past_tokens].time_ps != NOT_KNOWN ||
           price(serve, costs->site, costs->speed_ratio, decode, &costs->costs[past_tokens], err);
}

/* When what is sent at an instant is there. */
static inline int64_t hop_pass(const struct hop *hop, const struct network_hop *one, int64_t at_ps)
{
    if (!hop->free_ps)
        return at_ps;
    *hop->free_ps = engine_after_ps(later_ps(at_ps, *hop->free_ps), one->occupy_ps);
    return engine_after_ps(*hop->free_ps, one->latency_ps);
}

/* When the device has done the step that comes at an instant. */
static inline int64_t job_pass(const struct stop *stop, int64_t cost_ps, int64_t at_ps)
{
    struct station *station = stop->station;
    int64_t start_ps = later_ps(at_ps, station->booked_ps);

    if (stop->wake && wake_is_due(stop->wake, start_ps))
        cost_ps =
            engine_after_ps(cost_ps, wake_take_ps(stop->wake, start_ps, stop->costs->speed_ratio));
    station->wait_peak_ps = later_ps(start_ps - at_ps, station->wait_peak_ps);
    station->booked_ps = engine_after_ps(start_ps, cost_ps);
    station->offered_ps += (uint64_t)cost_ps;
    if (stop->wake)
        stop->wake->awake_ps = station->booked_ps;
    return station->booked_ps;
}

static inline int64_t stop_pass(struct serve *serve, const struct stop *stop, int64_t cost_ps,
                                int64_t at_ps)
{
    int64_t end_ps = job_pass(stop, cost_ps, at_ps);

    if (stop->backlog)
        coming_add(serve, stop, (struct coming){ at_ps, end_ps, cost_ps });
    return end_ps;
}

/* Instants of a step: in *at_ps when the source sends it, then when the last stage has done it. */
static bool token_pass(struct serve *serve, struct line *line, const struct decode *decode,
                       int64_t *at_ps, struct err *err)
{
    size_t past_tokens = (size_t)decode->past_tokens;
    int64_t now_ps = *at_ps, extrapolated = 0;

    for (int32_t i = 0; i < line->kind_count; i++)
        if (!cost_find(serve, line->kinds[i], decode, err))
            return false;
    for (int32_t s = 0; s < line->stop_count; s++) {
        const struct stop *stop = &line->stops[s];
        const struct cost *cost = &stop->costs->costs[past_tokens];

        now_ps = hop_pass(&stop->in, &stop->in.one, now_ps);
        now_ps = stop_pass(serve, stop, cost->time_ps, now_ps);
        extrapolated += cost->extrapolated;
    }
    serve->result->extrapolated_costs += extrapolated;
    line->token_count++;
    *at_ps = now_ps;
    return true;
}

/* The same of many tokens; *start_ps is when stage 0 begins. */
static bool prompt_pass(struct serve *serve, const struct line *line, const struct decode *decode,
                        int64_t *at_ps, int64_t *start_ps, struct err *err)
{
    for (int32_t s = 0; s < line->stop_count; s++) {
        const struct stop *stop = &line->stops[s];
        struct cost cost;

        if (!price(serve, stop->site, stop->costs->speed_ratio, decode, &cost, err))
            return false;
        serve->result->extrapolated_costs += cost.extrapolated;
        if (stop->in.free_ps) {
            int64_t bytes =
                plan_input_bytes(serve->input->plan, stop->site->stage, decode->new_tokens);
            struct network_hop hop = network_hop(serve->network, stop->site->route_in, bytes);

            network_account(serve->network, stop->site->route_in, 1, hop.occupy_ps, bytes);
            *at_ps = hop_pass(&stop->in, &hop, *at_ps);
        }
        if (s == 0)
            *start_ps = later_ps(*at_ps, stop->station->booked_ps);
        *at_ps = stop_pass(serve, stop, cost.time_ps, *at_ps);
    }
    return true;
}

bool tandem_pass(struct serve *serve, int32_t index, struct err *err)
{
    struct flight *flight = &serve->flights[index];
    const struct decode *decode = &serve->decodes[index];
    struct line *line = &serve->tandem->lines[flight->site->replica];
    struct ring *returns = &serve->tandem->returns[line->slot];
    int64_t at_ps = engine_now_ps(serve->engine), start_ps = TRACE_NONE;

    /* A first step goes the long way: it tells when it starts. */
    if (decode->step > 0 ? !token_pass(serve, line, decode, &at_ps, err)
                         : !prompt_pass(serve, line, decode, &at_ps, &start_ps, err))
        return false;
    if (flight->start_ps == TRACE_NONE)
        flight->start_ps = start_ps;
    line->back_count++;
    flight->job_ps = hop_pass(&line->back, &line->back.one, at_ps);
    flight->site = line->stops[line->stop_count - 1].site;
    if (returns->count == 0)
        engine_set(serve->engine, line->slot, flight->job_ps, line->class);
    ring_push(returns, serve->arena, index);
    return true;
}

bool tandem_return(struct serve *serve, int slot, struct err *err)
{
    struct ring *returns = &serve->tandem->returns[slot];
    int32_t index = ring_take(returns), next = ring_peek(returns);
    const struct line *line = &serve->tandem->lines[serve->flights[index].site->replica];

    serve->engine->event_count += line->event_count - 1;
    if (next != NO_FLIGHT)
        engine_set(serve->engine, slot, serve->flights[next].job_ps, line->class);
    return flight_return(serve, index, err);
}

/* ---- the end ---- */

static void hop_fill(struct serve *serve, const struct hop *hop, int route, int64_t count)
{
    if (hop->free_ps)
        network_account(serve->network, route, count, hop->one.occupy_ps, hop->bytes);
}

void tandem_fill(struct serve *serve)
{
    for (int32_t r = 0; r < serve->input->plan->replica_count; r++) {
        const struct line *line = &serve->tandem->lines[r];

        for (int32_t s = 0; s < line->stop_count; s++) {
            const struct stop *stop = &line->stops[s];

            stop->station->busy_ps = (int64_t)stop->station->offered_ps;
            stop->station->free_ps = stop->station->booked_ps;
            hop_fill(serve, &stop->in, stop->site->route_in, line->token_count);
        }
        if (line->stop_count > 0)
            hop_fill(serve, &line->back, line->stops[line->stop_count - 1].site->route_back,
                     line->back_count);
    }
}
