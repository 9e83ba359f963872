/* kv.c - slabs by power-of-two capacity, and a hash from request to its slab. */
#include "runner/worker/kv.h"

#include "lib/base/arena.h"
#include <assert.h>
#include <stddef.h>
#include <string.h>

#define BUCKETS 1024
#define CLASSES 31 /* 2^0 .. 2^30 tokens */

struct kv_slab {
    int64_t request;
    int class; /* holds 2^class tokens */
    float *floats;
    struct forward_kv *layers;
    struct kv_slab *next; /* in its bucket, or among the free ones of its class */
};

struct kv_pool {
    struct arena *arena;
    struct forward_shape shape;
    const int *kv_heads;
    int layers;
    kv_room_fn *has_room;
    void *arg;
    int64_t bytes, used_bytes;
    struct kv_slab *buckets[BUCKETS];
    struct kv_slab *free[CLASSES];
};

struct kv_pool *kv_pool_create(struct arena *arena, const struct forward_shape *shape,
                               const int *kv_heads, int layers, kv_room_fn *has_room, void *arg)
{
    struct kv_pool *pool = arena_alloc(arena, sizeof *pool);

    pool->arena = arena;
    pool->shape = *shape;
    pool->kv_heads = kv_heads;
    pool->layers = layers;
    pool->has_room = has_room;
    pool->arg = arg;
    return pool;
}

static int class_of(int capacity)
{
    int class = 0;

    assert(capacity >= 1 && capacity <= 1 << (CLASSES - 1));
    while (1 << class < capacity)
        class ++;
    return class;
}

/* Of k or v alone. */
static int64_t layer_floats(const struct forward_shape *shape, const int *kv_heads, int layer,
                            int64_t capacity)
{
    return capacity * shape->head_dim * (kv_heads ? kv_heads[layer] : shape->kv_heads);
}

static int64_t slab_bytes(const struct forward_shape *shape, const int *kv_heads, int layers,
                          int class)
{
    int64_t floats = 0;

    for (int i = 0; i < layers; i++)
        floats += layer_floats(shape, kv_heads, i, INT64_C(1) << class);
    return 2 * floats * (int64_t)sizeof(float);
}

int64_t kv_pool_slab_bytes(const struct forward_shape *shape, const int *kv_heads, int layers,
                           int capacity)
{
    return slab_bytes(shape, kv_heads, layers, class_of(capacity));
}

static size_t bucket_of(int64_t request)
{
    return (uint64_t)request % BUCKETS;
}

const struct forward_kv *kv_pool_find(const struct kv_pool *pool, int64_t request)
{
    for (const struct kv_slab *slab = pool->buckets[bucket_of(request)]; slab; slab = slab->next)
        if (slab->request == request)
            return slab->layers;
    return NULL;
}

static struct kv_slab *new_slab(struct kv_pool *pool, int class)
{
    int64_t bytes = slab_bytes(&pool->shape, pool->kv_heads, pool->layers, class);
    struct kv_slab *slab;
    float *floats;

    if (!pool->has_room(pool->arg, bytes))
        return NULL;
    floats = arena_try_alloc(pool->arena, (size_t)bytes);
    if (!floats)
        return NULL;
    slab = arena_alloc(pool->arena, sizeof *slab);
    slab->class = class;
    slab->floats = floats;
    slab->layers = arena_array(pool->arena, (size_t)pool->layers, sizeof *slab->layers);
    pool->bytes += bytes;
    return slab;
}

/* The smallest free slab that is large enough. */
static struct kv_slab *free_slab(struct kv_pool *pool, int class)
{
    for (; class < CLASSES; class ++)
        if (pool->free[class]) {
            struct kv_slab *slab = pool->free[class];
            pool->free[class] = slab->next;
            return slab;
        }
    return NULL;
}

const struct forward_kv *kv_pool_take(struct kv_pool *pool, int64_t request, int capacity)
{
    int class = class_of(capacity);
    struct kv_slab **bucket = &pool->buckets[bucket_of(request)];
    struct kv_slab *slab = free_slab(pool, class);
    float *floats;

    assert(!kv_pool_find(pool, request));
    if (!slab)
        slab = new_slab(pool, class);
    if (!slab)
        return NULL;
    floats = slab->floats;
    for (int i = 0; i < pool->layers; i++) {
        int64_t count = layer_floats(&pool->shape, pool->kv_heads, i, capacity);

        slab->layers[i].k = floats;
        slab->layers[i].v = floats + count;
        floats += 2 * count;
        slab->layers[i].capacity = capacity;
    }
    slab->request = request;
    slab->next = *bucket;
    *bucket = slab;
    pool->used_bytes += slab_bytes(&pool->shape, pool->kv_heads, pool->layers, slab->class);
    return slab->layers;
}

/* Out of its bucket. */
static void release_at(struct kv_pool *pool, struct kv_slab **at)
{
    struct kv_slab *slab = *at;

    *at = slab->next;
    slab->next = pool->free[slab->class];
    pool->free[slab->class] = slab;
    pool->used_bytes -= slab_bytes(&pool->shape, pool->kv_heads, pool->layers, slab->class);
}

void kv_pool_release(struct kv_pool *pool, int64_t request)
{
    struct kv_slab **at = &pool->buckets[bucket_of(request)];

    while (*at && (*at)->request != request)
        at = &(*at)->next;
    if (*at)
        release_at(pool, at);
}

void kv_pool_release_others(struct kv_pool *pool, int64_t kept)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct kv_slab **at = &pool->buckets[i]; *at;)
            if ((*at)->request == kept)
                at = &(*at)->next;
            else
                release_at(pool, at);
}

void kv_pool_prepare(struct kv_pool *pool, int count, int capacity)
{
    for (int i = 0; i < count; i++) {
        struct kv_slab *slab = new_slab(pool, class_of(capacity));

        if (!slab)
            return;
        /* any value but 0: the pages of zeroed memory are not there before they are written */
        memset(slab->floats, 1,
               (size_t)slab_bytes(&pool->shape, pool->kv_heads, pool->layers, slab->class));
        slab->next = pool->free[slab->class];
        pool->free[slab->class] = slab;
    }
}

int64_t kv_pool_bytes(const struct kv_pool *pool)
{
    return pool->bytes;
}

int64_t kv_pool_used_bytes(const struct kv_pool *pool)
{
    return pool->used_bytes;
}
