/* parts_setup.c - how much a device of a sliced stage holds, and the weights themselves. */
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/kernels/kernels.h"
#include "lib/policy/quantise.h"
#include "runner/setup/setup.h"
#include "runner/worker/kv.h"
#include "runner/worker/parts_internal.h"
#include "runner/worker/weights.h"
#include <string.h>

/* ---- sizes ---- */

static void hold_layers(struct arena *arena, const struct setup *setup, int index,
                        struct parts_layer *layers)
{
    const struct setup_stage *stage = &setup->stages[index];
    const struct model *model = &setup->models[stage->model].model;

    for (int32_t i = 0; i < stage->layer_count; i++) {
        struct pass_owners owners;

        setup_owners(arena, stage, model, stage->layer_first + i, &owners);
        parts_hold_layer(arena, model, stage->position, &owners, &layers[i]);
    }
}

static int up_times(const struct forward_shape *shape)
{
    return shape->is_swiglu ? 2 : 1;
}

static int qkv_rows(const struct forward_shape *shape, const struct parts_layer *layer)
{
    return (layer->attention.heads + 2 * layer->attention.kv_heads) * shape->head_dim;
}

static int64_t layer_bytes(const struct forward_shape *shape, const struct parts_layer *layer)
{
    enum kernel_dtype dtype = shape->dtype;

    return kernel_weight_bytes(dtype, qkv_rows(shape, layer), shape->hidden) +
           kernel_weight_bytes(dtype, shape->hidden, layer->rows.width) +
           kernel_weight_bytes(dtype, up_times(shape) * layer->up.width, shape->hidden) +
           kernel_weight_bytes(dtype, shape->hidden, layer->down.width) +
           4 * forward_small_floats(shape);
}

struct ends { /* of the model, as far as they are here */
    bool has_embed;
    struct parts_spans head;
};

static struct ends ends_of(struct arena *arena, const struct setup *setup, int index)
{
    const struct setup_stage *stage = &setup->stages[index];
    const struct model *model = &setup->models[stage->model].model;
    struct ends ends = { 0 };
    struct pass_owners owners;
    const struct pass_shares *embed = &owners.blocks[BLOCK_EMBED];
    const struct pass_shares *head = &owners.blocks[BLOCK_LM_HEAD];

    setup_owners(arena, stage, model, -1, &owners);
    ends.has_embed = embed->count > 0 && embed->shares[0].position == stage->position;
    ends.head = parts_spans_of(arena, head, stage->position, 1);
    if (model->kind == MODEL_ENCODER && ends.head.count > 0) /* the pooler: never cut */
        ends.head.spans[0].count = ends.head.width = model->hidden;
    return ends;
}

static int64_t ends_bytes(const struct forward_shape *shape, const struct ends *ends)
{
    int64_t bytes = 0;

    if (ends->has_embed)
        bytes += forward_embed_bytes(shape) + 4 * forward_positions_floats(shape);
    if (ends->head.width > 0)
        bytes += 4 * forward_small_floats(shape) +
                 kernel_weight_bytes(shape->dtype, ends->head.width, shape->hidden);
    return bytes;
}

int64_t parts_weight_bytes(const struct setup *setup, int index)
{
    struct arena *arena = arena_create();
    const struct setup_stage *stage = &setup->stages[index];
    struct forward_shape shape = weights_shape(&setup->models[stage->model]);
    struct parts_layer *layers = arena_array(arena, (size_t)stage->layer_count + 1, sizeof *layers);
    struct ends ends = ends_of(arena, setup, index);
    int64_t bytes = ends_bytes(&shape, &ends);

    hold_layers(arena, setup, index, layers);
    for (int32_t i = 0; i < stage->layer_count; i++)
        bytes += layer_bytes(&shape, &layers[i]);
    arena_destroy(arena);
    return bytes;
}

/* The largest matrix of the model, from which a part is cut. */
static int64_t whole_bytes(const struct forward_shape *shape)
{
    const int64_t sizes[] = { forward_qkv_bytes(shape), forward_oproj_bytes(shape),
                              forward_ffn_up_bytes(shape), forward_ffn_down_bytes(shape),
                              forward_lm_head_bytes(shape) };
    int64_t most = 4 * forward_small_floats(shape);

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        most = sizes[i] > most ? sizes[i] : most;
    return most;
}

