/* blocks.c - free blocks as a doubly linked list through the pool, names as chains from a table of
 * heads. Number `count` of the pool is the end of the list. */
#include "lib/policy/blocks.h"

#include "lib/base/arena.h"
#include <assert.h>
#include <stddef.h>

struct block {
    int64_t key;            /* -1 = no name */
    int32_t next, previous; /* in the free list */
    int32_t holders;
    int32_t next_of_name; /* with the same head */
};

struct blocks {
    int32_t count, free_count;
    struct block *pool; /* [count] links both ends of the free list */
    int32_t *heads;
    uint64_t mask;
};

struct blocks *blocks_create(struct arena *arena, int32_t count)
{
    struct blocks *blocks = arena_alloc(arena, sizeof *blocks);
    size_t heads = 16;

    assert(count >= 1 && count < INT32_MAX);
    while (heads < 2 * (size_t)count)
        heads *= 2;
    blocks->count = blocks->free_count = count;
    blocks->pool = arena_array(arena, (size_t)count + 1, sizeof *blocks->pool);
    blocks->heads = arena_array(arena, heads, sizeof *blocks->heads);
    blocks->mask = heads - 1;
    for (size_t i = 0; i < heads; i++)
        blocks->heads[i] = BLOCKS_NONE;
    for (int32_t i = 0; i <= count; i++) {
        blocks->pool[i].key = -1;
        blocks->pool[i].next = i < count ? i + 1 : 0;
        blocks->pool[i].previous = i > 0 ? i - 1 : count;
    }
    return blocks;
}

int32_t blocks_count(const struct blocks *blocks)
{
    return blocks->count;
}

int32_t blocks_free(const struct blocks *blocks)
{
    return blocks->free_count;
}

static int32_t *head_of(const struct blocks *blocks, int64_t key)
{
    /* Fibonacci hashing: keys are mostly consecutive numbers. */
    return &blocks->heads[((uint64_t)key * UINT64_C(0x9e3779b97f4a7c15)) >> 32 & blocks->mask];
}

static void forget_name(struct blocks *blocks, int32_t block)
{
    int32_t *at = head_of(blocks, blocks->pool[block].key);

    while (*at != block)
        at = &blocks->pool[*at].next_of_name;
    *at = blocks->pool[block].next_of_name;
    blocks->pool[block].key = -1;
}

/* Out of the free list. */
static void unlink_free(struct blocks *blocks, int32_t block)
{
    struct block *pool = blocks->pool;

    pool[pool[block].previous].next = pool[block].next;
    pool[pool[block].next].previous = pool[block].previous;
    blocks->free_count--;
}

int32_t blocks_take(struct blocks *blocks)
{
    int32_t block = blocks->pool[blocks->count].next;

    assert(blocks->free_count > 0);
    unlink_free(blocks, block);
    if (blocks->pool[block].key >= 0)
        forget_name(blocks, block);
    blocks->pool[block].holders = 1;
    return block;
}

int32_t blocks_find(const struct blocks *blocks, int64_t key)
{
    int32_t block = *head_of(blocks, key);

    while (block != BLOCKS_NONE && blocks->pool[block].key != key)
        block = blocks->pool[block].next_of_name;
    return block;
}

bool blocks_is_held(const struct blocks *blocks, int32_t block)
{
    return blocks->pool[block].holders > 0;
}

void blocks_share(struct blocks *blocks, int32_t block)
{
    if (blocks->pool[block].holders++ == 0)
        unlink_free(blocks, block);
}

void blocks_release(struct blocks *blocks, int32_t block)
{
    struct block *pool = blocks->pool;
    int32_t end = blocks->count;

    assert(pool[block].holders > 0);
    if (--pool[block].holders > 0)
        return;
    pool[block].next = end;
    pool[block].previous = pool[end].previous;
    pool[pool[end].previous].next = block;
    pool[end].previous = block;
    blocks->free_count++;
}

void blocks_name(struct blocks *blocks, int32_t block, int64_t key)
{
    int32_t *head = head_of(blocks, key);

    assert(key >= 0 && blocks->pool[block].key < 0 && blocks->pool[block].holders > 0);
    if (blocks_find(blocks, key) != BLOCKS_NONE)
        return;
    blocks->pool[block].key = key;
    blocks->pool[block].next_of_name = *head;
    *head = block;
}
