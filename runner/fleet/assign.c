/* assign.c - collects the stages of each device, and the sizes that the workload asks for. */
#include "runner/fleet/assign.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/format/cluster.h"
#include "lib/format/placement.h"
#include "lib/format/workload.h"
#include "lib/kernels/kernels.h"
#include "lib/policy/admit.h"
#include "lib/policy/copies.h"
#include "lib/policy/exchange.h"
#include "lib/policy/pass.h"
#include "lib/policy/plan.h"
#include "lib/policy/quantise.h"
#include "lib/wire/frame.h"
#include "runner/fleet/assign_internal.h"
#include "runner/setup/batching.h"
#include "runner/setup/setup.h"
#include "runner/worker/shard.h"
#include <string.h>

#define OPEN_SLOTS 8 /* caches prepared when the load does not say how many it needs at once */
#define MAX_SLOTS 64

static const struct model *model_of(const struct plan *plan, const struct plan_stage *stage)
{
    return plan->services[plan->replicas[stage->replica].service].model;
}

/* Layers that are whole here, on one device. False: the stage begins or ends inside a layer. */
static bool has_whole_layers(const struct plan_stage *stage)
{
    const unsigned needed =
        1u << BLOCK_ATTN | 1u << BLOCK_PROJ | 1u << BLOCK_FFN_UP | 1u << BLOCK_FFN_DOWN;

    for (int i = 0; i < stage->slice_count; i++)
        if (stage->slices[i].layer_first >= 0 && (stage->slices[i].blocks & needed) != needed)
            return false;
    return true;
}

/* All layers of which the stage has something: they follow each other, as plan.c has checked. */
static void touched_layers(const struct plan_stage *stage, int32_t *first, int32_t *count)
{
    int32_t least = INT32_MAX, most = -1;

    for (int i = 0; i < stage->slice_count; i++) {
        const struct plan_slice *slice = &stage->slices[i];

        if (slice->layer_first >= 0 && slice->layer_first < least)
            least = slice->layer_first;
        if (slice->layer_last > most)
            most = slice->layer_last;
    }
    *first = least < INT32_MAX ? least : 0;
    *count = least < INT32_MAX ? most - least + 1 : 0;
}

static int32_t smaller(int64_t a, int32_t b)
{
    return a < b ? (int32_t)a : b;
}

/* The largest step and context that this workload asks of a model; refused requests aside. */
static void size_model(const struct assign_input *input, const struct model *model,
                       struct setup_model *setup)
{
    setup->model = *model;
    setup->max_tokens = setup->max_seqs = setup->max_total_tokens = 1;
    for (size_t i = 0; i < input->workload->count; i++) {
        const struct workload_request request = workload_at(input->workload, i);
        int32_t service = input->service_of[request.service], total;

        if (input->plan->services[service].model != model ||
            !admit_context_ok(model, request.prompt_tokens, request.output_tokens))
            continue;
        total = request.prompt_tokens + request.output_tokens;
        if (request.prompt_tokens > setup->max_tokens)
            setup->max_tokens = request.prompt_tokens;
        if (total > setup->max_total_tokens)
            setup->max_total_tokens = total;
    }
}

static int32_t kv_slots(const struct workload *workload)
{
    int64_t clients = workload->client_count > 0 ? workload->client_count : OPEN_SLOTS;

    if (clients > MAX_SLOTS)
        clients = MAX_SLOTS;
    return (int32_t)(clients < (int64_t)workload->count ? clients : (int64_t)workload->count);
}

/* ---- workers ---- */

/* Requests of a service that may be under way at once: of clients that wait, one each. */
static int32_t most_at_once(const struct assign_input *input, int32_t service)
{
    const struct workload *workload = input->workload;
    int32_t count = 0, closed = 0;

    for (size_t i = 0; i < workload->count && count < INT32_MAX; i++) {
        const struct workload_request row = workload_at(workload, i);

        if (input->service_of[row.service] != service)
            continue;
        count++;
        closed += row.client >= 0 && row.arrival_ps == WORKLOAD_CLOSED;
    }
    if (closed == count && workload->client_count < count)
        count = workload->client_count;
    return count > 1 ? count : 1;
}

