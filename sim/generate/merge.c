/* merge.c - each inner node keeps who lost there; the winner of all stands apart. */
#include "sim/generate/merge.h"

#include "lib/base/arena.h"
#include <stdbool.h>
#include <stddef.h>

struct merge {
    int64_t first;
    uint64_t width; /* leaves: a power of two */
    /* Who lost at the inner nodes 1 to width - 1: when, and the slot. */
    int64_t *loser_ps, *loser;
};

static inline bool is_before(int64_t a_ps, int64_t a, int64_t b_ps, int64_t b)
{
    return (a_ps < b_ps) | ((a_ps == b_ps) & (a < b));
}

struct merge *merge_create(struct arena *arena, const int64_t *heads_ps, int count)
{
    struct merge *merge = arena_alloc(arena, sizeof(*merge));
    int64_t *at_ps, *winner; /* at every node, leaves from width on */

    merge->width = 1;
    while (merge->width < (uint64_t)count)
        merge->width *= 2;
    merge->loser_ps = arena_array(arena, merge->width, sizeof(int64_t));
    merge->loser = arena_array(arena, merge->width, sizeof(int64_t));
    at_ps = arena_array(arena, 2 * merge->width, sizeof(int64_t));
    winner = arena_array(arena, 2 * merge->width, sizeof(int64_t));
    for (uint64_t i = 0; i < merge->width; i++) {
        at_ps[merge->width + i] = i < (uint64_t)count ? heads_ps[i] : INT64_MAX;
        winner[merge->width + i] = (int64_t)i;
    }
    for (uint64_t node = merge->width - 1; node >= 1; node--) {
        uint64_t a = 2 * node, b = a + 1;
        bool is_a = is_before(at_ps[a], winner[a], at_ps[b], winner[b]);

        at_ps[node] = is_a ? at_ps[a] : at_ps[b];
        winner[node] = is_a ? winner[a] : winner[b];
        merge->loser_ps[node] = is_a ? at_ps[b] : at_ps[a];
        merge->loser[node] = is_a ? winner[b] : winner[a];
    }
    merge->first = winner[1];
    return merge;
}

int merge_first(const struct merge *merge)
{
    return (int)merge->first;
}

int merge_replace(struct merge *merge, int64_t at_ps)
{
    int64_t slot = merge->first;

    for (uint64_t node = (merge->width + (uint64_t)slot) / 2; node >= 1; node /= 2) {
        int64_t other_ps = merge->loser_ps[node], other = merge->loser[node];
        /* By masks: who wins is a matter of chance, which no branch should depend on. */
        int64_t swap = 0 - (int64_t)is_before(other_ps, other, at_ps, slot);
        int64_t change_ps = (other_ps ^ at_ps) & swap, change = (other ^ slot) & swap;

        merge->loser_ps[node] = other_ps ^ change_ps;
        merge->loser[node] = other ^ change;
        at_ps ^= change_ps;
        slot ^= change;
    }
    merge->first = slot;
    return (int)slot;
}
