/* heads.c - the optimum of a head-level placement; see heads.h. */
#include "sim/place/heads.h"

#include "lib/base/arena.h"
#include "sim/place/heads_internal.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ASK_EVERY 64 /* ranges */

struct node { /* a choice, and the range of maxima that is left of it */
    double bound;
    int64_t number; /* order of making: ties go to the first */
    struct heads_choice choice;
    int32_t low, high; /* indices of maxima, both included */
    bool is_rough;     /* the bound is without messages yet */
};

struct search {
    const struct heads_problem *problem;
    struct arena *arena;
    double *maxima; /* that any device's heads may take, rising */
    int32_t maximum_count;
    struct node *heap; /* the least bound first */
    int32_t node_count, node_room;
    int64_t made_count;
    double *least;   /* [heads]: of the devices so far */
    double *before;  /* the same without the last one */
    int32_t *chosen; /* [device][heads]: how many of them on that device */
    int32_t *counts; /* of the range that was looked at */
    struct heads_answer best;
};

int32_t heads_room(const struct heads_problem *p, struct heads_choice c, int32_t device)
{
    int32_t room = p->head_count;

    for (int r = 0; r < p->resource_count; r++) {
        const struct heads_resource *of = &p->resources[r];
        double rest = (c.projection == device ? of->projection : 0) +
                      (c.ffn == device ? of->ffn : 0) + (p->ends[c.end] == device ? of->end : 0);

        while (room >= 0 && room * of->head + rest > of->rooms[device])
            room--;
    }
    /* A device that gets nothing may be as full as it is. */
    if (room < 0 && c.projection != device && c.ffn != device && p->ends[c.end] != device)
        return 0;
    return room;
}

double heads_cost(const struct heads_problem *p, const struct heads_answer *answer)
{
    const struct heads_choice choice = { answer->end, answer->projection, answer->ffn };
    double most = 0, ways = 0;

    for (int32_t d = 0; d < p->device_count; d++) {
        if (answer->counts[d] > heads_room(p, choice, d))
            return HUGE_VAL;
        most = heads_of(p, d, answer->counts[d]) > most ? heads_of(p, d, answer->counts[d]) : most;
        ways += heads_way(p, choice, d, answer->counts[d]);
    }
    return most + ways + heads_base(p, choice);
}

/* ---- ranges, the least bound first ---- */

static bool is_before(const struct node *a, const struct node *b)
{
    if (a->bound < b->bound || a->bound > b->bound)
        return a->bound < b->bound;
    return a->number < b->number;
}