/* Room for the batches of a chain of stages. */
static bool size_batches(const struct assign_input *input, const struct plan_replica *replica,
                         bool is_decoding, struct setup_model *setup, struct setup_stage *added,
                         struct err *err)
{
    const struct plan_replica chain = batching_chain(replica, is_decoding);
    struct continuous_options options;
    int64_t most;

    if (!batching_of(input->batching, &chain, &setup->model, batching_longest(input->workload),
                     &options, err))
        return false;
    most = (int64_t)options.max_seqs * setup->max_total_tokens;
    if (options.token_budget < most)
        most = options.token_budget;
    if (options.max_seqs > setup->max_seqs)
        setup->max_seqs = options.max_seqs;
    if (most > setup->max_tokens)
        setup->max_tokens = (int32_t)most;
    added->cache_count = smaller(options.max_seqs, options.block_count);
    return true;
}

/* Requests of fixed batches that have caches in a stage: of a decoder those of all batches that may
 * be under way, and behind stage 0 of one that comes before the last has been released; others lose
 * them with their step. */
static int64_t fixed_caches(const struct plan_replica *replica, const struct plan_stage *stage,
                            int32_t size, bool is_decoder)
{
    bool is_first = stage->number == 0 && stage->phase != PLACEMENT_DECODE;
    int64_t batches = 1;

    if (is_decoder)
        batches = copies_batches(replica);
    if (is_decoder && !is_first)
        batches = batches * replica->stages[0].copy_count + 1;
    return batches * size;
}

/* By what says so: a row of the replica, or --batch. */
static bool refuse_fixed(const struct assign_input *input, const struct plan_replica *replica,
                         int32_t size, int32_t tokens, struct err *err)
{
    for (int i = 0; i < replica->total_count; i++)
        if (replica->stages[i].max_batch == size)
            return placement_bad(input->placement, replica->stages[i].row, PLACEMENT_MAX_BATCH, err,
                                 "batches of %d requests of up to %d tokens: expected at most %d, "
                                 "and %d tokens",
                                 size, tokens, BATCHING_MAX_FIXED, FRAME_MAX_TOKENS);
    return err_set(err, ERR_USAGE,
                   "--batch fixed: batches of %d requests of up to %d tokens: expected at most %d, "
                   "and %d tokens",
                   size, tokens, BATCHING_MAX_FIXED, FRAME_MAX_TOKENS);
}

/* The same for fixed ones: so many of the longest prompt. */
static bool size_fixed(const struct assign_input *input, const struct plan_stage *stage,
                       const struct plan_replica *replica, struct setup_model *setup,
                       struct setup_stage *added, struct err *err)
{
    int32_t size = batching_fixed_size(input->batch, replica);
    const struct model *model = model_of(input->plan, stage);
    struct setup_model one;

    added->batch_size = size;
    if (size == 1)
        return true;
    added->cache_count =
        smaller(fixed_caches(replica, stage, size, model->kind == MODEL_DECODER), INT32_MAX);
    size_model(input, model, &one);
    if (size > BATCHING_MAX_FIXED || (int64_t)size * one.max_tokens > FRAME_MAX_TOKENS)
        return refuse_fixed(input, replica, size, one.max_tokens, err);
    added->batch_wait_ps = input->batch->wait_ps;
    added->batch_limit = model->kind == MODEL_DECODER ? copies_batches(replica) : 0;
    if (size > setup->max_seqs)
        setup->max_seqs = size;
    if (size * one.max_tokens > setup->max_tokens)
        setup->max_tokens = size * one.max_tokens;
    return true;
}

static int32_t model_index(const struct assign_input *input, const struct model *model,
                           struct setup *setup)
{
    int i = 0;

    while (i < setup->model_count && strcmp(setup->models[i].model.name, model->name) != 0)
        i++;
    if (i == setup->model_count)
        size_model(input, model, &setup->models[setup->model_count++]);
    return i;
}

/* 8-bit weights come in blocks along the columns that projections and FFNs are cut by. */
static bool cuts_whole_blocks(const struct assign_input *input, const struct plan_stage *stage,
                              struct err *err)
{
    const struct model *model = model_of(input->plan, stage);
    enum kernel_dtype dtype = kernel_dtype_of_bits(model->weight_bits);

