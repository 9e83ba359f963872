/* kafetzis.c - the phases of a step, and whether devices suffice; see kafetzis.h. */
#include "sim/kafetzis/kafetzis.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "sim/kafetzis/routes.h"
#include <stdio.h>

const char *const kafetzis_phase_names[KAFETZIS_PHASE_COUNT] = {
    [KAFETZIS_HEADS] = "heads",        [KAFETZIS_GATHER] = "heads to projection",
    [KAFETZIS_PROJECT] = "projection", [KAFETZIS_TO_FFN] = "projection to ffn",
    [KAFETZIS_FEED] = "ffn",           [KAFETZIS_TO_LAYER] = "ffn to next layer",
};

struct run {
    const struct kafetzis_plan *plan;
    const struct kafetzis_replica *replica;
    const struct kafetzis_shape *shape;
    struct kafetzis_routes *routes;
    struct kafetzis_result *result;
};

/* "path:line:column: field is 'x': text" about the device's first row; of a plan without rows the
 * device is named. Returns false. */
static bool bad_device(const struct kafetzis_plan *plan, const struct kafetzis_replica *replica,
                       int32_t device, const char *text, struct err *err)
{
    if (plan->placement && replica->rows && replica->rows[device])
        return placement_bad(plan->placement, replica->rows[device], PLACEMENT_DEVICE, err, "%s",
                             text);
    return err_set(err, ERR_INPUT, "device '%s': %s", plan->cluster->devices[device].name, text);
}

/* ---- a step ---- */

/* count components of that kind on the device; returns the seconds that they take there. */
static double compute(const struct run *run, enum kafetzis_block block, int32_t count,
                      int32_t device)
{
    const struct cluster_device *where = &run->plan->cluster->devices[device];
    struct kafetzis_result *result = run->result;
    double flop = count * kafetzis_flop(run->shape, block, result->tokens);
    double time_s = flop / (where->flop_per_s * where->speed_ratio);

    result->busy_s[device] += time_s;
    result->flop[device] += flop;
    result->memory_bytes[device] +=
        count * kafetzis_memory_bytes(run->shape, block, result->tokens);
    return time_s;
}

/* count messages of the block's output, one after the other. */
static bool transfer(const struct run *run, enum kafetzis_phase phase, enum kafetzis_block block,
                     int32_t count, int32_t from, int32_t to, struct err *err)
{
    const struct kafetzis_route *route = kafetzis_route(run->routes, from, to);
    double bytes = count * kafetzis_sent_bytes(run->shape, block, run->result->tokens);
    double time_s;

    if (!route) {
        char text[256];

        (void)snprintf(text, sizeof text, "no route to '%.60s' over switch, wifi, hub or bus (%s)",
                       run->plan->cluster->devices[to].name, kafetzis_phase_names[phase]);
        return bad_device(run->plan, run->replica, from, text, err);
    }
    if (route->hop_count == 0)
        return true;
    time_s = kafetzis_route_s(route, bytes);
    run->result->phases_s[phase] += time_s;
    run->result->sent_s += time_s;
    run->result->sent_bytes += bytes;
    for (int32_t i = 0; i < route->hop_count; i++) {
        run->result->medium_s[route->media[i]] += time_s;
        run->result->medium_bytes[route->media[i]] += bytes;
    }
    return true;
}

static bool run_layer(const struct run *run, int32_t number, struct err *err)
{
    const struct kafetzis_layer *layer = &run->replica->layers[number];
    const struct kafetzis_layer *next =
        number + 1 < run->replica->layer_count ? &run->replica->layers[number + 1] : NULL;
    struct kafetzis_result *result = run->result;
    double slowest_s = 0;

    for (int32_t i = 0; i < layer->share_count; i++) {
        const struct kafetzis_share *share = &layer->shares[i];
        double time_s = compute(run, KAFETZIS_HEAD, share->heads, share->device);

        slowest_s = time_s > slowest_s ? time_s : slowest_s;
        result->cache_bytes[share->device] += share->heads * kafetzis_cache_bytes(run->shape, 1);
        if (!transfer(run, KAFETZIS_GATHER, KAFETZIS_HEAD, share->heads, share->device,
                      layer->projection, err))
            return false;
    }
    result->phases_s[KAFETZIS_HEADS] += slowest_s;
    result->phases_s[KAFETZIS_PROJECT] += compute(run, KAFETZIS_PROJECTION, 1, layer->projection);
    result->phases_s[KAFETZIS_FEED] += compute(run, KAFETZIS_FFN, 1, layer->ffn);
    if (!transfer(run, KAFETZIS_TO_FFN, KAFETZIS_PROJECTION, 1, layer->projection, layer->ffn, err))
        return false;
    for (int32_t i = 0; next && i < next->share_count; i++)
        if (!transfer(run, KAFETZIS_TO_LAYER, KAFETZIS_FFN, 1, layer->ffn, next->shares[i].device,
                      err))
            return false;
    return true;
}

