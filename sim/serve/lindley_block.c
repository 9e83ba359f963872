/* lindley_block.c - the closed form of lindley.c where it costs a few nanoseconds a stage: stages
 * of one device, one replica a service, requests that differ in arrival and service alone.
 *
 * Costs and hops are laid out in the order in which they are passed; arrivals and ends go through
 * in blocks. What is a multiple of the number of requests is multiplied at the end. */
#include "sim/serve/internal.h"

#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "sim/network/network.h"

#define BLOCK 1024
/* Of all that a request passes without waiting: no sum below overflows then. */
#define MOST_PASSAGE_PS (INT64_C(1) << 56)

struct step {                      /* a hop, then a job */
    int64_t occupy_ps, latency_ps; /* of the hop; 0 when it is free */
    int64_t cost_ps, gap_ps, queued_ps;
    int64_t bytes;
    int32_t port; /* -1 = the hop is free */
    int32_t route;
    int32_t device;
    /* --rules dlsim: a job that ends as another comes is still there: its event comes behind. */
    bool is_behind;
};

struct path {                 /* of a service */
    const struct step *steps; /* stage_count, and one for the way back, without a job */
    int32_t stage_count;
    int32_t message_count;
    int64_t count;    /* of requests that took it */
    int64_t first_ps; /* from the start of its first job until the device is free again */
};

struct server {
    int64_t free_ps, wait_peak_ps;
};

struct block {
    struct serve *serve;
    struct path *paths;     /* by service of the plan */
    struct server *servers; /* by device */
    int64_t *port_free_ps;  /* by link */
    int64_t last_ps;
    int64_t arrivals_ps[BLOCK], finishes_ps[BLOCK], starts_ps[BLOCK];
    int32_t services[BLOCK];
};

/* How long a request passes through the lane when it waits for nobody, and gaps. */
static int64_t passage_of_ps(const struct serve *serve, const struct lane *lane)
{
    int64_t passage_ps = 0;

    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];
        int routes[2] = { site->route_in, site->is_last ? site->route_back : -1 };

        passage_ps = engine_after_ps(passage_ps, site->job.cost_ps);
        passage_ps = engine_after_ps(passage_ps, site->job.gap_ps);
        for (int k = 0; k < 2; k++) {
            int64_t bytes = k == 0 && s > 0 ? (site - 1)->output_bytes[0] : site->output_bytes[0];
            struct network_hop hop;

            if (routes[k] < 0)
                continue;
            hop = network_hop(serve->network, routes[k], bytes);
            passage_ps = engine_after_ps(passage_ps, hop.occupy_ps);
            passage_ps = engine_after_ps(passage_ps, hop.latency_ps);
        }
    }
    return passage_ps;
}

bool lindley_block_applies(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;

    if (!serve_tells_blocks(serve) || !arrivals_are_plain(&serve->arrivals))
        return false;
    for (int i = 0; i < plan->service_count; i++)
        if (plan->services[i].replica_count != 1 ||
            serve->lanes[plan->services[i].replicas[0]].is_left_out)
            return false;
    for (int r = 0; r < plan->replica_count; r++) {
        const struct lane *lane = &serve->lanes[r];

        for (int s = 0; s < lane->stage_count; s++)
            if (lane->sites[s].device_count != 1)
                return false;
        if (passage_of_ps(serve, lane) > MOST_PASSAGE_PS)
            return false;
    }
    return true;
}

static void hop_fill(struct serve *serve, struct path *path, struct step *step, int route,
                     int64_t bytes)
{
    struct network_hop hop;

    step->port = -1;
    if (route < 0)
        return;
    hop = network_hop(serve->network, route, bytes);
    step->port = hop.link;
    step->route = route;
    step->occupy_ps = hop.occupy_ps;
    step->latency_ps = hop.latency_ps;
    step->bytes = bytes;
    path->message_count++;
}

static void path_fill(struct serve *serve, struct path *path, const struct lane *lane)
{
    size_t count = (size_t)lane->stage_count + 1;
    struct step *steps = arena_array(serve->arena, count, sizeof(*steps));

    path->steps = steps;
    path->stage_count = lane->stage_count;
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];

        hop_fill(serve, path, &steps[s], site->route_in,
                 s > 0 ? (site - 1)->output_bytes[0]
                       : plan_input_bytes(serve->input->plan, site->stage, 0));
        steps[s].cost_ps = site->job.cost_ps;
        steps[s].gap_ps = site->job.gap_ps;
        steps[s].queued_ps = site->queued_ps;
        steps[s].device = site->device;
        steps[s].is_behind = s > 0 && site->route_in < 0 && site->slot > (site - 1)->slot;
    }
    path->first_ps = steps[0].cost_ps + steps[0].gap_ps;
    hop_fill(serve, path, &steps[count - 1], lane->sites[lane->stage_count - 1].route_back,
             lane->sites[lane->stage_count - 1].output_bytes[0]);
}

