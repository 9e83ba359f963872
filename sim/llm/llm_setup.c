/* llm_setup.c - which instances there are, and what their steps cost. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/cost.h"
#include "sim/llm/internal.h"
#include "sim/network/network.h"
#include "sim/sliced/sliced.h"

/* ---- what can be simulated ---- */

static bool replica_check(const struct run *run, const struct plan_replica *replica,
                          struct err *err)
{
    const struct plan_service *service = &run->plan->services[replica->service];

    if (!service->model)
        return err_set(err, ERR_USAGE,
                       "--batch continuous: for models; service '%s' runs an executable",
                       service->name);
    return true;
}

static bool has_links(const struct run *run)
{
    const struct llm_input *input = run->input;

    for (int32_t r = 0; r < run->plan->replica_count && input->network; r++)
        if (input->routes_in[run->plan->replicas[r].stages[0].id] >= 0 ||
            input->routes_back[r] >= 0)
            return true;
    return false;
}

/* The messages of one batch at a time, of one replica, meet no other. */
static bool has_lonely_links(const struct run *run)
{
    return run->plan->replica_count == 1 && !run->options->is_stepped && !run->is_watched &&
           network_is_bookable(run->input->network);
}

/* Several stages, links that are shared, bounded queues and failures need events of their own. */
static bool needs_tasks(const struct run *run)
{
    if (llm_events_change_devices(run) || run->input->delay_ps || run->input->is_switched)
        return true;
    for (int32_t r = 0; r < run->plan->replica_count; r++)
        if (plan_replica_is_split(&run->plan->replicas[r]) ||
            run->plan->replicas[r].stage_count > 1 ||
            run->plan->replicas[r].stages[0].device_count > 1 ||
            run->plan->replicas[r].stages[0].queue_depth > 0)
            return true;
    return has_links(run) && !has_lonely_links(run);
}

/* -1 where nothing is to be sent. */
static void hops_make(const struct run *run)
{
    for (int32_t r = 0; r < run->plan->replica_count; r++) {
        struct instance *instance = &run->instances[r];
        bool is_task = run->is_piped;

        instance->in.link = is_task || instance->stages[0].route < 0 ? -1 : 0;
        instance->back.link = is_task || instance->route_back < 0 ? -1 : 0;
    }
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
        *budget = continuous_default_budget(max_seqs, instance->options.has_chunks,
                                            instance->model->max_context);
    if (*budget < max_seqs)
        return err_set(err, ERR_USAGE,
                       "--batch continuous: TOKEN_BUDGET is %d: expected at least MAX_SEQS, %d",
                       *budget, max_seqs);
    return *budget <= STEP_PRICE_MAX_TOKENS ||
           err_set(err, ERR_USAGE, "--batch continuous: TOKEN_BUDGET is %d: expected at most %d",
                   *budget, STEP_PRICE_MAX_TOKENS);
}

/* ---- instances ---- */

/* Instances know requests by their flights. */
static int64_t key_of_flight(void *arg, int64_t tag, int32_t block)
{
    const struct run *run = arg;

    return run->input->key(run->input->key_arg, (int64_t)run->flights[tag].index, block);
}

/* Of a piece, or of all of the stage: NULL. */
static struct step_price *price_of(const struct run *run, const struct instance *instance,
                                   const struct stage *stage, const struct pass_piece *piece)
{
    int32_t index = piece ? stage->plan->devices[piece->position] : stage->device;
    const struct cluster_device *device = &run->plan->cluster->devices[index];

    return step_price_create(
        run->arena,
        &(struct step_price_of){ .stage = stage->plan,
                                 .piece = piece,
                                 .model = instance->model,
                                 .table = cost_set_find(run->input->costs, device->type),
                                 .threads = device->threads,
                                 .speed_ratio = run->devices[index].speed_ratio,
                                 .overheads = run->input->overheads,
                                 .extrapolated_ops = &run->result->extrapolated_ops,
                                 .without_kappa =
                                     run->options->has_kappa ? &run->result->without_kappa : NULL,
                                 .max_seqs = instance->options.max_seqs,
                                 .token_budget = instance->options.token_budget });
}

/* What it costs on the device; -1: on all of them. */
static void stage_price(const struct run *run, const struct instance *instance, struct stage *stage,
                        int32_t device)
{
    const struct pass *pass = stage->sliced ? sliced_pass(stage->sliced) : NULL;

    if (!pass && (device < 0 || device == stage->device))
        stage->price = price_of(run, instance, stage, NULL);
    for (int32_t i = 0; pass && i < pass->piece_count; i++)
        if (device < 0 || stage->plan->devices[pass->pieces[i].position] == device)
            stage->pieces[i] = price_of(run, instance, stage, &pass->pieces[i]);
}

