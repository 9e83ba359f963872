/* problem.c - units, kinds of devices, and the sums of a typical request. */
#include "sim/place/problem.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/out.h"
#include "lib/base/saturate.h"
#include "lib/format/cluster.h"
#include "lib/format/model.h"
#include "lib/format/placement.h"
#include "lib/policy/price.h"
#include "sim/place/problem_internal.h"
#include "sim/place/ranges.h"
#include <string.h>

const struct problem_input *problem_input(const struct problem *problem)
{
    return &problem->input;
}

int32_t problem_unit_count(const struct problem *problem)
{
    return problem->unit_count;
}

int32_t problem_kind_count(const struct problem *problem)
{
    return problem->kind_count;
}

int32_t problem_kind_of(const struct problem *problem, int32_t device)
{
    return problem->kind_of[device];
}

const int32_t *problem_devices(const struct problem *problem, int32_t kind, int32_t *count)
{
    *count = problem->kinds[kind].count;
    return problem->kinds[kind].devices;
}

/* ---- kinds ---- */

static bool is_node_shared(const struct cluster *cluster, int32_t device)
{
    for (int32_t d = 0; d < cluster->device_count; d++)
        if (d != device && strcmp(cluster->devices[d].node, cluster->devices[device].node) == 0)
            return true;
    return false;
}

static const struct cluster_attachment *attachment_of(const struct cluster_medium *medium,
                                                      const char *node)
{
    const struct cluster_attachment *any = NULL;

    for (int i = 0; i < medium->attachment_count; i++) {
        if (strcmp(medium->attachments[i].node, node) == 0)
            return &medium->attachments[i];
        if (strcmp(medium->attachments[i].node, "*") == 0)
            any = &medium->attachments[i];
    }
    return any;
}

static bool is_at_source(const struct cluster *cluster, int32_t device)
{
    return strcmp(cluster->devices[device].node, CLUSTER_SOURCE) == 0;
}

bool problem_is_at_source(const struct problem *problem, int32_t device)
{
    return is_at_source(problem->input.cluster, device);
}

static bool is_equal(double a, double b)
{
    return !(a < b) && !(a > b);
}

/* On a ring or mesh the place of a node counts. */
static bool are_attached_alike(const struct cluster_medium *medium, const char *a, const char *b)
{
    const struct cluster_attachment *one = attachment_of(medium, a),
                                    *two = attachment_of(medium, b);

    if (!one || !two)
        return !one && !two;
    return medium->kind != CLUSTER_RING && medium->kind != CLUSTER_MESH &&
           is_equal(one->bits_per_s, two->bits_per_s) && one->latency_ps == two->latency_ps &&
           one->per_message_ps == two->per_message_ps &&
           is_equal(one->efficiency_ratio, two->efficiency_ratio);
}

bool problem_are_twins(const struct cluster *cluster, int32_t a, int32_t b)
{
    const struct cluster_device *one = &cluster->devices[a], *two = &cluster->devices[b];

    if (strcmp(one->type, two->type) != 0 || one->threads != two->threads ||
        !is_equal(one->speed_ratio, two->speed_ratio) || one->memory_bytes != two->memory_bytes ||
        one->reserved_bytes != two->reserved_bytes)
        return false;
    if (strcmp(one->node, two->node) == 0)
        return true;
    if (is_at_source(cluster, a) || is_at_source(cluster, b))
        return false;
    for (int m = 0; m < cluster->medium_count; m++)
        if (!are_attached_alike(&cluster->media[m], one->node, two->node))
            return false;
    return true;
}

static bool are_alike(const struct cluster *cluster, int32_t a, int32_t b)
{
    return !is_node_shared(cluster, a) && !is_node_shared(cluster, b) &&
           problem_are_twins(cluster, a, b);
}

static bool kinds_fill(struct problem *problem, struct err *err)
{
    const struct cluster *cluster = problem->input.cluster;
    size_t count = (size_t)cluster->device_count;

    problem->kinds = arena_array(problem->arena, count, sizeof *problem->kinds);
    problem->kind_of = arena_array(problem->arena, count, sizeof *problem->kind_of);
    for (int32_t d = 0; d < cluster->device_count; d++) {
        const struct cluster_device *device = &cluster->devices[d];
        int32_t k = 0;

        while (k < problem->kind_count && !are_alike(cluster, problem->kinds[k].devices[0], d))
            k++;
        problem->kind_of[d] = k;
        if (k == problem->kind_count) {
            problem->kinds[k].devices = arena_array(problem->arena, count, sizeof(int32_t));
            problem->kinds[k].table = cost_set_find(problem->input.costs, device->type);
            problem->kinds[k].threads = device->threads;
            problem->kinds[k].speed_ratio = device->speed_ratio;
            problem->kind_count++;
        }
        problem->kinds[k].devices[problem->kinds[k].count++] = d;
        if (!problem->kinds[k].table)
            return err_at(err, arena_printf(problem->arena, "%s/devices.csv", cluster->path),
                          device->line, cluster->type_column,
                          "type is '%s': no cost table of that name among --costs", device->type);
    }
    return true;
}

