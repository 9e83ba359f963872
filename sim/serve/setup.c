/* setup.c - turns a plan into sites with costs and routes, and checks memory before time starts. */
#include "sim/serve/internal.h"

#include "lib/base/err.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/price.h"
#include "lib/policy/wake.h"
#include "sim/generate/stream.h"
#include "sim/network/network.h"
#include "sim/serve/batcher.h"
#include "sim/serve/crew.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void site_fill(const struct serve *serve, int32_t replica, const struct plan_stage *stage,
                      struct site *site)
{
    const struct plan *plan = serve->input->plan;

    site->stage = stage;
    site->replica = replica;
    site->service = plan->replicas[replica].service;
    site->model = plan->services[site->service].model;
    site->is_model = site->model != NULL;
    site->devices = stage->devices;
    site->device_count = stage->device_count;
    site->device = stage->devices[0];
    site->is_last = stage->number + 1 == plan_chain_count(&plan->replicas[replica], stage);
}

/* A replica that a later epoch has too goes on with the requests that it has. */
static struct lane *same_lane(const struct serve *serve, int32_t r)
{
    const struct plan *plan = serve->input->plan;
    const struct plan_service *service = &plan->services[plan->replicas[r].service];

    for (int32_t k = 0; plan->epoch_count > 1 && k < service->replica_count; k++)
        if (plan->replicas[service->replicas[k]].number == plan->replicas[r].number)
            return &serve->lanes[service->replicas[k]];
    return &serve->lanes[r];
}

/* How many requests of a model may be one job. */
static bool batches_check(const struct serve *serve, const struct lane *lane, struct err *err)
{
    const char *service = serve->input->plan->services[lane->service].name;

    if (!lane->sites[0].is_model || lane->max_batch == 1 ||
        serve->options->batch.kind == BATCH_CONTINUOUS)
        return true;
    if (lane->max_batch > BATCHER_MOST_OF_MODELS)
        return err_set(err, ERR_USAGE,
                       "--batch: at most %d requests of a model at once, and service '%s' is a "
                       "model",
                       BATCHER_MOST_OF_MODELS, service);
    return true;
}

static bool lanes_build(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    const struct batch_options *batch = &serve->options->batch;
    int32_t common_batch = batch->kind == BATCH_FIXED ? batch->max_size : 1;

    serve->sites = arena_array(serve->arena, (size_t)plan->stage_count, sizeof(*serve->sites));
    serve->lanes = arena_array(serve->arena, (size_t)plan->replica_count, sizeof(*serve->lanes));
    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];
        struct lane *lane = &serve->lanes[r];

        lane->sites = &serve->sites[replica->stages[0].id];
        lane->stage_count = replica->stage_count;
        lane->decode_sites = &serve->sites[replica->decode_stages[0].id];
        lane->decode_count = replica->decode_count;
        lane->site_count = replica->total_count;
        lane->service = replica->service;
        lane->number = replica->number;
        lane->same = same_lane(serve, r);
        lane->max_batch = plan_replica_batch(replica, common_batch);
        for (int s = 0; s < replica->total_count; s++)
            site_fill(serve, r, &replica->stages[s], &lane->sites[s]);
    }
    if (!way_begin(serve, err))
        return false;
    for (int32_t r = 0; r < plan->replica_count; r++) {
        struct lane *lane = &serve->lanes[r];

        if (!batches_check(serve, lane, err))
            return false;
        if (lane->sites[0].is_model && serve->options->admission != ADMIT_NONE)
            return err_set(err, ERR_USAGE,
                           "--admission: this version predicts the end of executables alone, and "
                           "service '%s' is a model",
                           plan->services[lane->service].name);
        if (!costs_fill(serve, lane, err))
            return false;
    }
    crew_build(serve);
    return true;
}

/* What a request of the service can have at most: its items must fit into a profiled size of every
 * replica. */
static int32_t service_most_items(const struct serve *serve, const struct plan_service *service)
{
    int32_t most = INT32_MAX;

    for (int k = 0; k < service->replica_count; k++) {
        const struct lane *lane = &serve->lanes[service->replicas[k]];

        if (lane->size_count > 0 && lane->sizes[lane->size_count - 1] < most)
            most = lane->sizes[lane->size_count - 1];
    }
    return most;
}

