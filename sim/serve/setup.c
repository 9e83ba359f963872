/* setup.c - turns a plan into sites with costs and routes, and checks memory before time starts. */
#include "sim/serve/internal.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/batch.h"
#include "lib/policy/price.h"
#include "sim/engine/engine.h"
#include "sim/network/network.h"

static const struct cost_table *table_of(const struct serve *serve, int32_t device, struct err *err)
{
    const struct cluster *cluster = serve->input->plan->cluster;
    const struct cluster_device *d = &cluster->devices[device];
    const struct cost_table *table = cost_set_find(serve->input->costs, d->type);

    if (!table)
        err_at(err, arena_printf(serve->arena, "%s/devices.csv", cluster->path), d->line, 0,
               "type is '%s': none of the cost tables given is of that device type", d->type);
    return table;
}

/* The profiled stages of the site run in turn as one job: latencies add up; the gap that others
 * wait for is that of the last one. Slower devices of the site set the pace for all. */
static bool executable_cost(struct serve *serve, struct site *site, struct err *err)
{
    const struct plan_stage *stage = site->stage;

    for (int i = 0; i < stage->device_count; i++) {
        int32_t device = stage->devices[i];
        const struct cost_table *table = table_of(serve, device, err);
        struct station *station = &serve->stations[device];
        double speed_ratio = serve->input->plan->cluster->devices[device].speed_ratio;
        int64_t latency_ps = 0, gap_ps = 0, weight_bytes = 0, activation_bytes = 0;

        for (int32_t k = stage->exec_first; table && k <= stage->exec_last; k++) {
            const struct cost_stage *row = cost_stage_find(table, stage->executable, k);

            if (!row)
                return err_set(err, ERR_INPUT, "%s/stages.csv: no row for stage %d of '%s'",
                               cost_path(table), (int)k, stage->executable);
            latency_ps = engine_after_ps(latency_ps, row->latency_ps);
            gap_ps = row->gap_ps;
            weight_bytes += row->weight_bytes;
            if (row->activation_bytes > activation_bytes)
                activation_bytes = row->activation_bytes;
            site->output_bytes = row->output_bytes;
        }
        if (!table)
            return false;
        latency_ps = price_scale(latency_ps, speed_ratio);
        gap_ps = price_scale(gap_ps, speed_ratio);
        site->fixed_ps = latency_ps > site->fixed_ps ? latency_ps : site->fixed_ps;
        site->gap_ps = gap_ps > site->gap_ps ? gap_ps : site->gap_ps;
        station->base_bytes += weight_bytes;
        if (activation_bytes > station->activation_bytes)
            station->activation_bytes = activation_bytes;
    }
    return true;
}

static bool slices_cost(struct serve *serve, struct site *site, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    int32_t device = site->stage->devices[0];
    const struct cluster_device *d = &plan->cluster->devices[device];

    site->table = table_of(serve, device, err);
    if (!site->table)
        return false;
    site->threads = d->threads;
    site->speed_ratio = d->speed_ratio;
    site->kv_bytes_per_token = plan_stage_kv_bytes_per_token(plan, site->stage);
    serve->stations[device].base_bytes += plan_stage_weight_bytes(plan, site->stage, device);
    return true;
}

static bool sites_build(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;

    serve->sites = arena_array(serve->arena, (size_t)plan->stage_count, sizeof(*serve->sites));
    for (int i = 0; i < plan->stage_count; i++) {
        struct site *site = &serve->sites[i];

        site->stage = plan->stages[i];
        site->model = plan->services[plan->replicas[site->stage->replica].service].model;
        if (site->stage->executable ? !executable_cost(serve, site, err)
                                    : !slices_cost(serve, site, err))
            return false;
    }
    return true;
}

/* A stage on several devices talks through its first one. */
static bool routes_build(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    struct network_pair *pairs = arena_array(
        serve->arena, (size_t)plan->stage_count + (size_t)plan->replica_count, sizeof(*pairs));
    int count = 0;

    for (int r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];
        int32_t from = NETWORK_SOURCE;

        for (int s = 0; s < replica->stage_count; s++) {
            pairs[count++] = (struct network_pair){ from, replica->stages[s].devices[0] };
            from = replica->stages[s].devices[0];
        }
        pairs[count++] = (struct network_pair){ from, NETWORK_SOURCE };
    }
    serve->network = network_create(serve->arena, plan->cluster, pairs, count, err);
    if (!serve->network)
        return false;
    count = 0;
    for (int r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];
        struct site *site = &serve->sites[replica->stages[0].id];

        for (int s = 0; s < replica->stage_count; s++, count++) {
            site = &serve->sites[replica->stages[s].id];
            site->route_in = network_route(serve->network, pairs[count].from, pairs[count].to);
        }
        site->route_back = network_route(serve->network, pairs[count].from, pairs[count].to);
        count++;
    }
    return true;
}

static bool does_not_fit(const struct serve *serve, const struct cluster_device *device,
                         int64_t need_bytes, struct err *err)
{
    char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];
    const char *path =
        arena_printf(serve->arena, "%s/devices.csv", serve->input->plan->cluster->path);

    return err_at(
        err, path, device->line, 0,
        "device '%s' has %s (%lld bytes) of memory, but weights, activations and reserved "
        "take %s (%lld bytes)",
        device->name, units_format_bytes(device->memory_bytes, have),
        (long long)device->memory_bytes, units_format_bytes(need_bytes, need),
        (long long)need_bytes);
}

static bool memory_check(struct serve *serve, struct err *err)
{
    const struct cluster *cluster = serve->input->plan->cluster;

    for (int i = 0; i < cluster->device_count; i++) {
        const struct cluster_device *device = &cluster->devices[i];
        struct station *station = &serve->stations[i];

        station->base_bytes += station->activation_bytes + device->reserved_bytes;
        station->peak_bytes = station->base_bytes;
        if (device->memory_bytes > 0 && station->base_bytes > device->memory_bytes)
            return does_not_fit(serve, device, station->base_bytes, err);
    }
    return true;
}

bool setup_build(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    int device_count = plan->cluster->device_count;
    int most_replicas = 1;

    serve->stations = arena_array(serve->arena, (size_t)device_count, sizeof(*serve->stations));
    for (int i = 0; i < device_count; i++) {
        serve->stations[i].queue = batch_queue_create(serve->arena, BATCH_NONE);
        serve->stations[i].running = -1;
    }
    if (!sites_build(serve, err) || !memory_check(serve, err) || !routes_build(serve, err))
        return false;
    serve->engine = engine_create(serve->arena, device_count + network_slot_count(serve->network));
    network_attach(serve->network, serve->engine, device_count);
    for (int i = 0; i < plan->service_count; i++)
        if (plan->services[i].replica_count > most_replicas)
            most_replicas = plan->services[i].replica_count;
    serve->candidates =
        arena_array(serve->arena, (size_t)most_replicas, sizeof(*serve->candidates));
    serve->outstanding =
        arena_array(serve->arena, (size_t)plan->replica_count, sizeof(*serve->outstanding));
    serve->price = price_create(serve->arena);
    if (serve->options->has_kappa)
        price_use_kappa(serve->price);
    return true;
}