/* ---- what units cost ---- */

/* A step of one token comes behind the first one. */
static void step_tokens(const struct problem *problem, int32_t step, int32_t *new_tokens,
                        int32_t *past_tokens)
{
    *new_tokens = step == 0 ? problem->input.prompt_tokens : 1;
    *past_tokens = step == 0 ? 0 : problem->input.prompt_tokens + step - 1;
}

/* model: the problem's, or what a device has of it. */
static bool block_ps(const struct problem *problem, const struct kind *kind,
                     const struct model *model, enum model_block block, int32_t step,
                     int64_t *time_ps, struct err *err)
{
    int known = kind->threads > 0 ? kind->threads : cost_only_threads(kind->table);
    struct model_op ops[MODEL_MAX_OPS];
    int32_t new_tokens, past_tokens;
    int count;

    step_tokens(problem, step, &new_tokens, &past_tokens);
    count = model_block_ops(model, block, new_tokens, past_tokens, ops);
    for (int i = 0; i < count; i++) {
        enum interp_origin origin;
        int64_t op_ps;

        if (!cost_lookup(kind->table, &ops[i], known > 0 ? known : 1, model->weight_bits, &op_ps,
                         &origin, err))
            return false;
        *time_ps = saturate_add(*time_ps, saturate_mul(op_ps, ops[i].count));
    }
    return true;
}

/* All steps of a typical request; blocks but attention cost the same in every decode step. */
static bool request_ps(const struct problem *problem, const struct kind *kind,
                       const struct model *model, enum model_block block, int64_t *time_ps,
                       struct err *err)
{
    int64_t again_ps = 0;

    if (!block_ps(problem, kind, model, block, 0, time_ps, err))
        return false;
    if (block == BLOCK_ATTN || problem->step_count < 2) {
        for (int32_t s = 1; s < problem->step_count; s++)
            if (!block_ps(problem, kind, model, block, s, time_ps, err))
                return false;
        return true;
    }
    if (!block_ps(problem, kind, model, block, 1, &again_ps, err))
        return false;
    *time_ps = saturate_add(*time_ps, saturate_mul(again_ps, problem->step_count - 1));
    return true;
}

static bool model_sums(const struct problem *problem, struct kind *kind, struct err *err)
{
    const struct model *model = problem->input.model;
    int64_t embed_ps = 0, layer_ps = 0, head_ps = 0;

    if (!request_ps(problem, kind, model, BLOCK_EMBED, &embed_ps, err) ||
        !request_ps(problem, kind, model, BLOCK_LM_HEAD, &head_ps, err))
        return false;
    for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++)
        if (!request_ps(problem, kind, model, (enum model_block)block, &layer_ps, err))
            return false;
    for (int32_t u = 0; u < problem->unit_count; u++)
        kind->sums_ps[u + 1] =
            saturate_add(kind->sums_ps[u], u == 0                         ? embed_ps
                                           : u == problem->unit_count - 1 ? head_ps
                                                                          : layer_ps);
    return true;
}

static void executable_memory(const struct problem *problem, struct kind *kind)
{
    size_t units = (size_t)problem->unit_count;
    int64_t *weights = arena_array(problem->arena, units, sizeof *weights);
    int64_t *activations = arena_array(problem->arena, units, sizeof *activations);

    for (int32_t u = 0; u < problem->unit_count; u++)
        (void)cost_stage_memory(kind->table, problem->input.executable, u, u, 1, &weights[u],
                                &activations[u]);
    kind->held_bytes = ranges_create(problem->arena, weights, activations, problem->unit_count);
}

static bool executable_sums(const struct problem *problem, struct kind *kind, struct err *err)
{
    for (int32_t u = 0; u < problem->unit_count; u++) {
        const struct cost_stage *stage =
            cost_stage_find_batch(kind->table, problem->input.executable, u, 1);

        if (!stage)
            return err_set(err, ERR_INPUT,
                           "%s/stages.csv: no stage %d of executable '%s' at batch 1",
                           cost_path(kind->table), (int)u, problem->input.executable);
        kind->sums_ps[u + 1] =
            saturate_add(kind->sums_ps[u], saturate_add(stage->latency_ps, stage->gap_ps));
    }
    return true;
}

