/* express.c - the events of plain pipelines, in a loop of its own that touches little memory.
 *
 * Plain: executables in stages of one device, one request at a time, no overheads, failures,
 * epochs or admission, links that book one port, and nobody who watches single jobs. Same slots,
 * same keys, same rules as in station.c and flight.c, so the same events in the same order; what is
 * a multiple of the number of jobs or messages is multiplied at the end. */
#include "sim/serve/internal.h"

#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/network/network.h"

#define BLOCK 1024
/* Of the parts of a passage: no sum below overflows then. */
#define MOST_PART_PS (INT64_C(1) << 56)
#define NOBODY (-1)
#define SOURCE (-1)

struct stop { /* a stage, and the way that leads out of it; behind the last, one without a job */
    int64_t cost_ps, gap_ps;
    int64_t occupy_ps; /* of the way out */
    int32_t server;    /* SOURCE: requests end there */
    int32_t way;       /* -1 = free; of a SOURCE: the lane */
};

struct entry { /* of a lane */
    int64_t occupy_ps;
    int64_t count; /* of requests: they all pass all stops */
    int32_t stop, way;
};

struct way { /* a route and what travels on it */
    int64_t latency_ps;
    int32_t head, tail;
    int32_t port; /* that it occupies */
};

struct traveller { /* a request in the system */
    int64_t arrival_ps;
    int64_t due_ps; /* queued: start by the closed form; running: start; on its way: when there */
    uint64_t request;
    int32_t stop;
    int32_t next; /* behind it in the same queue, on the same way, or among the free */
};

struct server { /* a device, by its slot */
    int64_t free_ps, booked_ps, wait_peak_ps;
    int32_t running, running_stop;
    int32_t head, tail; /* of what waits */
    int32_t device;
};

struct ends { /* that are not told yet */
    size_t count;
    int64_t arrivals_ps[BLOCK], finishes_ps[BLOCK], slos_ps[BLOCK], starts_ps[BLOCK];
    int32_t services[BLOCK];
};

struct express {
    struct serve *serve;
    struct engine *engine;
    struct stop *stops;
    int64_t *queued_ps;    /* beside stops; NULL: nothing is added */
    struct entry *entries; /* by lane */
    struct server *servers;
    struct way *ways; /* by route */
    int64_t *port_free_ps;
    struct traveller *travellers;
    int64_t *starts_ps; /* beside travellers; NULL when nobody asks */
    int32_t traveller_count, first_free;
    bool is_dispatching; /* a service has several replicas */
    bool tells_one_by_one;
    struct ends *ends;
    size_t arrival, arrival_count; /* of the block */
    const int64_t *times_ps;
    int64_t arrivals_ps[BLOCK];
    int32_t services[BLOCK];
};

/* ---- where it is exact ---- */

/* Of a request at its stage 0. */
static int64_t entry_bytes(const struct serve *serve, const struct lane *lane)
{
    return plan_input_bytes(serve->input->plan, lane->sites[0].stage, 0);
}

static bool part_is_small(struct serve *serve, int route, int64_t bytes)
{
    struct network_hop hop;

    if (route < 0)
        return true;
    hop = network_hop(serve->network, route, bytes);
    return hop.occupy_ps <= MOST_PART_PS && hop.latency_ps <= MOST_PART_PS;
}

static bool lane_is_plain(struct serve *serve, const struct lane *lane)
{
    if (lane->is_left_out || lane->size_count != 1)
        return false;
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];

        if (!site->is_plain || site->is_sized || site->job.cost_ps > MOST_PART_PS ||
            site->job.gap_ps > MOST_PART_PS || site->queued_ps > MOST_PART_PS ||
            !part_is_small(serve, s > 0 ? site->route_in : -1,
                           s > 0 ? (site - 1)->output_bytes[0] : 0) ||
            !part_is_small(serve, site->is_last ? site->route_back : -1, site->output_bytes[0]))
            return false;
    }
    return part_is_small(serve, lane->sites[0].route_in, entry_bytes(serve, lane));
}

