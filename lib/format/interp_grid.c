/* interp_grid.c - which points to measure for a tile period (interp.h). Nothing here is fitted to a
 * machine: the order is what a prediction needs first. */
#include "lib/format/interp.h"
#include <assert.h>

#define FIRST_USUAL 12 /* rows from which residues are measured */

struct grid {
    int32_t first, last;
    int room, count;
    int32_t *points;
};

/* Ascending, each once; what lies outside or finds no room is left out. */
static void add(struct grid *grid, int64_t x)
{
    int at = grid->count;

    if (x < grid->first || x > grid->last || grid->count == grid->room)
        return;
    for (int i = 0; i < grid->count; i++)
        if (grid->points[i] == x)
            return;
    for (; at > 0 && grid->points[at - 1] > x; at--)
        grid->points[at] = grid->points[at - 1];
    grid->points[at] = (int32_t)x;
    grid->count++;
}

static int64_t round_up(int64_t x, int64_t period)
{
    return (x + period - 1) / period * period;
}

/* A tile of which each residue that is a power of two is measured, and the last one, which tells
 * remainder loops from padding. Not among the first: up to some 12 rows a product is
 * bound by memory, and what a residue adds hides behind it in part; noise grows with the time that
 * is measured. */
static void add_residues(struct grid *grid, int32_t period)
{
    int64_t from = 2 * period > FIRST_USUAL ? 2 * period : FIRST_USUAL;
    int64_t base = round_up(grid->first > from ? grid->first : from, period);

    while (base + period - 1 > grid->last && base > period)
        base -= period;
    if (period == 1)
        return;
    add(grid, base);
    for (int32_t residue = 1; residue < period; residue *= 2)
        add(grid, base + residue);
    add(grid, base + period - 1);
}

/* How much wider than the other the wider of both halves would be made by a point at x. */
static double split_ratio(int64_t low, int64_t x, int64_t high)
{
    double below = (double)x / (double)low, above = (double)high / (double)x;

    return below > above ? below : above;
}

/* Where a gap is best halved by ratio: at a power of two, else half as much again, else anywhere,
 * but always at a multiple of the period. 0 = nowhere. */
static int64_t middle_of(int64_t low, int64_t high, int64_t period)
{
    int64_t best = 0, anywhere = round_up((low + high + 1) / 2 - period / 2, period);

    for (int halves = 2; halves <= 3 && best == 0; halves++)
        for (int64_t part = 1; part < high; part *= 2) {
            int64_t x = part * halves;

            if (x % period == 0 && x > low && x < high &&
                (best == 0 || split_ratio(low, x, high) < split_ratio(low, best, high)))
                best = x;
        }
    return best > 0 ? best : anywhere > low && anywhere < high ? anywhere : 0;
}

/* False when there is nothing left to split. */
static bool split_widest(struct grid *grid, int32_t period)
{
    double widest = 1;
    int64_t best = 0;

    for (int i = 1; i < grid->count; i++) {
        int64_t low = grid->points[i - 1], high = grid->points[i];
        int64_t middle = middle_of(low, high, period);
        double ratio = (double)high / (double)low;

        if (middle > 0 && ratio > widest) {
            widest = ratio;
            best = middle;
        }
    }
    add(grid, best);
    return best > 0;
}

/* What the adders of a period rest on. */
static int least_room(int32_t period)
{
    int room = 6; /* two ends, the base of the residues and three more bases */

    for (int32_t part = 1; part < period; part *= 2)
        room += 2; /* a residue, and a part of the first tile */
    return room + (period > 2);
}

int interp_grid(int32_t first, int32_t last, int32_t period, int room, int32_t *points)
{
    struct grid grid = { first, last, room, 0, points };

    assert(first >= 1 && first <= last && room >= 2 && period >= 1 && period <= INTERP_MAX_PERIOD);
    while (period > 1 && (room < least_room(period) || last < 2 * period))
        period /= 2;
    add(&grid, first);
    add(&grid, last);
    for (int32_t part = 1; part <= period; part *= 2)
        add(&grid, part);
    if (period >= 4)
        add(&grid, 3); /* two and three rows often take a path of their own */
    add_residues(&grid, period);
    add(&grid, period);
    while (grid.count < room && split_widest(&grid, period))
        continue;
    return grid.count;
}
