/* shard.c - allocates the weights of a worker's stages and computes steps with lib/kernels. */
#include "runner/worker/shard.h"

#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/kernels/forward.h"
#include "lib/kernels/kernels.h"
#include "lib/kernels/team.h"
#include "lib/wire/frame.h"
#include "runner/setup/machine.h"
#include "runner/setup/setup.h"
#include "runner/worker/kv.h"
#include "runner/worker/parts.h"
#include "runner/worker/shard_internal.h"
#include "runner/worker/weights.h"

#define PREPARED_RATIO 0.25 /* of the budget, for caches before the run */

/* ---- how much memory ---- */

/* What the caches may take is settled here: pages of a slab that nobody has written yet are still
 * counted as available by the system, so that later looks at it would hand them out twice. */
static bool set_budget(struct shard *shard, struct err *err)
{
    const struct setup *setup = shard->setup;
    int64_t shared_bytes = shard_shared_bytes(shard->held, setup);
    int64_t available_bytes = machine_available_bytes();
    int64_t need_bytes = shard_need_bytes(setup) - shared_bytes;
    int64_t usable_bytes = (int64_t)(SHARD_MEMORY_RATIO * (double)available_bytes);
    char need[UNITS_TEXT_BYTES], weights[UNITS_TEXT_BYTES], available[UNITS_TEXT_BYTES];

    if (setup->memory_bytes > 0) /* workers of one machine must not each count all of it */
        usable_bytes = available_bytes = setup->memory_bytes;
    shard->kv_budget_bytes = usable_bytes - (shard_fixed_bytes(setup) - shared_bytes);
    if (need_bytes <= usable_bytes)
        return true;
    return err_set(err, ERR_SYSTEM,
                   "needs %s of memory (weights %s, the rest for activations and KV "
                   "caches): only %s are available",
                   units_format_bytes(need_bytes, need),
                   units_format_bytes(shard_weight_bytes(setup) - shared_bytes, weights),
                   units_format_bytes(available_bytes, available));
}

/* For the KV pools: within the budget, and within what the rest of the machine has left. */
static bool has_room(void *arg, int64_t slab_bytes)
{
    const struct shard *shard = arg;
    int64_t bytes = slab_bytes;

    for (int i = 0; i < shard->setup->stage_count; i++)
        if (shard->stages[i].kv)
            bytes += kv_pool_bytes(shard->stages[i].kv);
    return bytes <= shard->kv_budget_bytes &&
           (double)slab_bytes <= SHARD_MEMORY_RATIO * (double)machine_available_bytes();
}

/* ---- weights ---- */

/* The stage that has it already; NULL. */
static const struct shard_stage *find_before(const struct shard *shard, int index,
                                             enum shard_held what, int32_t layer)
{
    int at = shard->before ? shard_find_held(shard->held, shard->setup, index, what, layer)
                           : SHARD_NOBODY;
    const struct shard *part = at == SHARD_NOBODY ? NULL : shard_look_at(shard->before, &at);

    return part ? &part->stages[at] : NULL;
}

static void *fill_typed(struct shard *shard, enum kernel_dtype dtype, int64_t bytes, int32_t layer,
                        enum weights_part part, struct err *err)
{
    return weights_fill(shard->arena, shard->setup->seed, dtype, bytes, layer, part, err);
}

static float *fill(struct shard *shard, int64_t floats, int32_t layer, enum weights_part part,
                   struct err *err)
{
    return weights_floats(shard->arena, shard->setup->seed, floats, layer, part, err);
}

static bool fill_layer(struct shard *shard, const struct forward_shape *shape, int32_t number,
                       struct forward_layer *layer, struct err *err)
{
    layer->qkv =
        fill_typed(shard, shape->dtype, forward_qkv_bytes(shape), number, WEIGHTS_QKV, err);
    layer->oproj =
        fill_typed(shard, shape->dtype, forward_oproj_bytes(shape), number, WEIGHTS_OPROJ, err);
    layer->ffn_up =
        fill_typed(shard, shape->dtype, forward_ffn_up_bytes(shape), number, WEIGHTS_FFN_UP, err);
    layer->ffn_down = fill_typed(shard, shape->dtype, forward_ffn_down_bytes(shape), number,
                                 WEIGHTS_FFN_DOWN, err);
    layer->small = fill(shard, forward_small_floats(shape), number, WEIGHTS_SMALL, err);
    return err->kind == ERR_NONE;
}

