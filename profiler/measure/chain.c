/* chain.c - lays a visit out along the pool and runs it through lib/kernels/forward. */
#include "profiler/measure/chain.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/format/model.h"
#include "lib/kernels/team.h"
#include <stddef.h>

#define PATCH_VALUES 768

struct chain {
    struct forward_shape shape;
    struct forward *forward;
    struct team *team;
    struct pool pool;
    struct rng rng;
    uint64_t visits;
    float *x, *patches;
    int32_t *tokens, *best;
    int *past;
    struct forward_layer *layers;
    struct forward_kv *kv; /* [layer][sequence] */
    struct forward_ends ends;
    /* of the visit */
    int layer_count;
    struct forward_step step;
};

struct forward_shape chain_shape(const struct model *model, enum kernel_dtype dtype)
{
    return (struct forward_shape){
        .hidden = model->hidden,
        .heads = model->heads,
        .kv_heads = model->kv_heads,
        .head_dim = model->head_dim,
        .ffn_hidden = model->ffn_hidden,
        .vocab = model->vocab,
        .is_swiglu = model->ffn == MODEL_SWIGLU,
        .is_rms = model->norm == MODEL_RMSNORM,
        .is_rope = model->positions == MODEL_ROPE,
        .is_causal = model->kind == MODEL_DECODER,
        .is_pooler = model->kind == MODEL_ENCODER,
        .is_patches = model->kind == MODEL_VISION,
        .max_context = model->max_context,
        .dtype = dtype,
    };
}

struct chain *chain_create(struct arena *arena, const struct model *model, enum kernel_dtype dtype,
                           struct pool pool, int max_layers, const struct point *most, int threads,
                           uint64_t seed, struct err *err)
{
    struct chain *chain = arena_alloc(arena, sizeof(*chain));
    struct forward_limits limits = { most->m, most->kv, most->batch };
    size_t rows = (size_t)most->m, batch = (size_t)most->batch;

    chain->shape = chain_shape(model, dtype);
    if (chain->shape.max_context < most->kv)
        chain->shape.max_context = most->kv;
    chain->pool = pool;
    chain->rng = rng_stream(seed, RNG_INPUT_TOKENS, 0);
    chain->x = arena_try_alloc(arena, rows * (size_t)chain->shape.hidden * sizeof(float));
    chain->patches = arena_try_alloc(
        arena, chain->shape.is_patches ? rows * PATCH_VALUES * sizeof(float) : sizeof(float));
    chain->tokens = arena_array(arena, rows, sizeof(*chain->tokens));
    chain->best = arena_array(arena, batch, sizeof(*chain->best));
    chain->past = arena_array(arena, batch, sizeof(*chain->past));
    chain->layers = arena_array(arena, (size_t)max_layers, sizeof(*chain->layers));
    chain->kv = arena_array(arena, (size_t)max_layers * batch, sizeof(*chain->kv));
    if (threads > 1) {
        chain->team = team_create(arena, threads, err);
        if (!chain->team)
            return NULL;
    }
    chain->forward = forward_create(arena, &chain->shape, &limits, chain->team);
    if (!chain->forward || !chain->x || !chain->patches) {
        err_set(err, ERR_SYSTEM, "no memory for the activations of %d tokens", most->m);
        chain_destroy(chain);
        return NULL;
    }
    if (chain->shape.is_patches)
        forward_fill(chain->patches, (int64_t)rows * PATCH_VALUES, seed);
    return chain;
}

void chain_destroy(struct chain *chain)
{
    if (chain)
        team_destroy(chain->team);
}

static void take_layer(struct chain *chain, int index, int capacity)
{
    struct pool *pool = &chain->pool;
    const struct forward_shape *shape = &chain->shape;
    struct forward_layer *layer = &chain->layers[index];
    int64_t kv_bytes = 4 * forward_kv_floats(shape, capacity);

    layer->small = pool_take(pool, 4 * forward_small_floats(shape));
    layer->qkv = pool_take(pool, forward_qkv_bytes(shape));
    for (int b = 0; b < chain->step.batch; b++) {
        struct forward_kv *kv = &chain->kv[index * chain->step.batch + b];

        kv->k = pool_take(pool, kv_bytes);
        kv->v = pool_take(pool, kv_bytes);
        kv->capacity = capacity;
    }
    layer->oproj = pool_take(pool, forward_oproj_bytes(shape));
    layer->ffn_up = pool_take(pool, forward_ffn_up_bytes(shape));
    layer->ffn_down = pool_take(pool, forward_ffn_down_bytes(shape));
}

