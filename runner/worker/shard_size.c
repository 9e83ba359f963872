/* shard_size.c - how much memory the stages of a worker take, and what of it is there already. */
#include "lib/base/saturate.h"
#include "lib/policy/quantise.h"
#include "runner/setup/setup.h"
#include "runner/worker/kv.h"
#include "runner/worker/parts.h"
#include "runner/worker/shard_internal.h"
#include "runner/worker/weights.h"
#include <string.h>

static int64_t layer_bytes(const struct forward_shape *shape)
{
    return forward_qkv_bytes(shape) + forward_oproj_bytes(shape) + forward_ffn_up_bytes(shape) +
           forward_ffn_down_bytes(shape) + 4 * forward_small_floats(shape);
}

/* Whose embedding a stage's tied lm_head shares: that of the first stage here, its own included,
 * which has one of the same model. A stage in parts keeps its own (parts.c). */
int shard_embedding_of(const struct setup *setup, int index)
{
    const struct setup_stage *stage = &setup->stages[index];

    for (int i = 0; i <= index && setup->models[stage->model].model.tied_lm_head; i++)
        if (setup->stages[i].model == stage->model && setup->stages[i].has_embed &&
            setup->stages[i].position_count == 0)
            return i;
    return SHARD_NOBODY;
}

static bool has_held(const struct setup_stage *stage, enum shard_held what, int32_t layer)
{
    switch (what) {
    case SHARD_EMBED:
        return stage->has_embed;
    case SHARD_LM_HEAD:
        return stage->has_lm_head;
    case SHARD_LAYER:
        break;
    }
    return stage->layer_first <= layer && layer < stage->layer_first + stage->layer_count;
}

/* ---- what stages of both phases have in common ---- */

static bool has_same_slices(const struct setup_stage *a, const struct setup_stage *b)
{
    bool is_same = a->position_count == b->position_count && a->position == b->position &&
                   a->slice_count == b->slice_count && a->layer_first == b->layer_first &&
                   a->layer_count == b->layer_count;

    for (int i = 0; is_same && i < a->slice_count; i++) {
        const struct setup_slice *x = &a->slices[i], *y = &b->slices[i];

        is_same = x->blocks == y->blocks && x->layer_first == y->layer_first &&
                  x->layer_last == y->layer_last && x->position == y->position &&
                  x->part_first == y->part_first && x->part_last == y->part_last &&
                  x->part_of == y->part_of;
    }
    return is_same;
}

int shard_twin_of(const struct setup *setup, int index)
{
    const struct setup_stage *stage = &setup->stages[index];

    for (int i = 0; i < index && stage->phase == SETUP_DECODING; i++)
        if (setup->stages[i].id == stage->twin && setup->stages[i].model == stage->model &&
            (stage->position_count > 0 ? has_same_slices(&setup->stages[i], stage)
                                       : setup->stages[i].position_count == 0))
            return i;
    return SHARD_NOBODY;
}

bool shard_twin_has(const struct setup *setup, int index, enum shard_held what, int32_t layer)
{
    int twin = shard_twin_of(setup, index);

    return twin != SHARD_NOBODY && has_held(&setup->stages[twin], what, layer);
}

static int64_t stage_weight_bytes(const struct setup *setup, int index)
{
    const struct setup_stage *stage = &setup->stages[index];
    struct forward_shape shape = weights_shape(&setup->models[stage->model]);
    int64_t bytes = 0;

    if (stage->position_count > 0)
        return shard_twin_of(setup, index) != SHARD_NOBODY ? 0 : parts_weight_bytes(setup, index);
    for (int32_t i = 0; i < stage->layer_count; i++)
        if (!shard_twin_has(setup, index, SHARD_LAYER, stage->layer_first + i))
            bytes += layer_bytes(&shape);
    if (stage->has_embed && !shard_twin_has(setup, index, SHARD_EMBED, 0))
        bytes += forward_embed_bytes(&shape) + 4 * forward_positions_floats(&shape);
    if (stage->has_lm_head && !shard_twin_has(setup, index, SHARD_LM_HEAD, 0))
        bytes +=
            4 * forward_small_floats(&shape) +
            (shard_embedding_of(setup, index) != SHARD_NOBODY ? 0 : forward_lm_head_bytes(&shape));
    return bytes;
}

int64_t shard_weight_bytes(const struct setup *setup)
{
    int64_t bytes = 0;

    for (int i = 0; i < setup->stage_count; i++)
        bytes += stage_weight_bytes(setup, i);
    return bytes;
}

/* ---- what is there already ---- */

static bool is_same_model(const struct setup_model *x, const struct setup_model *y)
{
    const struct model *a = &x->model, *b = &y->model;

    return strcmp(a->name, b->name) == 0 && a->hidden == b->hidden && a->heads == b->heads &&
           a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
           a->ffn_hidden == b->ffn_hidden && a->vocab == b->vocab && a->ffn == b->ffn &&
           a->weight_bits == b->weight_bits &&
           weights_shape(x).max_context == weights_shape(y).max_context;
}

/* A stage of whole layers that has it, of the same model; SHARD_NOBODY. */
int shard_find_held(const struct setup *held, const struct setup *setup, int index,
                    enum shard_held what, int32_t layer)
{
    const struct setup_stage *asks = &setup->stages[index];
    const struct setup_model *model = &setup->models[asks->model];

    for (int i = 0; i < held->stage_count; i++) {
        const struct setup_stage *stage = &held->stages[i];

        if (has_held(stage, what, layer) && stage->position_count == 0 &&
            is_same_model(&held->models[stage->model], model))
            return i;
    }
    return SHARD_NOBODY;
}

