/* choice.c - inversion by a guide table (Chen and Asau 1974): where a search for k/n of the total
 * would end tells where one for a little more begins. */
#include "sim/generate/choice.h"

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include <stddef.h>

struct choice {
    int count;
    double total;
    double *sums; /* of the weights up to and with each */
    int *guide;   /* the first whose sum is above k / count of the total */
};

struct choice *choice_create(struct arena *arena, const double *weights, int count)
{
    struct choice *choice = arena_alloc(arena, sizeof *choice);
    int at = 0;

    choice->count = count;
    choice->sums = arena_array(arena, (size_t)count, sizeof *choice->sums);
    choice->guide = arena_array(arena, (size_t)count, sizeof *choice->guide);
    for (int i = 0; i < count; i++) {
        choice->total += weights[i];
        choice->sums[i] = choice->total;
    }
    for (int k = 0; k < count; k++) {
        while (at < count - 1 && choice->sums[at] <= choice->total * k / count)
            at++;
        choice->guide[k] = at;
    }
    return choice;
}

int choice_draw(const struct choice *choice, struct rng *rng)
{
    double u, at;
    int i;

    if (choice->count == 1)
        return 0;
    u = rng_uniform(rng);
    at = u * choice->total;
    i = choice->guide[(int)(u * choice->count)];
    while (i < choice->count - 1 && choice->sums[i] <= at)
        i++;
    while (i > 0 && choice->sums[i - 1] > at) /* the guide was rounded up */
        i--;
    return i;
}