static void take_step(struct chain *chain, const struct point *point)
{
    int tokens = point->m / point->batch;

    chain->step =
        (struct forward_step){ .batch = point->batch, .tokens = tokens, .past = chain->past };
    for (int b = 0; b < point->batch; b++)
        chain->past[b] = point->kv - tokens;
    chain->visits++;
    for (int i = 0; i < point->m; i++)
        chain->tokens[i] = (int32_t)rng_below(&chain->rng, (uint64_t)chain->shape.vocab);
}

void chain_prepare(struct chain *chain, const struct point *point, int layers, bool has_lm_head)
{
    const struct forward_shape *shape = &chain->shape;
    struct pool *pool = &chain->pool;

    take_step(chain, point);
    chain->layer_count = layers;
    /* a projection of patches is read whole, a table of tokens only in a few rows */
    chain->ends.embed = shape->is_patches ? pool_take(pool, forward_embed_bytes(shape))
                                          : pool_far(pool, forward_embed_bytes(shape));
    chain->ends.positions =
        shape->is_rope ? NULL : pool_far(pool, 4 * forward_positions_floats(shape));
    for (int l = 0; l < layers; l++)
        take_layer(chain, l, point->kv);
    chain->ends.small = pool_take(pool, INT64_C(8) * shape->hidden);
    chain->ends.lm_head = has_lm_head ? pool_take(pool, forward_lm_head_bytes(shape)) : NULL;
}

void chain_run(struct chain *chain, struct forward_stamp stamp)
{
    forward_embed(chain->forward, &chain->ends, chain->tokens, chain->patches, chain->x,
                  &chain->step, stamp);
    for (int l = 0; l < chain->layer_count; l++)
        forward_layer(chain->forward, &chain->layers[l],
                      chain->kv + (ptrdiff_t)l * chain->step.batch, chain->x, &chain->step, stamp);
    if (chain->ends.lm_head)
        forward_lm_head(chain->forward, &chain->ends, chain->x, &chain->step, chain->best, stamp);
}

static void restore(struct chain *chain, const struct forward_kv *kv, int past, uint64_t seed)
{
    int head_dim = chain->shape.head_dim;

    for (int h = 0; h < chain->shape.kv_heads; h++) {
        int64_t at = ((int64_t)h * kv->capacity + past) * head_dim;
        int64_t count = (int64_t)chain->step.tokens * head_dim;

        kernel_fill(chain->shape.dtype, kv->k + at, 4 * count, 2 * (seed + (uint64_t)h));
        kernel_fill(chain->shape.dtype, kv->v + at, 4 * count, 2 * (seed + (uint64_t)h) + 1);
    }
}

void chain_restore(struct chain *chain)
{
    int count = chain->layer_count * chain->step.batch;

    for (int i = 0; i < count; i++)
        restore(chain, &chain->kv[i], chain->past[i % chain->step.batch],
                chain->visits * 4096 + (uint64_t)(i * chain->shape.kv_heads));
}

void chain_run_op(struct chain *chain, const struct point *point, enum op op)
{
    struct pool *pool = &chain->pool;
    const struct forward_shape *shape = &chain->shape;

    if (chain->visits == 0 || chain->step.batch != point->batch ||
        chain->step.batch * chain->step.tokens != point->m ||
        chain->past[0] != point->kv - chain->step.tokens)
        chain_prepare(chain, point, 1, true);
    switch (op) {
    case OP_QKV:
        chain->layers[0].qkv = pool_take(pool, forward_qkv_bytes(shape));
        break;
    case OP_OPROJ:
        chain->layers[0].oproj = pool_take(pool, forward_oproj_bytes(shape));
        break;
    case OP_FFN_UP:
        chain->layers[0].ffn_up = pool_take(pool, forward_ffn_up_bytes(shape));
        break;
    case OP_FFN_DOWN:
        chain->layers[0].ffn_down = pool_take(pool, forward_ffn_down_bytes(shape));
        break;
    case OP_LMHEAD:
        chain->ends.lm_head = pool_take(pool, forward_lm_head_bytes(shape));
        break;
    case OP_ATTN:
        for (int b = 0; b < point->batch; b++) {
            chain->kv[b].k = pool_take(pool, 4 * forward_kv_floats(shape, point->kv));
            chain->kv[b].v = pool_take(pool, 4 * forward_kv_floats(shape, point->kv));
        }
        break;
    case OP_EMBED:
    case OP_NORM:
    case OP_ROPE:
    case OP_KVAPPEND:
    case OP_ADD:
    case OP_ACT:
    case OP_FNORM:
    case OP_COUNT:
        return;
    }
    forward_op(chain->forward, &chain->layers[0], chain->kv, &chain->ends, chain->x, &chain->step,
               op);
}

const float *chain_cold(struct chain *chain, int64_t count)
{
    return pool_take(&chain->pool, 4 * count);
}
