/* heads_exchange.c - layers of a head-level placement changed two at a time: what one gives up of a
 * device another one may take. Ways to cut a layer come from a pool; a sequence of them, one a
 * layer, is improved by replacing one, replacing two, and swapping two, as long as that shortens
 * the sum within the memory of all devices. */
#include "sim/place/heads_exchange.h"

#include "lib/base/arena.h"
#include "sim/place/heads_internal.h"
#include <math.h>
#include <string.h>

#define SWEEPS 16
#define LEAST_GAIN 1e-9 /* of the sum: it is of doubles */

struct exchange {
    struct heads_sequence *s;
    int32_t count;            /* of the pool */
    double *own_ps, *ways_ps; /* [column]; [column before][column] */
    double *bytes;            /* [column][device] */
    double *rooms;            /* that are left */
};

static double way_between(const struct heads_problem *p, int32_t ffn,
                          const struct heads_answer *column)
{
    double sum = 0;

    for (int32_t d = 0; d < p->device_count; d++)
        if (column->counts[d] > 0)
            sum += p->pass_costs[heads_at(p, ffn, d)];
    return sum;
}

/* From the ends into the first layer, and from the last one back. */
static double first_ps(const struct exchange *x, int32_t column)
{
    return way_between(x->s->layer, x->s->end, &x->s->pool[column]);
}

static double last_ps(const struct exchange *x, int32_t column)
{
    return x->s->back_ps[x->s->pool[column].ffn];
}

static double column_ps(const struct heads_problem *p, const struct heads_answer *column)
{
    double most = 0, ways = 0;

    for (int32_t d = 0; d < p->device_count; d++) {
        size_t at = heads_at(p, d, column->projection) * ((size_t)p->head_count + 1);

        most = fmax(most, heads_of(p, d, column->counts[d]));
        ways += column->counts[d] > 0 ? p->gather_costs[at + (size_t)column->counts[d]] : 0;
    }
    return most + ways + p->projection_costs[column->projection] +
           p->pass_costs[heads_at(p, column->projection, column->ffn)] + p->ffn_costs[column->ffn];
}

static struct exchange exchange_begin(struct arena *arena, struct heads_sequence *s)
{
    size_t count = (size_t)s->pool_count, devices = (size_t)s->layer->device_count;
    struct exchange x = { .s = s, .count = s->pool_count };

    x.own_ps = arena_array(arena, count, sizeof(double));
    x.ways_ps = arena_array(arena, count * count, sizeof(double));
    x.bytes = arena_array(arena, count * devices, sizeof(double));
    x.rooms = arena_array(arena, devices, sizeof(double));
    memcpy(x.rooms, s->rooms, devices * sizeof(double));
    for (size_t c = 0; c < count; c++) {
        const struct heads_answer *column = &s->pool[c];

        x.own_ps[c] = column_ps(s->layer, column);
        for (size_t d = 0; d < devices; d++)
            x.bytes[c * devices + d] = column->counts[d] * s->memory.head +
                                       (column->projection == (int32_t)d) * s->memory.projection +
                                       (column->ffn == (int32_t)d) * s->memory.ffn;
        for (size_t b = 0; b < count; b++)
            x.ways_ps[b * count + c] = way_between(s->layer, s->pool[b].ffn, column);
    }
    for (int32_t l = 0; l < s->layer_count; l++)
        for (size_t d = 0; d < devices; d++)
            x.rooms[d] -= x.bytes[(size_t)s->columns[l] * devices + d];
    return x;
}

/* What depends on the layer: itself, and the ways to and from it, that to the next one unless that
 * changes, too. */
static double around_ps(const struct exchange *x, int32_t layer, bool has_next)
{
    const int32_t *columns = x->s->columns;
    size_t count = (size_t)x->count, c = (size_t)columns[layer];
    double sum = x->own_ps[c];

    sum +=
        layer == 0 ? first_ps(x, columns[0]) : x->ways_ps[(size_t)columns[layer - 1] * count + c];
    if (layer + 1 == x->s->layer_count)
        sum += last_ps(x, columns[layer]);
    else if (has_next)
        sum += x->ways_ps[c * count + (size_t)columns[layer + 1]];
    return sum;
}

static double both_ps(const struct exchange *x, int32_t one, int32_t two)
{
    return around_ps(x, one, two != one + 1) + (two != one ? around_ps(x, two, true) : 0);
}

/* Whether the rooms still do with two other columns in place of two (twice the same: of one). */
static bool has_room(const struct exchange *x, const int32_t from[2], const int32_t to[2],
                     int changes)
{
    size_t devices = (size_t)x->s->layer->device_count;

    for (size_t d = 0; d < devices; d++) {
        double rest = x->rooms[d];

        for (int i = 0; i < changes; i++)
            rest += x->bytes[(size_t)from[i] * devices + d] - x->bytes[(size_t)to[i] * devices + d];
        if (rest < 0 && rest < x->rooms[d])
            return false;
    }
    return true;
}

static void rooms_change(struct exchange *x, const int32_t from[2], const int32_t to[2],
                         int changes)
{
    size_t devices = (size_t)x->s->layer->device_count;

    for (size_t d = 0; d < devices; d++)
        for (int i = 0; i < changes; i++)
            x->rooms[d] +=
                x->bytes[(size_t)from[i] * devices + d] - x->bytes[(size_t)to[i] * devices + d];
}

/* Layers one and two, or one alone where they are the same. */
static bool try_change(struct exchange *x, int32_t one, int32_t two, int32_t a, int32_t b)
{
    int32_t *columns = x->s->columns;
    const int32_t from[2] = { columns[one], columns[two] }, to[2] = { a, b };
    int changes = one == two ? 1 : 2;
    double before_ps = both_ps(x, one, two), after_ps;

    /* a cheap bound first: ways are not negative */
    if (x->own_ps[a] + (changes > 1 ? x->own_ps[b] : 0) >= before_ps)
        return false;
    columns[one] = a;
    if (changes > 1)
        columns[two] = b;
    after_ps = both_ps(x, one, two);
    if (after_ps < before_ps * (1 - LEAST_GAIN) && has_room(x, from, to, changes)) {
        rooms_change(x, from, to, changes);
        return true;
    }
    columns[one] = from[0];
    columns[two] = changes > 1 ? from[1] : from[0];
    return false;
}

static bool change_two(struct exchange *x, int32_t one, int32_t two)
{
    bool is_better = false;

    if (x->s->columns[one] != x->s->columns[two])
        is_better = try_change(x, one, two, x->s->columns[two], x->s->columns[one]);
    for (int32_t a = 0; a < x->count; a++)
        for (int32_t b = 0; b < x->count; b++)
            is_better = try_change(x, one, two, a, b) || is_better;
    return is_better;
}

void heads_exchange(struct arena *arena, struct heads_sequence *s, bool (*is_over)(void *arg),
                    void *is_over_arg)
{
    struct exchange x = exchange_begin(arena, s);
    bool is_better = true;

    for (int i = 0; i < SWEEPS && is_better; i++) {
        is_better = false;
        for (int32_t one = 0; one < s->layer_count; one++) {
            if (is_over && is_over(is_over_arg))
                return;
            for (int32_t a = 0; a < x.count; a++)
                is_better = try_change(&x, one, one, a, a) || is_better;
            for (int32_t two = one + 1; two < s->layer_count; two++)
                is_better = change_two(&x, one, two) || is_better;
        }
    }
}
