/* heads_greedy.c - head-level placements without a search: load-aware greedy, and one device; see
 * heads.h. */
#include "sim/place/heads.h"

#include "lib/base/arena.h"
#include "sim/place/heads_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct option { /* ends and FFN beside a projection */
    double base;
    struct heads_choice choice;
};

static int compare_options(const void *a, const void *b)
{
    const struct option *x = a, *y = b;

    if (x->base < y->base || x->base > y->base)
        return x->base < y->base ? -1 : 1;
    if (x->choice.end != y->choice.end)
        return x->choice.end < y->choice.end ? -1 : 1;
    return (x->choice.ffn > y->choice.ffn) - (x->choice.ffn < y->choice.ffn);
}

/* Mostly the first one is good; only then the others are put into order. */
static void least_first(struct option *options, int32_t count)
{
    for (int32_t i = 1; i < count; i++)
        if (compare_options(&options[i], &options[0]) < 0) {
            struct option kept = options[0];

            options[0] = options[i];
            options[i] = kept;
        }
}

/* The next number of heads above n that the device may have; 0 = none. */
static int32_t next_count(const struct heads_problem *p, int32_t device, int32_t n, int32_t room)
{
    for (n++; n <= room; n++)
        if (!isinf(heads_of(p, device, n)))
            return n;
    return 0;
}

/* Head by head; false: some are left over. */
static bool heads_fill(const struct heads_problem *p, struct heads_choice choice, int32_t *rooms,
                       int32_t *counts)
{
    double most = 0, ways = 0;
    int32_t left = p->head_count;

    for (int32_t d = 0; d < p->device_count; d++) {
        rooms[d] = heads_room(p, choice, d);
        counts[d] = 0;
        if (rooms[d] < 0)
            return false;
    }
    while (left > 0) {
        int32_t best = -1, best_count = 0;
        double least = HUGE_VAL;

        for (int32_t d = 0; d < p->device_count; d++) {
            int32_t most_here = counts[d] + left < rooms[d] ? counts[d] + left : rooms[d];
            int32_t n = next_count(p, d, counts[d], most_here);
            double after;

            if (n == 0)
                continue;
            after = (heads_of(p, d, n) > most ? heads_of(p, d, n) : most) + ways +
                    heads_way(p, choice, d, n) - heads_way(p, choice, d, counts[d]);
            if (after < least) {
                least = after;
                best = d;
                best_count = n;
            }
        }
        if (best < 0)
            return false;
        ways += heads_way(p, choice, best, best_count) - heads_way(p, choice, best, counts[best]);
        most = heads_of(p, best, best_count) > most ? heads_of(p, best, best_count) : most;
        left -= best_count - counts[best];
        counts[best] = best_count;
    }
    return true;
}

struct heads_answer heads_greedy(struct arena *arena, const struct heads_problem *p)
{
    size_t devices = (size_t)p->device_count;
    struct heads_answer best = { .cost = HUGE_VAL };
    int32_t *counts = arena_array(arena, devices, sizeof *counts);
    int32_t *rooms = arena_array(arena, devices, sizeof *rooms);
    struct option *options = arena_array(arena, devices * (size_t)p->end_count, sizeof *options);

    best.counts = arena_array(arena, devices, sizeof *best.counts);
    for (int32_t q = 0; q < p->device_count; q++) {
        int32_t count = 0;
        bool is_filled = false;

        for (int32_t e = 0; e < p->end_count; e++)
            for (int32_t f = 0; f < p->device_count; f++) {
                struct option option = { .choice = { e, q, f } };

                option.base = heads_base(p, option.choice);
                if (!isinf(option.base))
                    options[count++] = option;
            }
        least_first(options, count);
        for (int32_t i = 0; i < count && !is_filled && options[i].base < best.cost; i++) {
            struct heads_answer answer = { .is_feasible = true,
                                           .end = options[i].choice.end,
                                           .projection = q,
                                           .ffn = options[i].choice.ffn,
                                           .counts = counts };

            is_filled = heads_fill(p, options[i].choice, rooms, counts);
            if (i == 0 && !is_filled)
                qsort(options, (size_t)count, sizeof *options, compare_options);
            answer.cost = is_filled ? heads_cost(p, &answer) : HUGE_VAL;
            if (answer.cost >= best.cost)
                continue;
            answer.counts = best.counts;
            memcpy(best.counts, counts, devices * sizeof *counts);
            best = answer;
        }
    }
    return best;
}

struct heads_answer heads_single(struct arena *arena, const struct heads_problem *p)
{
    struct heads_answer best = { .cost = HUGE_VAL };

    for (int32_t d = 0; d < p->device_count; d++)
        for (int32_t e = 0; e < p->end_count; e++) {
            struct heads_answer one = { .end = e, .projection = d, .ffn = d };

            if (p->ends[e] >= 0 && p->ends[e] != d)
                continue;
            one.counts = arena_array(arena, (size_t)p->device_count, sizeof *one.counts);
            one.counts[d] = p->head_count;
            one.cost = heads_cost(p, &one);
            one.is_feasible = !isinf(one.cost);
            if (one.is_feasible && one.cost < best.cost)
                best = one;
        }
    return best;
}