static bool too_many_items(const struct serve *serve, size_t row, int32_t service, struct err *err)
{
    const struct workload *workload = serve->input->workload;
    const struct plan_service *placed = &serve->input->plan->services[service];
    const struct lane *lane = NULL;

    for (int k = 0; k < placed->replica_count; k++) {
        lane = &serve->lanes[placed->replicas[k]];
        if (lane->size_count > 0 && workload->batches[row] > lane->sizes[lane->size_count - 1])
            break;
    }
    assert(lane);
    return err_at(err, workload->path, workload_line(workload, row), workload->batch_column,
                  "batch is '%d': executable '%s' is profiled for at most %d at once",
                  workload->batches[row], lane->sites[0].stage->executable,
                  lane->sizes[lane->size_count - 1]);
}

/* Requests of several items run as batches of a profiled size. */
static bool items_check(const struct serve *serve, struct err *err)
{
    const struct workload *workload = serve->input->workload;
    const struct plan *plan = serve->input->plan;
    int32_t *most;

    if (!workload || !workload->batches)
        return true;
    most = arena_array(serve->arena, (size_t)plan->service_count, sizeof(*most));
    for (int s = 0; s < plan->service_count; s++)
        most[s] = service_most_items(serve, &plan->services[s]);
    for (size_t i = 0; i < workload->count; i++) {
        int32_t service =
            serve->input->service_of[workload->service_ids ? workload->service_ids[i] : 0];

        if (workload->batches[i] > most[service])
            return too_many_items(serve, i, service, err);
    }
    return true;
}

static int route_of(const struct serve *serve, const struct network_pair *pair)
{
    int route = network_route(serve->network, pair->from, pair->to);

    return network_route_is_free(serve->network, route) ? -1 : route;
}

/* Whether no message will have bytes that goes behind a stage, or from the source. */
static bool is_empty_behind(const struct serve *serve, const struct lane *lane,
                            const struct site *from)
{
    const struct serve_input *input = serve->input;

    if (lane->sites[0].is_model)
        return false;
    if (!from)
        return input->workload ? !input->workload->prompt_tokens : stream_is_plain(input->stream);
    for (int b = 0; b < lane->size_count; b++)
        if (from->output_bytes[b] > 0)
            return false;
    return true;
}

static int alternatives(const struct site *base)
{
    return base->copy_count > 1 ? base->copy_count : 1;
}

static struct site *alternative(struct site *base, int k)
{
    return base->copy_count > 1 ? base->copies[k] : base;
}

struct pairs { /* of devices that will talk */
    struct network_pair *list;
    bool *are_empty;
    int count;
};

static void add_pair(const struct serve *serve, const struct lane *lane, const struct site *from,
                     const struct site *to, struct pairs *pairs)
{
    pairs->are_empty[pairs->count] = is_empty_behind(serve, lane, from);
    pairs->list[pairs->count++] = (struct network_pair){ from ? from->device : NETWORK_SOURCE,
                                                         to ? to->device : NETWORK_SOURCE };
}

/* From the source through stages that a step passes, and back: from each alternative to each. */
static void chain_pairs(const struct serve *serve, const struct lane *lane, struct site *sites,
                        int stage_count, struct pairs *pairs)
{
    for (int s = 0; s < stage_count; s++)
        for (int k = 0; k < alternatives(&sites[s]); k++) {
            if (s == 0)
                add_pair(serve, lane, NULL, alternative(sites, k), pairs);
            for (int f = 0; s > 0 && f < alternatives(&sites[s - 1]); f++)
                add_pair(serve, lane, alternative(&sites[s - 1], f), alternative(&sites[s], k),
                         pairs);
        }
    for (int k = 0; k < alternatives(&sites[stage_count - 1]); k++)
        add_pair(serve, lane, alternative(&sites[stage_count - 1], k), NULL, pairs);
}