    for (int i = 0; i < stage->slice_count; i++) {
        const struct plan_slice *slice = &stage->slices[i];
        int32_t of = slice->part_of > 1 ? slice->part_of : 1;

        if ((slice->blocks & 1u << BLOCK_PROJ &&
             !kernel_can_cut(dtype, 0, model->heads / of * model->head_dim)) ||
            (slice->blocks & 1u << BLOCK_FFN_DOWN &&
             !kernel_can_cut(dtype, 0, model->ffn_hidden / of)))
            return placement_bad(input->placement, stage->row, PLACEMENT_PARTS, err,
                                 "orrery-run cuts 8-bit weights at multiples of 32 columns, and "
                                 "parts of stage %d end elsewhere",
                                 stage->number);
    }
    return true;
}

static bool add_slices(struct arena *arena, const struct assign_input *input,
                       const struct plan_stage *stage, int32_t position, const int32_t *worker_of,
                       struct setup_stage *added, struct err *err)
{
    touched_layers(stage, &added->layer_first, &added->layer_count);
    added->position_count = stage->device_count;
    added->position = position;
    added->workers = arena_array(arena, (size_t)stage->device_count, sizeof *added->workers);
    for (int i = 0; i < stage->device_count; i++)
        added->workers[i] = worker_of[stage->devices[i]];
    added->slices = arena_array(arena, (size_t)stage->slice_count + 1, sizeof *added->slices);
    added->slice_count = stage->slice_count;
    for (int i = 0; i < stage->slice_count; i++) {
        const struct plan_slice *slice = &stage->slices[i];
        int32_t at = 0;

        while (stage->devices[at] != slice->device)
            at++;
        added->slices[i] =
            (struct setup_slice){ .blocks = slice->blocks,
                                  .layer_first = slice->layer_first,
                                  .layer_last = slice->layer_last,
                                  .position = at,
                                  .part_first = slice->part_of > 1 ? slice->part_first : 0,
                                  .part_last = slice->part_of > 1 ? slice->part_last : 0,
                                  .part_of = slice->part_of > 1 ? slice->part_of : 1,
                                  .is_implied = slice->is_implied };
    }
    return cuts_whole_blocks(input, stage, err);
}

static bool add_stage(struct arena *arena, const struct assign_input *input,
                      const struct plan_stage *stage, int32_t position, const int32_t *worker_of,
                      struct setup *setup, struct err *err)
{
    const struct plan_replica *replica = &input->plan->replicas[stage->replica];
    struct setup_stage *added = &setup->stages[setup->stage_count++];
    bool is_sliced = stage->device_count > 1 || !has_whole_layers(stage);

    added->model = model_index(input, model_of(input->plan, stage), setup);
    added->id = stage->id;
    added->has_embed = stage->has_embed;
    added->has_lm_head = stage->has_lm_head;
    added->is_last = stage->number == plan_chain_count(replica, stage) - 1;
    assign_phases(arena, input, stage, stage->devices[position], worker_of, added);
    added->cache_count = 1; /* who finds no room for another is refused */
    if (input->batching && !size_batches(input, replica, added->phase == SETUP_DECODING,
                                         &setup->models[added->model], added, err))
        return false;
    if (!size_fixed(input, stage, replica, &setup->models[added->model], added, err))
        return false;
    if (added->cache_count > 1)
        added->cache_count = smaller(added->cache_count, most_at_once(input, replica->service));
    added->has_batches = input->batching || added->batch_size > 1;
    if (input->batching && stage->copy > 0)
        return placement_bad(input->placement, stage->row, PLACEMENT_COPY, err,
                             "this version does not combine copies with continuous batches");
    added->wire_bits = quantise_applies(stage->wire_bits) && !added->is_last ? stage->wire_bits : 0;
    added->wire_bits_in = quantise_applies(stage->wire_bits_in) ? stage->wire_bits_in : 0;
    added->encode_value_ps = (int32_t)stage->encode_value_ps;
    added->decode_value_ps = (int32_t)stage->decode_value_ps;
    if (!assign_nexts(arena, input, stage, worker_of, added, err))
        return false;
    if (stage->has_embed != (stage->number == 0) || stage->has_lm_head != added->is_last)
        return placement_bad(
            input->placement, stage->row, PLACEMENT_BLOCK, err,
            "orrery-run executes embed in the first stage and lm_head in the last");
    if (is_sliced)
        return add_slices(arena, input, stage, position, worker_of, added, err);
    touched_layers(stage, &added->layer_first, &added->layer_count);
    return true;
}