/* Beside matrices, positions and gains. A tied matrix is in either end. */
static int64_t shared_ends_bytes(const struct setup *held, const struct setup *setup, int index)
{
    const struct setup_stage *stage = &setup->stages[index];
    const struct setup_model *model = &setup->models[stage->model];
    struct forward_shape shape = weights_shape(model);
    bool has_embed = shard_find_held(held, setup, index, SHARD_EMBED, 0) != SHARD_NOBODY;
    bool has_lm_head = shard_find_held(held, setup, index, SHARD_LM_HEAD, 0) != SHARD_NOBODY;
    bool has_any = model->model.tied_lm_head && (has_embed || has_lm_head);
    /* that count here, and not in the stage of prompts */
    bool own_embed = stage->has_embed && !shard_twin_has(setup, index, SHARD_EMBED, 0);
    bool own_lm_head = stage->has_lm_head && !shard_twin_has(setup, index, SHARD_LM_HEAD, 0);
    int64_t bytes = 0;

    if (own_embed && (has_embed || has_any))
        bytes += forward_embed_bytes(&shape);
    if (own_embed && has_embed)
        bytes += 4 * forward_positions_floats(&shape);
    if (own_lm_head && (has_lm_head || has_any) && shard_embedding_of(setup, index) == SHARD_NOBODY)
        bytes += forward_lm_head_bytes(&shape);
    if (own_lm_head && has_lm_head)
        bytes += 4 * forward_small_floats(&shape);
    return bytes;
}

int64_t shard_shared_bytes(const struct setup *held, const struct setup *setup)
{
    int64_t bytes = 0;

    for (int s = 0; held && s < setup->stage_count; s++) {
        const struct setup_stage *stage = &setup->stages[s];
        struct forward_shape shape = weights_shape(&setup->models[stage->model]);

        if (stage->position_count > 0)
            continue;
        for (int32_t i = 0; i < stage->layer_count; i++)
            if (!shard_twin_has(setup, s, SHARD_LAYER, stage->layer_first + i) &&
                shard_find_held(held, setup, s, SHARD_LAYER, stage->layer_first + i) !=
                    SHARD_NOBODY)
                bytes += layer_bytes(&shape);
        bytes += shared_ends_bytes(held, setup, s);
    }
    return bytes;
}

/* Whether its steps are packed for the wire: batches, and values of few bits. */
bool shard_packs_words(const struct setup *setup, int model)
{
    bool packs = false;

    for (int i = 0; i < setup->stage_count; i++)
        packs =
            packs || (setup->stages[i].model == model &&
                      (setup->stages[i].has_batches || setup->stages[i].wire_bits > 0 ||
                       setup->stages[i].wire_bits_in > 0 || setup->stages[i].position_count > 0));
    return packs;
}

/* Entries, and behind them as many words as there are values, of two tensors inside a layer, each
 * with its range. */
int64_t shard_most_words(const struct setup_model *model)
{
    int64_t heads = (int64_t)model->model.heads * model->model.head_dim;
    int64_t wide = heads > model->model.ffn_hidden ? heads : model->model.ffn_hidden;

    return FRAME_ENTRY_WORDS * (int64_t)shard_max_entries(model->max_seqs) +
           model->max_tokens * (model->model.hidden + wide) +
           INT64_C(2) * (QUANTISE_SCALE_BYTES / 4);
}

static int64_t scratch_bytes(const struct setup *setup, int index)
{
    const struct setup_model *model = &setup->models[index];
    struct forward_shape shape = weights_shape(model);
    int64_t m = model->max_tokens, up = (int64_t)shape.ffn_hidden * (shape.is_swiglu ? 3 : 1);
    int64_t wide = (int64_t)(2 * shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    int64_t seqs = model->max_seqs, past = model->max_total_tokens - model->max_tokens;
    int64_t floats = m * (INT64_C(2) * shape.hidden + wide + up) + seqs * shape.vocab +
                     (shape.is_patches ? m * WEIGHTS_PATCH_VALUES : 0) +
                     kernel_attention_scratch(model->max_tokens, shape.heads, shape.kv_heads,
                                              past > 0 ? (int)past : 0);

    if (shard_packs_words(setup, index))
        floats += shard_most_words(model);
    return floats * (int64_t)sizeof(float);
}

/* All but KV caches. */
int64_t shard_fixed_bytes(const struct setup *setup)
{
    int64_t bytes = shard_weight_bytes(setup);

    for (int i = 0; i < setup->model_count; i++)
        bytes += scratch_bytes(setup, i);
    for (int i = 0; i < setup->stage_count; i++)
        if (setup->stages[i].position_count > 0)
            bytes += parts_other_bytes(setup, i);
    return bytes;
}

/* Of the longest requests, as many as there must be memory for. */
int64_t shard_cache_bytes(const struct setup *setup)
{
    const int64_t most_bytes = INT64_MAX >> 16; /* no machine has as much; sums of many do fit */
    int64_t bytes = 0;

    for (int i = 0; i < setup->stage_count; i++) {
        const struct setup_stage *stage = &setup->stages[i];
        const struct setup_model *model = &setup->models[stage->model];
        struct forward_shape shape = weights_shape(model);
        bool is_cut = stage->position_count > 0; /* and has a spare one */
        int64_t slab_bytes =
            is_cut ? parts_slab_bytes(setup, i, model->max_total_tokens)
                   : kv_pool_slab_bytes(&shape, NULL, stage->layer_count, model->max_total_tokens);
        int64_t all_bytes = saturate_mul(stage->cache_count + (is_cut ? 1 : 0), slab_bytes);

        bytes += all_bytes < most_bytes ? all_bytes : most_bytes;
    }
    return bytes;
}

int64_t shard_need_bytes(const struct setup *setup)
{
    return shard_fixed_bytes(setup) + shard_cache_bytes(setup);
}