bool llm_price_device(struct run *run, int32_t device, struct err *err)
{
    const struct ring *waiting = &run->devices[device].waiting;

    for (int32_t i = 0; i < run->instance_count; i++)
        for (int s = 0; s < run->instances[i].stage_count; s++)
            stage_price(run, &run->instances[i], &run->instances[i].stages[s], device);
    for (uint32_t i = 0; i < waiting->count; i++)
        if (ring_at(waiting, i) >= LLM_FIRST_PART &&
            !llm_part_reprice(run, ring_at(waiting, i), err))
            return false;
    return true;
}

static const int64_t *blocks_bytes_of(const struct run *run, const struct plan_stage *stage)
{
    int64_t *bytes = arena_array(run->arena, (size_t)stage->device_count, sizeof *bytes);

    for (int32_t i = 0; i < stage->device_count; i++)
        bytes[i] = plan_device_kv_bytes_per_token(run->plan, stage, stage->devices[i]) *
                   run->options->block_tokens;
    return bytes;
}

static void stages_fill(struct run *run, struct instance *instance)
{
    const struct plan_replica *replica = &run->plan->replicas[instance->replica];
    const struct plan_stage *stages =
        instance->is_decoding ? replica->decode_stages : replica->stages;
    const struct llm_input *input = run->input;

    instance->stage_count = instance->is_decoding ? replica->decode_count : replica->stage_count;
    instance->stages =
        arena_array(run->arena, (size_t)instance->stage_count, sizeof *instance->stages);
    for (int s = 0; s < instance->stage_count; s++) {
        const struct plan_stage *plan = &stages[s];

        instance->stages[s] = (struct stage){
            .plan = plan,
            .device = plan->devices[0],
            .blocks_bytes = blocks_bytes_of(run, plan),
            .route = input->network ? input->routes_in[plan->id] : -1,
            .room = plan->queue_depth > 0 ? plan->queue_depth : INT32_MAX,
        };
        if (plan->device_count > 1)
            llm_sliced_fill(run, (int32_t)(instance - run->instances), &instance->stages[s]);
    }
    instance->route_back = -1;
    if (input->network)
        instance->route_back = instance->is_decoding ? input->routes_decoded[instance->replica]
                                                     : input->routes_back[instance->replica];
}

/* The least that any of its stages says, where --batch does not hold. */
static int32_t max_seqs_of(const struct run *run, const struct instance *instance)
{
    int32_t most = INT32_MAX;

    for (int s = 0; s < instance->stage_count; s++) {
        int32_t own = instance->stages[s].plan->max_batch;

        own = own > 0 ? own : run->options->max_seqs;
        most = own < most ? own : most;
    }
    return most;
}

static bool is_alone(const struct run *run, const struct instance *instance)
{
    int32_t count = 0;

    for (int32_t i = 0; i < run->instance_count; i++)
        count += run->instances[i].stages[0].device == instance->device;
    return count == 1;
}

static bool instance_fill(struct run *run, struct instance *instance, struct err *err)
{
    const struct llm_options *options = run->options;
    struct continuous_options *own = &instance->options;

    own->max_seqs = max_seqs_of(run, instance);
    own->block_tokens = options->block_tokens;
    /* Tokens of an encoder look at one another: it makes one pass, and leaves no cache. */
    own->has_chunks = options->has_chunks && instance->model->kind == MODEL_DECODER;
    own->omits_decodes = !run->is_watched && !run->observer.on_gap;
    own->max_in_flight =
        options->max_in_flight > 0 ? options->max_in_flight : instance->stage_count;
    own->hands_over = instance->partner >= 0;
    if (options->has_prefix_cache && run->input->key && instance->model->kind == MODEL_DECODER &&
        !instance->is_decoding) {
        own->key = key_of_flight;
        own->key_arg = run;
    }
    if (!budget_of(run, instance, &own->token_budget, err) ||
        !llm_blocks(run, instance, &own->block_count, err))
        return false;
    run->result->token_budget = largest(run->result->token_budget, own->token_budget);
    instance->is_alone = is_alone(run, instance);
    instance->batcher = continuous_create(run->arena, own);
    for (int s = 0; s < instance->stage_count; s++)
        stage_price(run, instance, &instance->stages[s], -1);
    instance->price = instance->stages[0].price;
    return true;
}

static bool table_check(const struct run *run, int32_t index, struct err *err)
{
    const struct cluster_device *device = &run->plan->cluster->devices[index];
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
    run->result->gap_ps = arena_array(run->arena, device_count, sizeof(int64_t));
    run->result->free_ps = arena_array(run->arena, device_count, sizeof(int64_t));
    run->result->kv_bytes = arena_array(run->arena, device_count, sizeof(int64_t));
    run->result->wait_peak_ps = arena_array(run->arena, device_count, sizeof(int64_t));
}

