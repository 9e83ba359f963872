/* heads_layers.c - head-level placements whose layers are cut each by itself: filled layer by layer
 * into the memory that is left, and then improved one layer at a time, beside what all others hold
 * and next to what its neighbours are. */
#include "sim/place/heads_measured.h"

#include "lib/base/arena.h"
#include "lib/format/model.h"
#include "sim/place/heads_exchange.h"
#include "sim/place/heads_measured_internal.h"
#include "sim/place/heads_rows.h"
#include <math.h>
#include <string.h>

#define SWEEPS 8        /* over all layers, at most */
#define LEAST_GAIN 1e-9 /* of a layer, that a change has to bring: sums are doubles */

struct layering {
    struct arena *arena;
    const struct heads_measured *m;
    bool (*is_over)(void *arg);
    void *is_over_arg;
    int32_t layer_count;
    struct heads_problem layer; /* of one layer, without memory; its ends are all devices */
    struct heads_costs costs;
    struct heads_answer *answers; /* by layer; of which `end` is not read: 0 */
    int32_t end;                  /* of the list: where both ends stand */
    bool is_daring;               /* nothing is kept free for activations and norms */
    double *rooms;                /* that are left */
};

static double *rooms_begin(const struct layering *a)
{
    return a->is_daring ? heads_rooms_with(a->arena, a->m, 0) : heads_rooms(a->arena, a->m);
}

static struct layering *layering_begin(struct arena *arena, const struct heads_measured *m,
                                       bool is_daring, bool (*is_over)(void *arg),
                                       void *is_over_arg)
{
    struct layering *a = arena_alloc(arena, sizeof *a);

    a->arena = arena;
    a->m = m;
    a->is_over = is_over;
    a->is_over_arg = is_over_arg;
    a->layer_count = m->input->model->layers;
    a->answers = arena_array(arena, (size_t)a->layer_count, sizeof *a->answers);
    a->is_daring = is_daring;
    a->rooms = rooms_begin(a);
    heads_problem_fill(arena, m, 1, &a->layer, &a->costs);
    a->layer.kinds = NULL; /* what is left differs */
    return a;
}

/* What the layer takes of each device (sign 1), or gives back (-1). */
static void rooms_take(struct layering *a, int32_t layer, double sign)
{
    const struct heads_resource memory = heads_memory(a->m, NULL, 1, layer == 0);
    const struct heads_answer *answer = &a->answers[layer];

    for (int32_t d = 0; d < a->m->device_count; d++)
        a->rooms[d] -= sign * answer->counts[d] * memory.head;
    a->rooms[answer->projection] -= sign * memory.projection;
    a->rooms[answer->ffn] -= sign * memory.ffn;
    a->rooms[a->end] -= sign * memory.end;
}

/* ---- a layer between its neighbours ---- */

/* From an FFN to what comes behind the layer: the devices with heads of the next one, or the end.
 */
static double next_ps(const struct layering *a, int32_t layer, int32_t ffn)
{
    const struct heads_answer *next = &a->answers[layer + 1];
    double sum = 0;

    if (layer + 1 == a->layer_count)
        return heads_message_ps(a->m, ffn, a->end, 1, a->m->input->model->hidden);
    for (int32_t d = 0; d < a->m->device_count && next->counts; d++)
        if (next->counts[d] > 0)
            sum += a->layer.pass_costs[heads_at(&a->layer, ffn, d)];
    return sum;
}

/* The first layer has the ends with it: it may choose where they stand; else they stay where they
 * are, as for all other layers. */
static struct heads_problem layer_between(struct arena *arena, const struct layering *a,
                                          int32_t layer, bool has_choice)
{
    struct heads_problem p = a->layer;
    size_t devices = (size_t)p.device_count;
    double *end_costs;
    int32_t *ends;

    p.resources[0] = heads_memory(a->m, a->rooms, 1, layer == 0);
    p.end_count = has_choice ? p.device_count : 1;
    ends = arena_array(arena, devices, sizeof *ends);
    end_costs = arena_array(arena, (size_t)p.end_count * devices, sizeof *end_costs);
    for (int32_t e = 0; e < p.end_count; e++) {
        ends[e] = has_choice ? e : a->end;
        for (int32_t f = 0; f < p.device_count; f++)
            end_costs[heads_at(&p, e, f)] =
                (layer == 0
                     ? a->m->layer.ends[ends[e]] +
                           (double)problem_entry(a->m->problem, a->m->devices[ends[e]]).time_ps +
                           (double)problem_exit(a->m->problem, a->m->devices[ends[e]]).time_ps
                     : 0) +
                next_ps(a, layer, f);
    }
    if (!has_choice)
        p.enter_costs =
            &p.pass_costs[heads_at(&p, layer > 0 ? a->answers[layer - 1].ffn : a->end, 0)];
    p.ends = ends;
    p.end_costs = end_costs;
    return p;
}

