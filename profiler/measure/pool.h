/* pool.h - memory that is always cold: one cursor over much more than the last-level cache.
 *
 * In a real forward every weight is read once and the next layer's weights push it out. Timing a
 * kernel on the same weights again and again measures the cache instead (decode by -40..-50 %). */
#ifndef ORRERY_PROFILER_POOL_H
#define ORRERY_PROFILER_POOL_H

#include "lib/kernels/kernels.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct err;
struct forward_shape;
struct point;

#define POOL_CANARY_FLOATS (INT64_C(1) << 20) /* 4 MB: what the memory canary reads at once */

struct pool {
    char *memory;
    int64_t bytes, at;
};

/* The next `bytes`, aligned to 64; goes back to the start when the end is near. bytes is at most
 * the pool's. Whatever matrix of the pool's type, cache or f32 array is laid there is finite. */
void *pool_take(struct pool *pool, int64_t bytes);
/* As many bytes half a pool away from the cursor, which stays: for tables of which only a few rows
 * are read. Moving past the rest would bring the cursor back to memory that is still warm. */
void *pool_far(const struct pool *pool, int64_t bytes);

struct pool_plan {
    int64_t llc_bytes;
    bool is_llc_assumed; /* the system does not say; 32 MiB is taken */
    int64_t size_bytes;
    int64_t work_bytes; /* beside the pool: activations and the scores of attention */
    enum kernel_dtype dtype;
    int anchor_layers; /* whole forwards of this many layers fit */
};

/* Size of the pool: 4 times the last-level cache, the weights and cache of a whole forward of
 * max_layers layers (fewer when they do not fit), and the largest matrix again, so that what is
 * taken was last touched at least 4 caches ago. With what steps of `most` tokens, keys
 * and sequences need to work, at most 40 % of the available memory; an error when even one layer
 * does not fit. available 0 = not known, no limit. */
bool pool_plan(const struct forward_shape *shape, int max_layers, const struct point *most,
               int64_t llc_bytes, int64_t available_bytes, struct pool_plan *plan, struct err *err);

/* Allocates, touches and fills. */
bool pool_create(struct arena *arena, const struct pool_plan *plan, uint64_t seed,
                 struct pool *pool, struct err *err);

#endif