bool express_applies(struct serve *serve)
{
    if (serve->options->fast_path == SERVE_FAST_OFF || !serve_is_plain(serve) ||
        serve->has_comings || !arrivals_are_plain(&serve->arrivals))
        return false;
    for (int r = 0; r < serve->input->plan->replica_count; r++)
        if (!lane_is_plain(serve, &serve->lanes[r]))
            return false;
    return true;
}

/* ---- layout ---- */

static void way_fill(struct express *express, int route, int64_t bytes, int32_t *way,
                     int64_t *occupy_ps)
{
    struct network_hop hop;

    *way = NOBODY;
    if (route < 0)
        return;
    hop = network_hop(express->serve->network, route, bytes);
    *way = route;
    *occupy_ps = hop.occupy_ps;
    express->ways[route].port = hop.link;
    express->ways[route].latency_ps = hop.latency_ps;
}

static void lane_fill(struct express *express, int32_t r, int32_t *stop_count)
{
    const struct serve *serve = express->serve;
    const struct lane *lane = &serve->lanes[r];
    struct entry *entry = &express->entries[r];

    entry->stop = *stop_count;
    way_fill(express, lane->sites[0].route_in, entry_bytes(serve, lane), &entry->way,
             &entry->occupy_ps);
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];
        struct stop *stop = &express->stops[*stop_count];

        stop->cost_ps = site->job.cost_ps;
        stop->gap_ps = site->job.gap_ps;
        stop->server = site->slot;
        way_fill(express, site->is_last ? site->route_back : (site + 1)->route_in,
                 site->output_bytes[0], &stop->way, &stop->occupy_ps);
        if (express->queued_ps)
            express->queued_ps[*stop_count] = site->queued_ps;
        (*stop_count)++;
    }
    express->stops[(*stop_count)++] = (struct stop){ .server = SOURCE, .way = r };
}

static void lanes_fill(struct express *express)
{
    struct serve *serve = express->serve;
    const struct plan *plan = serve->input->plan;
    size_t stop_count = (size_t)plan->stage_count + (size_t)plan->replica_count;
    int32_t next = 0;

    express->stops = arena_array(serve->arena, stop_count, sizeof(*express->stops));
    express->entries =
        arena_array(serve->arena, (size_t)plan->replica_count, sizeof(*express->entries));
    for (int i = 0; i < plan->stage_count && !express->queued_ps; i++)
        if (serve->sites[i].queued_ps > 0)
            express->queued_ps = arena_array(serve->arena, stop_count, sizeof(*express->queued_ps));
    for (int32_t r = 0; r < plan->replica_count; r++)
        lane_fill(express, r, &next);
}

static struct express *layout(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    struct express *express = arena_alloc(serve->arena, sizeof(*express));
    size_t way_count = (size_t)network_slot_count(serve->network);

    express->serve = serve;
    express->engine = serve->engine;
    express->first_free = NOBODY;
    express->tells_one_by_one = !serve_tells_blocks(serve);
    express->ways = arena_array(serve->arena, way_count, sizeof(*express->ways));
    for (size_t i = 0; i < way_count; i++)
        express->ways[i].head = NOBODY;
    lanes_fill(express);
    express->servers =
        arena_array(serve->arena, (size_t)plan->cluster->device_count, sizeof(*express->servers));
    for (int i = 0; i < plan->cluster->device_count; i++)
        express->servers[i] =
            (struct server){ .running = NOBODY, .head = NOBODY, .device = serve->slot_devices[i] };
    express->port_free_ps =
        arena_array(serve->arena, (size_t)network_link_count(serve->network), sizeof(int64_t));
    for (int i = 0; i < plan->service_count; i++)
        express->is_dispatching = express->is_dispatching || plan->services[i].replica_count > 1;
    express->ends = arena_alloc(serve->arena, sizeof(*express->ends));
    return express;
}