static int64_t narrow_width(const struct forward_shape *shape)
{
    int64_t width = (int64_t)shape->heads * shape->head_dim;

    return width > shape->ffn_hidden ? width : shape->ffn_hidden;
}

int64_t parts_other_bytes(const struct setup *setup, int index)
{
    const struct setup_stage *stage = &setup->stages[index];
    const struct setup_model *model = &setup->models[stage->model];
    struct forward_shape shape = weights_shape(model);
    int64_t row = 3 * (int64_t)shape.hidden + (int64_t)shape.heads * shape.head_dim +
                  shape.ffn_hidden + narrow_width(&shape) + 1;

    return 4 * row * model->max_tokens + parts_message_bytes(model) + whole_bytes(&shape);
}

int64_t parts_message_bytes(const struct setup_model *model)
{
    struct forward_shape shape = weights_shape(model);
    int64_t width = narrow_width(&shape);

    if (width < shape.hidden)
        width = shape.hidden;
    width += shape.hidden; /* two vectors may go together */
    return INT64_C(2) * QUANTISE_SCALE_BYTES + 4 * width * model->max_tokens +
           (int64_t)sizeof(struct parts_best) * PASS_MAX_DEVICES * model->max_seqs;
}

static const int *kv_heads_of(struct arena *arena, const struct setup_stage *stage,
                              const struct parts_layer *layers)
{
    int *kv_heads = arena_array(arena, (size_t)stage->layer_count + 1, sizeof *kv_heads);

    for (int32_t i = 0; i < stage->layer_count; i++)
        kv_heads[i] = layers[i].kv_heads.width;
    return kv_heads;
}

int64_t parts_slab_bytes(const struct setup *setup, int index, int capacity)
{
    struct arena *arena = arena_create();
    const struct setup_stage *stage = &setup->stages[index];
    struct forward_shape shape = weights_shape(&setup->models[stage->model]);
    struct parts_layer *layers = arena_array(arena, (size_t)stage->layer_count + 1, sizeof *layers);
    int64_t bytes;

    hold_layers(arena, setup, index, layers);
    bytes =
        kv_pool_slab_bytes(&shape, kv_heads_of(arena, stage, layers), stage->layer_count, capacity);
    arena_destroy(arena);
    return bytes;
}

/* ---- weights ---- */

struct cutter {
    struct arena *arena; /* of the parts */
    struct arena *whole; /* of the matrix that is being cut */
    uint64_t seed;
    struct forward_shape shape;
};

/* Rows of w[n][k] under each other: those of spans, from row `from` on. */
static unsigned char *rows_copy(const struct cutter *cutter, const unsigned char *w, int k,
                                int from, const struct parts_spans *spans, int times,
                                unsigned char *to)
{
    int64_t row_bytes = kernel_weight_bytes(cutter->shape.dtype, 1, k);

    for (int i = 0; i < spans->count; i++) {
        int64_t first = from + (int64_t)spans->spans[i].first * times;
        int64_t bytes = row_bytes * spans->spans[i].count * times;

        memcpy(to, w + first * row_bytes, (size_t)bytes);
        to += bytes;
    }
    return to;
}

static void *part_alloc(const struct cutter *cutter, int64_t bytes, struct err *err)
{
    void *values = arena_try_alloc(cutter->arena, (size_t)bytes + 1);

    if (!values)
        err_set(err, ERR_SYSTEM, "no memory for %lld bytes of weights", (long long)bytes);
    return values;
}

/* A matrix of the model as a whole, until the next one. */
static void *whole_matrix(struct cutter *cutter, int64_t bytes, int32_t layer,
                          enum weights_part part, struct err *err)
{
    arena_destroy(cutter->whole);
    cutter->whole = arena_create();
    return weights_fill(cutter->whole, cutter->seed,
                        part == WEIGHTS_SMALL ? KERNEL_F32 : cutter->shape.dtype, bytes, layer,
                        part, err);
}

