/* memory.c - weights and activations against what devices have, before time starts; KV caches while
 * it runs. Every epoch has its own slices: a device needs what its fullest epoch needs. */
#include "sim/serve/internal.h"

#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"

struct need { /* of a device in one epoch */
    int64_t weight_bytes, activation_bytes;
};

static int64_t bytes_of(const struct need *need, const struct cluster_device *device)
{
    return need->weight_bytes + need->activation_bytes + device->reserved_bytes;
}

static bool does_not_fit(const struct serve *serve, int32_t index, const struct need *needed,
                         struct err *err)
{
    const struct cluster *cluster = serve->input->plan->cluster;
    const struct cluster_device *device = &cluster->devices[index];
    const char *path = arena_printf(serve->arena, "%s/devices.csv", cluster->path);
    int64_t need_bytes = bytes_of(needed, device);
    char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];

    return err_at(
        err, path, device->line, 0,
        "device '%s' has %s (%lld bytes) of memory, but weights, activations and reserved "
        "take %s (%lld bytes)",
        device->name, units_format_bytes(device->memory_bytes, have),
        (long long)device->memory_bytes, units_format_bytes(need_bytes, need),
        (long long)need_bytes);
}

static void lane_add(struct need *needs, const struct lane *lane)
{
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            struct need *need = &needs[site->devices[i]];

            need->weight_bytes += site->weight_bytes;
            if (site->activation_bytes > need->activation_bytes)
                need->activation_bytes = site->activation_bytes;
        }
    }
}

/* Copies what the lane's own devices need. */
static void lane_copy(struct need *to, const struct need *from, const struct lane *lane)
{
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++)
            to[site->devices[i]] = from[site->devices[i]];
    }
}

static bool lane_fits(const struct serve *serve, const struct need *needs, const struct lane *lane)
{
    const struct cluster *cluster = serve->input->plan->cluster;

    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            const struct cluster_device *device = &cluster->devices[site->devices[i]];

            if (device->memory_bytes > 0 &&
                bytes_of(&needs[site->devices[i]], device) > device->memory_bytes)
                return false;
        }
    }
    return true;
}

/* Keeps the most that a device needs in any epoch; false when it has less. */
static bool device_settle(struct serve *serve, int32_t index, const struct need *need)
{
    const struct cluster_device *device = &serve->input->plan->cluster->devices[index];
    struct memory *memory = &serve->memories[index];
    int64_t bytes = bytes_of(need, device);

    if (bytes > memory->base_bytes)
        memory->base_bytes = memory->peak_bytes = bytes;
    return device->memory_bytes == 0 || bytes <= device->memory_bytes;
}

/* *worst becomes the first device of the lane, by index, that does not fit and comes before it. */
static void lane_settle(struct serve *serve, const struct lane *lane, const struct need *needs,
                        int32_t *worst)
{
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            int32_t device = site->devices[i];

            if (!device_settle(serve, device, &needs[device]) && (*worst < 0 || device < *worst))
                *worst = device;
        }
    }
}

static void lane_clear(struct need *needs, const struct lane *lane)
{
    for (int s = 0; s < lane->stage_count; s++)
        for (int i = 0; i < lane->sites[s].device_count; i++)
            needs[lane->sites[s].devices[i]] = (struct need){ 0, 0 };
}

/* Replicas in file order; with --memory refuse one that does not fit takes no requests. needs begin
 * and end with 0 for all devices. Fails at the first device, by index, that does not fit. */
static bool epoch_check(struct serve *serve, const struct plan_epoch *epoch, struct need *needs,
                        struct need *before, struct err *err)
{
    int32_t worst = -1;

    for (int r = 0; r < epoch->replica_count; r++) {
        struct lane *lane = &serve->lanes[epoch->replicas[r]];

        lane_copy(before, needs, lane);
        lane_add(needs, lane);
        if (serve->options->memory == SERVE_MEMORY_REFUSE && !lane_fits(serve, needs, lane)) {
            lane->is_left_out = true;
            lane_copy(needs, before, lane);
        }
    }
    for (int r = 0; r < epoch->replica_count; r++)
        lane_settle(serve, &serve->lanes[epoch->replicas[r]], needs, &worst);
    if (worst >= 0)
        return does_not_fit(serve, worst, &needs[worst], err);
    for (int r = 0; r < epoch->replica_count; r++)
        lane_clear(needs, &serve->lanes[epoch->replicas[r]]);
    return true;
}

/* A device without slices needs what is reserved. */
static bool reserved_check(struct serve *serve, struct need *needs, struct err *err)
{
    const struct cluster *cluster = serve->input->plan->cluster;

    for (int32_t i = 0; i < cluster->device_count; i++)
        if (!device_settle(serve, i, &needs[i]))
            return does_not_fit(serve, i, &needs[i], err);
    return true;
}

bool memory_check(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    size_t device_count = (size_t)plan->cluster->device_count;
    struct need *needs = arena_array(serve->arena, device_count, sizeof(*needs));
    struct need *before = arena_array(serve->arena, device_count, sizeof(*before));

    serve->memories = arena_array(serve->arena, device_count, sizeof(*serve->memories));
    if (!reserved_check(serve, needs, err))
        return false;
    for (int e = 0; e < plan->epoch_count; e++)
        if (!epoch_check(serve, &plan->epochs[e], needs, before, err))
            return false;
    return true;
}

/* The cache of all tokens that the request will ever have, on every stage of its replica. */
void memory_keep(struct serve *serve, int32_t index, int sign)
{
    const struct flight *flight = &serve->flights[index];
    const struct lane *lane = &serve->lanes[flight->site->replica];
    int64_t tokens = (int64_t)flight->prompt_tokens + serve->decodes[index].output_tokens;

    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];
        struct memory *memory = &serve->memories[site->device];
        int64_t used_bytes;

        memory->kv_bytes += sign * tokens * site->kv_bytes_per_token;
        used_bytes = memory->base_bytes + memory->kv_bytes;
        if (used_bytes > memory->peak_bytes)
            memory->peak_bytes = used_bytes;
    }
}

bool memory_has_room(const struct serve *serve, const struct lane *lane, int64_t tokens)
{
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];
        const struct memory *memory = &serve->memories[site->device];
        int64_t have_bytes = serve->input->plan->cluster->devices[site->device].memory_bytes;
        int64_t need_bytes = memory->base_bytes + memory->kv_bytes;

        for (int k = 0; k < lane->stage_count; k++) /* all its stages on this device */
            if (lane->sites[k].device == site->device)
                need_bytes += tokens * lane->sites[k].kv_bytes_per_token;
        if (have_bytes > 0 && need_bytes > have_bytes)
            return false;
    }
    return true;
}