/* The matrix of one end that is there already: of a tied model that of the other end as well. */
static const void *matrix_before(const struct shard *shard, int index, enum shard_held what)
{
    const struct setup_stage *stage = &shard->setup->stages[index];
    const struct shard_stage *embed = find_before(shard, index, SHARD_EMBED, 0);
    const struct shard_stage *lm_head = find_before(shard, index, SHARD_LM_HEAD, 0);
    bool is_tied = shard->setup->models[stage->model].model.tied_lm_head;

    if (embed && (what == SHARD_EMBED || is_tied))
        return embed->ends.embed;
    return lm_head && (what == SHARD_LM_HEAD || is_tied) ? lm_head->ends.lm_head : NULL;
}

/* The stage here of which another one is the part that decodes, where it has that; NULL. */
static const struct shard_stage *find_twin(const struct shard *shard, int index,
                                           enum shard_held what, int32_t layer)
{
    return shard_twin_has(shard->setup, index, what, layer)
               ? &shard->stages[shard_twin_of(shard->setup, index)]
               : NULL;
}

static void fill_embed(struct shard *shard, int index, struct err *err)
{
    const struct shard_stage *twin = find_twin(shard, index, SHARD_EMBED, 0);
    const struct shard_stage *before = twin ? twin : find_before(shard, index, SHARD_EMBED, 0);
    const struct forward_shape *shape = &shard->stages[index].model->shape;
    struct forward_ends *ends = &shard->stages[index].ends;

    ends->embed = twin ? twin->ends.embed : matrix_before(shard, index, SHARD_EMBED);
    if (!ends->embed)
        ends->embed =
            fill_typed(shard, shape->dtype, forward_embed_bytes(shape), -1, WEIGHTS_EMBED, err);
    if (before)
        ends->positions = before->ends.positions;
    else if (!shape->is_rope)
        ends->positions = fill(shard, forward_positions_floats(shape), -1, WEIGHTS_POSITIONS, err);
}

static void fill_lm_head(struct shard *shard, int index, struct err *err)
{
    const struct setup_stage *stage = &shard->setup->stages[index];
    const struct shard_stage *twin = find_twin(shard, index, SHARD_LM_HEAD, 0);
    const struct shard_stage *before = twin ? twin : find_before(shard, index, SHARD_LM_HEAD, 0);
    const struct forward_shape *shape = &shard->stages[index].model->shape;
    struct forward_ends *ends = &shard->stages[index].ends;
    int embedding = shard_embedding_of(shard->setup, index);

    ends->small = before ? before->ends.small
                         : fill(shard, forward_small_floats(shape), -1, WEIGHTS_END_SMALL, err);
    ends->lm_head = twin                        ? twin->ends.lm_head
                    : embedding != SHARD_NOBODY ? shard->stages[embedding].ends.embed
                                                : matrix_before(shard, index, SHARD_LM_HEAD);
    if (!ends->lm_head) /* tied but elsewhere: the same values */
        ends->lm_head = fill_typed(
            shard, shape->dtype, forward_lm_head_bytes(shape), -1,
            shard->setup->models[stage->model].model.tied_lm_head ? WEIGHTS_EMBED : WEIGHTS_LM_HEAD,
            err);
}

static bool fill_ends(struct shard *shard, int index, struct err *err)
{
    const struct setup_stage *stage = &shard->setup->stages[index];

    if (stage->has_embed)
        fill_embed(shard, index, err);
    if (stage->has_lm_head)
        fill_lm_head(shard, index, err);
    return err->kind == ERR_NONE;
}