static bool cut_qkv(struct cutter *cutter, int32_t number, struct parts_layer *layer,
                    struct err *err)
{
    const struct forward_shape *s = &cutter->shape;
    int q_rows = s->heads * s->head_dim, kv_rows = s->kv_heads * s->head_dim;
    unsigned char *to =
        part_alloc(cutter, kernel_weight_bytes(s->dtype, qkv_rows(s, layer), s->hidden), err);
    const unsigned char *whole =
        to ? whole_matrix(cutter, forward_qkv_bytes(s), number, WEIGHTS_QKV, err) : NULL;

    if (!whole)
        return false;
    layer->weights.qkv = to;
    to = rows_copy(cutter, whole, s->hidden, 0, &layer->heads, 1, to);
    to = rows_copy(cutter, whole, s->hidden, q_rows, &layer->kv_heads, s->head_dim, to);
    rows_copy(cutter, whole, s->hidden, q_rows + kv_rows, &layer->kv_heads, s->head_dim, to);
    return true;
}

static bool cut_up(struct cutter *cutter, int32_t number, struct parts_layer *layer,
                   struct err *err)
{
    const struct forward_shape *s = &cutter->shape;
    unsigned char *to = part_alloc(
        cutter, kernel_weight_bytes(s->dtype, up_times(s) * layer->up.width, s->hidden), err);
    const unsigned char *whole =
        to ? whole_matrix(cutter, forward_ffn_up_bytes(s), number, WEIGHTS_FFN_UP, err) : NULL;

    if (!whole)
        return false;
    layer->weights.ffn_up = to;
    for (int i = 0; i < up_times(s); i++)
        to = rows_copy(cutter, whole, s->hidden, i * s->ffn_hidden, &layer->up, 1, to);
    return true;
}

/* Columns of w[hidden][k], side by side. */
static const void *cut_columns(struct cutter *cutter, int k, const struct parts_spans *spans,
                               int32_t number, enum weights_part part, struct err *err)
{
    const struct forward_shape *s = &cutter->shape;
    int64_t row_bytes = kernel_weight_bytes(s->dtype, 1, spans->width), at = 0;
    unsigned char *to = part_alloc(cutter, row_bytes * s->hidden, err);
    const unsigned char *whole =
        to ? whole_matrix(cutter, kernel_weight_bytes(s->dtype, s->hidden, k), number, part, err)
           : NULL;
    unsigned char *piece;

    if (!whole)
        return NULL;
    if (spans->count == 1) {
        kernel_cut_columns(s->dtype, whole, s->hidden, k, spans->spans[0].first, spans->width, to);
        return to;
    }
    /* several: of f32 and bf16 side by side, of q8_0 quants and scales apart */
    piece = arena_try_alloc(cutter->whole, (size_t)(row_bytes * s->hidden));
    if (!piece)
        err_set(err, ERR_SYSTEM, "no memory to cut weights");
    for (int i = 0; piece && i < spans->count; i++) {
        const struct parts_span *span = &spans->spans[i];

        kernel_cut_columns(s->dtype, whole, s->hidden, k, span->first, span->count, piece);
        kernel_join_columns(s->dtype, piece, s->hidden, span->count, (int)at, spans->width, to);
        at += span->count;
    }
    return piece ? to : NULL;
}

static void bias_copy(const float *whole, int from, const struct parts_spans *spans, int times,
                      float **to)
{
    for (int i = 0; i < spans->count; i++) {
        int count = spans->spans[i].count * times;

        memcpy(*to, whole + from + (ptrdiff_t)spans->spans[i].first * times,
               (size_t)count * sizeof(float));
        *to += count;
    }
}

/* Gains and shifts are whole, biases of QKV and up those of the part. */
static bool cut_small(struct cutter *cutter, int32_t number, struct parts_layer *layer,
                      struct err *err)
{
    const struct forward_shape *s = &cutter->shape;
    int64_t bytes = 4 * forward_small_floats(s),
            stride = forward_small_floats(s) / FORWARD_SECTION_COUNT;
    int q_rows = s->heads * s->head_dim, kv_rows = s->kv_heads * s->head_dim;
    float *small = part_alloc(cutter, bytes, err), *to;
    const float *whole = small ? whole_matrix(cutter, bytes, number, WEIGHTS_SMALL, err) : NULL;

