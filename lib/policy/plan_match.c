/* plan_match.c - a plan against a workload: is every service placed, has every request what its
 * model needs; and what stages weigh, keep and send. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/format/model.h"
#include "lib/format/names.h"
#include "lib/format/workload.h"
#include "lib/policy/plan.h"
#include "lib/policy/quantise.h"

#define TOKEN_BYTES 4

/* ---- requests ---- */

int32_t plan_find_service(const struct plan *plan, const char *name)
{
    return names_find(plan->service_names, name);
}

/* A generated workload has no file. */
static const char *path_of(const struct workload *workload)
{
    return workload->path ? workload->path : "workload";
}

static bool not_placed(struct arena *arena, const struct plan *plan,
                       const struct workload *workload, size_t request, struct err *err)
{
    const char *name = workload->services[workload_at(workload, request).service];
    const char **known = arena_array(arena, (size_t)plan->service_count, sizeof *known);
    const char *closest;

    for (int i = 0; i < plan->service_count; i++)
        known[i] = plan->services[i].name;
    closest = err_closest(name, known, plan->service_count);
    return err_at(err, path_of(workload), workload_line(workload, request),
                  workload->service_column, "service is '%.60s': not placed%s%s%s", name,
                  closest ? "; did you mean '" : "", closest ? closest : "", closest ? "'?" : "");
}

/* An encoder's input has one length unless a row says otherwise. */
static void fill_prompt(struct arena *arena, struct workload *workload, size_t index,
                        int32_t prompt_tokens)
{
    if (!workload->prompt_tokens)
        workload->prompt_tokens =
            arena_array(arena, workload->count, sizeof *workload->prompt_tokens);
    workload->prompt_tokens[index] = prompt_tokens;
}

static bool check_request(struct arena *arena, struct workload *workload, size_t index,
                          const struct model *model, struct err *err)
{
    struct workload_request request = workload_at(workload, index);

    if (!model)
        return true;
    if (request.batch > 1)
        return err_at(
            err, path_of(workload), workload_line(workload, index), workload->batch_column,
            "batch is '%d': this version computes one item of a model a request", request.batch);
    if (request.prompt_tokens == 0 && model->kind != MODEL_DECODER) {
        request.prompt_tokens = model->max_context;
        fill_prompt(arena, workload, index, request.prompt_tokens);
    }
    if (request.prompt_tokens == 0)
        return err_at(err, path_of(workload), workload_line(workload, index),
                      workload->prompt_column, "prompt_tokens is '': model '%s' needs it",
                      model->name);
    if (model->kind == MODEL_DECODER && request.output_tokens == 0)
        return err_at(err, path_of(workload), workload_line(workload, index),
                      workload->output_column,
                      "output_tokens is '': model '%s' is a decoder and needs it", model->name);
    return true;
}

/* Whether there is anything to check row by row: not where all services are executables. */
static bool needs_rows(const struct plan *plan, const struct workload *workload,
                       const int32_t *found)
{
    for (int s = 0; s < workload->service_count; s++)
        if (found[s] < 0 || plan->services[found[s]].model)
            return true;
    return workload->batches != NULL;
}

bool plan_match_workload(struct arena *arena, const struct plan *plan, struct workload *workload,
                         const int32_t **service_of, struct err *err)
{
    int32_t *found = arena_array(arena, (size_t)workload->service_count, sizeof *found);

    for (int s = 0; s < workload->service_count; s++)
        found[s] = plan_find_service(plan, workload->services[s]);
    *service_of = found;
    if (!needs_rows(plan, workload, found))
        return true;
    for (size_t i = 0; i < workload->count; i++) {
        int32_t service = found[workload->service_ids ? workload->service_ids[i] : 0];

        if (service < 0)
            return not_placed(arena, plan, workload, i, err);
        if (!check_request(arena, workload, i, plan->services[service].model, err))
            return false;
    }
    return true;
}

/* ---- batches ---- */

int32_t plan_replica_batch(const struct plan_replica *replica, int32_t common)
{
    int32_t most = INT32_MAX;

    for (int s = 0; s < replica->total_count; s++) {
        int32_t own = replica->stages[s].max_batch > 0 ? replica->stages[s].max_batch : common;

        most = own < most ? own : most;
    }
    return most;
}

/* ---- bytes ---- */

static const struct model *model_of(const struct plan *plan, const struct plan_stage *stage)
{
    return plan->services[plan->replicas[stage->replica].service].model;
}

struct model_part plan_slice_part(const struct plan_slice *slice)
{
    if (slice->part_of <= 1)
        return (struct model_part){ 0, 0, 1 };
    return (struct model_part){ slice->part_first, slice->part_last, slice->part_of };
}

static int64_t slice_weight_bytes(const struct model *model, const struct plan_slice *slice)
{
    int64_t layers = slice->layer_first < 0 ? 1 : slice->layer_last - slice->layer_first + 1;
    int64_t bytes = 0;

    for (int block = 0; block < BLOCK_COUNT; block++) {
        int64_t one =
            model_part_weight_bytes(model, (enum model_block)block, plan_slice_part(slice));

        if (block == BLOCK_CONN)
            one = one / 2 * slice->norms;
        if (slice->blocks & 1u << block)
            bytes += layers * one;
    }
    return bytes;
}