/* ---- all layers ---- */

/* prices: of a byte, by device; NULL: memory costs nothing while there is some. */
static bool fill(struct layering *a, enum heads_how how, const double *prices)
{
    struct heads_problem free = a->layer;
    bool is_filled = true;

    if (prices)
        (void)heads_priced(a->arena, a->m, prices, &a->costs, &a->layer);
    for (int32_t l = 0; l < a->layer_count && is_filled; l++) {
        struct heads_problem p = layer_between(a->arena, a, l, l == 0);

        a->answers[l] = heads_answer_of(a->arena, &p, how, a->is_over, a->is_over_arg);
        is_filled = a->answers[l].is_feasible;
        a->end = l == 0 ? a->answers[l].end : a->end;
        a->answers[l].end = 0;
        if (is_filled)
            rooms_take(a, l, 1);
    }
    a->layer = free;
    return is_filled;
}

/* All layers as one of them. */
static void repeat(struct layering *a, const struct heads_answer *uniform)
{
    a->end = uniform->end;
    for (int32_t l = 0; l < a->layer_count; l++) {
        a->answers[l] = *uniform;
        a->answers[l].end = 0;
        rooms_take(a, l, 1);
    }
}

/* The layer anew, if that is better. */
static bool layer_improve(struct layering *a, int32_t layer)
{
    struct arena *scratch = arena_create();
    struct heads_problem p;
    struct heads_answer now;
    double before_ps;

    rooms_take(a, layer, -1);
    p = layer_between(scratch, a, layer, false);
    before_ps = heads_cost(&p, &a->answers[layer]);
    now = heads_solve(scratch, &p, a->is_over, a->is_over_arg);
    if (now.is_feasible && now.cost < before_ps * (1 - LEAST_GAIN)) {
        struct heads_answer kept = now;

        kept.counts = arena_array(a->arena, (size_t)p.device_count, sizeof *kept.counts);
        memcpy(kept.counts, now.counts, (size_t)p.device_count * sizeof *kept.counts);
        a->answers[layer] = kept;
    } else {
        now.is_feasible = false;
    }
    rooms_take(a, layer, 1);
    arena_destroy(scratch);
    return now.is_feasible;
}

static void improve(struct layering *a)
{
    bool is_better = true;

    for (int i = 0; i < SWEEPS && is_better; i++) {
        is_better = false;
        for (int32_t l = 0; l < a->layer_count; l++) {
            if (a->is_over && a->is_over(a->is_over_arg))
                return;
            is_better = layer_improve(a, l) || is_better;
        }
    }
}

/* Between the layers each message counts once, with the one that it comes from. */
static double sum_ps(struct layering *a)
{
    double sum = 0;

    for (int32_t l = 0; l < a->layer_count; l++) {
        struct arena *scratch = arena_create();
        struct heads_problem p = layer_between(scratch, a, l, false);
        static const double nothing[HEADS_MAX_DEVICES] = { 0 };

        if (l > 0)
            p.enter_costs = nothing;
        p.resource_count = 0;
        sum += heads_cost(&p, &a->answers[l]);
        arena_destroy(scratch);
    }
    return sum;
}

/* Number of the way in the pool, which it joins. */
static int32_t column_of(struct heads_answer *pool, int32_t *count, const struct heads_answer *way,
                         int32_t devices)
{
    int32_t i = 0;

    while (i < *count &&
           (pool[i].projection != way->projection || pool[i].ffn != way->ffn ||
            memcmp(pool[i].counts, way->counts, (size_t)devices * sizeof *way->counts) != 0))
        i++;
    if (i == *count)
        pool[(*count)++] = *way;
    return i;
}

/* Two layers at a time, by ways that others have found, what layers have, and whole on each device.
 */