    if (!whole)
        return false;
    memcpy(small, whole, (size_t)bytes);
    to = small + FORWARD_QKV_BIAS * stride;
    whole += FORWARD_QKV_BIAS * stride;
    bias_copy(whole, 0, &layer->heads, 1, &to);
    bias_copy(whole, q_rows, &layer->kv_heads, s->head_dim, &to);
    bias_copy(whole, q_rows + kv_rows, &layer->kv_heads, s->head_dim, &to);
    to = small + FORWARD_UP_BIAS * stride;
    whole += (FORWARD_UP_BIAS - FORWARD_QKV_BIAS) * stride;
    for (int i = 0; i < up_times(s); i++)
        bias_copy(whole, i * s->ffn_hidden, &layer->up, 1, &to);
    layer->weights.small = small;
    return true;
}

static bool cut_layer(struct cutter *cutter, int32_t number, struct parts_layer *layer,
                      struct err *err)
{
    const struct forward_shape *s = &cutter->shape;

    if (!cut_small(cutter, number, layer, err) ||
        (layer->kv_heads.width > 0 && !cut_qkv(cutter, number, layer, err)) ||
        (layer->up.width > 0 && !cut_up(cutter, number, layer, err)))
        return false;
    if (layer->rows.width > 0)
        layer->weights.oproj =
            cut_columns(cutter, s->heads * s->head_dim, &layer->rows, number, WEIGHTS_OPROJ, err);
    if (layer->down.width > 0)
        layer->weights.ffn_down =
            cut_columns(cutter, s->ffn_hidden, &layer->down, number, WEIGHTS_FFN_DOWN, err);
    return err->kind == ERR_NONE;
}

static bool cut_ends(struct cutter *cutter, const struct model *model, const struct ends *held,
                     struct forward_ends *ends, struct err *err)
{
    const struct forward_shape *s = &cutter->shape;
    int64_t row_bytes = kernel_weight_bytes(s->dtype, 1, s->hidden);
    unsigned char *rows;
    const unsigned char *whole;

    if (held->has_embed) {
        ends->embed = weights_fill(cutter->arena, cutter->seed, s->dtype, forward_embed_bytes(s),
                                   WEIGHTS_NO_LAYER, WEIGHTS_EMBED, err);
        if (!s->is_rope)
            ends->positions =
                weights_floats(cutter->arena, cutter->seed, forward_positions_floats(s),
                               WEIGHTS_NO_LAYER, WEIGHTS_POSITIONS, err);
    }
    if (held->head.width == 0)
        return err->kind == ERR_NONE;
    ends->small = weights_floats(cutter->arena, cutter->seed, forward_small_floats(s),
                                 WEIGHTS_NO_LAYER, WEIGHTS_END_SMALL, err);
    rows = part_alloc(cutter, row_bytes * held->head.width, err);
    if (!rows || !ends->small)
        return false;
    whole = whole_matrix(cutter, forward_lm_head_bytes(s), WEIGHTS_NO_LAYER,
                         model->tied_lm_head ? WEIGHTS_EMBED : WEIGHTS_LM_HEAD, err);
    if (!whole)
        return false;
    rows_copy(cutter, whole, s->hidden, 0, &held->head, 1, rows);
    ends->lm_head = rows;
    return true;
}

static bool cut_all(struct arena *arena, const struct setup *setup, struct parts *parts,
                    const struct ends *ends, struct err *err)
{
    struct cutter cutter = {
        .arena = arena, .whole = arena_create(), .seed = setup->seed, .shape = parts->shape
    };
    bool ok = cut_ends(&cutter, &setup->models[parts->stage->model].model, ends, &parts->ends, err);

    for (int32_t i = 0; ok && i < parts->stage->layer_count; i++)
        ok = cut_layer(&cutter, parts->stage->layer_first + i, &parts->layers[i], err);
    arena_destroy(cutter.whole);
    return ok;
}

/* ---- all of it ---- */

static bool alloc_vectors(struct arena *arena, const struct setup_model *model, struct parts *parts,
                          struct err *err)
{
    const struct forward_shape *s = &parts->shape;
    size_t m = (size_t)model->max_tokens, value = sizeof(float), seqs = (size_t)model->max_seqs;

