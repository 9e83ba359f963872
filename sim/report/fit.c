/* fit.c - the answers: device by device, service by service, and for a model without a placement.
 */
#include "sim/report/fit.h"

#include "lib/base/arena.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/policy/plan.h"
#include <stdlib.h>

static bool is_used(const struct fit *fit, int32_t device)
{
    return fit->footprint->first_parts[device] < fit->footprint->first_parts[device + 1];
}

static bool is_decoder(const struct plan_service *service)
{
    return service->model && service->model->kind == MODEL_DECODER;
}

/* ---- limits that no memory sets ---- */

static int64_t context_limit(const struct fit *fit, int32_t service)
{
    const struct plan *plan = fit->footprint->plan;
    int64_t most = 0;

    for (int32_t s = 0; s < plan->service_count; s++) {
        const struct model *model = plan->services[s].model;
        int64_t own = model && model->max_context > 0 ? model->max_context : FOOTPRINT_MAX_TOKENS;

        if ((service < 0 || service == s) && is_decoder(&plan->services[s]) && own > most)
            most = own;
    }
    return most;
}

/* Executables end at the largest batch that was profiled, replicas at their max_batch. */
static int64_t sequences_limit(const struct fit *fit, int32_t service)
{
    const struct footprint *footprint = fit->footprint;
    int64_t least = FOOTPRINT_MAX_SEQUENCES;

    for (int i = 0; i < footprint->part_count; i++) {
        const struct footprint_part *part = &footprint->parts[i];
        const struct plan_replica *replica = &footprint->plan->replicas[part->replica];
        int32_t own = plan_replica_batch(replica, FOOTPRINT_MAX_SEQUENCES);

        if (service >= 0 && part->service != service)
            continue;
        if (part->stage->executable) {
            const int32_t *sizes;
            int count = cost_batch_sizes(part->table, part->stage->executable, &sizes);

            own = sizes[count - 1] < own ? sizes[count - 1] : own;
        }
        least = own < least ? own : least;
    }
    return least;
}

/* ---- how far it reaches ---- */

static struct fit_reach reach_of(const struct fit *fit, int32_t device, int32_t service,
                                 enum footprint_axis axis, int64_t limit)
{
    struct fit_reach reach = { FIT_NOT_ASKED, limit, -1 };

    if (limit > 0 && footprint_grows(fit->footprint, device, service, axis)) {
        reach.most = footprint_largest(fit->footprint, device, service, axis, limit, fit->loads);
        reach.device = reach.most < limit ? device : -1;
    }
    return reach;
}

/* Of all devices: the least, that of the first of them. One that nothing can help stops all. */
static struct fit_reach least_of(const struct fit *fit, int32_t service, enum footprint_axis axis,
                                 int64_t limit)
{
    struct fit_reach least = { FIT_NOT_ASKED, limit, -1 };

    for (int32_t d = 0; d < fit->footprint->plan->cluster->device_count; d++) {
        struct fit_reach one;

        if (!is_used(fit, d))
            continue;
        one = reach_of(fit, d, service, axis, limit);
        if (one.most == FIT_NOT_ASKED && limit > 0 && fit->devices[d].now.missing_bytes > 0)
            one = (struct fit_reach){ 0, limit, d };
        if (one.most != FIT_NOT_ASKED && (least.most == FIT_NOT_ASKED || one.most < least.most))
            least = one;
    }
    return least;
}

static void reaches_fill(struct arena *arena, struct fit *fit)
{
    const struct plan *plan = fit->footprint->plan;
    int64_t context = context_limit(fit, -1), sequences = sequences_limit(fit, -1);

    for (int32_t d = 0; d < plan->cluster->device_count; d++) {
        fit->devices[d].context = reach_of(fit, d, -1, FOOTPRINT_CONTEXT, context);
        fit->devices[d].sequences = reach_of(fit, d, -1, FOOTPRINT_SEQUENCES, sequences);
    }
    fit->services = arena_array(arena, (size_t)plan->service_count, sizeof(*fit->services));
    fit->context = least_of(fit, -1, FOOTPRINT_CONTEXT, context);
    fit->sequences = least_of(fit, -1, FOOTPRINT_SEQUENCES, sequences);
    for (int32_t s = 0; s < plan->service_count; s++)
        fit->services[s] = (struct fit_service){
            least_of(fit, s, FOOTPRINT_CONTEXT, context_limit(fit, s)),
            least_of(fit, s, FOOTPRINT_SEQUENCES, sequences_limit(fit, s)),
        };
}

