/* llm_memory.c - how many blocks an instance's KV cache has: as many as its fullest device holds,
 * since a request has its blocks in all stages. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "sim/llm/internal.h"
#include <assert.h>

/* An instance has at most so many blocks: 32 bytes each with a prefix cache. */
#define MAX_BLOCKS (1 << 26)

/* Of one block, on one device. */
static int64_t block_bytes(const struct instance *instance, int32_t device)
{
    int64_t bytes = 0;

    for (int s = 0; s < instance->stage_count; s++)
        for (int i = 0; i < instance->stages[s].plan->device_count; i++)
            if (instance->stages[s].plan->devices[i] == device)
                bytes += instance->stages[s].blocks_bytes[i];
    return bytes;
}

static int32_t sharers(const struct run *run, int32_t device)
{
    int32_t count = 0;

    for (int i = 0; i < run->instance_count; i++)
        count += block_bytes(&run->instances[i], device) > 0;
    return count;
}

static bool does_not_fit(const struct run *run, const struct cluster_device *device,
                         int64_t need_bytes, struct err *err)
{
    char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];
    const char *path = arena_printf(run->arena, "%s/devices.csv", run->plan->cluster->path);

    return err_at(err, path, device->line, 0,
                  "device '%s' has %s (%lld bytes) of memory, but weights, reserved and KV blocks "
                  "take %s (%lld bytes)",
                  device->name, units_format_bytes(device->memory_bytes, have),
                  (long long)device->memory_bytes, units_format_bytes(need_bytes, need),
                  (long long)need_bytes);
}

/* As many as max_seqs of the longest requests take. */
static int32_t blocks_of_any(const struct run *run, const struct instance *instance)
{
    int64_t tokens = run->options->longest_tokens, block_tokens = run->options->block_tokens;
    int64_t each, all;

    if (instance->model->max_context > 0 && (tokens == 0 || tokens > instance->model->max_context))
        tokens = instance->model->max_context;
    each = (tokens + block_tokens - 1) / block_tokens;
    all = (each > 0 ? each : 1) * instance->options.max_seqs;
    return all < MAX_BLOCKS ? (int32_t)all : MAX_BLOCKS;
}

/* Lowers *count to what the device has room for; with a number that was given it must have room. */
static bool device_blocks(const struct run *run, const struct instance *instance, int32_t index,
                          int32_t *count, struct err *err)
{
    const struct cluster_device *device = &run->plan->cluster->devices[index];
    int64_t base_bytes = run->input->base_bytes ? run->input->base_bytes[index] : 0;
    int64_t each_bytes = block_bytes(instance, index), room, need_bytes;
    int32_t sharer_count = sharers(run, index);

    assert(sharer_count >= 1 && each_bytes >= 1);
    if (run->options->block_count > 0) {
        if (__builtin_mul_overflow(each_bytes, (int64_t)run->options->block_count * sharer_count,
                                   &need_bytes) ||
            __builtin_add_overflow(need_bytes, base_bytes, &need_bytes))
            need_bytes = INT64_MAX;
        return need_bytes <= device->memory_bytes || does_not_fit(run, device, need_bytes, err);
    }
    room = (device->memory_bytes - base_bytes) / sharer_count / each_bytes;
    if (room < 1)
        return does_not_fit(run, device, base_bytes + each_bytes, err);
    if (room < *count)
        *count = (int32_t)room;
    return true;
}

/* Of one device of a stage. */
static bool part_blocks(const struct run *run, const struct instance *instance, int32_t device,
                        int32_t *count, bool *is_known, struct err *err)
{
    if (run->plan->cluster->devices[device].memory_bytes == 0) {
        run->result->is_memory_known = false;
        return true;
    }
    *is_known = true;
    return device_blocks(run, instance, device, count, err);
}

bool llm_blocks(struct run *run, const struct instance *instance, int32_t *count, struct err *err)
{
    bool is_known = false;

    if (instance->model->kind != MODEL_DECODER) { /* blocks count for nothing */
        *count = MAX_BLOCKS;
        return true;
    }
    *count = run->options->block_count > 0 ? run->options->block_count : MAX_BLOCKS;
    for (int s = 0; s < instance->stage_count; s++) {
        const struct stage *stage = &instance->stages[s];

        for (int i = 0; i < stage->plan->device_count; i++)
            if (stage->blocks_bytes[i] > 0 &&
                !part_blocks(run, instance, stage->plan->devices[i], count, &is_known, err))
                return false;
    }
    if (!is_known && run->options->block_count == 0)
        *count = blocks_of_any(run, instance);
    return true;
}