struct kafetzis_result *kafetzis_result_create(struct arena *arena, const struct cluster *cluster)
{
    struct kafetzis_result *result = arena_alloc(arena, sizeof *result);
    size_t devices = (size_t)cluster->device_count, media = (size_t)cluster->medium_count;

    result->busy_s = arena_array(arena, devices, sizeof(double));
    result->flop = arena_array(arena, devices, sizeof(double));
    result->memory_bytes = arena_array(arena, devices, sizeof(double));
    result->cache_bytes = arena_array(arena, devices, sizeof(double));
    result->medium_s = arena_array(arena, media, sizeof(double));
    result->medium_bytes = arena_array(arena, media, sizeof(double));
    return result;
}

static void clear(struct kafetzis_result *result, const struct cluster *cluster)
{
    for (int d = 0; d < cluster->device_count; d++)
        result->busy_s[d] = result->flop[d] = result->memory_bytes[d] = result->cache_bytes[d] = 0;
    for (int m = 0; m < cluster->medium_count; m++)
        result->medium_s[m] = result->medium_bytes[m] = 0;
    for (int p = 0; p < KAFETZIS_PHASE_COUNT; p++)
        result->phases_s[p] = 0;
    result->step_s = result->sent_s = result->sent_bytes = 0;
}

bool kafetzis_run(const struct kafetzis_plan *plan, int32_t replica, struct kafetzis_routes *routes,
                  int32_t tokens, struct kafetzis_result *result, struct err *err)
{
    const struct kafetzis_replica *placed = &plan->replicas[replica];
    const struct run run = { plan, placed, &plan->services[placed->service].shape, routes, result };

    clear(result, plan->cluster);
    result->tokens = tokens;
    for (int32_t l = 0; l < placed->layer_count; l++)
        if (!run_layer(&run, l, err))
            return false;
    for (int p = 0; p < KAFETZIS_PHASE_COUNT; p++)
        result->step_s += result->phases_s[p];
    return true;
}

/* ---- whether devices suffice ---- */

static bool check_memory(const struct kafetzis_plan *plan, const struct kafetzis_replica *replica,
                         const struct kafetzis_result *result, int32_t step, int32_t device,
                         struct err *err)
{
    const struct cluster_device *where = &plan->cluster->devices[device];
    double need = result->memory_bytes[device] + step * result->cache_bytes[device];
    double have = (double)(where->memory_bytes - where->reserved_bytes);
    char text[256];

    if (where->memory_bytes == 0 || need <= have)
        return true;
    (void)snprintf(text, sizeof text,
                   "needs %.0f bytes at generation step %d of %d tokens, but line %ld of "
                   "devices.csv leaves it %.0f",
                   need, (int)step, (int)result->tokens, where->line, have);
    return bad_device(plan, replica, device, text, err);
}

static bool check_flop(const struct kafetzis_plan *plan, const struct kafetzis_replica *replica,
                       const struct kafetzis_result *result, int32_t device, struct err *err)
{
    const struct cluster_device *where = &plan->cluster->devices[device];
    double have = where->flop_per_s * where->speed_ratio;
    char text[256];

    if (result->flop[device] <= have)
        return true;
    (void)snprintf(text, sizeof text,
                   "a step of %d tokens has %.6g FLOP there, more than the %.6g a second that line "
                   "%ld of devices.csv gives it: infeasible by --rules kafetzis",
                   (int)result->tokens, result->flop[device], have, where->line);
    return bad_device(plan, replica, device, text, err);
}

bool kafetzis_fits(const struct kafetzis_plan *plan, int32_t replica,
                   const struct kafetzis_result *result, int32_t step, struct err *err)
{
    const struct kafetzis_replica *placed = &plan->replicas[replica];

    for (int32_t i = 0; i < placed->device_count; i++)
        if (!check_memory(plan, placed, result, step, placed->devices[i], err) ||
            !check_flop(plan, placed, result, placed->devices[i], err))
            return false;
    return true;
}
