/* chain_beam.c - a good cut of a chain where there are too many kinds of devices to know the best:
 * at each border the most promising ways to get there are kept. */
#include "sim/place/chain.h"

#include "lib/base/arena.h"
#include "sim/place/chain_internal.h"
#include <math.h>
#include <stdlib.h>

#define NOBODY (-1)

struct way { /* up to a border: the stage that ends there, behind another way */
    double cost;
    double rank;     /* what it will cost at least: a guess */
    double capacity; /* of the devices left: whole chains in a unit of time */
    int64_t order;   /* of finding it: ties */
    int32_t kind, first;
    int32_t level, number; /* of the way before it; NOBODY */
};

struct level { /* units placed: twice as many as are kept, sorted when they are full */
    struct way *ways;
    int32_t count;
};

struct search {
    const struct chain *chain;
    int32_t width; /* ways that are kept at a border */
    enum chain_objective objective;
    struct level *levels; /* by units placed */
    double *rests;        /* by units placed: the share of the work that is left, on kind 0 */
    double *wholes;       /* by kind: the chain on one device */
    double capacity;      /* of all devices */
    int64_t order;
};

static int compare(const void *a, const void *b)
{
    const struct way *one = a, *two = b;

    if (one->rank < two->rank || one->rank > two->rank)
        return one->rank < two->rank ? -1 : 1;
    if (one->cost < two->cost || one->cost > two->cost)
        return one->cost < two->cost ? -1 : 1;
    return one->order < two->order ? -1 : one->order > two->order;
}

static void cut(const struct search *search, struct level *level)
{
    qsort(level->ways, (size_t)level->count, sizeof *level->ways, compare);
    level->count = level->count < search->width ? level->count : search->width;
}

static void keep(struct search *search, int32_t units, struct way way)
{
    struct level *level = &search->levels[units];

    if (isinf(way.cost))
        return;
    if (level->count == 2 * search->width)
        cut(search, level);
    /* For the period, what is left is at best spread over all devices that are. */
    way.rank = way.cost;
    if (search->objective == CHAIN_PERIOD && search->rests[units] > way.cost * way.capacity)
        way.rank = way.capacity > 0 ? search->rests[units] / way.capacity : HUGE_VAL;
    way.order = search->order++;
    level->ways[level->count++] = way;
}

static int32_t used_of(const struct search *search, const struct way *way, int32_t kind)
{
    int32_t used = 0;

    for (;;) {
        used += way->kind == kind;
        if (way->level == NOBODY)
            return used;
        way = &search->levels[way->level].ways[way->number];
    }
}

/* Stages on a device of the kind that begin behind the way (NULL: at the source). */
static void extend(struct search *search, int32_t first, int32_t number, int32_t kind)
{
    const struct chain *chain = search->chain;
    const struct way *before = first > 0 ? &search->levels[first].ways[number] : NULL;
    double cost, capacity = before ? before->capacity : search->capacity, stage = 0;

    if ((before ? used_of(search, before, kind) : 0) >= chain->device_counts[kind])
        return;
    if (before)
        cost = chain_join(search->objective, before->cost,
                          chain->border_cost(chain->arg, before->kind, kind, first - 1));
    else
        cost = chain_entry(chain, kind);
    capacity -= 1 / search->wholes[kind];
    for (int32_t last = first; last < chain->unit_count; last++) {
        double with;

        stage += chain_units(chain, kind)[last];
        if (!chain->has_room(chain->arg, kind, first, last))
            continue;
        with = chain_join(search->objective, cost, stage);
        if (last + 1 == chain->unit_count)
            with = chain_with_exit(chain, search->objective, with, kind);
        keep(search, last + 1,
             (struct way){ .cost = with,
                           .capacity = capacity,
                           .kind = kind,
                           .first = first,
                           .level = before ? first : NOBODY,
                           .number = before ? number : NOBODY });
    }
}

static struct chain_answer answer_of(struct arena *arena, const struct search *search)
{
    const struct level *end = &search->levels[search->chain->unit_count];
    struct chain_answer answer = { .cost = INFINITY };
    const struct way *way = end->ways;
    int32_t last = search->chain->unit_count - 1;

    if (end->count == 0)
        return answer;
    answer.is_feasible = true;
    answer.cost = way->cost;
    for (const struct way *at = way;; at = &search->levels[at->level].ways[at->number]) {
        answer.stage_count++;
        if (at->level == NOBODY)
            break;
    }
    answer.stages = arena_array(arena, (size_t)answer.stage_count, sizeof *answer.stages);
    for (int32_t s = answer.stage_count - 1; s >= 0; s--) {
        answer.stages[s] = (struct chain_stage){ way->kind, way->first, last };
        last = way->first - 1;
        way = s > 0 ? &search->levels[way->level].ways[way->number] : way;
    }
    return answer;
}

/* Work of no length counts as a little. */
static double whole_of(const struct chain *chain, int32_t kind)
{
    double sum = 0;

    for (int32_t u = 0; u < chain->unit_count; u++)
        sum += chain_units(chain, kind)[u];
    return sum > 0 ? sum : 1;
}

static void work_fill(struct arena *arena, struct search *search)
{
    const struct chain *chain = search->chain;
    size_t units = (size_t)chain->unit_count;

    search->wholes = arena_array(arena, (size_t)chain->kind_count, sizeof(double));
    search->rests = arena_array(arena, units + 1, sizeof(double));
    for (int32_t k = 0; k < chain->kind_count; k++) {
        search->wholes[k] = whole_of(chain, k);
        search->capacity += chain->device_counts[k] / search->wholes[k];
    }
    for (size_t u = units; u > 0; u--)
        search->rests[u - 1] = search->rests[u] + chain->unit_costs[u - 1] / search->wholes[0];
}

struct chain_answer chain_search(struct arena *arena, const struct chain *chain,
                                 enum chain_objective objective, int32_t width)
{
    struct search search = { .chain = chain, .width = width, .objective = objective };
    struct chain_answer answer;
    bool is_late = false;

    work_fill(arena, &search);
    search.levels = arena_array(arena, (size_t)chain->unit_count + 1, sizeof *search.levels);
    for (int32_t units = 1; units <= chain->unit_count; units++)
        search.levels[units].ways =
            arena_array(arena, 2 * (size_t)width, sizeof *search.levels[units].ways);
    for (int32_t k = 0; k < chain->kind_count; k++)
        extend(&search, 0, NOBODY, k);
    for (int32_t units = 1; units < chain->unit_count; units++) {
        cut(&search, &search.levels[units]);
        /* without time the best way alone is followed to its end */
        for (int32_t w = 0; w < (is_late ? 1 : width) && w < search.levels[units].count; w++) {
            for (int32_t k = 0; k < chain->kind_count; k++)
                extend(&search, units, w, k);
            is_late = is_late || (chain->is_over && chain->is_over(chain->is_over_arg));
        }
    }
    cut(&search, &search.levels[chain->unit_count]);
    answer = answer_of(arena, &search);
    answer.is_cut_short = is_late;
    return answer;
}