static void set_worker(struct arena *arena, const struct assign_input *input, int32_t device,
                       struct setup *setup)
{
    const struct cluster_device *facts = &input->plan->cluster->devices[device];
    size_t stages = (size_t)input->plan->stage_count;

    setup->session = input->session;
    setup->seed = input->seed;
    setup->collective = input->collective;
    setup->has_clamp = input->has_clamp;
    setup->tells_exchanges = input->tells_exchanges;
    setup->threads = facts->threads > 0 ? facts->threads : 1;
    setup->kv_slots = kv_slots(input->workload);
    setup->bind = input->is_local ? "127.0.0.1:0" : facts->address;
    setup->models = arena_array(arena, stages, sizeof *setup->models);
    setup->stages = arena_array(arena, stages, sizeof *setup->stages);
}

/* The first row of the stage that names the device. */
static const struct placement_row *row_of(const struct assign_input *input,
                                          const struct plan_stage *stage, int32_t device)
{
    const char *name = input->plan->cluster->devices[device].name;

    for (int i = 0; i < input->placement->count; i++) {
        const struct placement_row *row = &input->placement->rows[i];

        if (strcmp(row->service, stage->row->service) == 0 && row->replica == stage->row->replica &&
            row->stage == stage->row->stage && strcmp(row->device, name) == 0)
            return row;
    }
    return stage->row;
}

static int add_peer(int32_t worker, int32_t *numbers, int count)
{
    for (int i = 0; i < count; i++)
        if (numbers[i] == worker)
            return count;
    numbers[count] = worker;
    return count + 1;
}

int assign_peers(const struct assignment *assignment, int worker, int32_t *numbers)
{
    const struct setup *setup = &assignment->setups[worker];
    int count = 0;

    for (int i = 0; i < setup->stage_count; i++) {
        const struct setup_stage *stage = &setup->stages[i];

        for (int32_t k = 0; k < stage->next_count && stage->position == 0; k++)
            count = add_peer(stage->nexts[k].worker, numbers, count);
        if (stage->depth > 0 && stage->position == 0 && stage->previous_worker != SETUP_COORDINATOR)
            count = add_peer(stage->previous_worker, numbers, count);
        for (int32_t k = 0; k < stage->position_count; k++)
            if (k != stage->position)
                count = add_peer(stage->workers[k], numbers, count);
        for (int k = 0; k < stage->move_count; k++)
            if (stage->moves[k].to_worker != worker)
                count = add_peer(stage->moves[k].to_worker, numbers, count);
    }
    return count;
}

bool assign_build(struct arena *arena, const struct assign_input *input,
                  struct assignment *assignment, struct err *err)
{
    const struct plan *plan = input->plan;
    size_t device_count = (size_t)plan->cluster->device_count;
    int32_t *devices = arena_array(arena, device_count, sizeof *devices);
    int32_t *worker_of = arena_array(arena, device_count, sizeof *worker_of);
    const struct placement_row **rows = arena_array(arena, device_count, sizeof *rows);

    assignment->setups = arena_array(arena, device_count, sizeof *assignment->setups);
    assignment->count = 0;
    for (size_t i = 0; i < device_count; i++)
        worker_of[i] = -1;
    for (int i = 0; i < plan->stage_count; i++)
        for (int k = 0; k < plan->stages[i]->device_count; k++) {
            int32_t device = plan->stages[i]->devices[k], worker = assignment->count;

            if (worker_of[device] >= 0)
                continue;
            worker_of[device] = assignment->count++;
            devices[worker] = device;
            rows[worker] = row_of(input, plan->stages[i], device);
            assignment->setups[worker].worker = worker;
            set_worker(arena, input, device, &assignment->setups[worker]);
        }
    for (int i = input->first_stage; i < plan->stage_count; i++)
        for (int k = 0; k < plan->stages[i]->device_count; k++) {
            const struct plan_stage *stage = plan->stages[i];

            if (!add_stage(arena, input, stage, k, worker_of,
                           &assignment->setups[worker_of[stage->devices[k]]], err))
                return false;
        }
    assignment->devices = devices;
    assignment->rows = rows;
    assignment->worker_of = worker_of;
    return assign_pads(arena, input, assignment, err);
}

