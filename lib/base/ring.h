/* ring.h - a first-in first-out queue of non-negative numbers that grows by doubling.
 *
 * Inline: a simulated device takes one out of it at every job. A zeroed struct is an empty ring;
 * the calls own its members. */
#ifndef ORRERY_BASE_RING_H
#define ORRERY_BASE_RING_H

#include "lib/base/arena.h"
#include <stdint.h>

struct ring {
    int32_t *items;
    uint32_t room, head, count; /* room is a power of two up to 2^30, or 0 */
};

static inline int32_t ring_at(const struct ring *ring, uint32_t index)
{
    return ring->items[(ring->head + index) & (ring->room - 1)];
}

/* -1 when empty. */
static inline int32_t ring_peek(const struct ring *ring)
{
    return ring->count > 0 ? ring->items[ring->head] : -1;
}

static inline void ring_push(struct ring *ring, struct arena *arena, int32_t item)
{
    if (ring->count == ring->room) {
        uint32_t room = (uint32_t)arena_wider((int32_t)ring->room, 16);
        int32_t *items = arena_array(arena, room, sizeof *items);

        for (uint32_t i = 0; i < ring->count; i++)
            items[i] = ring_at(ring, i);
        ring->items = items;
        ring->room = room;
        ring->head = 0;
    }
    ring->items[(ring->head + ring->count++) & (ring->room - 1)] = item;
}

/* The ring must not be empty. */
static inline int32_t ring_take(struct ring *ring)
{
    int32_t item = ring->items[ring->head];

    ring->head = (ring->head + 1) & (ring->room - 1);
    ring->count--;
    return item;
}

#endif
