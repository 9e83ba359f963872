/* memory.c - weights and activations against what devices have, before time starts; KV caches while
 * it runs. Every epoch has its own slices: a device needs what its fullest epoch needs. */
#include "sim/serve/internal.h"

#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"

struct need { /* of a device in one epoch */
    int64_t weight_bytes, activation_bytes;
};

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

static int64_t bytes_of(const struct need *need, const struct cluster_device *device)
{
    return need->weight_bytes + need->activation_bytes + device->reserved_bytes;
}

/* Adds (sign 1) or takes back the weights of a replica. */
static void lane_add(struct need *needs, const struct lane *lane, int sign)
{
    for (int s = 0; s < lane->stage_count; s++) {
        const struct site *site = &lane->sites[s];

        for (int i = 0; i < site->device_count; i++) {
            struct need *need = &needs[site->devices[i]];

            need->weight_bytes += sign * site->weight_bytes;
            if (sign > 0 && site->activation_bytes > need->activation_bytes)
                need->activation_bytes = site->activation_bytes;
        }
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

/* Replicas in file order; with --memory refuse one that does not fit takes no requests. */
static void epoch_add(struct serve *serve, int epoch, struct need *needs, struct need *before)
{
    const struct plan *plan = serve->input->plan;
    size_t device_count = (size_t)plan->cluster->device_count;

    for (size_t i = 0; i < device_count; i++)
        needs[i] = (struct need){ 0, 0 };
    for (int r = 0; r < plan->replica_count; r++) {
        struct lane *lane = &serve->lanes[r];

        if (plan->replicas[r].epoch != epoch)
            continue;
        for (size_t i = 0; i < device_count; i++)
            before[i].activation_bytes = needs[i].activation_bytes;
        lane_add(needs, lane, 1);
        if (serve->options->memory != SERVE_MEMORY_REFUSE || lane_fits(serve, needs, lane))
            continue;
        lane->is_left_out = true;
        lane_add(needs, lane, -1);
        for (size_t i = 0; i < device_count; i++)
            needs[i].activation_bytes = before[i].activation_bytes;
    }
}

bool memory_check(struct serve *serve, struct err *err)
{
    const struct plan *plan = serve->input->plan;
    const struct cluster *cluster = plan->cluster;
    size_t device_count = (size_t)cluster->device_count;
    struct need *needs = arena_array(serve->arena, device_count, sizeof(*needs));
    struct need *before = arena_array(serve->arena, device_count, sizeof(*before));

    serve->memories = arena_array(serve->arena, device_count, sizeof(*serve->memories));
    for (int e = 0; e < plan->epoch_count; e++) {
        epoch_add(serve, e, needs, before);
        for (size_t i = 0; i < device_count; i++) {
            const struct cluster_device *device = &cluster->devices[i];
            struct memory *memory = &serve->memories[i];
            int64_t bytes = bytes_of(&needs[i], device);

            if (bytes > memory->base_bytes)
                memory->base_bytes = memory->peak_bytes = bytes;
            if (device->memory_bytes > 0 && bytes > device->memory_bytes)
                return does_not_fit(serve, device, bytes, err);
        }
    }
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