/* What is held for both phases counts in the stage of prompts alone. */
static bool is_counted_on(const struct plan_slice *slice, int32_t device)
{
    return slice->device == device && !slice->is_shared;
}

static unsigned blocks_on(const struct plan_stage *stage, int32_t device)
{
    unsigned here = 0;

    for (int i = 0; i < stage->slice_count; i++)
        if (stage->slices[i].device == device)
            here |= stage->slices[i].blocks;
    return here;
}

int64_t plan_stage_weight_bytes(const struct plan *plan, const struct plan_stage *stage,
                                int32_t device)
{
    const struct model *model = model_of(plan, stage);
    const struct plan_replica *replica = &plan->replicas[stage->replica];
    bool has_embed = false;
    int64_t bytes = 0;

    for (int i = 0; i < stage->slice_count; i++)
        if (is_counted_on(&stage->slices[i], device))
            bytes += slice_weight_bytes(model, &stage->slices[i]);
    for (int s = 0; s < replica->total_count; s++)
        has_embed = has_embed || (replica->stages[s].phase == stage->phase &&
                                  blocks_on(&replica->stages[s], device) & 1u << BLOCK_EMBED);
    for (int i = 0; i < stage->slice_count && has_embed; i++)
        if (is_counted_on(&stage->slices[i], device) &&
            stage->slices[i].blocks & 1u << BLOCK_LM_HEAD)
            bytes -= model_part_tied_bytes(model, plan_slice_part(&stage->slices[i]));
    return bytes;
}

int64_t plan_stage_work_bytes(const struct plan *plan, const struct plan_stage *stage,
                              int32_t device, const struct model_step *step)
{
    const struct model *model = model_of(plan, stage);
    int64_t most = 0;

    for (int i = 0; i < stage->slice_count; i++)
        for (int block = 0; block < BLOCK_COUNT; block++)
            if (stage->slices[i].device == device && stage->slices[i].blocks & 1u << block) {
                int64_t bytes = model_part_work_bytes(model, (enum model_block)block,
                                                      plan_slice_part(&stage->slices[i]), step);

                most = bytes > most ? bytes : most;
            }
    return most;
}

int64_t plan_stage_kv_bytes_per_token(const struct plan *plan, const struct plan_stage *stage)
{
    const struct model *model = model_of(plan, stage);

    if (!model || model->kind != MODEL_DECODER)
        return 0;
    return stage->layer_count * model_kv_bytes_per_token(model);
}

int64_t plan_device_kv_bytes_per_token(const struct plan *plan, const struct plan_stage *stage,
                                       int32_t device)
{
    const struct model *model = model_of(plan, stage);
    int64_t bytes = 0;

    for (int i = 0; i < stage->slice_count; i++) {
        const struct plan_slice *slice = &stage->slices[i];

        if (slice->device == device && slice->blocks & 1u << BLOCK_ATTN)
            bytes += (slice->layer_last - slice->layer_first + 1) *
                     model_part_kv_bytes_per_token(model, plan_slice_part(slice));
    }
    return bytes;
}

struct plan_counts plan_stage_counts(const struct plan_stage *stage)
{
    struct plan_counts counts = { { 0 }, 0, 0 };

    for (int i = 0; i < stage->slice_count; i++) {
        const struct plan_slice *slice = &stage->slices[i];
        int64_t layers = slice->layer_first < 0 ? 1 : slice->layer_last - slice->layer_first + 1;

        for (int block = 0; block < BLOCK_COUNT; block++)
            if (slice->blocks & 1u << block)
                counts.layers[block] += layers;
        counts.norms += layers * slice->norms;
        counts.adds += layers * slice->adds;
    }
    return counts;
}

int64_t plan_stage_codec_ps(const struct plan_stage *stage)
{
    return stage->encode_value_ps * (stage->out.output_values + stage->out.residual_values) +
           stage->decode_value_ps * (stage->in.output_values + stage->in.residual_values);
}

static int64_t tensor_bytes(int64_t row_values, int32_t rows, int32_t wire_bits)
{
    return row_values > 0 ? quantise_bytes(rows * row_values, wire_bits) : 0;
}

int64_t plan_input_bytes(const struct plan *plan, const struct plan_stage *stage,
                         int32_t new_tokens)
{
    const struct model *model = model_of(plan, stage);

    if (stage->number == 0)
        return (int64_t)TOKEN_BYTES * new_tokens;
    return model ? tensor_bytes(stage->in.output_values, new_tokens, stage->wire_bits_in) +
                       tensor_bytes(stage->in.residual_values, new_tokens, stage->wire_bits_in)
                 : 0;
}

int64_t plan_result_bytes(const struct plan *plan, const struct plan_replica *replica)
{
    return plan->services[replica->service].model ? TOKEN_BYTES : 0;
}