bool problem_block_ps(const struct problem *problem, int32_t device, enum model_block block,
                      int32_t units, int64_t *time_ps)
{
    const struct kind *kind = &problem->kinds[problem->kind_of[device]];
    struct model part = *problem->input.model;
    struct err err = ERR_INIT;

    *time_ps = 0;
    if (units == 0)
        return true;
    switch (block) {
    case BLOCK_ATTN:
        part.heads = units * (part.heads / part.kv_heads);
        part.kv_heads = units;
        break;
    case BLOCK_PROJ:
        part.heads = units;
        break;
    case BLOCK_FFN_UP:
    case BLOCK_FFN_DOWN:
        part.ffn_hidden = units;
        break;
    case BLOCK_LM_HEAD:
        part.vocab = units;
        break;
    case BLOCK_EMBED:
    case BLOCK_CONN:
    case BLOCK_COUNT:
        break;
    }
    if (!request_ps(problem, kind, &part, block, time_ps, &err))
        return false;
    *time_ps = price_scale(*time_ps, kind->speed_ratio);
    return true;
}

/* ---- what units hold ---- */

static int64_t most_bytes(const struct problem *problem, enum model_block block)
{
    const struct problem_input *input = &problem->input;
    const struct model_part whole = { 0, 0, 1 };
    const struct model_step first = { input->prompt_tokens, 1, input->prompt_tokens };
    const struct model_step last = { 1, 1, (int64_t)input->prompt_tokens + input->output_tokens };
    int64_t a = model_part_work_bytes(input->model, block, whole, &first);
    int64_t b = model_part_work_bytes(input->model, block, whole, &last);

    return a > b ? a : b;
}

static void model_bytes(struct problem *problem)
{
    const struct model *model = problem->input.model;
    int64_t layer_bytes = 0;

    problem->work_bytes[0] = most_bytes(problem, BLOCK_EMBED);
    problem->work_bytes[2] = most_bytes(problem, BLOCK_LM_HEAD);
    for (int block = BLOCK_ATTN; block <= BLOCK_CONN; block++) {
        int64_t work_bytes = most_bytes(problem, (enum model_block)block);

        layer_bytes =
            saturate_add(layer_bytes, model_block_weight_bytes(model, (enum model_block)block));
        if (work_bytes > problem->work_bytes[1])
            problem->work_bytes[1] = work_bytes;
    }
    for (int32_t u = 0; u < problem->unit_count; u++) {
        int64_t bytes = layer_bytes;

        if (u == 0)
            bytes = model_block_weight_bytes(model, BLOCK_EMBED);
        else if (u == problem->unit_count - 1)
            bytes = model_block_weight_bytes(model, BLOCK_LM_HEAD);
        problem->weights_bytes[u + 1] = saturate_add(problem->weights_bytes[u], bytes);
    }
}

static int64_t model_held_bytes(const struct problem *problem, int32_t first, int32_t last)
{
    const struct problem_input *input = &problem->input;
    int32_t end = problem->unit_count - 1; /* the LM head */
    int32_t layers = (last < end ? last : end - 1) - (first > 1 ? first : 1) + 1;
    int64_t tokens = saturate_mul((int64_t)input->prompt_tokens + input->output_tokens,
                                  input->model->kind == MODEL_DECODER ? input->sequences : 0);
    int64_t bytes = problem->weights_bytes[last + 1] - problem->weights_bytes[first], work = 0;

    if (first == 0 && last == end)
        bytes -= model_tied_bytes(input->model);
    if (layers > 0)
        bytes = saturate_add(bytes, saturate_mul(saturate_mul(layers, tokens),
                                                 model_kv_bytes_per_token(input->model)));
    if (first == 0)
        work = problem->work_bytes[0];
    if (layers > 0 && problem->work_bytes[1] > work)
        work = problem->work_bytes[1];
    if (last == end && problem->work_bytes[2] > work)
        work = problem->work_bytes[2];
    return saturate_add(bytes, work);
}

int64_t problem_bytes(const struct problem *problem, int32_t device, int32_t first, int32_t last)
{
    int64_t reserved_bytes = problem->input.cluster->devices[device].reserved_bytes;
    const struct ranges *held = problem->kinds[problem->kind_of[device]].held_bytes;

    if (problem->input.model)
        return saturate_add(reserved_bytes, model_held_bytes(problem, first, last));
    return saturate_add(reserved_bytes,
                        saturate_add(ranges_sum(held, first, last), ranges_max(held, first, last)));
}