/* Of what each device of a stage takes in a pass, the most messages. */
static int64_t most_messages(struct arena *arena, const struct setup *setup, int index)
{
    int64_t taken[PASS_MAX_DEVICES] = { 0 }, most = 0;
    int32_t next_id = 0;
    const struct pass *pass = setup_compile(arena, setup, index, &next_id);

    for (int32_t s = 0; s < pass->segment_count; s++)
        for (int32_t i = 0; i < pass->segments[s].step_count; i++) {
            const struct pass_step *step = &pass->steps[pass->segments[s].first_step + i];
            const struct exchange *exchange =
                step->kind == PASS_COMPUTE ? NULL
                                           : exchange_build(arena, pass, step, setup->collective);

            for (int32_t m = 0; exchange && m < exchange->message_count; m++)
                taken[pass->members[step->first + exchange->messages[m].to].position] +=
                    pass->segments[s].repeats;
        }
    for (int i = 0; i < PASS_MAX_DEVICES; i++)
        most = taken[i] > most ? taken[i] : most;
    return most;
}

int64_t assign_told_bytes(const struct assignment *assignment)
{
    struct arena *arena = arena_create();
    int64_t most_bytes = FRAME_RECORD_BYTES;

    for (int w = 0; w < assignment->count; w++) {
        const struct setup *setup = &assignment->setups[w];

        for (int i = 0; i < setup->stage_count; i++) {
            const struct setup_stage *stage = &setup->stages[i];
            int64_t bytes =
                INT64_C(4) * (FRAME_ENTRY_WORDS + 1) * setup->models[stage->model].max_seqs;

            most_bytes = bytes > most_bytes ? bytes : most_bytes;
            if (stage->position_count == 0 || stage->position > 0 || !setup->tells_exchanges)
                continue;
            bytes = FRAME_RECORD_BYTES + FRAME_TOLD_BYTES * most_messages(arena, setup, i);
            most_bytes = bytes > most_bytes ? bytes : most_bytes;
        }
    }
    arena_destroy(arena);
    return most_bytes;
}

/* What a worker must have memory for, beside what it has already. */
static int64_t lacks_bytes(const struct assignment *assignment, const struct assignment *held,
                           int worker)
{
    const struct setup *setup = &assignment->setups[worker];

    return setup->stage_count == 0
               ? 0
               : shard_need_bytes(setup) -
                     shard_shared_bytes(held ? &held->setups[worker] : NULL, setup);
}

bool assign_memory(const struct assignment *assignment, const struct assignment *held,
                   int64_t available_bytes, struct err *err)
{
    int64_t need_bytes = 0, usable_bytes = (int64_t)(SHARD_MEMORY_RATIO * (double)available_bytes);
    int64_t cache_bytes = 0;
    char need[UNITS_TEXT_BYTES], caches[UNITS_TEXT_BYTES], available[UNITS_TEXT_BYTES];
    int count = 0;

    for (int i = 0; i < assignment->count; i++) {
        need_bytes += lacks_bytes(assignment, held, i);
        cache_bytes += shard_cache_bytes(&assignment->setups[i]);
        count += assignment->setups[i].stage_count > 0;
    }
    if (need_bytes > usable_bytes)
        return err_set(err, ERR_SYSTEM,
                       "%d worker%s on this machine need%s %s of memory%s, %s of it for KV caches: "
                       "only %s are available",
                       count, count == 1 ? "" : "s", count == 1 ? "s" : "",
                       units_format_bytes(need_bytes, need), count == 1 ? "" : " together",
                       units_format_bytes(cache_bytes, caches),
                       units_format_bytes(available_bytes, available));
    for (int i = 0; i < assignment->count; i++)
        if (assignment->setups[i].stage_count > 0)
            assignment->setups[i].memory_bytes =
                lacks_bytes(assignment, held, i) + (usable_bytes - need_bytes) / count;
    return true;
}
