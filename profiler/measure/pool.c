/* pool.c - size of the cold pool, and the cursor over it. */
#include "profiler/measure/pool.h"
#include "lib/base/arena.h"
#include "lib/base/err.h"
#include "lib/base/units.h"
#include "lib/kernels/forward.h"
#include "profiler/measure/grid.h"
#include <assert.h>

#define ASSUMED_LLC_BYTES (32 * INT64_C(1048576))
/* A turn of the cursor is at least so many caches: 4, because caches replace lines only nearly in
 * order of use; 2 where 4 would be more than half a GiB, whose lines nobody keeps by accident. */
#define LLC_TIMES 4
#define LLC_TIMES_LARGE 2
#define LARGE_BYTES (INT64_C(512) << 20)
#define MEMORY_PERCENT 40
#define ALIGN_BYTES 64

static int64_t align(int64_t bytes)
{
    return (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
}

void *pool_take(struct pool *pool, int64_t bytes)
{
    int64_t at = pool->at + bytes > pool->bytes ? 0 : pool->at;

    assert(bytes <= pool->bytes);
    pool->at = at + align(bytes);
    return pool->memory + at;
}

void *pool_far(const struct pool *pool, int64_t bytes)
{
    int64_t at = (pool->at + pool->bytes / 2) % pool->bytes / ALIGN_BYTES * ALIGN_BYTES;

    assert(bytes <= pool->bytes);
    return pool->memory + (at + bytes > pool->bytes ? 0 : at);
}

static int64_t turn_bytes(int64_t llc_bytes)
{
    int64_t bytes = LLC_TIMES * llc_bytes, least = LLC_TIMES_LARGE * llc_bytes;

    if (bytes > LARGE_BYTES)
        bytes = least > LARGE_BYTES ? least : LARGE_BYTES;
    return bytes;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* As forward_create and chain_create take them. */
static int64_t work_bytes(const struct forward_shape *shape, const struct point *most)
{
    int64_t hidden = shape->hidden, keys = larger(most->m, most->kv);
    int64_t up = (int64_t)shape->ffn_hidden * (shape->is_swiglu ? 3 : 1);
    int64_t qkv = (shape->heads + INT64_C(2) * shape->kv_heads) * shape->head_dim;
    int64_t token = 2 * hidden + qkv + (int64_t)shape->heads * shape->head_dim + up +
                    (shape->is_patches ? 768 : 0);
    int64_t words = shape->is_pooler ? hidden : shape->vocab;

    return 4 * (most->m * (token + keys) + most->batch * (hidden + words) +
                (shape->is_rope ? keys * shape->head_dim : 0));
}

bool pool_plan(const struct forward_shape *shape, int max_layers, const struct point *most,
               int64_t llc_bytes, int64_t available_bytes, struct pool_plan *plan, struct err *err)
{
    int64_t kv = 4 * forward_kv_floats(shape, most->kv);
    int64_t layer = forward_qkv_bytes(shape) + forward_oproj_bytes(shape) +
                    forward_ffn_up_bytes(shape) + forward_ffn_down_bytes(shape) +
                    4 * forward_small_floats(shape) + INT64_C(2) * most->batch * kv;
    int64_t largest =
        larger(larger(forward_ffn_up_bytes(shape), forward_qkv_bytes(shape)),
               larger(larger(forward_embed_bytes(shape), forward_lm_head_bytes(shape)),
                      larger(4 * forward_positions_floats(shape),
                             larger(kv, forward_ffn_down_bytes(shape)))));
    char need[UNITS_TEXT_BYTES], have[UNITS_TEXT_BYTES];

    plan->is_llc_assumed = llc_bytes <= 0;
    plan->llc_bytes = plan->is_llc_assumed ? ASSUMED_LLC_BYTES : llc_bytes;
    plan->work_bytes = work_bytes(shape, most);
    plan->dtype = shape->dtype;
    int64_t limit = units_mul_div(available_bytes, MEMORY_PERCENT, 100);
    for (plan->anchor_layers = max_layers; plan->anchor_layers >= 1; plan->anchor_layers--) {
        int64_t visit = plan->anchor_layers * layer + forward_lm_head_bytes(shape);

        plan->size_bytes =
            larger(turn_bytes(plan->llc_bytes), visit) + larger(largest, 4 * POOL_CANARY_FLOATS);
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
    pool->bytes = plan->size_bytes / ALIGN_BYTES * ALIGN_BYTES;
    pool->memory = arena_try_alloc(arena, (size_t)pool->bytes);
    if (!pool->memory)
        return err_set(err, ERR_SYSTEM, "the system refuses %s for cold weights",
                       units_format_bytes(plan->size_bytes, size));
    kernel_fill(plan->dtype, pool->memory, pool->bytes, seed);
    return true;
}