/* The routes of chain_pairs, which follow one another. */
static const struct network_pair *chain_routes(struct serve *serve, struct site *sites,
                                               int stage_count, const struct network_pair *pair)
{
    for (int s = 0; s < stage_count; s++)
        for (int k = 0; k < alternatives(&sites[s]); k++) {
            struct site *site = alternative(&sites[s], k);
            int count = s > 0 ? alternatives(&sites[s - 1]) : 1;

            site->routes_in = arena_array(serve->arena, (size_t)count, sizeof(int));
            for (int f = 0; f < count; f++)
                site->routes_in[f] = route_of(serve, pair++);
            site->route_in = site->routes_in[0];
        }
    for (int k = 0; k < alternatives(&sites[stage_count - 1]); k++)
        alternative(&sites[stage_count - 1], k)->route_back = route_of(serve, pair++);
    return pair;
}

static void lane_pairs(const struct serve *serve, const struct lane *lane, struct pairs *pairs)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[lane->sites[0].replica];

    chain_pairs(serve, lane, lane->sites, lane->stage_count, pairs);
    if (plan_replica_is_split(replica))
        chain_pairs(serve, lane, lane->decode_sites, lane->decode_count, pairs);
    for (int m = 0; m < replica->move_count; m++) {
        pairs->are_empty[pairs->count] = false;
        pairs->list[pairs->count++] =
            (struct network_pair){ replica->moves[m].from, replica->moves[m].to };
    }
}

static const struct network_pair *lane_routes(struct serve *serve, struct lane *lane,
                                              const struct network_pair *pair)
{
    const struct plan_replica *replica = &serve->input->plan->replicas[lane->sites[0].replica];

    pair = chain_routes(serve, lane->sites, lane->stage_count, pair);
    if (plan_replica_is_split(replica))
        pair = chain_routes(serve, lane->decode_sites, lane->decode_count, pair);
    lane->move_routes = arena_array(serve->arena, (size_t)replica->move_count + 1, sizeof(int));
    for (int m = 0; m < replica->move_count; m++)
        lane->move_routes[m] = route_of(serve, pair++);
    return pair;
}

/* Of a replica at most, with all of its alternatives. */
static size_t lane_pair_count(const struct lane *lane)
{
    size_t count = 0;

    for (int s = 0; s < lane->site_count; s++) {
        const struct site *base = lane->sites[s].base;

        count += 1 + (base->stage->number > 0 ? (size_t)alternatives(base - 1) : 1);
    }
    return count;
}

static size_t pair_count_of(const struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    size_t count = (size_t)sliced_pair_count(serve->sliced);

    for (int r = 0; r < plan->replica_count; r++)
        count += lane_pair_count(&serve->lanes[r]) + (size_t)plan->replicas[r].move_count;
    return count;
}

/* A stage on several devices talks through its first one. */
static bool routes_build(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    size_t most = pair_count_of(serve);
    struct network_pair *pairs = arena_array(serve->arena, most, sizeof(*pairs));
    bool *are_empty = arena_array(serve->arena, most, sizeof(*are_empty));
    struct pairs list = { pairs, are_empty, 0 };
    const struct network_pair *pair = pairs;
    const struct network_options options = {
        .model = serve->options->network == SERVE_NETWORK_FIFO ? NETWORK_FIFO : NETWORK_FLOWS,
        .events = serve->input->events,
        .has_shortcut = serve->options->network == SERVE_NETWORK_AUTO,
        .are_empty = are_empty,
    };
    int count;

    for (int r = 0; r < plan->replica_count; r++)
        lane_pairs(serve, &serve->lanes[r], &list);
    count = list.count;
    count += sliced_pairs(serve->sliced, &pairs[count]);
    serve->network = network_open(serve->arena, plan->cluster, &options, pairs, count, err);
    if (!serve->network)
        return false;
    for (int r = 0; r < plan->replica_count; r++)
        pair = lane_routes(serve, &serve->lanes[r], pair);
    return crew_network(serve, &options, pairs, count, err);
}

static void speeds_fill(struct serve *serve)
{
    const struct cluster *cluster = serve->input->plan->cluster;

    serve->speeds =
        arena_array(serve->arena, (size_t)cluster->device_count, sizeof(*serve->speeds));
    for (int i = 0; i < cluster->device_count; i++)
        serve->speeds[i] = cluster->devices[i].speed_ratio;
}