/* What a step knows of each of its requests. */
static void create_lists(struct shard *shard, struct shard_model *model, int index)
{
    const struct setup_model *setup = &shard->setup->models[index];
    size_t seqs = (size_t)setup->max_seqs;

    model->entries = arena_array(shard->arena, seqs, sizeof *model->entries);
    model->caches = arena_array(shard->arena, seqs, sizeof(const struct forward_kv *));
    model->layer_caches = arena_array(shard->arena, seqs, sizeof *model->layer_caches);
    model->past = arena_array(shard->arena, seqs, sizeof *model->past);
    model->counts = arena_array(shard->arena, seqs, sizeof *model->counts);
    model->own = arena_array(shard->arena, seqs, sizeof *model->own);
    model->best = arena_array(shard->arena, seqs, sizeof *model->best);
    if (shard_packs_words(shard->setup, index))
        model->words =
            arena_array(shard->arena, (size_t)shard_most_words(setup), sizeof *model->words);
}

static bool create_model(struct shard *shard, int index, struct err *err)
{
    const struct setup_model *setup = &shard->setup->models[index];
    struct shard_model *model = &shard->models[index];
    size_t tokens = (size_t)setup->max_tokens;
    const struct forward_limits limits = { setup->max_tokens, setup->max_total_tokens,
                                           setup->max_seqs };

    model->shape = weights_shape(setup);
    model->forward = forward_create(shard->arena, &model->shape, &limits, shard->team);
    model->x = arena_try_alloc(shard->arena, tokens * (size_t)model->shape.hidden * sizeof(float));
    model->tokens = arena_array(shard->arena, tokens, sizeof *model->tokens);
    create_lists(shard, model, index);
    if (!model->forward || !model->x)
        return err_set(err, ERR_SYSTEM, "no memory for the activations of %d tokens",
                       setup->max_tokens);
    if (model->shape.is_patches)
        model->patches = fill(shard, (int64_t)setup->max_tokens * WEIGHTS_PATCH_VALUES, -1,
                              WEIGHTS_PATCHES, err);
    return err->kind == ERR_NONE;
}

static int64_t largest_slab_bytes(const struct shard *shard, int index)
{
    const struct setup *setup = shard->setup;
    const struct setup_stage *stage = &setup->stages[index];
    int capacity = setup->models[stage->model].max_total_tokens;

    return stage->position_count > 0 ? parts_slab_bytes(setup, index, capacity)
                                     : kv_pool_slab_bytes(&shard->stages[index].model->shape, NULL,
                                                          stage->layer_count, capacity);
}

/* As many caches as were asked for, within a share of the memory. */
static void prepare_kv(struct shard *shard, int index)
{
    int64_t slab_bytes = largest_slab_bytes(shard, index);
    double share_bytes =
        PREPARED_RATIO * (double)shard->kv_budget_bytes / shard->setup->stage_count;
    int seqs = shard->setup->models[shard->setup->stages[index].model].max_seqs;
    int count = seqs > 1 ? seqs : shard->setup->kv_slots;

    if ((double)count * (double)slab_bytes > share_bytes)
        count = (int)(share_bytes / (double)slab_bytes);
    kv_pool_prepare(shard->stages[index].kv, count,
                    shard->setup->models[shard->setup->stages[index].model].max_total_tokens);
}

static bool create_whole(struct shard *shard, int index, struct err *err)
{
    const struct setup_stage *setup = &shard->setup->stages[index];
    struct shard_stage *stage = &shard->stages[index];

    stage->layers = arena_array(shard->arena, (size_t)setup->layer_count, sizeof *stage->layers);
    stage->layer_first = setup->layer_first;
    for (int i = 0; i < setup->layer_count; i++) {
        int32_t layer = setup->layer_first + i;
        const struct shard_stage *twin = find_twin(shard, index, SHARD_LAYER, layer);
        const struct shard_stage *before =
            twin ? twin : find_before(shard, index, SHARD_LAYER, layer);

        if (before) /* stages of whole layers alone are found */
            stage->layers[i] = before->layers[layer - before->layer_first];
        else if (!fill_layer(shard, &stage->model->shape, layer, &stage->layers[i], err))
            return false;
    }
    return fill_ends(shard, index, err);
}