static void pool_widen(struct express *express)
{
    int32_t old = express->traveller_count, count = arena_wider(old, 64);
    struct arena *arena = express->serve->arena;

    express->travellers = arena_grow(arena, express->travellers, (size_t)old, (size_t)count,
                                     sizeof(*express->travellers));
    if (express->tells_one_by_one || express->serve->observer.wants_starts)
        express->starts_ps = arena_grow(arena, express->starts_ps, (size_t)old, (size_t)count,
                                        sizeof(*express->starts_ps));
    for (int32_t i = old; i < count; i++)
        express->travellers[i].next = i + 1 < count ? i + 1 : NOBODY;
    express->first_free = old;
    express->traveller_count = count;
}

/* ---- ends ---- */

static void ends_tell(struct express *express)
{
    struct serve *serve = express->serve;
    struct ends *ends = express->ends;
    const struct workload *workload = serve->input->workload;

    serve_tell_block(
        serve, &(struct serve_block){ ends->count, ends->arrivals_ps, ends->finishes_ps,
                                      express->starts_ps ? ends->starts_ps : NULL, ends->services,
                                      workload && workload->slos_ps ? ends->slos_ps : NULL,
                                      arrivals_slo_ps(&serve->arrivals) });
    ends->count = 0;
}

static void end_tell(struct express *express, int32_t index, int64_t now_ps)
{
    struct serve *serve = express->serve;
    const struct traveller *traveller = &express->travellers[index];
    const struct workload *workload = serve->input->workload;
    int32_t lane = express->stops[traveller->stop].way;
    struct serve_end end = { .index = traveller->request,
                             .request_id = arrivals_id(&serve->arrivals, traveller->request),
                             .service = serve->lanes[lane].service,
                             .replica = lane,
                             .status = TRACE_OK,
                             .arrival_ps = traveller->arrival_ps,
                             .start_ps = express->starts_ps[index],
                             .first_token_ps = TRACE_NONE,
                             .finish_ps = now_ps,
                             .e2e_ps = TRACE_NONE,
                             .slo_ps = arrivals_slo_ps(&serve->arrivals) };

    if (workload && workload->slos_ps)
        end.slo_ps = workload->slos_ps[traveller->request];
    if (serve->input->overheads)
        end.e2e_ps = engine_after_ps(now_ps - traveller->arrival_ps,
                                     delays_response_ps(serve, (uint64_t)end.request_id));
    serve_tell_end(serve, &end);
}

static void end_keep(struct express *express, int32_t index, int64_t now_ps)
{
    const struct traveller *traveller = &express->travellers[index];
    struct ends *ends = express->ends;
    size_t i = ends->count++;
    const struct workload *workload = express->serve->input->workload;

    ends->arrivals_ps[i] = traveller->arrival_ps;
    ends->finishes_ps[i] = now_ps;
    if (express->starts_ps)
        ends->starts_ps[i] = express->starts_ps[index];
    ends->services[i] = express->serve->lanes[express->stops[traveller->stop].way].service;
    if (workload && workload->slos_ps)
        ends->slos_ps[i] = workload->slos_ps[traveller->request];
    if (ends->count == BLOCK)
        ends_tell(express);
}

/* The source holds the result. */
static void passage_end(struct express *express, int32_t index)
{
    struct traveller *traveller = &express->travellers[index];
    struct serve *serve = express->serve;
    int64_t now_ps = engine_now_ps(express->engine);

    if (express->is_dispatching)
        serve->lanes[express->stops[traveller->stop].way].same->outstanding--;
    self_check_change(serve, -1);
    parts_add_wide(&serve->all_ps, now_ps - traveller->arrival_ps);
    serve->result->late_count += now_ps > serve->options->until_ps;
    if (serve->options->has_parts)
        presence_leave(serve->lanes[express->stops[traveller->stop].way].presence, now_ps);
    if (express->tells_one_by_one)
        end_tell(express, index, now_ps);
    else
        end_keep(express, index, now_ps);
    traveller->next = express->first_free;
    express->first_free = index;
}

/* ---- jobs and messages ---- */

/* To the end of what stands in line from *head to *tail. */
static inline void line_push(struct traveller *travellers, int32_t *head, int32_t *tail,
                             int32_t index)
{
    travellers[index].next = NOBODY;
    if (*head == NOBODY)
        *head = index;
    else
        travellers[*tail].next = index;
    *tail = index;
}