static void instance_begin(struct run *run, int32_t replica, int32_t index, int32_t partner)
{
    const struct plan *plan = run->plan;
    const struct plan_replica *placed = &plan->replicas[replica];
    struct instance *instance = &run->instances[index];

    instance->replica = replica;
    instance->partner = partner;
    instance->is_decoding = index != replica;
    instance->service = placed->service;
    instance->model = plan->services[placed->service].model;
    stages_fill(run, instance);
    instance->device = instance->stages[0].device;
}

static bool instances_fill(struct run *run, struct err *err)
{
    const struct plan *plan = run->plan;
    int32_t next = plan->replica_count;

    for (int32_t r = 0; r < plan->replica_count; r++) {
        const struct plan_replica *replica = &plan->replicas[r];

        if (!replica_check(run, replica, err))
            return false;
        if (replica->move_count > run->most_moves)
            run->most_moves = replica->move_count;
        if (plan_replica_is_split(replica)) {
            instance_begin(run, r, r, next);
            instance_begin(run, r, next++, r);
        } else {
            instance_begin(run, r, r, -1);
        }
    }
    for (int32_t r = 0; r < plan->replica_count; r++)
        for (int s = 0; s < plan->replicas[r].total_count; s++)
            for (int i = 0; i < plan->replicas[r].stages[s].device_count; i++)
                if (!table_check(run, plan->replicas[r].stages[s].devices[i], err))
                    return false;
    for (int32_t i = 0; i < run->instance_count; i++)
        if (!instance_fill(run, &run->instances[i], err))
            return false;
    return true;
}

static int32_t count_instances(const struct plan *plan)
{
    int32_t count = plan->replica_count;

    for (int32_t r = 0; r < plan->replica_count; r++)
        count += plan_replica_is_split(&plan->replicas[r]);
    return count;
}

static void devices_fill(struct run *run)
{
    const struct cluster *cluster = run->plan->cluster;
    size_t count = (size_t)cluster->device_count;

    run->devices = arena_array(run->arena, count, sizeof *run->devices);
    run->slot_devices = arena_array(run->arena, count, sizeof *run->slot_devices);
    for (int i = 0; i < cluster->device_count; i++) {
        struct device *device = &run->devices[i];

        device->owner = -1;
        device->slot = run->input->slots ? run->input->slots[i] : i;
        device->speed_ratio = cluster->devices[i].speed_ratio;
        run->slot_devices[device->slot] = i;
    }
}

/* Slots: an instance each; or the devices, the network, what happens to devices, overheads, sliced
 * stages. */
static void engine_make(struct run *run)
{
    struct network *network = run->input->network;

    if (!run->is_piped) {
        run->engine = engine_create(run->arena, run->plan->replica_count);
        return;
    }
    run->network_slot = run->plan->cluster->device_count;
    run->control_slot = run->network_slot + (network ? network_slot_count(network) : 0);
    run->delay_slot = run->control_slot + 1;
    run->sliced_slot = run->delay_slot + 1;
    run->engine = engine_create(
        run->arena,
        run->sliced_slot + (run->input->sliced ? sliced_slot_count(run->input->sliced) : 0));
    if (network)
        network_attach(network, run->engine, run->network_slot);
    if (network && (run->observer.on_use || run->observer.on_busy))
        network_watch(network, &(struct network_watcher){
                                   .arg = run,
                                   .on_use = run->observer.on_use ? pipeline_on_use : NULL,
                                   .on_busy = run->observer.on_busy ? pipeline_on_busy : NULL });
    if (run->input->sliced)
        llm_sliced_begin(run);
    llm_events_plan(run);
}

bool llm_setup(struct run *run, struct err *err)
{
    const struct plan *plan = run->plan;

    result_reserve(run);
    run->is_watched = run->observer.on_span || run->observer.on_transfer;
    run->instance_count = count_instances(plan);
    run->most_moves = 1;
    run->instances = arena_array(run->arena, (size_t)run->instance_count, sizeof *run->instances);
    run->deciding = arena_array(run->arena, (size_t)run->instance_count, sizeof *run->deciding);
    devices_fill(run);
    if (!instances_fill(run, err))
        return false;
    choices_fill(run);
    run->is_piped = needs_tasks(run);
    hops_make(run);
    run->is_solo = !run->is_piped && plan->replica_count == 1 && !run->options->is_stepped;
    run->solo_ps = LLM_NEVER;
    engine_make(run);
    run->dispatch = dispatch_create(run->arena, run->options->dispatch, plan->service_count,
                                    run->options->seed);
    run->next_epoch_ps = plan->epoch_count > 1 ? plan->epochs[1].from_ps : LLM_NEVER;
    run->first_free = run->first_free_task = run->first_free_pull = -1;
    return true;
}