static bool create_stage(struct shard *shard, int index, struct err *err)
{
    const struct setup_stage *setup = &shard->setup->stages[index];
    struct shard_stage *stage = &shard->stages[index];
    const int *kv_heads = NULL;

    stage->model = &shard->models[setup->model];
    if (setup->position_count > 0) {
        int twin = shard_twin_of(shard->setup, index);

        stage->parts =
            twin == SHARD_NOBODY
                ? parts_create(shard->arena, shard->setup, index, stage->model->forward,
                               stage->model->patches, err)
                : parts_create_twin(shard->arena, shard->setup, index, shard->stages[twin].parts,
                                    stage->model->forward, stage->model->patches, err);
        if (!stage->parts)
            return false;
        kv_heads = parts_kv_heads(stage->parts);
    } else if (!create_whole(shard, index, err)) {
        return false;
    }
    if (setup->layer_count > 0) {
        stage->kv = kv_pool_create(shard->arena, &stage->model->shape, kv_heads, setup->layer_count,
                                   has_room, shard);
        prepare_kv(shard, index);
    }
    return true;
}

/* ---- what others ask ---- */

void shard_release_stage(struct shard *shard, int index, int64_t request)
{
    shard = shard_at(shard, &index);
    if (shard->stages[index].kv)
        kv_pool_release(shard->stages[index].kv, request);
}

void shard_release_all(struct shard *shard, int index)
{
    shard = shard_at(shard, &index);
    if (shard->stages[index].kv)
        kv_pool_release_others(shard->stages[index].kv, SHARD_SPARE_REQUEST);
}

void shard_release(struct shard *shard, int64_t request)
{
    for (; shard; shard = shard->more)
        for (int i = 0; i < shard->setup->stage_count; i++)
            shard_release_stage(shard, i, request);
}

const struct frame_entry *shard_entries(const struct shard *shard, int index)
{
    shard = shard_look_at(shard, &index);
    return shard->stages[index].model->entries;
}

struct parts *shard_parts(const struct shard *shard, int index)
{
    shard = shard_look_at(shard, &index);
    return shard->stages[index].parts;
}

int shard_kv_heads(const struct shard *shard, int index, int32_t layer)
{
    const struct shard_stage *stage;

    shard = shard_look_at(shard, &index);
    stage = &shard->stages[index];
    if (!stage->kv)
        return 0;
    return stage->parts ? parts_kv_heads(stage->parts)[layer] : stage->model->shape.kv_heads;
}

int shard_kv_head(const struct shard *shard, int index, int32_t layer, int32_t head)
{
    const struct shard_stage *stage;

    shard = shard_look_at(shard, &index);
    stage = &shard->stages[index];
    if (!stage->kv)
        return -1;
    if (stage->parts)
        return parts_kv_head(stage->parts, layer, head);
    return head < stage->model->shape.kv_heads ? head : -1;
}

struct kv_pool *shard_caches(const struct shard *shard, int index)
{
    shard = shard_look_at(shard, &index);
    return shard->stages[index].kv;
}

int shard_find_stage(const struct shard *shard, int32_t stage_id)
{
    int first = 0;

    for (; shard; first += shard->setup->stage_count, shard = shard->more)
        for (int i = 0; i < shard->setup->stage_count; i++)
            if (shard->setup->stages[i].id == stage_id)
                return first + i;
    return -1;
}

/* ---- before the run ---- */

/* All that this device computes in a pass, without the others. */
static void compute_parts(struct shard *shard, int index, const struct forward_kv *kv, int m,
                          int past)
{
    struct parts *parts = shard->stages[index].parts;
    const struct pass *pass = parts_pass(parts);
    const struct parts_step step = {
        .tokens = m, .sequences = 1, .past = &past, .counts = &m, .kv = &kv
    };

    parts_begin(parts);
    for (int32_t i = 0; i < pass->piece_count; i++)
        if (pass->pieces[i].position == shard->setup->stages[index].position)
            parts_compute(parts, &pass->pieces[i], 0, &step);
}

