/* least.h - the smallest of many keys that change one at a time: a tree with 16 children a node.
 *
 * Each level keeps the smallest key of every block of 16 of the level below. Most changes do not
 * touch the smallest of their block, and end there. A few keys are a plain list. Equal keys: the
 * lowest index is the top. */
#ifndef ORRERY_SIM_NETWORK_LEAST_H
#define ORRERY_SIM_NETWORK_LEAST_H

#include "lib/base/arena.h"
#include <assert.h>
#include <stdint.h>

#define LEAST_NONE UINT64_MAX
#define LEAST_FAN 16U
#define LEAST_LEVELS 7 /* 16^7 keys */
#define LEAST_FEW 40U  /* keys without a tree over them */

struct least {
    uint32_t room; /* keys that fit; a multiple of 16 */
    uint32_t top;  /* keys of the top level */
    int levels;    /* in use */
    uint64_t *keys[LEAST_LEVELS];
};

static inline uint32_t least_blocks(uint32_t count)
{
    return count / LEAST_FAN + (count % LEAST_FAN ? 1 : 0);
}

static inline uint64_t least_of_block(const uint64_t *keys)
{
    uint64_t a = keys[0], b = keys[1];

    for (uint32_t i = 2; i < LEAST_FAN; i += 2) {
        a = keys[i] < a ? keys[i] : a;
        b = keys[i + 1] < b ? keys[i + 1] : b;
    }
    return a < b ? a : b;
}

/* Only the first count keys, which the caller has written into keys[0], are in use from now on. */
static inline void least_build(struct least *least, uint32_t count)
{
    assert(count <= least->room);
    least->levels = 1;
    least->top = count;
    while (least->top > LEAST_FEW) {
        uint64_t *keys = least->keys[least->levels - 1];
        uint32_t blocks = least_blocks(least->top);

        for (uint32_t i = least->top; i < blocks * LEAST_FAN; i++)
            keys[i] = LEAST_NONE;
        for (uint32_t i = 0; i < blocks; i++)
            least->keys[least->levels][i] = least_of_block(&keys[(size_t)i * LEAST_FAN]);
        least->top = blocks;
        least->levels++;
    }
}

/* Room for so many keys, all LEAST_NONE. room >= 1. */
static inline void least_create(struct least *least, struct arena *arena, uint32_t room)
{
    uint32_t blocks = room;

    least->room = least_blocks(room) * LEAST_FAN;
    for (int level = 0; level == 0 || blocks > LEAST_FEW / LEAST_FAN; level++) {
        assert(level < LEAST_LEVELS);
        blocks = least_blocks(blocks);
        least->keys[level] =
            arena_array(arena, (size_t)blocks * LEAST_FAN, sizeof(*least->keys[0]));
    }
    for (uint32_t i = 0; i < least->room; i++)
        least->keys[0][i] = LEAST_NONE;
    least_build(least, least->room);
}

static inline void least_set(struct least *least, uint32_t index, uint64_t key)
{
    for (int level = 0;; level++) {
        uint64_t *at = &least->keys[level][index], old = *at, *above;

        *at = key;
        if (level == least->levels - 1)
            return;
        index /= LEAST_FAN;
        above = &least->keys[level + 1][index];
        if (key >= *above) {
            if (old != *above || key == old)
                return;
            key = least_of_block(&least->keys[level][(size_t)index * LEAST_FAN]);
            if (key == *above)
                return;
        }
    }
}

static inline uint64_t least_get(const struct least *least, uint32_t index)
{
    return least->keys[0][index];
}

/* The smallest key, and at *index where it stands. */
static inline uint64_t least_top(const struct least *least, uint32_t *index)
{
    const uint64_t *keys = least->keys[least->levels - 1];
    uint64_t key = keys[0];
    uint32_t at = 0;

    for (uint32_t i = 1; i < least->top; i++) {
        at = keys[i] < key ? i : at;
        key = keys[i] < key ? keys[i] : key;
    }
    for (int level = least->levels - 2; level >= 0; level--) {
        at *= LEAST_FAN;
        while (least->keys[level][at] != key)
            at++;
    }
    *index = at;
    return key;
}

#endif