static inline int64_t hop_pass(const struct step *step, int64_t *port_free_ps, int64_t ready_ps)
{
    int64_t *free_ps = &port_free_ps[step->port];

    ready_ps = (*free_ps > ready_ps ? *free_ps : ready_ps) + step->occupy_ps;
    *free_ps = ready_ps;
    return ready_ps + step->latency_ps;
}

/* When the request is done. */
static inline int64_t path_pass(const struct path *path, struct block *block, int64_t ready_ps)
{
    const struct step *step = path->steps, *end = step + path->stage_count;

    for (; step < end; step++) {
        struct server *server = &block->servers[step->device];
        int64_t start_ps;

        if (step->port >= 0)
            ready_ps = hop_pass(step, block->port_free_ps, ready_ps);
        start_ps = server->free_ps > ready_ps ? server->free_ps : ready_ps;
        if (step->queued_ps > 0 &&
            (start_ps > ready_ps || (step->is_behind && server->free_ps == ready_ps)))
            start_ps += step->queued_ps;
        if (start_ps - ready_ps > server->wait_peak_ps)
            server->wait_peak_ps = start_ps - ready_ps;
        ready_ps = start_ps + step->cost_ps;
        server->free_ps = ready_ps + step->gap_ps;
    }
    return step->port >= 0 ? hop_pass(step, block->port_free_ps, ready_ps) : ready_ps;
}

static bool block_pass(struct block *block, const int64_t *arrivals_ps, size_t count,
                       struct err *err)
{
    struct serve *serve = block->serve;
    const struct workload *workload = serve->input->workload;
    bool wants_starts = serve->observer.wants_starts;
    int64_t last_ps = block->last_ps;

    for (size_t i = 0; i < count; i++) {
        struct path *path = &block->paths[block->services[i]];
        int64_t finish_ps = path_pass(path, block, arrivals_ps[i]);

        path->count++;
        if (wants_starts) /* no request comes to a device twice */
            block->starts_ps[i] = block->servers[path->steps->device].free_ps - path->first_ps;
        block->finishes_ps[i] = finish_ps;
        last_ps = finish_ps > last_ps ? finish_ps : last_ps;
        if (finish_ps > UNITS_MAX_PS)
            return serve_passes_calendar(err);
    }
    block->last_ps = last_ps;
    for (size_t i = 0; i < count && serve->options->until_ps != ENGINE_NEVER; i++)
        serve->result->late_count += block->finishes_ps[i] > serve->options->until_ps;
    if (serve->options->has_parts)
        parts_block(serve, block->services, arrivals_ps, block->finishes_ps, count);
    serve_tell_block(serve,
                     &(struct serve_block){ count, arrivals_ps, block->finishes_ps,
                                            wants_starts ? block->starts_ps : NULL, block->services,
                                            workload && workload->slos_ps
                                                ? workload->slos_ps + serve->arrivals.next - count
                                                : NULL,
                                            arrivals_slo_ps(&serve->arrivals) });
    return true;
}

/* Multiples of the number of requests. */
static void result_fill(struct block *block)
{
    struct serve *serve = block->serve;
    const struct plan *plan = serve->input->plan;

    serve->engine->now_ps = block->last_ps;
    for (int i = 0; i < plan->service_count; i++) {
        const struct path *path = &block->paths[i];

        serve->engine->event_count +=
            path->count * (1 + (int64_t)path->stage_count + path->message_count);
        for (int s = 0; s <= path->stage_count; s++) {
            const struct step *step = &path->steps[s];
            struct station *station = &serve->stations[step->device];

            if (step->port >= 0)
                network_account(serve->network, step->route, path->count, step->occupy_ps,
                                step->bytes);
            if (s == path->stage_count)
                break;
            station->busy_ps += path->count * step->cost_ps;
            station->gap_ps += path->count * step->gap_ps;
            station->offered_ps +=
                (uint64_t)path->count * ((uint64_t)step->cost_ps + (uint64_t)step->gap_ps);
            station->free_ps = block->servers[step->device].free_ps;
            station->wait_peak_ps = block->servers[step->device].wait_peak_ps;
        }
    }
}

bool lindley_block_run(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    struct block *block = arena_alloc(serve->arena, sizeof(*block));
    const int64_t *arrivals_ps;
    size_t count;

    block->serve = serve;
    block->paths = arena_array(serve->arena, (size_t)plan->service_count, sizeof(*block->paths));
    block->servers =
        arena_array(serve->arena, (size_t)plan->cluster->device_count, sizeof(*block->servers));
    block->port_free_ps = arena_array(serve->arena, (size_t)network_link_count(serve->network),
                                      sizeof(*block->port_free_ps));
    for (int i = 0; i < plan->service_count; i++)
        path_fill(serve, &block->paths[i], &serve->lanes[plan->services[i].replicas[0]]);
    while ((count = serve_arrivals(serve, BLOCK, block->arrivals_ps, block->services,
                                   &arrivals_ps)) > 0) {
        serve->result->taken_count += count;
        if (!block_pass(block, arrivals_ps, count, err))
            return false;
    }
    if (serve->arrivals.last_ps > block->last_ps)
        block->last_ps = serve->arrivals.last_ps;
    result_fill(block);
    return true;
}