static void warm(struct shard *shard, int index, const struct forward_kv *kv, int m, int past)
{
    struct shard_model *model = shard->stages[index].model;

    if (shard->stages[index].parts) {
        compute_parts(shard, index, kv, m, past);
        return;
    }
    model->entries[0] = (struct frame_entry){ .tokens = m, .past_tokens = past };
    model->caches[0] = kv;
    shard_compute(shard, index, 1, m);
}

/* The longest prefill of the workload, then one decode step where there is room for it. */
static bool warm_up(struct shard *shard, int index, struct err *err)
{
    const struct setup_stage *setup = &shard->setup->stages[index];
    const struct setup_model *sizes = &shard->setup->models[setup->model];
    struct shard_stage *stage = &shard->stages[index];
    const struct forward_kv *kv = NULL;
    int longest =
        sizes->max_tokens < sizes->max_total_tokens ? sizes->max_tokens : sizes->max_total_tokens;
    int past = longest;

    if (stage->kv) {
        kv = kv_pool_take(stage->kv, SHARD_SPARE_REQUEST, sizes->max_total_tokens);
        if (!kv)
            return err_set(err, ERR_SYSTEM, "no memory for the KV cache of one request");
    }
    forward_fill(stage->parts ? parts_state(stage->parts) : stage->model->x,
                 (int64_t)sizes->max_tokens * stage->model->shape.hidden, 1);
    warm(shard, index, kv, longest, 0);
    if (past + 1 > sizes->max_total_tokens)
        past = sizes->max_total_tokens - 1;
    warm(shard, index, kv, 1, past);
    if (stage->kv && !stage->parts)
        kv_pool_release(stage->kv, SHARD_SPARE_REQUEST);
    return true;
}

/* Threads of the BLAS, and of what the BLAS does not do: with fewer this would be a slower device
 * than the one that was asked for. */
static bool set_threads(struct shard *shard, struct err *err)
{
    const struct setup *setup = shard->setup;
    bool is_typed = false;

    for (int i = 0; i < setup->model_count; i++)
        is_typed =
            is_typed || kernel_dtype_of_bits(setup->models[i].model.weight_bits) != KERNEL_F32;
    /* those that are computing meanwhile have as many already */
    if (!shard->before && !kernel_use_threads(setup->threads, err))
        return false;
    if (setup->threads > 1 && is_typed)
        shard->team = team_create(shard->arena, setup->threads, err);
    return setup->threads == 1 || !is_typed || shard->team;
}

struct shard *shard_create(struct arena *arena, const struct setup *setup, const struct setup *held,
                           const struct shard *before, struct err *err)
{
    struct shard *shard = arena_alloc(arena, sizeof *shard);

    shard->arena = arena;
    shard->setup = setup;
    shard->held = held;
    shard->before = before;
    shard->models = arena_array(arena, (size_t)setup->model_count, sizeof *shard->models);
    shard->stages = arena_array(arena, (size_t)setup->stage_count, sizeof *shard->stages);
    if (!set_threads(shard, err) || !set_budget(shard, err))
        return NULL;
    for (int i = 0; i < setup->model_count; i++)
        if (!create_model(shard, i, err))
            return NULL;
    for (int i = 0; i < setup->stage_count; i++)
        if (!create_stage(shard, i, err))
            return NULL;
    for (int i = 0; i < setup->stage_count; i++)
        if (!warm_up(shard, i, err))
            return NULL;
    return shard;
}

void shard_append(struct shard *shard, struct shard *more)
{
    while (shard->more)
        shard = shard->more;
    shard->more = more;
}

void shard_set_between(struct shard *shard, shard_between_fn *between, void *arg)
{
    for (; shard; shard = shard->more) {
        shard->between = between;
        shard->between_arg = arg;
    }
}

void shard_drop_last(struct shard *shard)
{
    while (shard->more->more)
        shard = shard->more;
    shard_destroy(shard->more);
    shard->more = NULL;
}

void shard_destroy(struct shard *shard)
{
    for (; shard; shard = shard->more)
        team_destroy(shard->team);
}