static inline int64_t queued_ps(const struct express *express, int32_t stop)
{
    return express->queued_ps ? express->queued_ps[stop] : 0;
}

static inline void job_begin(struct express *express, struct server *server, int32_t index,
                             int32_t stop, int64_t start_ps)
{
    server->running = index;
    server->running_stop = stop;
    express->serve->late_starts += express->travellers[index].due_ps != start_ps;
    if (express->starts_ps && express->starts_ps[index] == TRACE_NONE)
        express->starts_ps[index] = start_ps;
    engine_set(express->engine, express->stops[stop].server,
               start_ps + express->stops[stop].cost_ps, ENGINE_COMPLETION);
}

/* It stands before that stage. */
static inline void enter(struct express *express, int32_t index, int32_t at)
{
    struct traveller *traveller = &express->travellers[index];
    const struct stop *stop = &express->stops[at];
    struct server *server;
    int64_t now_ps = engine_now_ps(express->engine), start_ps;
    bool is_taken;

    traveller->stop = at;
    if (stop->server == SOURCE) {
        passage_end(express, index);
        return;
    }
    server = &express->servers[stop->server];
    is_taken = server->running != NOBODY || server->head != NOBODY;
    start_ps = later_ps(now_ps, server->booked_ps) + (is_taken ? queued_ps(express, at) : 0);
    traveller->due_ps = start_ps;
    server->booked_ps = engine_after_ps(start_ps, stop->cost_ps + stop->gap_ps);
    server->wait_peak_ps = later_ps(server->wait_peak_ps, start_ps - now_ps);
    if (express->is_dispatching)
        express->serve->stations[server->device].booked_ps = server->booked_ps;
    if (is_taken)
        line_push(express->travellers, &server->head, &server->tail, index);
    else
        job_begin(express, server, index, at, later_ps(now_ps, server->free_ps));
}

/* It takes that way to the stop. */
static inline void depart(struct express *express, int32_t index, int32_t stop, int32_t number,
                          int64_t occupy_ps)
{
    struct traveller *traveller = &express->travellers[index];
    struct way *way = &express->ways[number];
    int64_t *free_ps = &express->port_free_ps[way->port];
    bool is_first = way->head == NOBODY;

    *free_ps = engine_after_ps(later_ps(*free_ps, engine_now_ps(express->engine)), occupy_ps);
    traveller->stop = stop;
    traveller->due_ps = engine_after_ps(*free_ps, way->latency_ps);
    line_push(express->travellers, &way->head, &way->tail, index);
    if (is_first)
        engine_set(express->engine, express->serve->network_slot + number, traveller->due_ps,
                   ENGINE_LINK_ARRIVAL);
}

static inline void on_completion(struct express *express, int slot)
{
    struct server *server = &express->servers[slot];
    int32_t index = server->running, at = server->running_stop;
    const struct stop *stop = &express->stops[at];

    server->running = NOBODY;
    server->free_ps = engine_now_ps(express->engine) + stop->gap_ps;
    if (stop->way == NOBODY)
        enter(express, index, at + 1);
    else
        depart(express, index, at + 1, stop->way, stop->occupy_ps);
    index = server->head;
    if (index == NOBODY || server->running != NOBODY)
        return;
    at = express->travellers[index].stop;
    server->head = express->travellers[index].next;
    job_begin(express, server, index, at, server->free_ps + queued_ps(express, at));
}

static inline void on_message(struct express *express, int slot)
{
    struct way *way = &express->ways[slot - express->serve->network_slot];
    int32_t index = way->head;

    way->head = express->travellers[index].next;
    if (way->head != NOBODY)
        engine_set(express->engine, slot, express->travellers[way->head].due_ps,
                   ENGINE_LINK_ARRIVAL);
    enter(express, index, express->travellers[index].stop);
}

/* ---- arrivals ---- */

