/* test_place_visit.c - ways through devices that are come back to, against every way there is: with
 * a tied matrix, units that stay where they are, devices that are alike; and beyond the states. */
#include "sim/place/chain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/arena.h"
#include "lib/base/rng.h"
#include "tests/unit/scratch.h"

#define ROUNDS 2000

static int draw(struct rng *rng, int low, int high)
{
    return low + (int)rng_below(rng, (uint64_t)(high - low + 1));
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* ---- what models have beside: a tied matrix, two units that stay; devices that are alike ---- */

#define TIED_UNITS 7
#define TIED_KINDS 3

struct tied { /* kinds of one device each, all drawn */
    struct chain chain;
    struct chain_visits visits;
    double units[TIED_KINDS * TIED_UNITS], borders[TIED_KINDS][TIED_KINDS], ends[2][TIED_KINDS];
    int64_t held[TIED_KINDS * TIED_UNITS], work[TIED_KINDS * TIED_UNITS], rooms[TIED_KINDS];
    int32_t alike[TIED_KINDS];
    bool may_lead[TIED_KINDS];
    int32_t at[TIED_UNITS];
    double best;
};

static double tied_border(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    return ((const struct tied *)arg)->borders[from][to] + unit % 2;
}

static double tied_entry(const void *arg, int32_t kind)
{
    return ((const struct tied *)arg)->ends[0][kind];
}

static double tied_exit(const void *arg, int32_t kind)
{
    return ((const struct tied *)arg)->ends[1][kind];
}

static void tied_draw(struct rng *rng, struct tied *tied)
{
    int copies = draw(rng, 0, 1); /* the last device is like the first */

    tied->chain = (struct chain){ .unit_count = draw(rng, 1, TIED_UNITS),
                                  .kind_count = TIED_KINDS,
                                  .unit_costs = tied->units,
                                  .border_cost = tied_border,
                                  .entry_cost = tied_entry,
                                  .exit_cost = tied_exit,
                                  .arg = tied };
    tied->visits = (struct chain_visits){ .held_bytes = tied->held,
                                          .work_bytes = tied->work,
                                          .tied_bytes = draw(rng, 0, 2),
                                          .room_bytes = tied->rooms,
                                          .alike = tied->alike,
                                          .may_lead = draw(rng, 0, 1) ? tied->may_lead : NULL,
                                          .lead_count = draw(rng, 1, 2) };
    for (int k = 0; k < TIED_KINDS; k++) {
        int same = copies && k == TIED_KINDS - 1 ? 0 : k;

        tied->alike[k] = same;
        tied->rooms[k] = same < k ? tied->rooms[0] : draw(rng, 6, 26);
        tied->may_lead[k] = same < k ? tied->may_lead[0] : draw(rng, 0, 1) > 0;
        for (int e = 0; e < 2; e++)
            tied->ends[e][k] = same < k ? tied->ends[e][0] : draw(rng, 0, 5);
        for (int u = 0; u < tied->chain.unit_count; u++) {
            int at = k * tied->chain.unit_count + u, from = same * tied->chain.unit_count + u;

            tied->units[at] = same < k ? tied->units[from] : draw(rng, 1, 20);
            tied->held[at] = same < k ? tied->held[from] : draw(rng, 2, 5);
            tied->work[at] = same < k ? tied->work[from] : draw(rng, 0, 3);
        }
    }
    for (int a = 0; a < TIED_KINDS; a++)
        for (int b = 0; b < TIED_KINDS; b++)
            tied->borders[a][b] = copies ? 3 : draw(rng, 0, 6); /* alike: one switch */
}

static bool tied_fits(const struct tied *tied)
{
    int32_t end = tied->chain.unit_count - 1;

    for (int k = 0; k < TIED_KINDS; k++) {
        int64_t held = 0, work = 0;

        for (int32_t u = 0; u <= end; u++)
            if (tied->at[u] == k) {
                held += tied->held[k * (end + 1) + u];
                work = larger(work, tied->work[k * (end + 1) + u]);
            }
        if (end > 0 && tied->at[0] == k && tied->at[end] == k)
            held -= tied->visits.tied_bytes;
        if (held + work > tied->rooms[k])
            return false;
    }
    return true;
}

static void tied_walk(struct tied *tied, int32_t unit, double cost)
{
    const struct chain_visits *visits = &tied->visits;
    int32_t end = tied->chain.unit_count - 1;

    if (unit > end) {
        cost += tied->ends[1][tied->at[end]];
        if (tied_fits(tied) && cost < tied->best)
            tied->best = cost;
        return;
    }
    for (int k = 0; k < TIED_KINDS; k++) {
        double way = 0;

        if (unit < visits->lead_count && visits->may_lead && !visits->may_lead[k])
            continue;
        if (unit == 0)
            way = tied->ends[0][k];
        else if (tied->at[unit - 1] != k)
            way = tied_border(tied, tied->at[unit - 1], k, unit - 1);
        tied->at[unit] = k;
        tied_walk(tied, unit + 1, cost + way + tied->units[k * (end + 1) + unit]);
    }
}

static void tied_ends_and_alike_devices_are_told(void **state)
{
    struct arena *arena = ((struct scratch *)*state)->arena;
    struct rng rng = rng_stream(13, RNG_TEST, 0);
    int feasible = 0;

    for (int round = 0; round < ROUNDS; round++) {
        const struct chain_answer none = { 0 };
        struct chain_answer answer;
        struct tied tied = { .best = 1e9 };
        bool is_exact;
        double bound;

        tied_draw(&rng, &tied);
        tied_walk(&tied, 0, 0);
        answer = chain_visit(arena, &tied.chain, &tied.visits, &none, CHAIN_VISIT_STATES, &is_exact,
                             &bound);
        assert_true(is_exact);
        assert_int_equal(answer.is_feasible, tied.best < 1e9);
        if (!answer.is_feasible)
            continue;
        feasible++;
        assert_true(!(answer.cost < tied.best) && !(answer.cost > tied.best));
        assert_true(!(chain_latency(&tied.chain, answer.stages, answer.stage_count) < tied.best) &&
                    !(chain_latency(&tied.chain, answer.stages, answer.stage_count) > tied.best));
    }
    assert_in_range(feasible, ROUNDS / 4, ROUNDS - ROUNDS / 20);
}

/* ---- the fallback ---- */

struct line { /* a chain of many units on a few devices that hold a part of it each */
    struct chain chain;
    struct chain_visits visits;
    double units[3 * 40];
    int64_t held[3 * 40], work[3 * 40], rooms[3];
    int32_t alike[3];
};

static double line_border(const void *arg, int32_t from, int32_t to, int32_t unit)
{
    (void)arg;
    return from == to ? 0 : 3 + unit % 5 + from;
}

static bool line_room(const void *arg, int32_t kind, int32_t first, int32_t last)
{
    return last - first + 1 <= ((const struct line *)arg)->rooms[kind];
}

static void beyond_the_states_a_beam_says_so(void **state)
{
    struct arena *arena = ((struct scratch *)*state)->arena;
    struct rng rng = rng_stream(12, RNG_TEST, 0);
    struct chain_answer none = { 0 }, best, beam;
    struct line line = { .alike = { 0, 1, 2 }, .rooms = { 12, 16, 20 } };
    bool is_exact;
    double bound, loose;

    line.chain = (struct chain){ .unit_count = 40,
                                 .kind_count = 3,
                                 .unit_costs = line.units,
                                 .border_cost = line_border,
                                 .has_room = line_room,
                                 .arg = &line };
    line.visits = (struct chain_visits){ .held_bytes = line.held,
                                         .work_bytes = line.work,
                                         .room_bytes = line.rooms,
                                         .alike = line.alike };
    for (int i = 0; i < 3 * 40; i++) {
        line.units[i] = draw(&rng, 1, 20);
        line.held[i] = 1;
    }
    best = chain_visit(arena, &line.chain, &line.visits, &none, INT32_MAX, &is_exact, &bound);
    assert_true(is_exact && best.is_feasible);
    assert_true(!(bound < best.cost) && !(bound > best.cost));
    beam = chain_visit(arena, &line.chain, &line.visits, &none, 100, &is_exact, &loose);
    assert_false(is_exact);
    assert_true(beam.is_feasible);
    assert_false(beam.cost < best.cost);
    assert_false(beam.cost > 1.1 * best.cost);
    assert_true(loose > 0 && !(loose > best.cost));
    beam = chain_visit(arena, &line.chain, &line.visits, &best, 100, &is_exact, &loose);
    assert_true(!(beam.cost < best.cost) && !(beam.cost > best.cost)); /* what is known stays */
}

#define RULE(f) cmocka_unit_test_setup_teardown(f, scratch_begin, scratch_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(tied_ends_and_alike_devices_are_told),
        RULE(beyond_the_states_a_beam_says_so),
    };

    return cmocka_run_group_tests_name("place_visit", tests, NULL, NULL);
}