static int compare_names(const void *left, const void *right)
{
    const struct cluster_device *const *a = left, *const *b = right;

    return strverscmp((*a)->name, (*b)->name); /* 0:2 goes before 0:10 */
}

/* Devices take slots in the order of their names: which of two events of one instant comes first
 * then depends on no other device and not on where a device stands in its file. */
static int device_slots_share_out(struct serve *serve)
{
    const struct cluster *cluster = serve->input->plan->cluster;
    size_t count = (size_t)cluster->device_count;
    const struct cluster_device **devices = arena_array(serve->arena, count, sizeof(*devices));

    for (size_t i = 0; i < count; i++)
        devices[i] = &cluster->devices[i];
    qsort(devices, count, sizeof(*devices), compare_names);
    serve->slot_devices = arena_array(serve->arena, count, sizeof(int32_t));
    for (size_t i = 0; i < count; i++) {
        serve->slot_devices[i] = (int32_t)(devices[i] - cluster->devices);
        serve->stations[serve->slot_devices[i]].slot = (int32_t)i;
    }
    for (int i = 0; i < serve->input->plan->stage_count; i++)
        serve->sites[i].slot = serve->stations[serve->sites[i].device].slot;
    return cluster->device_count;
}

static void slots_share_out(struct serve *serve)
{
    int next = device_slots_share_out(serve);

    serve->network_slot = next;
    next += network_slot_count(serve->network);
    serve->control_slot = next++;
    serve->delay_slot = next++;
    serve->batcher_slot = next;
    next += serve->input->plan->stage_count;
    serve->sliced_slot = next;
    next += sliced_slot_count(serve->sliced);
    serve->engine = engine_create(serve->arena, next);
    network_attach(serve->network, serve->engine, serve->network_slot);
}

/* Devices that models run on, where their tables say what waking them costs. */
static void wakes_fill(struct serve *serve)
{
    const struct cluster *cluster = serve->input->plan->cluster;
    struct wake *wakes;
    bool has_any = false;

    if (!serve->options->has_idle_resume || !serve->has_models ||
        serve->options->rules != SERVE_DEFAULT)
        return;
    wakes = arena_array(serve->arena, (size_t)cluster->device_count, sizeof(*wakes));
    for (int i = 0; i < cluster->device_count; i++) {
        const struct cluster_device *device = &cluster->devices[i];
        const struct cost_table *table = cost_set_find(serve->input->costs, device->type);

        if (table)
            wakes[i] = wake_of(table, device->threads);
        has_any = has_any || wakes[i].resume_ps > 0;
    }
    serve->result->has_wakes = has_any;
    serve->wakes = has_any ? wakes : NULL;
}

static void scratch_reserve(struct serve *serve)
{
    const struct plan *plan = serve->input->plan;
    size_t most_replicas = 1;

    for (int i = 0; i < plan->service_count; i++)
        if ((size_t)plan->services[i].replica_count > most_replicas)
            most_replicas = (size_t)plan->services[i].replica_count;
    serve->candidates = arena_array(serve->arena, most_replicas, sizeof(*serve->candidates));
    serve->scratch_switched =
        arena_array(serve->arena, (size_t)plan->cluster->device_count, sizeof(bool));
}

bool setup_build(struct serve *serve, struct err *err)
{
    int device_count = serve->input->plan->cluster->device_count;

    serve->stations = arena_array(serve->arena, (size_t)device_count, sizeof(*serve->stations));
    for (int i = 0; i < device_count; i++)
        serve->stations[i].running = NO_FLIGHT;
    speeds_fill(serve);
    serve->most_items = costs_most_items(serve->input);
    if (!lanes_build(serve, err) || !items_check(serve, err) || !memory_check(serve, err) ||
        !routes_build(serve, err))
        return false;
    wakes_fill(serve);
    batcher_build(serve);
    slots_share_out(serve);
    scratch_reserve(serve);
    serve->price = price_create(serve->arena);
    price_use_overheads(serve->price, serve->input->overheads);
    if (serve->options->has_kappa)
        price_use_kappa(serve->price);
    price_use_book(serve->price, serve->input->book);
    return true;
}