    parts->tokens = arena_try_alloc(arena, m * sizeof *parts->tokens);
    parts->x = arena_try_alloc(arena, m * (size_t)s->hidden * value);
    parts->input = arena_try_alloc(arena, m * (size_t)s->hidden * value);
    parts->terms = arena_try_alloc(arena, m * (size_t)s->hidden * value);
    parts->heads = arena_try_alloc(arena, m * (size_t)s->heads * (size_t)s->head_dim * value);
    parts->columns = arena_try_alloc(arena, m * (size_t)s->ffn_hidden * value);
    parts->narrow = arena_try_alloc(arena, m * (size_t)narrow_width(s) * value);
    parts->best = arena_array(arena, PASS_MAX_DEVICES * seqs, sizeof *parts->best);
    parts->made = arena_array(arena, seqs, sizeof *parts->made);
    parts->past = arena_array(arena, seqs, sizeof *parts->past);
    parts->counts = arena_array(arena, seqs, sizeof *parts->counts);
    parts->own = arena_array(arena, seqs, sizeof *parts->own);
    parts->layer_caches = arena_array(arena, seqs, sizeof *parts->layer_caches);
    return (parts->tokens && parts->x && parts->input && parts->terms && parts->heads &&
            parts->columns && parts->narrow) ||
           err_set(err, ERR_SYSTEM, "no memory for the activations of %d tokens",
                   model->max_tokens);
}

/* Which of the parts of the output matrix is here. */
static void find_head(struct parts *parts)
{
    const struct pass *pass = parts->pass;

    parts->head_members = 1;
    for (int32_t s = 0; s < pass->step_count; s++) {
        if (pass->steps[s].content != PASS_BEST)
            continue;
        parts->head_members = pass->steps[s].count;
        for (int32_t i = 0; i < pass->steps[s].count; i++)
            if (pass->members[pass->steps[s].first + i].position == parts->stage->position)
                parts->head_member = i;
        return;
    }
}

/* Of the same slices of the same stage. */
static void share_weights(struct parts *parts, const struct parts *twin)
{
    parts->ends = twin->ends;
    for (int32_t i = 0; i < parts->stage->layer_count; i++)
        parts->layers[i].weights = twin->layers[i].weights;
}

static struct parts *create(struct arena *arena, const struct setup *setup, int index,
                            const struct parts *twin, struct forward *forward, const float *patches,
                            struct err *err)
{
    const struct setup_stage *stage = &setup->stages[index];
    const struct setup_model *model = &setup->models[stage->model];
    struct parts *parts = arena_alloc(arena, sizeof *parts);
    struct ends ends = ends_of(arena, setup, index);
    int32_t next_id = 0; /* of pieces: for prices alone */

    parts->stage = stage;
    parts->shape = weights_shape(model);
    parts->forward = forward;
    parts->patches = patches;
    parts->pass = setup_compile(arena, setup, index, &next_id);
    parts->head = ends.head;
    find_head(parts);
    parts->layers = arena_array(arena, (size_t)stage->layer_count + 1, sizeof *parts->layers);
    hold_layers(arena, setup, index, parts->layers);
    parts->kv_heads = kv_heads_of(arena, stage, parts->layers);
    if (!alloc_vectors(arena, model, parts, err) ||
        (!twin && !cut_all(arena, setup, parts, &ends, err)))
        return NULL;
    if (twin)
        share_weights(parts, twin);
    return parts;
}

struct parts *parts_create(struct arena *arena, const struct setup *setup, int index,
                           struct forward *forward, const float *patches, struct err *err)
{
    return create(arena, setup, index, NULL, forward, patches, err);
}

struct parts *parts_create_twin(struct arena *arena, const struct setup *setup, int index,
                                const struct parts *twin, struct forward *forward,
                                const float *patches, struct err *err)
{
    return create(arena, setup, index, twin, forward, patches, err);
}

int parts_kv_head(const struct parts *parts, int32_t layer, int32_t head)
{
    const struct parts_spans *spans = &parts->layers[layer].kv_heads;
    int at = 0;

    for (int i = 0; i < spans->count; at += spans->spans[i++].count)
        if (spans->spans[i].first <= head && head < spans->spans[i].first + spans->spans[i].count)
            return at + head - spans->spans[i].first;
    return -1;
}

const int *parts_kv_heads(const struct parts *parts)
{
    return parts->kv_heads;
}

const struct pass *parts_pass(const struct parts *parts)
{
    return parts->pass;
}