static void node_push(struct search *s, struct node node)
{
    int32_t at = s->node_count++;

    if (at == s->node_room) {
        int32_t larger = arena_wider(s->node_room, 256);

        s->heap =
            arena_grow(s->arena, s->heap, (size_t)s->node_room, (size_t)larger, sizeof *s->heap);
        s->node_room = larger;
    }
    node.number = s->made_count++;
    for (; at > 0 && is_before(&node, &s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = node;
}

static struct node node_pop(struct search *s)
{
    struct node first = s->heap[0], last = s->heap[--s->node_count];
    int32_t at = 0, next = 1;

    for (; next < s->node_count; at = next, next = 2 * at + 1) {
        if (next + 1 < s->node_count && is_before(&s->heap[next + 1], &s->heap[next]))
            next++;
        if (!is_before(&s->heap[next], &last))
            break;
        s->heap[at] = s->heap[next];
    }
    s->heap[at] = last;
    return first;
}

/* ---- one range ---- */

/* The least sum of messages where no device's heads take longer than the maximum; infinite: so
 * short a maximum leaves heads over. Fills s->counts. */
static double messages_least(struct search *s, struct heads_choice choice, double maximum)
{
    const struct heads_problem *p = s->problem;
    size_t width = (size_t)p->head_count + 1;
    double sum;

    s->least[0] = 0;
    for (int32_t h = 1; h <= p->head_count; h++)
        s->least[h] = HUGE_VAL;
    for (int32_t d = 0; d < p->device_count; d++) {
        int32_t room = heads_room(p, choice, d), *chosen = &s->chosen[(size_t)d * width];

        if (room < 0)
            return HUGE_VAL;
        memcpy(s->before, s->least, width * sizeof *s->before);
        memset(chosen, 0, width * sizeof *chosen);
        for (int32_t n = 1; n <= room; n++) {
            double way;

            if (heads_of(p, d, n) > maximum)
                continue;
            way = heads_way(p, choice, d, n);
            for (int32_t h = n; h <= p->head_count; h++)
                if (s->before[h - n] + way < s->least[h]) {
                    s->least[h] = s->before[h - n] + way;
                    chosen[h] = n;
                }
        }
    }
    sum = s->least[p->head_count];
    if (isinf(sum))
        return sum;
    for (int32_t d = p->device_count - 1, left = p->head_count; d >= 0; d--) {
        s->counts[d] = s->chosen[(size_t)d * width + (size_t)left];
        left -= s->counts[d];
    }
    return sum;
}

static void best_keep(struct search *s, struct heads_choice choice, const int32_t *counts)
{
    const struct heads_problem *p = s->problem;
    struct heads_answer answer = { .is_feasible = true,
                                   .end = choice.end,
                                   .projection = choice.projection,
                                   .ffn = choice.ffn,
                                   .counts = s->best.counts };
    const size_t bytes = (size_t)p->device_count * sizeof *counts;
    struct heads_answer other = answer;

    other.counts = s->counts;
    memcpy(s->counts, counts, bytes);
    other.cost = heads_cost(p, &other);
    if (isinf(other.cost) || (s->best.is_feasible && other.cost >= s->best.cost))
        return;
    memcpy(answer.counts, s->counts, bytes);
    answer.cost = other.cost;
    s->best = answer;
}

/* A range whose least sum of messages is known, or is to be found. */
static void range_add(struct search *s, struct heads_choice choice, int32_t low, int32_t high)
{
    double messages = messages_least(s, choice, s->maxima[high]);
    struct node node = { .choice = choice, .low = low, .high = high };

    if (isinf(messages))
        return;
    best_keep(s, choice, s->counts);
    node.bound = heads_base(s->problem, choice) + s->maxima[low] + messages;
    if (low < high && node.bound < s->best.cost)
        node_push(s, node);
}

static void node_split(struct search *s, const struct node *node)
{
    int32_t middle = node->low + (node->high - node->low) / 2;

    if (node->is_rough) {
        range_add(s, node->choice, node->low, node->high);
        return;
    }
    range_add(s, node->choice, node->low, middle);
    range_add(s, node->choice, middle + 1, node->high);
}

/* ---- all of it ---- */

static int compare_costs(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Every maximum that may be; first: the least that leaves no head over if there were room. */
static int32_t maxima_fill(struct search *s)
{
    const struct heads_problem *p = s->problem;
    size_t most = (size_t)p->device_count * (size_t)p->head_count;
    int32_t count = 0, kept = 0;

    s->maxima = arena_array(s->arena, most, sizeof *s->maxima);
    for (int32_t d = 0; d < p->device_count; d++)
        for (int32_t n = 1; n <= p->head_count; n++)
            if (!isinf(heads_of(p, d, n)))
                s->maxima[count++] = heads_of(p, d, n);
    qsort(s->maxima, (size_t)count, sizeof *s->maxima, compare_costs);
    for (int32_t i = 0; i < count; i++)
        if (kept == 0 || s->maxima[i] > s->maxima[kept - 1])
            s->maxima[kept++] = s->maxima[i];
    s->maximum_count = kept;
    for (int32_t i = 0; i < kept; i++) {
        int64_t held = 0;

        for (int32_t d = 0; d < p->device_count; d++) {
            int32_t n = p->head_count;

            while (n > 0 && heads_of(p, d, n) > s->maxima[i])
                n--;
            held += n;
        }
        if (held >= p->head_count)
            return i;
    }
    return kept;
}

/* Of alike devices that hold nothing yet, the first alone. */
static bool is_needed(const struct heads_problem *p, int32_t device, const int32_t *taken,
                      int taken_count)
{
    for (int i = 0; i < taken_count; i++)
        if (taken[i] == device)
            return true;
    for (int32_t d = 0; p->kinds && d < device; d++) {
        bool is_taken = false;

        for (int i = 0; i < taken_count; i++)
            is_taken = is_taken || taken[i] == d;
        if (p->kinds[d] == p->kinds[device] && !is_taken)
            return false;
    }
    return true;
}

static void choices_add(struct search *s, int32_t first)
{
    const struct heads_problem *p = s->problem;

    for (int32_t e = 0; e < p->end_count; e++) {
        int32_t taken[2] = { p->ends[e], 0 };

        if (p->ends[e] >= 0 && !is_needed(p, p->ends[e], NULL, 0))
            continue;
        for (int32_t q = 0; q < p->device_count; q++) {
            if (!is_needed(p, q, taken, 1))
                continue;
            taken[1] = q;
            for (int32_t f = 0; f < p->device_count; f++) {
                struct node node = { .choice = { e, q, f },
                                     .low = first,
                                     .high = s->maximum_count - 1,
                                     .is_rough = true };

                node.bound = heads_base(p, node.choice) + s->maxima[first];
                if (!isinf(node.bound) && node.bound < s->best.cost && is_needed(p, f, taken, 2))
                    node_push(s, node);
            }
        }
    }
}

struct heads_answer heads_solve(struct arena *arena, const struct heads_problem *problem,
                                bool (*is_over)(void *arg), void *is_over_arg)
{
    size_t width = (size_t)problem->head_count + 1, devices = (size_t)problem->device_count;
    struct search s = { .problem = problem, .arena = arena };
    struct heads_answer greedy = heads_greedy(arena, problem);
    int32_t first = maxima_fill(&s);

    s.least = arena_array(arena, width, sizeof *s.least);
    s.before = arena_array(arena, width, sizeof *s.before);
    s.chosen = arena_array(arena, devices * width, sizeof *s.chosen);
    s.counts = arena_array(arena, devices, sizeof *s.counts);
    s.best = (struct heads_answer){ .cost = HUGE_VAL,
                                    .counts = arena_array(arena, devices, sizeof *s.counts) };
    if (greedy.is_feasible)
        best_keep(&s, (struct heads_choice){ greedy.end, greedy.projection, greedy.ffn },
                  greedy.counts);
    if (first < s.maximum_count)
        choices_add(&s, first);
    for (int64_t count = 1; s.node_count > 0 && s.heap[0].bound < s.best.cost; count++) {
        struct node node;

        if (is_over && count % ASK_EVERY == 0 && is_over(is_over_arg))
            break;
        node = node_pop(&s);
        node_split(&s, &node);
    }
    s.best.bound = s.best.cost;
    if (s.node_count > 0 && s.heap[0].bound < s.best.cost)
        s.best.bound = s.heap[0].bound;
    return s.best;
}