/* Of the unit's place: embed, a layer, LM head. */
static int64_t unit_work_bytes(const struct problem *problem, int32_t unit)
{
    return problem->work_bytes[unit == 0 ? 0 : unit < problem->unit_count - 1 ? 1 : 2];
}

int64_t problem_held_bytes(const struct problem *problem, int32_t device, int32_t unit)
{
    if (problem->input.model)
        return model_held_bytes(problem, unit, unit) - unit_work_bytes(problem, unit);
    return ranges_sum(problem->kinds[problem->kind_of[device]].held_bytes, unit, unit);
}

int64_t problem_work_bytes(const struct problem *problem, int32_t device, int32_t unit)
{
    if (problem->input.model)
        return unit_work_bytes(problem, unit);
    return ranges_max(problem->kinds[problem->kind_of[device]].held_bytes, unit, unit);
}

int64_t problem_tied_bytes(const struct problem *problem)
{
    return problem->input.model ? model_tied_bytes(problem->input.model) : 0;
}

bool problem_has_room(const struct problem *problem, int32_t device, int32_t first, int32_t last)
{
    int64_t memory_bytes = problem->input.cluster->devices[device].memory_bytes;

    return memory_bytes == 0 || problem_bytes(problem, device, first, last) <= memory_bytes;
}

/* ---- begin ---- */

/* What was not measured, with the model that needs it and what measures it. */
static bool name_model(const struct problem *problem, struct err *err)
{
    const char *name = problem->input.model->name;
    const struct err bare = *err;

    *err = (struct err)ERR_INIT; /* the first one counts, else */
    return err_set(err, bare.kind,
                   "%.400s: model '%.60s' needs them; orrery-profile run --model %.60s measures "
                   "them, and orrery-profile merge adds them to a table",
                   bare.text, name, name);
}

static bool units_fill(struct problem *problem, struct err *err)
{
    size_t units = (size_t)problem->unit_count + 1;

    problem->weights_bytes = arena_array(problem->arena, units, sizeof(int64_t));
    if (problem->input.model)
        model_bytes(problem);
    for (int32_t k = 0; k < problem->kind_count; k++) {
        struct kind *kind = &problem->kinds[k];

        kind->sums_ps = arena_array(problem->arena, units, sizeof(int64_t));
        if (problem->input.model && !model_sums(problem, kind, err))
            return name_model(problem, err);
        if (!problem->input.model && !executable_sums(problem, kind, err))
            return false;
        if (!problem->input.model)
            executable_memory(problem, kind);
    }
    return true;
}

static bool units_count(struct problem *problem, struct err *err)
{
    const struct problem_input *input = &problem->input;
    const struct model *model = input->model;

    if (!model) {
        problem->unit_count = cost_stage_count(problem->kinds[0].table, input->executable);
        problem->step_count = 1;
        return problem->unit_count > 0 ||
               err_set(err, ERR_INPUT, "%s/stages.csv: no executable '%s'",
                       cost_path(problem->kinds[0].table), input->executable);
    }
    if (model->max_context > 0 &&
        (int64_t)input->prompt_tokens + input->output_tokens - (model->kind != MODEL_DECODER) >
            model->max_context)
        return err_set(err, ERR_INPUT,
                       "a request of %d prompt and %d output tokens is longer than the context of "
                       "model '%s', %d tokens",
                       input->prompt_tokens, input->output_tokens, model->name, model->max_context);
    problem->unit_count = model->layers + 2;
    problem->step_count = model->kind == MODEL_DECODER ? input->output_tokens : 1;
    return true;
}

struct problem *problem_create(struct arena *arena, const struct problem_input *input,
                               struct err *err)
{
    struct problem *problem = arena_alloc(arena, sizeof *problem);

    problem->input = *input;
    problem->arena = arena;
    if (!kinds_fill(problem, err) || !units_count(problem, err) || !units_fill(problem, err) ||
        !problem_open_network(problem, err))
        return NULL;
    return problem;
}

int64_t problem_units_ps(const struct problem *problem, int32_t device, int32_t first, int32_t last)
{
    const struct kind *kind = &problem->kinds[problem->kind_of[device]];

    return price_scale(saturate_sub(kind->sums_ps[last + 1], kind->sums_ps[first]),
                       kind->speed_ratio);
}
