/* chain.c - lays a visit out along the pool and runs it through lib/kernels/forward. */
#include "profiler/chain.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/rng.h"
#include "lib/format/model.h"

#define PATCH_VALUES 768

struct chain {
    struct forward_shape shape;
    struct forward *forward;
    struct pool pool;
    struct rng rng;
    uint64_t visits;
    float *x, *patches;
    int32_t *tokens;
    struct forward_layer *layers;
    struct forward_kv *kv;
    struct forward_ends ends;
    /* of the visit */
    int layer_count, m, past;
};

struct forward_shape chain_shape(const struct model *model)
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
    };
}

struct chain *chain_create(struct arena *arena, const struct model *model, struct pool pool,
                           int max_layers, int max_m, int max_kv, uint64_t seed, struct err *err)
{
    struct chain *chain = arena_alloc(arena, sizeof(*chain));
    int64_t rows = max_m;

    chain->shape = chain_shape(model);
    if (chain->shape.max_context < max_kv)
        chain->shape.max_context = max_kv;
    chain->pool = pool;
    chain->rng = rng_stream(seed, RNG_INPUT_TOKENS, 0);
    chain->layers = arena_array(arena, (size_t)max_layers, sizeof(*chain->layers));
    chain->kv = arena_array(arena, (size_t)max_layers, sizeof(*chain->kv));
    chain->tokens = arena_array(arena, (size_t)max_m, sizeof(*chain->tokens));
    chain->x = arena_try_alloc(arena, (size_t)(rows * model->hidden) * sizeof(float));
    chain->patches = arena_try_alloc(
        arena, chain->shape.is_patches ? (size_t)(rows * PATCH_VALUES) * sizeof(float) : 0);
    chain->forward = forward_create(arena, &chain->shape, max_m, max_kv);
    if (!chain->x || !chain->patches || !chain->forward) {
        err_set(err, ERR_SYSTEM, "no memory for the activations of %d tokens", max_m);
        return NULL;
    }
    if (chain->shape.is_patches)
        forward_fill(chain->patches, rows * PATCH_VALUES, seed);
    return chain;
}

static void take_layer(struct chain *chain, int index, int capacity)
{
    struct pool *pool = &chain->pool;
    const struct forward_shape *shape = &chain->shape;
    struct forward_layer *layer = &chain->layers[index];
    struct forward_kv *kv = &chain->kv[index];

    layer->small = pool_take(pool, forward_small_floats(shape));
    layer->qkv = pool_take(pool, forward_qkv_floats(shape));
    kv->k = pool_take(pool, forward_kv_floats(shape, capacity));
    kv->v = pool_take(pool, forward_kv_floats(shape, capacity));
    kv->capacity = capacity;
    layer->oproj = pool_take(pool, forward_oproj_floats(shape));
    layer->ffn_up = pool_take(pool, forward_ffn_up_floats(shape));
    layer->ffn_down = pool_take(pool, forward_ffn_down_floats(shape));
}

void chain_prepare(struct chain *chain, const struct point *point, int layers, bool has_lm_head)
{
    const struct forward_shape *shape = &chain->shape;
    struct pool *pool = &chain->pool;

    chain->m = point->m;
    chain->past = point->kv - point->m;
    chain->layer_count = layers;
    chain->visits++;
    for (int i = 0; i < point->m; i++)
        chain->tokens[i] = (int32_t)rng_below(&chain->rng, (uint64_t)shape->vocab);
    /* a projection of patches is read whole, a table of tokens only in a few rows */
    chain->ends.embed = shape->is_patches ? pool_take(pool, forward_embed_floats(shape))
                                          : pool_far(pool, forward_embed_floats(shape));
    chain->ends.positions = shape->is_rope ? NULL : pool_far(pool, forward_positions_floats(shape));
    for (int l = 0; l < layers; l++)
        take_layer(chain, l, point->kv);
    chain->ends.small = pool_take(pool, INT64_C(2) * shape->hidden);
    chain->ends.lm_head = has_lm_head ? pool_take(pool, forward_lm_head_floats(shape)) : NULL;
}

void chain_run(struct chain *chain, struct forward_stamp stamp)
{
    forward_embed(chain->forward, &chain->ends, chain->tokens, chain->patches, chain->x, chain->m,
                  chain->past, stamp);
    for (int l = 0; l < chain->layer_count; l++)
        forward_layer(chain->forward, &chain->layers[l], &chain->kv[l], chain->x, chain->m,
                      chain->past, stamp);
    if (chain->ends.lm_head)
        forward_lm_head(chain->forward, &chain->ends, chain->x, chain->m, stamp);
}

void chain_restore(struct chain *chain)
{
    int head_dim = chain->shape.head_dim;

    for (int l = 0; l < chain->layer_count; l++)
        for (int h = 0; h < chain->shape.kv_heads; h++) {
            const struct forward_kv *kv = &chain->kv[l];
            int64_t at = ((int64_t)h * kv->capacity + chain->past) * head_dim;
            uint64_t seed = chain->visits * 4096 + (uint64_t)(l * chain->shape.kv_heads + h);

            forward_fill(kv->k + at, (int64_t)chain->m * head_dim, 2 * seed);
            forward_fill(kv->v + at, (int64_t)chain->m * head_dim, 2 * seed + 1);
        }
}

const float *chain_cold(struct chain *chain, int64_t count)
{
    return pool_take(&chain->pool, count);
}
