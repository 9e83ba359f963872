/* kv.h - KV caches of one stage: one a request, taken at its first step, given back when it ends.
 *
 * Slabs are powers of two and are kept for the next request, so that a long run settles on a fixed
 * amount of memory and no step pays for fresh pages after the first few. */
#ifndef ORRERY_RUNNER_KV_H
#define ORRERY_RUNNER_KV_H

#include "lib/kernels/forward.h"
#include <stdbool.h>
#include <stdint.h>

struct arena;
struct kv_pool;

/* Asked before a new slab is allocated; false = no memory for it. */
typedef bool kv_room_fn(void *arg, int64_t slab_bytes);

/* kv_heads: of each layer; NULL: the shape's in all. */
struct kv_pool *kv_pool_create(struct arena *arena, const struct forward_shape *shape,
                               const int *kv_heads, int layers, kv_room_fn *has_room, void *arg);
/* The caches of a request, one a layer, or NULL when it has none. */
const struct forward_kv *kv_pool_find(const struct kv_pool *pool, int64_t request);
/* New caches of `capacity` tokens for a request that has none. NULL: no memory. */
const struct forward_kv *kv_pool_take(struct kv_pool *pool, int64_t request, int capacity);
/* Does nothing for a request that has none. */
void kv_pool_release(struct kv_pool *pool, int64_t request);
/* Those of all requests but one. */
void kv_pool_release_others(struct kv_pool *pool, int64_t kept);
/* Allocates and touches slabs for `count` requests of `capacity` tokens; stops quietly where memory
 * ends. */
void kv_pool_prepare(struct kv_pool *pool, int count, int capacity);
/* Bytes of all slabs, and of those in use. */
int64_t kv_pool_bytes(const struct kv_pool *pool);
int64_t kv_pool_used_bytes(const struct kv_pool *pool);
/* Bytes of the slab that holds `capacity` tokens. */
int64_t kv_pool_slab_bytes(const struct forward_shape *shape, const int *kv_heads, int layers,
                           int capacity);

#endif
