/* least.h - the smallest of many keys that change one at a time: a tree with 16 children a node.
 *
 * Each level keeps the smallest key of every block of 16 of the level below. Most changes do not
 * touch the smallest of their block, and end there. Equal keys: the lowest index is the top. */
#ifndef ORRERY_SIM_NETWORK_LEAST_H
#define ORRERY_SIM_NETWORK_LEAST_H

#include "lib/base/arena.h"
#include <assert.h>
#include <stdint.h>

#define LEAST_NONE UINT64_MAX
#define LEAST_FAN 16U
#define LEAST_LEVELS 7 /* 16^7 keys */

struct least {
    uint32_t room; /* keys that fit; a multiple of 16 */
    int levels;    /* in use; the top one is a single block */
    uint64_t *keys[LEAST_LEVELS];
};

static inline uint32_t least_blocks(uint32_t count)
{
    return count / LEAST_FAN + (count % LEAST_FAN ? 1 : 0);
}

/* Room for so many keys, all LEAST_NONE. room >= 1. */
static inline void least_create(struct least *least, struct arena *arena, uint32_t room)
{
    uint32_t blocks = room;

    least->levels = 0;
    do {
        assert(least->levels < LEAST_LEVELS);
        blocks = least_blocks(blocks);
        least->keys[least->levels] =
            arena_array(arena, (size_t)blocks * LEAST_FAN, sizeof(*least->keys[0]));
        for (uint32_t i = 0; i < blocks * LEAST_FAN; i++)
            least->keys[least->levels][i] = LEAST_NONE;
        if (least->levels == 0)
            least->room = blocks * LEAST_FAN;
        least->levels++;
    } while (blocks > 1);
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

/* All keys of a tree that is smaller than its room: only the first count keys, written by the
 * caller into keys[0], are in use from now on. */
static inline void least_build(struct least *least, uint32_t count)
{
    uint32_t blocks = count > 0 ? count : 1;

    assert(count <= least->room);
    least->levels = 0;
    do {
        uint64_t *keys = least->keys[least->levels];
        uint32_t used = blocks;

        blocks = least_blocks(used);
        for (uint32_t i = least->levels == 0 ? count : used; i < blocks * LEAST_FAN; i++)
            keys[i] = LEAST_NONE;
        least->levels++;
        if (blocks > 1)
            for (uint32_t i = 0; i < blocks; i++)
                least->keys[least->levels][i] = least_of_block(&keys[(size_t)i * LEAST_FAN]);
    } while (blocks > 1);
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
    uint64_t key = least_of_block(least->keys[least->levels - 1]);
    uint32_t at = 0;

    for (int level = least->levels - 1; level >= 0; level--) {
        at *= LEAST_FAN;
        while (least->keys[level][at] != key)
            at++;
    }
    *index = at;
    return key;
}

#endif
