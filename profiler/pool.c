/* pool.c - size of the cold pool, and the cursor over it. */
#include "profiler/pool.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/kernels/forward.h"
#include <assert.h>

#define ASSUMED_LLC_BYTES (32 * INT64_C(1048576))
#define LLC_TIMES 4
#define MEMORY_PERCENT 40
#define ALIGN_FLOATS 16

float *pool_take(struct pool *pool, int64_t count)
{
    int64_t at = pool->at + count > pool->count ? 0 : pool->at;

    assert(count <= pool->count);
    pool->at = at + (count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
    return pool->floats + at;
}

float *pool_far(const struct pool *pool, int64_t count)
{
    int64_t at = (pool->at + pool->count / 2) % pool->count / ALIGN_FLOATS * ALIGN_FLOATS;

    assert(count <= pool->count);
    return pool->floats + (at + count > pool->count ? 0 : at);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* As forward_create and chain_create take them. */
static int64_t work_floats(const struct forward_shape *shape, int max_m, int max_kv)
{
    int64_t hidden = shape->hidden, keys = larger(max_m, max_kv);
    int64_t up = forward_ffn_up_floats(shape) / hidden;
    int64_t token = 2 * hidden + forward_qkv_floats(shape) / hidden +
                    (int64_t)shape->heads * shape->head_dim + up +
                    (shape->is_swiglu ? shape->ffn_hidden : 0) +
                    (shape->is_patches ? forward_embed_floats(shape) / hidden : 0);

    return max_m * (token + keys) + forward_lm_head_floats(shape) / hidden +
           (shape->is_rope ? keys * shape->head_dim : 0);
}

bool pool_plan(const struct forward_shape *shape, int max_layers, int max_m, int max_kv,
               int64_t llc_bytes, int64_t available_bytes, struct pool_plan *plan, struct err *err)
{
    int64_t kv = forward_kv_floats(shape, max_kv);
    int64_t layer = forward_qkv_floats(shape) + forward_oproj_floats(shape) +
                    forward_ffn_up_floats(shape) + forward_ffn_down_floats(shape) +
                    forward_small_floats(shape) + 2 * kv;
    int64_t largest =
        larger(larger(forward_ffn_up_floats(shape), forward_qkv_floats(shape)),
               larger(larger(forward_embed_floats(shape), forward_lm_head_floats(shape)),
                      larger(forward_positions_floats(shape),
                             larger(kv, forward_ffn_down_floats(shape)))));
    char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];

    plan->is_llc_assumed = llc_bytes <= 0;
    plan->llc_bytes = plan->is_llc_assumed ? ASSUMED_LLC_BYTES : llc_bytes;
    plan->work_bytes = 4 * work_floats(shape, max_m, max_kv);
    int64_t limit = units_mul_div(available_bytes, MEMORY_PERCENT, 100);
    for (plan->anchor_layers = max_layers; plan->anchor_layers >= 1; plan->anchor_layers--) {
        int64_t visit = 4 * (plan->anchor_layers * layer + forward_lm_head_floats(shape));

        plan->size_bytes =
            larger(LLC_TIMES * plan->llc_bytes, visit) + 4 * larger(largest, POOL_CANARY_FLOATS);
        if (available_bytes <= 0 || plan->size_bytes + plan->work_bytes <= limit)
            return true;
    }
    return err_set(err, ERR_SYSTEM,
                   "one layer with cold weights needs %s of memory, but %d %% of what is free is "
                   "%s: choose a smaller model or shorter --tokens and --kv",
                   units_format_bytes(plan->size_bytes + plan->work_bytes, need), MEMORY_PERCENT,
                   units_format_bytes(limit, have));
}

bool pool_create(struct arena *arena, const struct pool_plan *plan, uint64_t seed,
                 struct pool *pool, struct err *err)
{
    char size[UNITS_TEXT_BYTES];

    pool->at = 0;
    pool->count = plan->size_bytes / 4 / ALIGN_FLOATS * ALIGN_FLOATS;
    pool->floats = arena_try_alloc(arena, (size_t)pool->count * sizeof(float));
    if (!pool->floats)
        return err_set(err, ERR_SYSTEM, "the system refuses %s for cold weights",
                       units_format_bytes(plan->size_bytes, size));
    forward_fill(pool->floats, pool->count, seed);
    return true;
}
