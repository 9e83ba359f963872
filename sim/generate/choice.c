/* choice.c - inversion by a guide table (Chen and Asau 1974): the interval of a number in [0, 1)
 * says between which two choices its own lies; mostly they are neighbours or one and the same, and
 * one comparison, which costs no branch, tells which. */
#include "sim/generate/choice.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <stddef.h>

#define INTERVALS_MOST (1 << 16)

struct interval {
    double bound;        /* sum of the weights up to and with `first` */
    int32_t first, last; /* what its least and its greatest number choose */
};

struct choice {
    int count;
    int interval_count; /* a power of two: places in it are exact */
    double total;
    const double *sums; /* of the weights up to and with each */
    const struct interval *intervals;
};

/* The first from `at` on whose sum is above. */
static int search(const struct choice *choice, int at, double sum)
{
    while (at < choice->count - 1 && choice->sums[at] <= sum)
        at++;
    return at;
}

/* Products round in order: what is drawn in an interval lies between those of its ends. */
static const struct interval *intervals_fill(struct arena *arena, const struct choice *choice)
{
    int count = choice->interval_count, at = 0;
    struct interval *intervals = arena_array(arena, (size_t)count, sizeof *intervals);

    for (int k = 0; k < count; k++) {
        intervals[k].first = at;
        intervals[k].bound = choice->sums[at];
        at = search(choice, at, (double)(k + 1) / count * choice->total);
        intervals[k].last = at;
    }
    return intervals;
}

struct choice *choice_create(struct arena *arena, const double *weights, int count)
{
    struct choice *choice = arena_alloc(arena, sizeof *choice);
    double *sums = arena_array(arena, (size_t)count, sizeof *sums);

    choice->count = count;
    choice->sums = sums;
    for (int i = 0; i < count; i++) {
        choice->total += weights[i];
        sums[i] = choice->total;
    }
    choice->interval_count = 16;
    while (choice->interval_count / 4 < count && choice->interval_count < INTERVALS_MOST)
        choice->interval_count *= 2;
    choice->intervals = intervals_fill(arena, choice);
    return choice;
}

int choice_draw(const struct choice *choice, struct rng *rng)
{
    const struct interval *interval;
    double u, at;

    if (choice->count == 1)
        return 0;
    u = rng_uniform(rng);
    at = u * choice->total;
    interval = &choice->intervals[(int)(u * choice->interval_count)];
    if (interval->last - interval->first > 1)
        return search(choice, interval->first, at);
    return interval->first + (interval->last > interval->first && interval->bound <= at);
}
