/* llm_setup.c - which instances there are, what their steps cost and how large their KV caches
 * are. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "lib/format/placement.h"
#include "sim/llm/internal.h"

/* An instance has at most so many blocks: 32 bytes each with a prefix cache. */
#define MAX_BLOCKS (1 << 26)

/* ---- what can be simulated ---- */

static bool stage_check(const struct run *run, const struct plan_replica *replica, struct err *err)
{
    const struct plan_service *service = &run->plan->services[replica->service];
    const struct plan_stage *stage = replica->stages;

    if (!service->model || service->model->kind != MODEL_DECODER)
        return err_set(err, ERR_USAGE, "--batch continuous: for decoders; service '%s' runs %s",
                       service->name, service->model ? service->model->name : "an executable");
    if (replica->stage_count > 1 || stage->device_count > 1)
        return err_set(err, ERR_USAGE,
                       "--batch continuous: this version computes a replica on one device; replica "
                       "%d of service '%s' is on several stages or devices",
                       (int)replica->number, service->name);
    return true;
}

/* ---- budgets ---- */

static int32_t largest(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static bool budget_of(const struct run *run, const struct instance *instance, int32_t *budget,
                      struct err *err)
{
    const struct llm_options *options = run->options;
    int32_t max_seqs = instance->options.max_seqs;

    *budget = options->token_budget;
    if (*budget == 0)
        *budget =
            continuous_default_budget(max_seqs, options->has_chunks, instance->model->max_context);
    if (*budget < max_seqs)
        return err_set(err, ERR_USAGE,
                       "--batch continuous: TOKEN_BUDGET is %d: expected at least MAX_SEQS, %d",
                       *budget, max_seqs);
    return *budget <= STEP_PRICE_MAX_TOKENS ||
           err_set(err, ERR_USAGE, "--batch continuous: TOKEN_BUDGET is %d: expected at most %d",
                   *budget, STEP_PRICE_MAX_TOKENS);
}

/* ---- KV caches ---- */

static int32_t sharers(const struct run *run, int32_t device)
{
    int32_t count = 0;

    for (int r = 0; r < run->plan->replica_count; r++)
        count += run->instances[r].device == device;
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

static bool blocks_given(const struct run *run, const struct instance *instance,
                         const struct cluster_device *device, int64_t base_bytes, struct err *err)
{
    int64_t need_bytes;

    if (device->memory_bytes == 0)
        return true;
    if (__builtin_mul_overflow(instance->block_bytes,
                               (int64_t)run->options->block_count * sharers(run, instance->device),
                               &need_bytes) ||
        __builtin_add_overflow(need_bytes, base_bytes, &need_bytes))
        need_bytes = INT64_MAX;
    return need_bytes <= device->memory_bytes || does_not_fit(run, device, need_bytes, err);
}

static bool blocks_of(struct run *run, const struct instance *instance, int32_t *count,
                      struct err *err)
{
    const struct cluster_device *device = &run->plan->cluster->devices[instance->device];
    int64_t base_bytes = run->input->base_bytes ? run->input->base_bytes[instance->device] : 0;
    int64_t room;

    *count = run->options->block_count;
    if (*count > 0)
        return blocks_given(run, instance, device, base_bytes, err);
    if (device->memory_bytes == 0) {
        run->result->is_memory_known = false;
        *count = blocks_of_any(run, instance);
        return true;
    }
    room = (device->memory_bytes - base_bytes) / sharers(run, instance->device) /
           instance->block_bytes;
    if (room < 1)
        return does_not_fit(run, device, base_bytes + instance->block_bytes, err);
    *count = room < MAX_BLOCKS ? (int32_t)room : MAX_BLOCKS;
    return true;
}

/* ---- instances ---- */

/* Instances know requests by their flights. */
static int64_t key_of_flight(void *arg, int64_t tag, int32_t block)
{
    const struct run *run = arg;

    return run->input->key(run->input->key_arg, (int64_t)run->flights[tag].index, block);
}

static bool instance_fill(struct run *run, struct instance *instance, struct err *err)
{
    const struct llm_options *options = run->options;
    const struct plan_stage *stage = run->plan->replicas[instance->replica].stages;
    const struct cluster_device *device = &run->plan->cluster->devices[instance->device];
    struct continuous_options *own = &instance->options;

    own->max_seqs = stage->max_batch > 0 ? stage->max_batch : options->max_seqs;
    own->block_tokens = options->block_tokens;
    own->has_chunks = options->has_chunks;
    if (options->has_prefix_cache && run->input->key) {
        own->key = key_of_flight;
        own->key_arg = run;
    }
    instance->block_bytes = plan_stage_kv_bytes_per_token(run->plan, stage) * options->block_tokens;
    if (!budget_of(run, instance, &own->token_budget, err) ||
        !blocks_of(run, instance, &own->block_count, err))
        return false;
    run->result->token_budget = largest(run->result->token_budget, own->token_budget);
    instance->is_alone = sharers(run, instance->device) == 1;
    instance->batcher = continuous_create(run->arena, own);
    instance->price = step_price_create(
        run->arena,
        &(struct step_price_of){ .stage = stage,
                                 .model = instance->model,
                                 .table = cost_set_find(run->input->costs, device->type),
                                 .threads = device->threads,
                                 .speed_ratio = device->speed_ratio,
                                 .max_seqs = own->max_seqs,
                                 .token_budget = own->token_budget });
    return true;
}

static bool table_check(const struct run *run, const struct instance *instance, struct err *err)
{
    const struct cluster_device *device = &run->plan->cluster->devices[instance->device];
    const struct cost_table *table = cost_set_find(run->input->costs, device->type);

    if (table && cost_has_kernels(table))
        return true;
    return err_set(err, ERR_INPUT,
                   "device '%s' is of type '%s': --costs has no kernels.csv of that type",
                   device->name, device->type);
}

static void choices_fill(struct run *run)
{
    const struct plan *plan = run->plan;
    size_t count = (size_t)plan->epoch_count * (size_t)plan->service_count;
    int32_t most = 1;

    run->choices = arena_array(run->arena, count, sizeof *run->choices);
    for (int32_t e = 0; e < plan->epoch_count; e++)
        for (int32_t s = 0; s < plan->service_count; s++) {
            const struct plan_service *service = &plan->services[s];
            struct choice *choice = &run->choices[e * plan->service_count + s];
            int32_t first = service->epoch_first[e], end = service->epoch_first[e + 1];

            choice->instances =
                arena_array(run->arena, (size_t)(end - first), sizeof *choice->instances);
            for (int32_t i = first; i < end; i++)
                choice->instances[choice->count++] = service->replicas[i];
            most = largest(most, choice->count);
        }
    run->candidates = arena_array(run->arena, (size_t)most, sizeof *run->candidates);
}

static void result_reserve(struct run *run)
{
    size_t device_count = (size_t)run->plan->cluster->device_count;

    *run->result = (struct llm_result){ .first_ps = LLM_NEVER,
                                        .are_blocks_given = run->options->block_count > 0,
                                        .is_memory_known = true };
    run->result->busy_ps = arena_array(run->arena, device_count, sizeof(int64_t));
    run->result->kv_bytes = arena_array(run->arena, device_count, sizeof(int64_t));
    run->result->wait_peak_ps = arena_array(run->arena, device_count, sizeof(int64_t));
}

bool llm_setup(struct run *run, struct err *err)
{
    const struct plan *plan = run->plan;

    result_reserve(run);
    run->instances = arena_array(run->arena, (size_t)plan->replica_count, sizeof *run->instances);
    run->deciding = arena_array(run->arena, (size_t)plan->replica_count, sizeof *run->deciding);
    run->devices =
        arena_array(run->arena, (size_t)plan->cluster->device_count, sizeof *run->devices);
    for (int i = 0; i < plan->cluster->device_count; i++)
        run->devices[i].owner = -1;
    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];
        struct instance *instance = &run->instances[r];

        if (!stage_check(run, replica, err))
            return false;
        instance->replica = r;
        instance->service = replica->service;
        instance->model = plan->services[replica->service].model;
        instance->device = replica->stages[0].devices[0];
    }
    for (int32_t r = 0; r < plan->replica_count; r++)
        if (!table_check(run, &run->instances[r], err) ||
            !instance_fill(run, &run->instances[r], err))
            return false;
    choices_fill(run);
    run->engine = engine_create(run->arena, plan->replica_count);
    run->dispatch = dispatch_create(run->arena, run->options->dispatch, plan->service_count,
                                    run->options->seed);
    run->next_epoch_ps = plan->epoch_count > 1 ? plan->epochs[1].from_ps : LLM_NEVER;
    run->first_free = -1;
    return true;
}