/* ---- a model without a placement ---- */

static int compare_falling(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    return (*x < *y) - (*x > *y);
}

static bool alone_fits(const struct fit *fit)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;

    for (int i = 0; i < cluster->device_count; i++)
        if (cluster->devices[i].memory_bytes > 0 && fit->devices[i].now.missing_bytes == 0)
            return true;
    return false;
}

/* Of the device that comes closest. */
static int64_t least_missing_bytes(const struct fit *fit)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;
    int64_t least = INT64_MAX;

    for (int i = 0; i < cluster->device_count; i++)
        if (cluster->devices[i].memory_bytes > 0 && fit->devices[i].now.missing_bytes < least)
            least = fit->devices[i].now.missing_bytes;
    return least;
}

/* The fewest devices whose memory adds up to weights and KV: a cut may need more. */
static void fewest_find(struct arena *arena, struct fit *fit)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;
    const struct footprint_bytes *whole = &fit->devices[0].now.of; /* the same on each device */
    int64_t *rooms = arena_array(arena, (size_t)cluster->device_count, sizeof(*rooms));
    int64_t left_bytes = whole->weight_bytes > INT64_MAX - whole->kv_bytes
                             ? INT64_MAX
                             : whole->weight_bytes + whole->kv_bytes;

    fit->whole_bytes = left_bytes;
    for (int i = 0; i < cluster->device_count; i++)
        if (cluster->devices[i].memory_bytes > 0)
            rooms[i] = cluster->devices[i].memory_bytes - cluster->devices[i].reserved_bytes;
    qsort(rooms, (size_t)cluster->device_count, sizeof(*rooms), compare_falling);
    for (int i = 0; i < cluster->device_count && left_bytes > 0; i++) {
        left_bytes -= rooms[i];
        if (left_bytes <= 0)
            fit->fewest = i + 1;
    }
    fit->missing_bytes = left_bytes > 0 ? left_bytes : 0;
    if (fit->fewest == 1 && !alone_fits(fit)) /* activations need room as well */
        fit->fewest = cluster->device_count > 1 && rooms[1] > 0 ? 2 : 0;
    if (fit->fewest == 0 && fit->missing_bytes == 0)
        fit->missing_bytes = least_missing_bytes(fit);
    fit->fits = fit->fewest > 0;
}

static void warnings_fill(struct arena *arena, struct fit *fit)
{
    const struct cluster *cluster = fit->footprint->plan->cluster;

    fit->warnings = arena_array(arena, (size_t)cluster->device_count, sizeof(char *));
    for (int i = 0; i < cluster->device_count; i++)
        if (is_used(fit, i) && cluster->devices[i].memory_bytes == 0)
            fit->warnings[fit->warning_count++] =
                arena_printf(arena,
                             "device '%s' has no memory_bytes in devices.csv: whether it "
                             "suffices is not known",
                             cluster->devices[i].name);
}

void fit_fill(struct arena *arena, struct fit *fit)
{
    int device_count = fit->footprint->plan->cluster->device_count;

    fit->fits = true;
    fit->devices = arena_array(arena, (size_t)device_count, sizeof(*fit->devices));
    for (int32_t d = 0; d < device_count; d++) {
        fit->devices[d].now = footprint_of_device(fit->footprint, d, fit->loads);
        if (is_used(fit, d) && fit->devices[d].now.missing_bytes > 0)
            fit->fits = false;
    }
    reaches_fill(arena, fit);
    if (fit->alone)
        fewest_find(arena, fit);
    warnings_fill(arena, fit);
}