/* Instant of the next arrival; draws a block when the last one is used up. */
static int64_t arrivals_more(struct express *express)
{
    express->arrival = 0;
    express->arrival_count = serve_arrivals(express->serve, BLOCK, express->arrivals_ps,
                                            express->services, &express->times_ps);
    return express->arrival_count > 0 ? express->times_ps[0] : ARRIVALS_NEVER;
}

static void on_arrival(struct express *express, int64_t now_ps)
{
    struct serve *serve = express->serve;
    int32_t service = express->services[express->arrival++], index;
    uint64_t request = serve->result->taken_count++;
    struct lane *lane = &serve->lanes[serve->input->plan->services[service].replicas[0]];
    struct entry *entry;
    enum trace_status why;

    engine_advance(express->engine, now_ps);
    self_check_change(serve, 1);
    if (express->is_dispatching) {
        lane = serve_choose(serve, service, request, &why);
        lane->same->outstanding++;
    }
    if (serve->options->has_parts)
        presence_enter(lane->presence, now_ps);
    entry = &express->entries[lane - serve->lanes];
    entry->count++;
    if (express->first_free == NOBODY)
        pool_widen(express);
    index = express->first_free;
    express->first_free = express->travellers[index].next;
    express->travellers[index] = (struct traveller){ .arrival_ps = now_ps, .request = request };
    if (express->starts_ps)
        express->starts_ps[index] = TRACE_NONE;
    if (entry->way == NOBODY)
        enter(express, index, entry->stop);
    else
        depart(express, index, entry->stop, entry->way, entry->occupy_ps);
}

/* ---- the run ---- */

static bool loop(struct express *express, struct err *err)
{
    struct serve *serve = express->serve;
    int64_t next_ps = arrivals_more(express);
    uint32_t ticks = 0;

    serve->is_looped = true;
    while (serve->in_system != 0 || next_ps != ARRIVALS_NEVER) {
        if (!serve_go_on(serve, &ticks, err))
            return false;
        if (next_ps < engine_peek_ps(express->engine)) {
            on_arrival(express, next_ps);
            next_ps = express->arrival < express->arrival_count
                          ? express->times_ps[express->arrival]
                          : arrivals_more(express);
        } else {
            int slot = engine_next(express->engine);

            if (slot < 0)
                return true; /* the self-check says who is blocked */
            if (slot < serve->network_slot)
                on_completion(express, slot);
            else
                on_message(express, slot);
        }
        if (engine_now_ps(express->engine) > UNITS_MAX_PS)
            return serve_passes_calendar(err);
    }
    ends_tell(express);
    return true;
}

static void way_account(const struct express *express, int32_t way, int64_t count,
                        int64_t occupy_ps, int64_t bytes)
{
    if (way != NOBODY)
        network_account(express->serve->network, way, count, occupy_ps, bytes);
}

/* Multiples of the numbers of requests. */
static void result_fill(struct express *express)
{
    struct serve *serve = express->serve;
    const struct plan *plan = serve->input->plan;

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];
        const struct entry *entry = &express->entries[r];

        way_account(express, entry->way, entry->count, entry->occupy_ps, entry_bytes(serve, lane));
        for (int s = 0; s < lane->stage_count; s++) {
            const struct stop *stop = &express->stops[entry->stop + s];
            struct station *station = &serve->stations[lane->sites[s].device];

            station->busy_ps += entry->count * stop->cost_ps;
            station->gap_ps += entry->count * stop->gap_ps;
            station->offered_ps +=
                (uint64_t)entry->count * ((uint64_t)stop->cost_ps + (uint64_t)stop->gap_ps);
            way_account(express, stop->way, entry->count, stop->occupy_ps,
                        lane->sites[s].output_bytes[0]);
        }
    }
    for (int i = 0; i < plan->cluster->device_count; i++) {
        const struct server *server = &express->servers[i];
        struct station *station = &serve->stations[server->device];

        station->free_ps = server->free_ps;
        station->wait_peak_ps = server->wait_peak_ps;
    }
}

bool express_run(struct serve *serve, struct err *err)
{
    struct express *express = layout(serve);

    serve->result->fast_path = SERVE_FAST_EVENTS;
    if (!loop(express, err))
        return false;
    result_fill(express);
    return true;
}