static void exchange(struct layering *a, const struct heads_least *least)
{
    int32_t devices = a->m->device_count, count = 0;
    size_t most = (size_t)least->column_count + (size_t)devices + (size_t)a->layer_count;
    struct heads_answer *pool = arena_array(a->arena, most, sizeof *pool);
    double *back_ps = arena_array(a->arena, (size_t)devices, sizeof *back_ps);
    double *rooms = rooms_begin(a);
    struct heads_sequence sequence = { .layer = &a->layer,
                                       .memory = heads_memory(a->m, NULL, 1, false),
                                       .rooms = rooms,
                                       .end = a->end,
                                       .back_ps = back_ps,
                                       .pool = pool,
                                       .layer_count = a->layer_count };

    sequence.columns = arena_array(a->arena, (size_t)a->layer_count, sizeof(int32_t));
    rooms[a->end] -= heads_memory(a->m, NULL, 1, true).end;
    for (int32_t l = 0; l < a->layer_count; l++)
        sequence.columns[l] = column_of(pool, &count, &a->answers[l], devices);
    for (int32_t i = 0; i < least->column_count; i++)
        (void)column_of(pool, &count, &least->columns[i], devices);
    for (int32_t d = 0; d < devices; d++) {
        struct heads_answer whole = { .is_feasible = true, .projection = d, .ffn = d };

        whole.counts = arena_array(a->arena, (size_t)devices, sizeof *whole.counts);
        whole.counts[d] = a->layer.head_count;
        (void)column_of(pool, &count, &whole, devices);
        back_ps[d] = heads_message_ps(a->m, d, a->end, 1, a->m->input->model->hidden);
    }
    sequence.pool_count = count;
    heads_exchange(a->arena, &sequence, a->is_over, a->is_over_arg);
    for (int32_t l = 0; l < a->layer_count; l++)
        rooms_take(a, l, -1);
    for (int32_t l = 0; l < a->layer_count; l++) {
        a->answers[l] = pool[sequence.columns[l]];
        a->answers[l].end = 0;
        rooms_take(a, l, 1);
    }
}

static bool is_same_cut(const struct heads_run *a, const struct heads_run *b, int32_t head_count)
{
    return a->projection == b->projection && a->ffn == b->ffn &&
           memcmp(a->owners, b->owners, (size_t)head_count * sizeof *a->owners) == 0;
}

static struct heads_found found_of(struct layering *a, const struct heads_plan *before)
{
    struct heads_found found = { .is_feasible = true,
                                 .cost_ps = sum_ps(a),
                                 .plan = arena_alloc(a->arena, sizeof *found.plan) };
    struct heads_run *runs = arena_array(a->arena, (size_t)a->layer_count, sizeof *runs);

    found.plan->runs = runs;
    found.plan->end = a->m->devices[a->end];
    for (int32_t l = 0; l < a->layer_count; l++) {
        int32_t last = found.plan->run_count;

        runs[last] = heads_run_of(a->arena, &a->layer, &a->answers[l], a->m->devices, l, l,
                                  heads_run_at(before, l, l > 0 ? &runs[last - 1] : NULL));
        if (l > 0 && is_same_cut(&runs[last - 1], &runs[last], a->layer.head_count))
            runs[last - 1].layer_last = l;
        else
            found.plan->run_count++;
    }
    return found;
}

struct heads_found heads_find_by_layers(struct arena *arena, const struct heads_measured *m,
                                        enum heads_how how, const struct heads_plan *before,
                                        bool (*is_over)(void *arg), void *is_over_arg)
{
    struct layering *a = layering_begin(arena, m, false, is_over, is_over_arg);

    if (!fill(a, how, NULL))
        return (struct heads_found){ .is_feasible = false };
    if (how == HEADS_EXACT)
        improve(a);
    return found_of(a, before);
}

struct heads_found heads_find_thrifty(struct arena *arena, const struct heads_measured *m,
                                      const struct heads_least *least, int try, bool is_daring,
                                      bool (*is_over)(void *arg), void *is_over_arg)
{
    static const double scales[HEADS_TRIES - 1] = { 0, 0.5, 1, 1.5 };
    struct layering *a = layering_begin(arena, m, is_daring, is_over, is_over_arg);
    double *prices = arena_array(arena, (size_t)m->device_count, sizeof *prices);
    bool is_filled;

    if (try < HEADS_TRIES - 1) {
        for (int32_t d = 0; d < m->device_count; d++)
            prices[d] = scales[try] * least->prices[d];
        is_filled = fill(a, HEADS_EXACT, prices);
    } else {
        struct heads_answer uniform = heads_solve(arena, &m->uniform, is_over, is_over_arg);

        is_filled = uniform.is_feasible;
        if (is_filled)
            repeat(a, &uniform);
    }
    if (!is_filled)
        return (struct heads_found){ .is_feasible = false };
    improve(a);
    exchange(a, least);
    improve(a);
    return found_of(a, NULL);
}
